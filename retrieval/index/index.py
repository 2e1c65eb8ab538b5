"""The class :class:`Index`.

``docs/index-format.md`` describes the folder. Nothing here needs torch, and FAISS is imported by the first
search.
"""

from __future__ import annotations

import contextlib
import datetime
import math
import operator
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from retrieval.base.files import checksum
from retrieval.base.given import whole, whole_numbers
from retrieval.base.held_folder import HeldFolder, identity
from retrieval.base.machine import versions
from retrieval.base.placed_files import Root
from retrieval.errors import RetrievalError
from retrieval.index import folder as folders
from retrieval.index import lock, segments
from retrieval.index.catalog import FILE as CATALOG
from retrieval.index.catalog import Catalog
from retrieval.index.database import FORMAT_VERSION
from retrieval.index.gathering import Gathering, MappedSegment, StoredRow
from retrieval.index.records import (
    Column,
    Facts,
    Item,
    LeftOut,
    NewItem,
    SegmentRecord,
    State,
    StructureRecord,
    Value,
    attributes_of,
    is_unicode,
    new_paths,
)
from retrieval.index.snapshot import Snapshot
from retrieval.index.vectors import checked
from retrieval.places.roots import root_of

if TYPE_CHECKING:
    from retrieval.index.nearest.structure import Structure

_LIBRARIES = ("numpy", "h5py", "faiss-cpu")
"""Beside SQLite and this program, what writes an index."""

_LARGEST = 5
"""How many classes a description names."""

_NO_ID = 2**63
"""Above every id."""

