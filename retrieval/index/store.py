"""The class :class:`Index`.

``docs/index-format.md`` describes the folder. Nothing here needs torch, and FAISS is imported by the first
search.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from retrieval.errors import RetrievalError
from retrieval.index import catalog, lock, segments, structures
from retrieval.index.catalog import Catalog, require
from retrieval.index.checks import new_paths, unit_rows
from retrieval.index.description import describe, libraries
from retrieval.index.orphans import remove_orphans
from retrieval.index.records import Item, NewItem
from retrieval.index.segments import write_segment
from retrieval.index.snapshot import Snapshot

EXACT_LIMIT = 1 << 25
"""Numbers (items × dim) up to which :meth:`Index.build_structure` keeps to exact search."""

_OURS = {"encoder", segments.FOLDER, structures.FOLDER, lock.FILE, catalog.FILE + ".tmp"}


class Index:
    """An index folder, open.

    Any number of readers may have one open while one writer works. A reader sees the state at the time it
    opened. One object may be searched from many threads; it is written from one.

    Attributes:
        folder: where it lies.
        warnings: what was found wrong and could be worked around (a damaged structure, say), a sentence each.

    Example:
        >>> with Index.open("indexes/cifar10") as index:          # doctest: +SKIP
        ...     query = index.find("cat/0001.png")
        ...     scores, ids = index.search(index.vectors([query.id]), 10, exclude=[[query.id]])
        ...     hits = index.items(ids[0])
    """

    def __init__(self, folder: Path, writing: lock.WriterLock | None) -> None:
        """Use :meth:`open` or :meth:`create`."""
        self.folder = folder
        self.warnings: list[str] = []
        self._lock = writing
        self._catalog = Catalog(folder, write=writing is not None)
        try:
            self._refresh()
            if writing is not None:
                remove_orphans(folder, self._snapshot.segments, self._catalog.files())
        except BaseException:
            self._catalog.close()
            raise

    @classmethod
    def create(
        cls,
        folder: str | Path,
        dim: int,
        *,
        root: str,
        encoder_hash: str,
        details: Mapping[str, object],
        decoder: str | None = None,
    ) -> Self:
        """Make an empty index and open it for writing.

        Args:
            folder: where; it may exist if it is empty or holds nothing but an ``encoder`` folder.
            dim: how many numbers a vector has.
            root: the folder that the items' paths are relative to.
            encoder_hash: which model makes its vectors.
            details: anything else worth keeping, as JSON can hold it.
            decoder: what turned the files into pixels ("pillow 11.0"), since another gives other vectors.

        Raises:
            RetrievalError: there is an index already, or something else, or the folder cannot be written.
        """
        folder = Path(folder)
        if dim < 1:
            raise RetrievalError(f"An index needs vectors of at least one number, not {dim}; give the encoder's dim.")
        if str(folder) != str(folder).encode(errors="replace").decode():
            raise RetrievalError(f"The folder name {str(folder)!r} is not Unicode; choose another one.")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            there = {entry.name for entry in folder.iterdir()}
        except OSError as error:
            raise RetrievalError(
                f"No index can be made at {str(folder)!r} ({error.strerror or error}); choose another folder."
            ) from error
        foreign = sorted(there - _OURS - {catalog.FILE})
        if foreign and catalog.FILE not in there:
            raise RetrievalError(
                f"{str(folder)!r} is not empty (it has {foreign[0]!r}); choose a new or an empty folder."
            )
        writing = lock.WriterLock(folder)
        try:
            if (folder / catalog.FILE).exists():  # looked up under the lock: another process may have been faster
                raise RetrievalError(f"{str(folder)!r} is an index already; open that one, or choose another folder.")
            Catalog.create(
                folder,
                {
                    "dim": int(dim),
                    "root": root,
                    "encoder_hash": encoder_hash,
                    "decoder": decoder,
                    "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                    "libraries": libraries(),
                    "details": dict(details),
                },
            )
            return cls(folder, writing)
        except BaseException:
            writing.release()
            raise

    @classmethod
    def open(cls, folder: str | Path, *, write: bool = False) -> Self:
        """Open an index that exists.

        Args:
            folder: where it lies.
            write: also to change it, which one process can at a time.

        Raises:
            RetrievalError: it is no index, is damaged, was written by a newer release, or somebody else
            writes it.
        """
        folder = Path(folder)
        require(folder)
        if not write:
            return cls(folder, None)
        writing = lock.WriterLock(folder)
        try:
            return cls(folder, writing)
        except BaseException:
            writing.release()
            raise

    def close(self) -> None:
        """Let go of the folder. Calling it twice is harmless."""
        self._catalog.close()
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        """How many items it has."""
        return len(self._snapshot)

    def __repr__(self) -> str:
        return f"Index({str(self.folder)!r}, {len(self):,} items of {self.dim} numbers)"

    # What it is

    @property
    def dim(self) -> int:
        """How many numbers a vector has."""
        return int(self._catalog.meta["dim"])

    @property
    def encoder_hash(self) -> str:
        """Which model made its vectors."""
        return str(self._catalog.meta["encoder_hash"])

    @property
    def root(self) -> str:
        """The folder that the items' paths are relative to, as it was given when the index was made."""
        return str(self._catalog.meta["root"])

    @property
    def decoder(self) -> str | None:
        """What turned the files into pixels."""
        value = self._catalog.meta.get("decoder")
        return None if value is None else str(value)

    @property
    def details(self) -> dict[str, Any]:
        """What else was kept with it."""
        return dict(self._catalog.meta.get("details") or {})

    def skipped(self) -> list[tuple[str, str]]:
        """(path, reason) of each file that the last build left out."""
        return self._catalog.skipped()

    def info(self) -> dict[str, Any]:
        """Everything about it that fits a page, as JSON can hold it."""
        return describe(self.folder, self._catalog, self._snapshot)

    # Items

    def items(self, ids: Sequence[int] | npt.NDArray[np.int64]) -> list[Item]:
        """The items of these ids, in their order.

        Raises:
            RetrievalError: one is not in the index.
        """
        wanted = [int(id_) for id_ in ids]
        found = self._catalog.items(wanted)
        for id_ in wanted:
            if id_ not in found:
                raise RetrievalError(
                    f"The index {str(self.folder)!r} has no item {id_}; each query shows the ids of its hits."
                )
        return [found[id_] for id_ in wanted]

    def find(self, path: str) -> Item | None:
        """The item of this path (relative to the root, forward slashes), or None."""
        return self._catalog.find(path)

    def known(self) -> dict[str, tuple[int, int]]:
        """path → (size, mtime_ns) of every item, by which a build sees what has changed."""
        return self._catalog.known()

    def labels(self) -> list[str | None]:
        """Every item's label, by ascending id."""
        return self._catalog.labels()

    # Vectors

    def vectors(self, ids: Sequence[int] | npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """The vectors (n, dim) of these ids, in their order.

        Raises:
            RetrievalError: one is not in the index, or a segment is damaged.
        """
        self.items(ids)  # those that were removed are still in their segment
        return self._snapshot.rows(np.asarray(ids, dtype=np.int64))

    def all_vectors(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Every id (n,), ascending, and every vector (n, dim), C-contiguous.

        Searches read the same arrays, so they must not be changed.

        Raises:
            RetrievalError: a segment is damaged.
        """
        return self._snapshot.everything()

    def search(
        self,
        queries: npt.NDArray[np.float32],
        k: int,
        *,
        exclude: Sequence[Sequence[int]] | None = None,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """The k nearest of each query.

        A query's answer does not depend on what other queries it is asked with. Without an approximate
        structure it is exact; with one, items that came after it was built still are searched exactly.

        Args:
            queries: float32 (nq, dim), unit rows.
            k: how many are wanted; more than there are is no error.
            exclude: for each query the ids it must not get; k others come back.

        Returns:
            scores float32 (nq, k), inner products in [−1, 1], and ids int64 (nq, k): best first, equal scores
            by ascending id, padded with −inf and −1.

        Raises:
            RetrievalError: the queries do not fit the index, or a segment is damaged.
        """
        queries = unit_rows(queries, self.dim, "queries")
        if k < 0:
            raise RetrievalError(f"k is {k}; ask for at least one neighbour.")
        if exclude is not None and len(exclude) != len(queries):
            raise RetrievalError(
                f"There are {len(exclude)} lists of excluded ids for {len(queries)} queries; give one for each."
            )
        left_out = None if exclude is None else [np.unique(np.asarray(ids, np.int64)) for ids in exclude]
        return self._snapshot.search(queries, k, left_out)

    # Changing it

    def add(self, vectors: npt.NDArray[np.float32], items: Sequence[NewItem]) -> npt.NDArray[np.int64]:
        """Add items and their vectors, all or none: one segment file and one transaction.

        Args:
            vectors: float32 (n, dim), unit rows.
            items: n of them.

        Returns:
            their ids (n,), which count on from the highest ever given.

        Raises:
            RetrievalError: the vectors do not fit, a path is there already, or the disk is full.
        """
        self._must_write()
        vectors = unit_rows(vectors, self.dim, "vectors")
        if len(vectors) != len(items):
            raise RetrievalError(f"There are {len(vectors)} vectors for {len(items)} items; give one for each.")
        there = self._catalog.among(new_paths(items))
        if there is not None:
            raise RetrievalError(f"{there!r} is in the index {str(self.folder)!r} already; remove it first.")
        first = int(self._catalog.meta["next_id"])
        ids = np.arange(first, first + len(items), dtype=np.int64)
        if not len(ids):
            return ids
        number = max((record.id for record in self._snapshot.segments), default=0) + 1
        record = write_segment(self.folder, number, vectors, ids)
        try:
            self._catalog.add(record, first, items)
        except BaseException:
            (self.folder / record.file).unlink(missing_ok=True)
            raise
        self._refresh()
        return ids

    def remove(self, ids: Iterable[int]) -> None:
        """Take items out. Their ids are never given again.

        Raises:
            RetrievalError: one is not in the index; then none is removed.
        """
        self._must_write()
        gone = sorted({int(id_) for id_ in ids})
        self.items(gone)
        if gone:
            self._catalog.remove(gone)
            self._refresh()

    def record_skipped(self, skipped: Iterable[tuple[str, str]]) -> None:
        """Replace the list of files that were left out: (path, reason) each, paths as they can be printed."""
        self._must_write()
        self._catalog.set_skipped(skipped)

    def record_details(self, details: Mapping[str, object]) -> None:
        """Replace what else is kept with the index."""
        self._must_write()
        self._catalog.set_meta("details", dict(details))

    def build_structure(self, *, exact_limit: int = EXACT_LIMIT, seed: int = 0) -> None:
        """Make searching fast if it is worth it.

        Up to ``exact_limit`` numbers (items × dim) search stays exact. Above, an approximate structure is
        built and measured, unless one is there of which less than a tenth has changed. Where it does not
        reach recall@10 of 0.99, search stays exact, too. A structure that was damaged is built again.

        Args:
            exact_limit: below it nothing is built.
            seed: of the sample that it is measured with.

        Raises:
            RetrievalError: a segment is damaged, or the disk is full.
        """
        self._must_write()
        current = self._snapshot.structure
        wanted = len(self) >= 20 and len(self) * self.dim > exact_limit
        if wanted and structures.is_fresh(self.folder, self._snapshot):
            return
        number = self._catalog.generation + 1
        record = structures.build(self.folder, self._snapshot, number, seed) if wanted else None
        if record is not None or current is not None:
            self._catalog.set_structure(record)
        if current is not None and current.file != (record and record.file):
            (self.folder / current.file).unlink(missing_ok=True)
        self._refresh()

    # Inside

    def _refresh(self) -> None:
        self._snapshot = Snapshot(
            self.folder,
            self._catalog.segments(),
            np.array(self._catalog.removed(), dtype=np.int64),
            self._catalog.structure(),
            self.dim,
            self.warnings,
        )

    def _must_write(self) -> None:
        if self._lock is None:
            raise RetrievalError(f"The index {str(self.folder)!r} was opened for reading; open it with write=True.")
