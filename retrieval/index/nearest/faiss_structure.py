"""Structures that FAISS builds, over unit vectors by Euclidean distance: their order is that of the inner product, and
everything that centres (PCA) is right."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from retrieval.base.given import seeded
from retrieval.base.open_file import DamagedFileError
from retrieval.errors import RetrievalError
from retrieval.index.nearest import cores, faiss_files
from retrieval.index.nearest.exact import matrix_products
from retrieval.index.nearest.faiss_options import Settings, empty, project
from retrieval.index.nearest.structure import Floats, Positions, finite

_CODE = r"(Flat|SQ8|SQfp16|PQ\d{1,4}x4fs|RaBitQ(fs)?)"
_KNOWN = re.compile(
    rf"((PCA|RR)\d{{1,4}},)?({_CODE}|IVF\d{{1,6}},{_CODE}|HNSW\d{{1,3}}(,Flat|_SQ8|_SQfp16)?|NSG\d{{1,3}}(,Flat)?)"
)
"""What of FAISS's descriptions is understood here: one part that names positions. What keeps ids of its own (IDMap), or
scores anew by itself (Refine), is not."""

_EFFORT = 200
"""Width of the search for neighbours while a graph is built. 40 often does as well, but not among the tight classes of
a trained embedding: there 200 needs half the efSearch of 80 for one recall."""

_SAMPLE = 65_536
"""Vectors that quantizers and projections are trained on, at most; lists take 64 each."""

_PIECE = 5000
"""Vectors that are added at a time, so that progress shows. FAISS itself sees Ctrl-C."""

_MULTIPLES = (("SQ", (1, 2)), ("PCA", (2, 4, 8)), ("PQ", (2, 4, 8, 16, 32)), ("RaBitQ", (4, 8, 16, 32)))
"""How many times as many candidates are worth scoring anew, by what the vectors are kept as; the last that fits."""

_FEW = 20
"""Queries up to which FAISS never multiplies matrices."""


class FaissStructure:
    """One FAISS index behind the interface of :class:`retrieval.index.nearest.structure.Structure`."""

    def __init__(self, factory: str, index: Any) -> None:
        self.factory = factory
        self.dim = int(index.d)
        self._index = index
        self._inner, self._transform = index, None
        if isinstance(index, faiss.IndexPreTransform):
            self._inner, self._transform = faiss.downcast_index(index.index), index.chain.at(0)
        self._size = int(index.ntotal)
        self._settings, self._inner_settings = Settings(index), Settings(self._inner)

    def __len__(self) -> int:
        return self._size

    @classmethod
    def build(cls, factory: str, vectors: Floats, *, seed: int, progress: Any) -> FaissStructure:
        """See :func:`retrieval.index.nearest.structure.Structure.build`."""
        n, d = vectors.shape
        index = _empty(factory, d)
        inner = faiss.downcast_index(index.index) if isinstance(index, faiss.IndexPreTransform) else index
        lists = int(getattr(inner, "nlist", 0))
        if n < lists:
            raise RetrievalError(f"{factory} needs at least {lists:,} vectors, not {n:,}; take fewer lists.")
        if isinstance(inner, faiss.IndexHNSW):
            inner.hnsw.efConstruction = _EFFORT
        piece = max(1, n) if isinstance(inner, faiss.IndexNSG) else _PIECE  # NSG cannot grow
        try:
            with matrix_products(True):
                if not index.is_trained:
                    rows = seeded(seed).permutation(n)[: max(_SAMPLE, 64 * lists)]
                    index.train(finite(vectors[np.sort(rows)]))
                for start in range(0, n, piece):
                    index.add(finite(vectors[start : start + piece]))
                    if progress is not None:
                        progress.update(len(vectors[start : start + piece]))
        except RuntimeError as error:  # too few vectors for a quantizer, or too short ones for a projection
            raise RetrievalError(
                f"FAISS cannot build {factory} over {n:,} vectors of {d:,} numbers; choose another structure."
            ) from error
        return cls(factory, index)

    @classmethod
    def read(cls, factory: str, path: Path, dim: int, items: int, *, mapped: bool) -> FaissStructure:
        """See :func:`retrieval.index.nearest.structure.Structure.read`."""
        try:
            like = _empty(factory, dim)
        except RetrievalError as error:
            raise DamagedFileError(path, faiss_files.OTHER) from error
        return cls(factory, faiss_files.read(path, like, items, mapped=mapped))

    @staticmethod
    def efforts(factory: str, n: int) -> list[dict[str, int]]:
        """See :meth:`retrieval.index.nearest.structure.Structure.efforts`."""
        multiples: tuple[int, ...] = (1,)
        for code, times in _MULTIPLES:
            multiples = times if code in factory else multiples
        steps: list[dict[str, int]] = [{}]
        if "IVF" in factory:
            lists = int(factory.split("IVF")[1].split(",")[0])
            probes = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256)
            steps = [{"nprobe": probe} for probe in probes if probe <= lists]
        elif "HNSW" in factory:
            steps = [{"efSearch": width} for width in (16, 32, 64, 128, 256, 512)]
        else:
            multiples = (1, 2, 4, 10, 20)
        return [{**step, "candidates": times} for step in steps for times in multiples]

    @cached_property
    def vectors(self) -> Floats | None:
        """Those of a graph over float32, or of no structure at all."""
        storage = self._index
        if isinstance(storage, faiss.IndexHNSW):
            storage = faiss.downcast_index(storage.storage)
        if type(storage) not in (faiss.IndexFlat, faiss.IndexFlatL2) or not self._size:
            return None
        found: Floats = np.asarray(_Held(self._index, storage, (self._size, self.dim)))
        return found

    def write(self, path: Path) -> None:
        """Write it durably."""
        faiss_files.write(path, self._index)

    def bytes(self) -> int:
        """What its file takes."""
        return faiss_files.size(self._index)

    def candidates(self, queries: Floats, count: int, parameters: Mapping[str, int]) -> Positions:
        """See :meth:`retrieval.index.nearest.structure.Structure.candidates`."""
        index, settings = self._index, self._settings
        if self._transform is not None and len(queries) > 1:  # one alone is projected as it is searched for
            queries = project(self._transform, queries)
            index, settings = self._inner, self._inner_settings
        distances = np.empty((len(queries), count), np.float32)
        found = np.empty((len(queries), count), np.int64)
        pointers = faiss.swig_ptr(queries), count, faiss.swig_ptr(distances), faiss.swig_ptr(found)
        if len(queries) == 1:
            index.search_c(1, *pointers, settings(count, parameters))
        else:
            alike = matrix_products(False) if len(queries) >= _FEW else contextlib.nullcontext()
            with cores.at_most(cores.threads(len(queries), cores.EACH)), alike:
                index.search_c(len(queries), *pointers, settings(count, parameters))
        return found


class _Held:
    """The vectors of an index for NumPy, whose arrays then keep the index.

    Args:
        index: that they belong to. storage: the part of it that they lie in. shape: of all of them.
    """

    def __init__(self, index: Any, storage: Any, shape: tuple[int, int]) -> None:
        self._index = index
        place = faiss.rev_swig_ptr(storage.get_xb(), shape[0] * shape[1]).ctypes.data
        self.__array_interface__ = {"data": (place, True), "shape": shape, "typestr": "<f4", "version": 3}


def _empty(factory: str, dim: int) -> Any:
    return empty(_KNOWN, lambda dim, factory: faiss.index_factory(dim, factory, faiss.METRIC_L2), factory, dim)