PADDED = 1000
"""Columns of an answer that there are beyond the items of an index, at most, where k is larger."""


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

    def __init__(
        self, folder: Path, writing: lock.WriterLock | None, *, mapped: bool = False, before: Snapshot | None = None
    ) -> None:
        """Use :meth:`open`, :meth:`create` or :meth:`renewed`."""
        self.folder = folder
        self.warnings: list[str] = []
        self._lock = writing
        self._identity = identity(folder)
        self._in_memory = not mapped
        self._snapshot = before
        self._closed = False
        with contextlib.ExitStack() as held:
            mark = writing or lock.ReaderMark(folder)
            held.callback(mark.release)
            self._catalog = Catalog(folder, write=writing is not None, marked=mark.held)
            held.callback(self._catalog.close)
            if writing is not None:
                folders.remove_orphans(folder, self._catalog)
            self._refresh()
            self._held = held.pop_all()

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
        storage: str = "float32",
    ) -> Self:
        """Make an empty index and open it for writing.

        Args:
            folder: where; it may exist if it is empty or holds nothing but an ``encoder`` folder.
            dim: how many numbers a vector has, or bits a code.
            root: the folder that the items' paths are relative to.
            encoder_hash: which model makes its vectors.
            details: anything else worth keeping, as JSON can hold it.
            decoder: what turned the files into pixels ("pillow 11.0"), since another gives other vectors.
            storage: what vectors are kept as: "float32", "float16" (half the size; rounded to 11 bits), or "binary"
                (one bit for each number: 1 where it is above 0).

        Raises:
            RetrievalError: there is an index already, or something else, or the folder cannot be written.
        """

        folder = Path(folder)
        dim = whole(dim, "dim")
        if dim < 1:
            raise RetrievalError(f"An index needs vectors of at least one number, not {dim}; give the encoder's dim.")
        if storage not in segments.STORAGES:
            raise RetrievalError(f"There is no storage {storage!r}; choose {', '.join(segments.STORAGES)}.")
        if storage == "binary" and dim % 8:
            raise RetrievalError(f"Binary codes have a multiple of 8 bits, not {dim}; choose another length.")
        folders.make(folder)
        writing = lock.WriterLock(folder)
        try:
            if folders.is_index(folder):  # looked up under the lock: another process may have been faster
                raise RetrievalError(f"{str(folder)!r} is an index already; open that one, or choose another folder.")
            Catalog.create(
                folder,
                {
                    "dim": dim,
                    "storage": storage,
                    "root": root,
                    "encoder_hash": encoder_hash,
                    "decoder": decoder,
                    "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                    "libraries": {"sqlite": sqlite3.sqlite_version, **versions(_LIBRARIES)},
                    "details": dict(details),
                },
            )
            return cls(folder, writing)
        except BaseException:
            writing.release()
            raise

    @classmethod
    def open(cls, folder: str | Path, *, write: bool = False, mapped: bool = False) -> Self:
        """Open an index that exists.

        Args:
            folder: where it lies.
            write: also to change it, which one process can at a time.
            mapped: search the files where they lie, through the system's page cache, instead of copying all vectors
                to memory first: it takes no memory of its own, and is the slower the less of the files is cached.

        Raises:
            RetrievalError: it is no index, is damaged, was written by a newer release, or somebody else
            writes it.
        """
        folder = Path(folder)
        folders.require(folder)
        folders.require_own(folder)
        return cls(folder, lock.WriterLock(folder), mapped=mapped) if write else cls._open_whole(folder, mapped)

    def renewed(self) -> Self | None:
        """A second reader, of what there is now: it goes on using the files and vectors that this one has loaded.

        Returns:
            It; None if its folder was moved meanwhile, or another index took its place.

        Raises:
            RetrievalError: what is there now is damaged.
        """
        self._require_open()
        try:
            index = type(self)(self.folder, None, mapped=self.mapped, before=self._snapshot)
        except RetrievalError:
            if self.in_place:
                raise
            return None
        if index._identity == self._identity and index.in_place:
            return index
        index.close()
        return None

    @classmethod
    def _open_whole(cls, folder: Path, mapped: bool) -> Self:
        """Open for reading: one index, not a part of the old and a part of the new where one takes another's place."""
        while True:
            there = identity(folder)
            try:
                index = cls(folder, None, mapped=mapped)
            except RetrievalError:
                if identity(folder) == there:
                    raise
                continue
            if identity(folder) == there:
                return index
            index.close()

    @property
    def in_place(self) -> bool:
        """Whether its folder still lies where it was opened: it may have been moved, or another taken its place."""
        return identity(self.folder) == self._identity

    @property
    def name(self) -> str:
        """What messages call it: the folder, or the address where somebody else keeps it."""
        return str(self.folder)

    def held_encoder(self) -> HeldFolder | None:
        """The encoder's files as they are now, whatever becomes of the folder; None if they stay as they are."""
        return HeldFolder(self.folder / folders.ENCODER)

    def close(self) -> None:
        """Let go of the folder. Calling it twice is harmless; whatever is asked of it afterwards is refused."""
        self._closed = True
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        """How many items it has."""
        return self._state.items

    def __repr__(self) -> str:
        return f"Index({self.name!r}, {len(self):,} items of {self.dim} numbers)"

    # What it is

    @cached_property
    def dim(self) -> int:
        """How many numbers a vector has, or bits a code."""
        return int(self._catalog.meta["dim"])

    @cached_property
    def storage(self) -> str:
        """What vectors are kept as: "float32", "float16" or "binary"."""
        return str(self._catalog.meta["storage"])

    @property
    def generation(self) -> int:
        """How many changes led to what is seen here."""
        return self._state.generation

    @property
    def newest(self) -> int:
        """How many changes there were by now: above :attr:`generation` where a writer was at work since."""
        self._require_open()
        return self._catalog.newest()

    @property
    def items_changed(self) -> int:
        """In which generation the items, their files or their labels changed last; attributes do not count."""
        return self._catalog.items_changed()

    @property
    def created(self) -> str | None:
        """When it was made, as ISO 8601 has it."""
        value = self._catalog.meta.get("created")
        return None if value is None else str(value)

    @property
    def encoder_hash(self) -> str:
        """Which model made its vectors."""
        return str(self._catalog.meta["encoder_hash"])

    @property
    def root(self) -> str:
        """What the items' paths are relative to: a folder of pictures, or an address in an object store."""
        return str(self._catalog.meta["root"])

    @property
    def pictures(self) -> Root:
        """What opens the items' files by their paths, where the index's owner lets them lie."""
        return root_of(self.root, self.details)

    @property
    def decoder(self) -> str | None:
        """What turned the files into pixels."""
        value = self._catalog.meta.get("decoder")
        return None if value is None else str(value)

    @property
    def details(self) -> dict[str, Any]:
        """What else was kept with it."""
        return dict(self._catalog.meta.get("details") or {})

    @property
    def tuning(self) -> dict[str, Any] | None:
        """What the last tuning found, if there was one; see :mod:`retrieval.tuning`."""
        found: dict[str, Any] | None = self._catalog.meta.get("tuning")
        return found

    @property
    def calibration(self) -> dict[str, Any] | None:
        """What scores say about matches, if that was measured: a record for each thing that a match can be."""
        found: dict[str, Any] | None = self._catalog.meta.get("calibration")
        return found

    @property
    def structure(self) -> StructureRecord | None:
        """What the catalog knows of the approximate structure, if there is one."""
        return self._state.structure

    def skipped(self) -> list[tuple[str, str]]:
        """(path, reason) of each file that the last build left out."""
        return self._catalog.skipped()

    def facts(self, id_: int) -> Facts:
        """Names and values of the attributes that an item's own file told."""
        return self._catalog.facts(id_)

    def left_out(self) -> list[LeftOut]:
        """What a build need not look into again, by path."""
        return self._catalog.left_out()

    def info(self) -> dict[str, Any]:
        """Everything about it that fits a page, as JSON can hold it."""
        meta, state, structure = self._catalog.meta, self._state, self._state.structure
        labels = [(label, count) for label, count in self._catalog.label_counts() if label is not None]
        return {
            "kind": "index",
            "folder": self.name,
            "format": FORMAT_VERSION,
            "items": state.items,
            "removed": sum(record.rows for record in state.segments) - state.items,
            "dim": self.dim,
            "storage": self.storage,
            "labels": len(labels),
            "labelled": sum(count for _, count in labels),
            "largest": dict(labels[:_LARGEST]),
            "segments": len(state.segments),
            "structure": None
            if structure is None
            else {
                "factory": structure.factory,
                "parameters": dict(structure.parameters),
                "items": structure.items,
                "measured": dict(structure.measured),
                "bytes": structure.size,
            },
            "bytes": folders.bytes_of(self.folder),
            "attributes": sorted(self.attribute_kinds()),
            "encoder": {"network": folders.network_of(self.folder), "hash": self.encoder_hash},
            "root": self.root,
            "decoder": meta.get("decoder"),
            "created": meta.get("created"),
            "libraries": meta.get("libraries"),
            "skipped": len(self.skipped()),
            "details": meta.get("details"),
        }

    @property
    def mapped(self) -> bool:
        """Whether it is searched where it lies on the disk, instead of in memory."""
        return not self._in_memory

    # Items

    def ids(self) -> npt.NDArray[np.int64]:
        """The ids of all items (n,), ascending."""
        return self._now.ids()

    def items(self, ids: Sequence[int] | npt.NDArray[np.int64]) -> list[Item]:
        """The items of these ids, in their order.

        Raises:
            RetrievalError: one is not in the index.
        """
        wanted = whole_numbers(ids, "id")
        found = self._catalog.items(wanted)
        try:
            return [found[id_] for id_ in wanted]
        except KeyError as strange:
            raise self._unknown(strange.args[0]) from None

    def find(self, path: str) -> Item | None:
        """The item of this path (relative to the root, forward slashes), or None."""
        return self._catalog.find(path)

    def find_sha256(self, sha256: str) -> list[Item]:
        """The items whose files have this content, by ascending id."""
        return self._catalog.find_sha256(sha256)

    def contents(self) -> npt.NDArray[np.bytes_]:
        """The first half of the SHA-256 of every content that items have, S16 (n,), ascending."""
        return self._catalog.contents()

    def known(self) -> dict[str, tuple[int, int]]:
        """path → (size, mtime_ns) of every item, by which a build sees what has changed."""
        return self._catalog.known()

    def paths(self) -> list[str]:
        """Every item's path, by ascending id."""
        return self._catalog.paths()

    def labels(self) -> list[str | None]:
        """Every item's label, by ascending id."""
        return self._catalog.labels()

    def labels_of(self, ids: Sequence[int] | npt.NDArray[np.int64]) -> dict[int, str]:
        """The labels of these items by id, of those that are in the index and have one."""
        return self._catalog.labels_of(whole_numbers(ids, "id"))

    def attributes(self, ids: Sequence[int] | npt.NDArray[np.int64]) -> list[dict[str, Value]]:
        """The attributes of these items, in their order, by name.

        Raises:
            RetrievalError: one is not in the index.
        """
        wanted = self._known_ids(ids)
        found = self._catalog.attributes(wanted)
        return [found.get(id_, {}) for id_ in wanted]

    def attribute_kinds(self) -> dict[str, set[str]]:
        """The names of all attributes, and which of "number" and "text" their values have been."""
        return self._catalog.attribute_kinds()

    def values(self, name: str, ids: Sequence[int] | npt.NDArray[np.int64]) -> list[Value | None]:
        """What these items have under one name, in their order; None for those that have nothing.

        Args:
            name: an attribute, or what every item has (:data:`retrieval.index.filters.BUILT_IN`; `modified` as
                nanoseconds since 1970), or "folder", where the item lies.
            ids: of items of the index.
        """
        wanted = whole_numbers(ids, "id")
        found = self._catalog.values(name, wanted)
        return [found.get(id_) for id_ in wanted]

    def counts(
        self, names: Sequence[str], ids: Sequence[int] | npt.NDArray[np.int64] | None = None
    ) -> dict[str, dict[Value | None, int]]:
        """How many items have each value, for each of some names.

        Args:
            names: as :meth:`values` takes them.
            ids: of the items that are counted, each once; None for all.

        Returns:
            name → value → how many; what every item has also counts None, those that lack it.
        """
        return self._catalog.counts(names, None if ids is None else np.asarray(ids, np.int64))

    def column(self, name: str) -> Column:
        """What all items have under one name, each different value once: what takes one look at all of them.

        Args:
            name: as :meth:`values` takes it.
        """
        return self._catalog.column(name, self.ids())

    def changed(self, name: str) -> tuple[int, ...]:
        """What is another one whenever :meth:`column` of a name would be another one."""
        return self._catalog.changed(name)

    def select(self, where: str) -> npt.NDArray[np.int64]:
        """The ids, ascending, of the items that an expression matches; see :mod:`retrieval.index.filters`.

        Raises:
            RetrievalError: the expression is wrong; the sentence says where.
        """
        return self._catalog.select(where)

    def keep_filter(self, where: str, ids: npt.NDArray[np.int64]) -> None:
        """Have at hand what an expression selects, for the searches that are asked with it.

        Args:
            where: the expression. ids: what :meth:`select` gave for it at this generation.
        """
        self._now.keep_filter(where, ids)

    def keeps_filter(self, where: str) -> bool:
        """Whether what an expression selects is at hand."""
        return self._now.keeps_filter(where)

    # Vectors

    def vectors(self, ids: Sequence[int] | npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """The vectors, float32 (n, dim), of these ids, in their order; codes, uint8 (n, dim / 8), if they are binary.

        Raises:
            RetrievalError: one is not in the index, or a segment is damaged.
        """
        self._known_ids(ids)  # those that were removed are still in their segment
        return self._now.vectors(np.asarray(ids, dtype=np.int64))

    def all_vectors(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
        """Every id (n,), ascending, and every vector (n, dim) or code (n, dim / 8), C-contiguous.

        Searches read the same arrays, so they must not be changed.

        Raises:
            RetrievalError: a segment is damaged.
        """
        return self._now.everything()

    def search(
        self,
        queries: npt.NDArray[Any],
        k: int,
        *,
        exclude: Sequence[Sequence[int]] | None = None,
        where: str | None = None,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """The k nearest of each query.

        A query's answer does not depend on what other queries it is asked with. Without an approximate
        structure it is exact; with one, items that came after it was built still are searched exactly.

        Args:
            queries: float32 (nq, dim), unit rows; for binary codes also uint8 (nq, dim / 8).
            k: how many are wanted; more than there are is no error, and asks for no memory: an answer has at most
                :data:`PADDED` columns more than the index has items.
            exclude: for each query the ids it must not get; k others come back.
            where: an expression that hits must match (:mod:`retrieval.index.filters`); if k items match, k come back.

        Returns:
            scores float32 (nq, k), inner products in [−1, 1], and ids int64 (nq, k): best first, equal scores
            by ascending id, padded with −inf and −1. The score of two codes is that of the vectors of ±1/√dim that
            they stand for: 1 − 2 · Hamming distance / dim.

        Raises:
            RetrievalError: the queries do not fit the index, the expression is wrong, or a segment is damaged.
        """
        now = self._now
        queries, k = checked(queries, self.dim, self.storage, "queries"), whole(k, "k")
        if k < 0:
            raise RetrievalError(f"k is {k}; ask for at least one neighbour.")
        if k > PADDED:
            k = min(k, now.state.items + PADDED)
        left_out = None if exclude is None else _left_out(exclude, len(queries))
        return now.search(queries, k, left_out, where)

    def search_after(
        self,
        queries: npt.NDArray[Any],
        k: int,
        after: Sequence[tuple[float, int]],
        *,
        exclude: Sequence[Sequence[int]] | None = None,
        where: str | None = None,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """The k best that come after a place in the order of hits. Always exact: it looks at every vector.

        Pages are made of it: wherever the place is, it costs the same, and what others add or remove before that place
        moves nothing behind it.

        Args:
            queries, k, exclude, where: as :meth:`search` takes them.
            after: for each query a score and an id, as a hit has them, whether or not there is such an item: what
                scores less comes after it, or the same with a higher id. ``(math.inf, -1)`` is before all.

        Returns:
            as :meth:`search`.

        Raises:
            RetrievalError: as :meth:`search`; or a score is no number, or there is not one place for each query.
        """
        queries = checked(queries, self.dim, self.storage, "queries")
        k = min(whole(k, "k"), len(self) + PADDED)
        if k < 0:
            raise RetrievalError(f"k is {k}; ask for at least one neighbour.")
        if len(after) != len(queries):
            raise RetrievalError(f"There are {len(after)} places for {len(queries)} queries; give one for each.")
        scores = np.array([score for score, _ in after], np.float32)
        if np.isnan(scores).any():
            raise RetrievalError("A score to go on after is not a number; give one from -1 to 1.")
        given = whole_numbers([id_ for _, id_ in after], "id")
        last = np.array([min(max(id_, -1), _NO_ID - 1) for id_ in given], np.int64)
        left_out = None if exclude is None else _left_out(exclude, len(queries))
        return self._now.search_after(queries, k, (scores, last), left_out, where)

    def range_search(
        self,
        queries: npt.NDArray[Any],
        score: float,
        *,
        exclude: Sequence[Sequence[int]] | None = None,
        where: str | None = None,
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Everything that scores at least so much. Always exact: it looks at every vector.

        Args:
            queries: as :meth:`search` takes them.
            score: the least that counts, in [−1, 1].
            exclude: for each query the ids it must not get.
            where: an expression that hits must match.

        Returns:
            limits int64 (nq + 1,), scores float32 (m,) and ids int64 (m,): query i has those from ``limits[i]`` up to
            ``limits[i + 1]``, best first, equal scores by ascending id.

        Raises:
            RetrievalError: as :meth:`search`; or the score is no number.
        """
        queries = checked(queries, self.dim, self.storage, "queries")
        score = float(score)
        if math.isnan(score):
            raise RetrievalError("The least score is not a number; give one from -1 to 1.")
        left_out = None if exclude is None else _left_out(exclude, len(queries))
        found = self._now.range_search(queries, score, where)
        if left_out is not None:
            found = [
                (scores, ids) if not own or not (gone := np.isin(ids, own)).any() else (scores[~gone], ids[~gone])
                for (scores, ids), own in zip(found, left_out, strict=True)
            ]
        limits = np.cumsum([0, *(len(ids) for _, ids in found)], dtype=np.int64)
        return (
            limits,
            np.concatenate([np.empty(0, np.float32), *(scores for scores, _ in found)]),
            np.concatenate([np.empty(0, np.int64), *(ids for _, ids in found)]),
        )

    # Changing it

    @property
    def next_id(self) -> int:
        """The id that the next item gets."""
        return int(self._catalog.meta["next_id"])

    def add(
        self,
        vectors: npt.NDArray[Any],
        items: Sequence[NewItem],
        attributes: Sequence[Mapping[str, Value | None]] = (),
    ) -> npt.NDArray[np.int64]:
        """Add items and their vectors, all or none: one segment file and one transaction.

        Args:
            vectors: float32 (n, dim), unit rows; for binary codes also uint8 (n, dim / 8).
            items: n of them.
            attributes: those of the items, as :meth:`attach` takes them, one mapping for each; or nothing.

        Returns:
            their ids (n,), which count on from the highest ever given.

        Raises:
            RetrievalError: the vectors or an attribute do not fit, a path is there already, or the disk is full.
        """
        path = self._catalog.taken(new_paths(items))
        if path is not None:
            raise RetrievalError(f"{path!r} is in the index {self.name!r} already; remove it first, or use upsert.")
        if attributes and len(attributes) != len(items):
            raise RetrievalError(
                f"There are attributes of {len(attributes)} for {len(items)} items; give each its own."
            )
        return self._insert(vectors, items, (), [attributes_of(pairs) for pairs in attributes], new=True)

    def upsert(
        self,
        vectors: npt.NDArray[Any],
        items: Sequence[NewItem],
        facts: Sequence[Facts] = (),
        attributes: Sequence[Mapping[str, Value]] = (),
    ) -> npt.NDArray[np.int64]:
        """The same, and items whose path is there are replaced: they get a new id, and keep their attributes.

        With `facts`, one for each item, these become attributes of those that have none of the same name. With
        `attributes`, one mapping for each item, which must all be new, these are theirs from the start.
        """
        self.must_write()
        new_paths(items)
        return self._insert(vectors, items, facts, attributes, new=False)

    def stored(self, ids: Sequence[int] | npt.NDArray[np.int64]) -> list[StoredRow]:
        """Where the vectors of these ids lie, in their order.

        Raises:
            RetrievalError: one is not in the index, or a segment is damaged.
        """
        return self._now.stored(np.asarray(self._known_ids(ids), np.int64))

    def upsert_stored(
        self,
        rows: Sequence[StoredRow],
        items: Sequence[NewItem],
        facts: Sequence[Facts],
        gather: Callable[[Gathering], SegmentRecord],
    ) -> npt.NDArray[np.int64]:
        """:meth:`upsert` of vectors that lie in files of this folder already; this process does not read them.

        Args:
            rows: where they lie, one for each item.
            items: n of them. facts: one for each.
            gather: has a process, here or elsewhere, do :meth:`Gathering.write`, and gives what that gave.

        Returns:
            their ids (n,).

        Raises:
            RetrievalError: an item is not as it should be, or the disk is full.
        """
        self.must_write()
        new_paths(items)
        first = self.next_id
        if not len(items):
            return np.empty(0, np.int64)
        merged = segments.to_merge(self._state.segments, len(items))
        removed = self._state.removed if merged else np.empty(0, np.int64)
        part = gather(Gathering.of(self.folder.absolute(), self.dim, self.storage, rows, first, merged, removed))
        segment = segments.take_part(self.folder, part, int(self._catalog.meta["next_segment"]))
        self._commit(lambda: self._catalog.add(segment, first, items, merged, facts))
        if merged:
            self._sweep()
        return np.arange(first, first + len(items), dtype=np.int64)

    def _insert(
        self,
        vectors: npt.NDArray[Any],
        items: Sequence[NewItem],
        facts: Sequence[Facts],
        attributes: Sequence[Mapping[str, Value | None]],
        *,
        new: bool,
    ) -> npt.NDArray[np.int64]:
        """Add items whose paths were looked at; `new`: and which none of the index has."""
        self.must_write()
        vectors = checked(vectors, self.dim, self.storage, "vectors")
        if len(vectors) != len(items):
            raise RetrievalError(f"There are {len(vectors)} vectors for {len(items)} items; give one for each.")
        first = self.next_id
        ids = np.arange(first, first + len(items), dtype=np.int64)
        if not len(ids):
            return ids
        merged = segments.to_merge(self._state.segments, len(ids))
        self._write(
            merged,
            [(ids, vectors)],
            lambda segment: self._catalog.add(segment, first, items, merged, facts, attributes, new=new),
        )
        return ids

    def update(self, items: Mapping[int, NewItem]) -> None:
        """Change what ids belong to: path, label, size and so on. The vectors stay.

        Raises:
            RetrievalError: one is not in the index, or two would have one path; then none is changed.
        """
        self.must_write()
        self._known_ids(list(items))
        for path in new_paths(list(items.values())):
            there = self._catalog.find(path)
            if there is not None and there.id not in items:
                raise RetrievalError(f"{path!r} is in the index {self.name!r} already; remove it first.")
        if items:
            self._commit(lambda: self._catalog.update(items))

    def remove(self, ids: Iterable[int]) -> None:
        """Take items out. Their ids are never given again.

        Raises:
            RetrievalError: one is not in the index; then none is removed.
        """
        self.must_write()
        gone = self._known_ids(sorted(set(whole_numbers(ids, "id"))))
        if gone:
            self._commit(lambda: self._catalog.remove(gone))

    def attach(self, attributes: Mapping[int, Mapping[str, Value | None]]) -> None:
        """Set attributes of items: numbers (NumPy's, too), texts, dates as ISO 8601 texts; None takes one away. All or
        none.

        Raises:
            RetrievalError: an item is not in the index, or a value is of another kind, not finite or too large.
        """
        self.must_write()
        ids = self._known_ids(list(attributes))
        kept = {id_: attributes_of(pairs) for id_, pairs in zip(ids, attributes.values(), strict=True)}
        if kept:
            self._commit(lambda: self._catalog.attach(kept))

    def record_skipped(self, skipped: Iterable[tuple[str, str]]) -> None:
        """Replace the list of files that were left out: (path, reason) each, paths as they can be printed."""
        self.must_write()
        self._commit(lambda: self._catalog.set_skipped(skipped))

    def record_left_out(self, rows: Iterable[LeftOut]) -> None:
        """Replace what a build need not look into again. Files whose names are not Unicode are not kept among them."""
        self.must_write()
        kept = [row for row in rows if is_unicode(row[0])]
        self._commit(lambda: self._catalog.set_left_out(kept))

    def record_details(self, details: Mapping[str, object]) -> None:
        """Replace what else is kept with the index."""
        self._record("details", dict(details))

    def record_root(self, root: str) -> None:
        """Say that the pictures lie in another folder now."""
        self._record("root", root)

    def record_tuning(self, tuning: Mapping[str, object]) -> None:
        """Replace what :attr:`tuning` gives."""
        self._record("tuning", dict(tuning))

    def record_calibration(self, calibration: Mapping[str, object]) -> None:
        """Put one record, which says what it is ``about``, in its place in :attr:`calibration`."""
        old: object = self.calibration
        kept = {
            about: record
            for about, record in (old.items() if isinstance(old, dict) else ())
            if isinstance(record, dict) and record.get("about") == about  # what is damaged or of an older version goes
        }
        self._record("calibration", {**kept, str(calibration["about"]): dict(calibration)})

    def set_structure(
        self,
        structure: Structure | None,
        parameters: Mapping[str, int] | None = None,
        *,
        ids: npt.NDArray[np.int64] | None = None,
        measured: Mapping[str, Any] | None = None,
    ) -> None:
        """Make a structure the one that searches use, or have none, so that they are exact.

        Args:
            structure: built from the vectors of `ids`, in their order.
            parameters: those of its search.
            ids: int64, ascending; all of the index's by default.
            measured: what was found out about it, as JSON can hold it.

        Raises:
            RetrievalError: the structure does not fit the index, or the disk is full.
        """
        self.must_write()
        record = None
        if structure is not None:
            ids = self.ids() if ids is None else ids
            if structure.dim != self.dim or len(structure) != len(ids) or self.storage == "binary" or not len(ids):
                raise RetrievalError(
                    f"A structure of {len(structure):,} vectors of {structure.dim} numbers does not fit an index of "
                    f"{len(ids):,} of {self.dim} ({self.storage}); build it from this index's vectors."
                )
            file = f"{folders.STRUCTURES}/{self._catalog.generation + 1:08d}.ann"
            path = self.folder / file
            structure.write(path)
            record = StructureRecord(
                file, structure.factory, dict(parameters or {}), ids, dict(measured or {}),
                path.stat().st_size, checksum(path),
            )  # fmt: skip
        elif self._state.structure is None:
            return
        self._commit(lambda: self._catalog.set_structure(record))
        self._sweep()

    def copy_mapped(
        self,
        folder: Path,
        write: Callable[[Sequence[MappedSegment]], Iterable[SegmentRecord]],
        *,
        dim: int,
        encoder_hash: str,
        details: Mapping[str, object],
        storage: str = "float32",
    ) -> None:
        """Write another index with the same items, ids, labels and attributes, and other vectors. Memory is bounded.

        Args:
            folder: an empty one, or with nothing but an ``encoder`` folder.
            write: has :meth:`MappedSegment.write` done for each of some, here or elsewhere, and gives what those gave,
                in their order.
            dim, encoder_hash, details, storage: of the other, as :meth:`create` takes them.

        Raises:
            RetrievalError: a segment is damaged, the disk is full, or this index was changed by somebody meanwhile.
        """
        folders.make(folder)
        self._catalog.copy_to(folder / CATALOG)
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        with contextlib.closing(Catalog(folder, write=True)) as other:
            if other.generation != self.generation:
                raise RetrievalError(f"The index {self.name!r} was changed meanwhile; try again.")
            folders.remove_orphans(folder, other)  # which makes the folders, too
            removed, width = self._state.removed, segments.columns(dim, storage)
            source, into = self.folder.absolute(), folder.absolute()
            counts = {segment.record: len(segment.live(removed)) for segment in self._now.segments}
            old = [record for record, count in counts.items() if count]
            parts = write([
                MappedSegment(
                    source, record, self.dim, self.storage, removed, into, width, storage, counts[record]
                )
                for record in old
            ])  # fmt: skip
            records = [segments.take_part(folder, part, record.id) for record, part in zip(old, parts, strict=True)]
            libraries = {"sqlite": sqlite3.sqlite_version, **versions(_LIBRARIES)}
            about = {"dim": dim, "storage": storage, "encoder_hash": encoder_hash, "created": now}
            other.become(records, {**about, "libraries": libraries, "details": dict(details)})

    def compact(self) -> None:
        """Write all vectors into one segment, without those that were removed.

        What was removed is forgotten for good if nobody reads the index at the moment; otherwise by a later call.

        Raises:
            RetrievalError: a segment is damaged, or the disk is full.
        """
        self.must_write()
        old = self._state.segments
        if len(old) > 1 or sum(record.rows for record in old) > len(self):
            self._write(old, [], lambda segment: self._catalog.compact(segment, old))
        with lock.nobody_reads(self.folder) as alone:
            if alone:  # only now, so that a reader who comes meanwhile waits for as little as can be
                self._commit(self._catalog.purge)

    def must_write(self) -> None:
        """Make sure that it may be changed.

        Raises:
            RetrievalError: it was opened for reading.
        """
        self._require_open()
        if self._lock is None:
            raise RetrievalError(f"The index {self.name!r} was opened for reading; open it with write=True.")

    # Inside

    @property
    def _state(self) -> State:
        return self._seen.state

    @property
    def _now(self) -> Snapshot:
        if self._closed or self._snapshot is None:
            self._require_open()
            return self._seen
        return self._snapshot  # a search is not to wait for two calls more

    @property
    def _seen(self) -> Snapshot:
        if self._snapshot is None:
            raise RetrievalError(f"The index {self.name!r} could not be opened; open it again.")
        return self._snapshot

    def _known_ids(self, ids: Sequence[int] | npt.NDArray[np.int64]) -> list[int]:
        """These ids.

        Raises:
            RetrievalError: one is not in the index.
        """
        wanted = whole_numbers(ids, "id")
        strange = self._catalog.missing(wanted)
        if strange is not None:
            raise self._unknown(strange)
        return wanted

    def _unknown(self, id_: int) -> RetrievalError:
        return RetrievalError(f"The index {self.name!r} has no item {id_}; each query shows the ids of its hits.")

    def _require_open(self) -> None:
        if self._closed:
            raise RetrievalError(f"The index {self.name!r} was closed; open it again.")

    def _refresh(self) -> None:
        generation = -1
        while True:
            state = self._catalog.state()
            snapshot = Snapshot(
                self.folder,
                state,
                self.dim,
                self.storage,
                select=self._catalog.select,
                in_memory=self._in_memory,
                warnings=self.warnings,
                before=self._snapshot,
            )
            # A writer may have given a file up between our reading of the catalog and our opening of the file.
            if self._lock is not None or state.generation == generation or not snapshot.missing():
                self._snapshot = snapshot
                return
            generation = state.generation

    def _record(self, key: str, value: object) -> None:
        self.must_write()
        self._commit(lambda: self._catalog.set_meta(key, value))

    def _write(
        self,
        merged: Sequence[Any],
        new: Sequence[tuple[npt.NDArray[np.int64], npt.NDArray[Any]]],
        commit: Any,
    ) -> None:
        """Write a segment of what is live in some old ones and of new rows, and commit it."""
        old = [segment for segment in self._now.segments if segment.record in merged]
        count = sum(len(segment.live(self._state.removed)) for segment in old) + sum(len(ids) for ids, _ in new)

        def blocks() -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[Any]]]:
            for segment in old:
                yield from segment.live_blocks(self._state.removed)
            yield from new

        record = None
        if count:
            number = int(self._catalog.meta["next_segment"])
            width = segments.columns(self.dim, self.storage)
            record = segments.write_segment(self.folder, number, blocks(), count, width, self.storage)
        # If it fails, the file stays: perhaps it was committed after all. The next writer finds out.
        self._commit(lambda: commit(record))
        if merged:
            self._sweep()

    def _commit(self, change: Callable[[], object]) -> None:
        """Make a change, and see what there is then; also if it failed or was broken off by Ctrl-C."""
        try:
            change()
            self._refresh()
        except BaseException:
            try:
                self._refresh()
            except RetrievalError:
                self._snapshot = None  # nobody knows what there is: it must be opened again
            raise

    def _sweep(self) -> None:
        with contextlib.suppress(RetrievalError):  # what was to be done is done; the next writer tries again
            self._commit(lambda: folders.sweep(self.folder, self._catalog))


def _left_out(exclude: Sequence[Sequence[int]], queries: int) -> list[list[int]]:
    """For each query the ids that it must not get, ascending."""
    if len(exclude) != queries:
        raise RetrievalError(
            f"There are {len(exclude)} lists of excluded ids for {queries} queries; give one for each."
        )
    try:
        left_out = [sorted({*map(operator.index, ids)}) for ids in exclude]
    except TypeError:
        left_out = [sorted({*whole_numbers(ids, "id")}) for ids in exclude]  # which says what is none
    for query, ids in enumerate(left_out):
        if ids and (ids[0] < 0 or ids[-1] >= _NO_ID):
            left_out[query] = [id_ for id_ in ids if 0 <= id_ < _NO_ID]
    return left_out
