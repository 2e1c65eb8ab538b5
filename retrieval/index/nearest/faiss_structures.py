"""Structures that FAISS builds, over unit vectors by Euclidean distance: their order is that of the inner product, and
everything that centres (PCA) is right."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from retrieval.errors import RetrievalError
from retrieval.files import TEMPORARY, name_durably
from retrieval.index.damage import DamagedFileError
from retrieval.index.nearest.exact import matrix_products
from retrieval.index.nearest.structures import Floats, Positions

_EFFORT = 200
"""Width of the search for neighbours while a graph is built. 40 often does as well, but not among the tight classes of
a trained embedding: there 200 needs half the efSearch of 80 for one recall."""

_SAMPLE = 65_536
"""Vectors that quantizers and projections are trained on, at most; lists take 64 each."""

_FEW = 20
"""Queries up to which FAISS never multiplies matrices."""


class FaissStructure:
    """One FAISS index behind the interface of :class:`retrieval.index.nearest.structures.Structure`."""

    def __init__(self, factory: str, index: Any) -> None:
        self.factory = factory
        self.dim = int(index.d)
        self._index = index
        self._transformed = isinstance(index, faiss.IndexPreTransform)
        self._inner = faiss.downcast_index(index.index) if self._transformed else index
        self._kind = (
            "HNSW" if isinstance(self._inner, faiss.IndexHNSW) else "IVF" if hasattr(self._inner, "nprobe") else ""
        )
        self._lists = int(getattr(self._inner, "nlist", 0))
        self._size = int(index.ntotal)
        self._settings: dict[int, Any] = {}  # making one takes as long as a short search

    def __len__(self) -> int:
        return self._size

    @classmethod
    def build(cls, factory: str, vectors: Floats, *, seed: int, progress: Any) -> FaissStructure:
        """See :func:`retrieval.index.nearest.structures.build`."""
        try:
            index = faiss.index_factory(vectors.shape[1], factory, faiss.METRIC_L2)
        except RuntimeError as error:
            raise RetrievalError(f"FAISS knows no structure {factory!r}; choose another one.") from error
        made = cls(factory, index)
        if made._kind == "HNSW":
            made._inner.hnsw.efConstruction = _EFFORT
        with matrix_products(True):
            if not index.is_trained:
                rows = np.random.default_rng(seed).permutation(len(vectors))[: max(_SAMPLE, 64 * made._lists)]
                if len(rows) < made._lists:
                    raise RetrievalError(
                        f"{factory} needs at least {made._lists:,} vectors, not {len(vectors):,}; take fewer lists."
                    )
                index.train(np.ascontiguousarray(vectors[np.sort(rows)]))
            for start in range(0, len(vectors), 5000):  # in pieces: FAISS does not see Ctrl-C while it works
                index.add(np.ascontiguousarray(vectors[start : start + 5000]))
                if progress is not None:
                    progress.update(len(vectors[start : start + 5000]))
        made._size = len(vectors)
        return made

    @classmethod
    def read(cls, factory: str, path: Path, dim: int, items: int, *, mapped: bool) -> FaissStructure:
        """See :func:`retrieval.index.nearest.structures.read`."""
        flags = 0
        if mapped and not factory.startswith("IVF"):
            flags = faiss.IO_FLAG_MMAP_IFC
        try:
            index = faiss.read_index(str(path), flags)
        except (RuntimeError, TypeError, MemoryError) as error:
            raise DamagedFileError(path, "is not a structure that FAISS can read") from error
        if index.d != dim or index.ntotal != items or index.metric_type != faiss.METRIC_L2:
            raise DamagedFileError(path, "is not the structure that the catalog describes")
        read = cls(factory, index)
        if read._inner.ntotal != items:
            raise DamagedFileError(path, "is not the structure that the catalog describes")
        return read

    def write(self, path: Path) -> None:
        """Write it durably."""
        temporary = path.with_name(path.name + TEMPORARY)
        try:
            faiss.write_index(self._index, str(temporary))
        except RuntimeError as error:
            temporary.unlink(missing_ok=True)
            raise RetrievalError(f"{str(path)!r} cannot be written; make room, or allow writing there.") from error
        name_durably(temporary, path)

    def bytes(self) -> int:
        """What its file takes."""
        return len(faiss.serialize_index(self._index))

    def candidates(self, queries: Floats, count: int, parameters: Mapping[str, int]) -> Positions:
        """See :meth:`retrieval.index.nearest.structures.Structure.candidates`."""
        width = max(count, parameters.get("efSearch", 0)) if self._kind == "HNSW" else parameters.get("nprobe", 0)
        settings = self._settings.get(width)
        if settings is None:
            settings = self._settings[width] = self._make_settings(width)
        distances = np.empty((len(queries), count), np.float32)
        found = np.empty((len(queries), count), np.int64)
        pointers = faiss.swig_ptr(queries), count, faiss.swig_ptr(distances), faiss.swig_ptr(found)
        if len(queries) < _FEW:
            self._index.search_c(len(queries), *pointers, settings)
        else:
            with matrix_products(False):
                self._index.search_c(len(queries), *pointers, settings)
        return found

    def _make_settings(self, width: int) -> Any:
        if self._kind == "HNSW":
            settings = faiss.SearchParametersHNSW(efSearch=width)
        elif self._kind == "IVF":
            settings = faiss.SearchParametersIVF(nprobe=max(1, min(self._lists, width)))
        else:
            return None
        return faiss.SearchParametersPreTransform(index_params=settings) if self._transformed else settings
