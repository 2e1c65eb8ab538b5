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
from retrieval.index.nearest.structures import Floats, Positions, Selection


class FaissStructure:
    """One FAISS index behind the interface of :class:`retrieval.index.nearest.structures.Structure`."""

    def __init__(self, factory: str, index: Any) -> None:
        self.factory = factory
        self.dim = int(index.d)
        self._index = index
        self._parameters: dict[tuple[tuple[str, int], ...], Any] = {}

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @classmethod
    def build(cls, factory: str, vectors: Floats, *, seed: int, progress: Any) -> FaissStructure:
        """See :func:`retrieval.index.nearest.structures.build`."""
        try:
            index = faiss.index_factory(vectors.shape[1], factory, faiss.METRIC_L2)
        except RuntimeError as error:
            raise RetrievalError(f"FAISS knows no structure {factory!r}; choose another one.") from error
        if not index.is_trained:
            rows = np.random.default_rng(seed).permutation(len(vectors))[:100_000]
            index.train(np.ascontiguousarray(vectors[np.sort(rows)]))
        for start in range(0, len(vectors), 5000):  # in pieces: FAISS does not see Ctrl-C while it works
            index.add(np.ascontiguousarray(vectors[start : start + 5000]))
            if progress is not None:
                progress.update(len(vectors[start : start + 5000]))
        return cls(factory, index)

    @classmethod
    def read(cls, factory: str, path: Path, dim: int, items: int, *, mapped: bool) -> FaissStructure:
        """See :func:`retrieval.index.nearest.structures.read`."""
        try:
            index = faiss.read_index(str(path))
        except (RuntimeError, TypeError) as error:
            raise DamagedFileError(path, "is not a structure that FAISS can read") from error
        if index.d != dim or index.ntotal != items:
            raise DamagedFileError(path, "is not the structure that the catalog describes")
        return cls(factory, index)

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
        return int(len(faiss.serialize_index(self._index)))

    def candidates(
        self, queries: Floats, count: int, parameters: Mapping[str, int], selection: Selection | None = None
    ) -> Positions:
        """See :meth:`retrieval.index.nearest.structures.Structure.candidates`."""
        share = 1.0 if selection is None else max(selection.count, 1) / len(self)
        selector = None if selection is None else faiss.IDSelectorBitmap(selection.bitmap)
        chosen: Any
        inner = faiss.downcast_index(self._index.index) if "PCA" in self.factory else self._index
        if "HNSW" in self.factory:
            chosen = faiss.SearchParametersHNSW(
                efSearch=max(count, int(parameters.get("efSearch", 64) / share)), sel=selector
            )
        elif "IVF" in self.factory:
            chosen = faiss.SearchParametersIVF(
                nprobe=min(int(inner.nlist), int(parameters.get("nprobe", 8) / share)), sel=selector
            )
        else:
            chosen = faiss.SearchParameters(sel=selector)
        if "PCA" in self.factory:
            chosen = faiss.SearchParametersPreTransform(index_params=chosen)
        try:
            return np.asarray(self._index.search(queries, count, params=chosen)[1], np.int64)
        except RuntimeError:  # it takes no selector
            _, found = self._index.search(queries, min(len(self), int(count / share) + count))
            if selection is not None:
                found[(found < 0) | ~selection.mask[found]] = -1
            out = np.full((len(queries), count), -1, np.int64)
            for row, line in enumerate(found):
                kept = line[line >= 0][:count]
                out[row, : len(kept)] = kept
            return out
