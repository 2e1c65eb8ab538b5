"""The one structure of format 1; it goes when the new ones stand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from retrieval.errors import RetrievalError
from retrieval.files import TEMPORARY, name_durably
from retrieval.index.damage import DamagedFileError
from retrieval.index.nearest.exact import RECALL, Floats, Ids, exact_search, rank
from retrieval.progress import bar


class Structure:
    """An approximate structure: a graph (HNSW) over the unit vectors, searched by Euclidean distance.

    On unit vectors the order is that of the inner product, and FAISS's graphs are at home there.
    """

    FACTORY = "IDMap2,HNSW32,Flat"

    def __init__(self, index: Any, parameters: Mapping[str, int]) -> None:
        self._index = index
        self.parameters = dict(parameters)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @classmethod
    def build(cls, vectors: Floats, ids: Ids, *, seed: int = 0) -> tuple[Structure, float, int] | None:
        """Build one and measure it.

        A random sample is held out until the graph of the rest stands; it asks that graph, with a wider and
        wider search until recall@10 against exact search reaches :data:`RECALL`, and is then added to it. A
        candidate counts as found if its score reaches the true tenth one's, so duplicates cannot spoil the
        measure.

        Args:
            vectors: (n, d), unit rows, n at least 20.
            ids: (n,), ascending.
            seed: of the sample.

        Returns:
            the structure, its recall@10 and the number of queries that was measured with; None if no width of
            search reached the recall, so that exact search should stay.
        """
        n, d = vectors.shape
        held_out = np.zeros(n, bool)
        held_out[np.random.default_rng(seed).choice(n, min(1000, n // 10), replace=False)] = True
        inner = faiss.IndexHNSWFlat(d, 32, faiss.METRIC_L2)
        inner.hnsw.efConstruction = 80
        index = faiss.IndexIDMap2(inner)
        with bar(n, "Building the search structure", "vectors") as progress:
            _add(index, vectors[~held_out], ids[~held_out], progress)
            chosen = _narrowest(index, vectors[held_out], vectors[~held_out], ids[~held_out])
            if chosen is None:
                return None
            _add(index, vectors[held_out], ids[held_out], progress)
        width, recall = chosen
        return cls(index, {"efSearch": width}), recall, int(held_out.sum())

    @classmethod
    def read(cls, path: Path, parameters: Mapping[str, int], dim: int, items: int) -> Structure:
        """Read one that :meth:`write` wrote, and whose checksum has been compared.

        Raises:
            DamagedFileError: it is not what the catalog says.
        """
        try:
            index = faiss.read_index(str(path))
        except (RuntimeError, TypeError) as error:  # a TypeError if the name is not Unicode
            raise DamagedFileError(path, "is not a structure that FAISS can read") from error
        if not isinstance(index, faiss.IndexIDMap2) or index.d != dim or index.ntotal != items:
            raise DamagedFileError(path, "is not the structure that the catalog describes")
        if not isinstance(parameters.get("efSearch"), int):
            raise DamagedFileError(path, f"is to be searched with {dict(parameters)} by the catalog")
        return cls(index, parameters)

    def write(self, path: Path) -> None:
        """Write it durably.

        Raises:
            RetrievalError: the disk is full, or the folder cannot be written.
        """
        temporary = path.with_name(path.name + TEMPORARY)
        try:
            faiss.write_index(self._index, str(temporary))
        except RuntimeError as error:
            temporary.unlink(missing_ok=True)
            raise RetrievalError(f"{str(path)!r} cannot be written; make room, or allow writing there.") from error
        name_durably(temporary, path)

    def candidates(self, queries: Floats, count: int, removed: Ids) -> Ids:
        """About the ``count`` nearest of each query (nq, d) as ids (nq, count), −1 where fewer were found.

        Args:
            queries: unit rows.
            count: how many.
            removed: ids that are no longer in the index.
        """
        parameters = faiss.SearchParametersHNSW()  # type: ignore[attr-defined]  # made at run time
        parameters.efSearch = max(self.parameters["efSearch"], count)
        if len(removed):
            gone = faiss.IDSelectorBatch(removed)
            kept = faiss.IDSelectorNot(gone)  # both names live until the search is over: FAISS only points at them
            parameters.sel = kept
        _, found = self._index.search(queries, count, params=parameters)
        return np.asarray(found, dtype=np.int64)


def _add(index: Any, vectors: Floats, ids: Ids, progress: Any) -> None:
    for start in range(0, len(ids), 5000):  # in pieces: FAISS does not see Ctrl-C while it works
        index.add_with_ids(vectors[start : start + 5000], ids[start : start + 5000])
        progress.update(len(ids[start : start + 5000]))


def _narrowest(index: Any, queries: Floats, vectors: Floats, ids: Ids) -> tuple[int, float] | None:
    k = min(10, len(ids))
    truth, _ = exact_search(queries, vectors, ids, k)
    for width in (64, 128, 256, 512, 1024):  # from 64, since a query from elsewhere needs more than those held out
        structure = Structure(index, {"efSearch": width})
        found = structure.candidates(queries, k, np.empty(0, np.int64))
        scores, _ = rank(queries, found, lambda wanted: vectors[np.searchsorted(ids, wanted)], k)
        recall = float(np.mean(scores >= truth[:, -1:]))
        if recall >= RECALL:
            return width, recall
    return None
