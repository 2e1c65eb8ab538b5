"""The class :class:`EngineIndex`: an index that an engine holds, as any other to those who ask or change it."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from retrieval.base import cache
from retrieval.base.files import written_folder
from retrieval.base.text import printable
from retrieval.engines.address import Address
from retrieval.engines.engine import Change, Engine, Row, engine_class
from retrieval.errors import RetrievalError
from retrieval.index import Index, Item, NewItem
from retrieval.index import folder as folders
from retrieval.index.records import Facts, LeftOut, State, StructureRecord, Value
from retrieval.index.rows import Rows
from retrieval.index.vectors import checked

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

CACHE = 2**33
"""Bytes that encoders of such indexes may take in the user's cache folder; the one used longest ago makes room."""

_SEEN = 20_000
"""Items of answers that are remembered: one that is removed between a search and the look at its hits is still told."""


class EngineIndex(Index):
    """An index in a database, open. See :class:`retrieval.index.Index`, whose every method does the same here.

    What is read is what there is at the time; only what goes through all items (:meth:`paths`, :meth:`all_vectors` and
    the like) is of the generation at which it was opened, or an error.

    Attributes:
        address: where it is.
    """

    def __init__(self, engine: Engine, *, write: bool) -> None:
        """Use :func:`retrieval.engines.open_index`."""
        self.address = engine.address
        self.warnings = []
        self._engine = engine
        self._for_writing = write
        self._closed = False
        self._in_memory = False
        self._catalog = self._held = _Catalog(engine)  # type: ignore[assignment]  # all of a catalog that is asked here
        self._refresh()

    @classmethod
    def at(cls, address: Address, *, write: bool = False) -> Self:
        """Open what an address names.

        Raises:
            RetrievalError: it cannot be reached, there is none, or, for `write`, somebody else writes it.
        """
        return cls(engine_class(address).open(address, write=write), write=write)

    def renewed(self) -> Self | None:
        """See :meth:`retrieval.index.Index.renewed`."""
        self._require_open()
        other = self.at(self.address)
        if (other.encoder_hash, other.storage, other.dim) == (self.encoder_hash, self.storage, self.dim):
            return other
        other.close()
        return None

    @property
    def in_place(self) -> bool:
        """It stays where it is."""
        return True

    @property
    def name(self) -> str:
        """Its address, without a password."""
        return self.address.shown

    @property
    def exported(self) -> dict[str, Any]:
        """Of what it was exported, and as which generation ("as")."""
        return dict(self._catalog.meta.get("exported") or {})

    @property
    def encoder_files(self) -> dict[str, str]:
        """The names of the files of its encoder, and their SHA-256 when they were exported; none if it has none."""
        return dict(self._catalog.meta.get("encoder") or {})

    def encoder_parts(self) -> Iterator[tuple[str, bytes]]:
        """The files of its encoder as they are in the engine, in parts."""
        return self._engine.encoder()

    def damage(self) -> Iterator[str]:
        """What is wrong with it: ends of sentences that begin with its name."""
        return self._engine.problems()

    def record_export(self, source: Mapping[str, Any]) -> None:
        """Replace what :attr:`exported` gives."""
        self._record("exported", {**source, "as": self.generation + 1})

    @cached_property
    def folder(self) -> Path:  # type: ignore[override]  # it is made when it is first needed
        """A folder of this machine's with the copy of its encoder, if it has one; nothing else of the index is there.

        Raises:
            RetrievalError: the encoder is not the one that was exported, or there is no room for it.
        """
        return _kept_encoder(self._engine, self.name)

    def held_encoder(self) -> None:
        """Its copy lies under its checksum, and stays as it is."""

    def info(self) -> dict[str, Any]:
        """See :meth:`retrieval.index.Index.info`."""
        meta, structure = self._catalog.meta, self._state.structure
        labels = [(label, count) for label, count in self._catalog.label_counts() if label is not None]
        return {
            "kind": "index",
            "folder": self.name,
            "format": meta["format"],
            "items": len(self),
            "removed": 0,
            "dim": self.dim,
            "storage": self.storage,
            "labels": len(labels),
            "labelled": sum(count for _, count in labels),
            "largest": dict(labels[:5]),
            "segments": 0,
            "structure": None
            if structure is None
            else {
                "factory": structure.factory,
                "parameters": dict(structure.parameters),
                "items": len(self),
                "measured": dict(structure.measured),
                "bytes": 0,
            },
            "bytes": self._engine.size(),
            "attributes": sorted(self.attribute_kinds()),
            "encoder": {"network": meta.get("network"), "hash": self.encoder_hash},
            "root": self.root,
            "decoder": meta.get("decoder"),
            "created": meta.get("created"),
            "libraries": meta.get("libraries"),
            "skipped": len(self.skipped()),
            "details": meta.get("details"),
        }

    # Changing it

    def _insert(
        self,
        vectors: npt.NDArray[Any],
        items: Sequence[NewItem],
        facts: Sequence[Facts],
        attributes: Sequence[Mapping[str, Value | None]],
        *,
        new: bool,
    ) -> Ids:
        self.must_write()
        vectors = checked(vectors, self.dim, self.storage, "vectors")
        if len(vectors) != len(items):
            raise RetrievalError(f"There are {len(vectors)} vectors for {len(items)} items; give one for each.")
        first = self.next_id
        ids = np.arange(first, first + len(items), dtype=np.int64)
        if not len(ids):
            return ids
        there = {} if new else {row.item.path: row for row in self._engine.find("path", [one.path for one in items])}
        rows = []
        for place, item in enumerate(items):
            told = dict(facts[place]) if facts else {}
            old = there.get(item.path)
            # What the user attached to a path stays with it, and what the old file told goes.
            kept = {} if old is None else _without(old.attributes, old.facts)
            given = attributes[place] if attributes else {}
            own = {**told, **kept, **{name: value for name, value in given.items() if value is not None}}
            rows.append(Row(_with_id(int(ids[place]), item), own, told))
        change = Change(
            gone=[row.item.id for row in there.values()],
            new=rows,
            vectors=vectors,
            documents={
                "next_id": first + len(items),
                "kinds": _more_kinds(self._catalog.attribute_kinds(), (row.attributes for row in rows)),
            },
        )
        self._commit(lambda: self._engine.commit(change))
        return ids

    def set_structure(self, structure: object, *_: object, **__: object) -> None:
        """It cannot be given one.

        Raises:
            RetrievalError: always.
        """
        raise RetrievalError(
            f"{self.name!r} is searched by its database, which makes its own structure; tune a folder's."
        )

    def copy_mapped(self, *_: object, **__: object) -> None:
        """It cannot be copied so.

        Raises:
            RetrievalError: always.
        """
        raise RetrievalError(f"{self.name!r} is not a folder; map the one that it was exported from.")

    def compact(self) -> None:
        """Nothing: the database forgets what was removed by itself."""
        self.must_write()

    def see_to_structure(self, least: int) -> None:
        """Have the engine make a structure, and find out how to search it, where there is none.

        Args:
            least: numbers in all vectors from which on one is worth it.
        """
        self.must_write()
        if self._state.structure is not None or len(self) * self.dim <= least:
            return
        built = self._engine.build()
        if built is None:
            return
        k, sample = min(10, len(self) - 1), self._sample()
        truth = [near[0][-1] for near in self._answers.exactly(sample, k)]
        for effort in built["efforts"]:
            found = self._answers.by_structure(sample, k, effort)
            recall = float(np.mean([np.mean(scores >= least) for (scores, _), least in zip(found, truth, strict=True)]))
            if recall >= 0.99:
                break
        measured = {"k": k, "recall": recall, "queries": len(sample)}
        record = {"factory": built["factory"], "parameters": {"ef_search": effort}, "measured": measured}
        self._commit(lambda: self._engine.commit(Change(documents={"structure": record})))

    def recall(self) -> float | None:
        """What the structure finds of the ten nearest, against exact search, on a sample of its own vectors."""
        structure = self._state.structure
        if structure is None or len(self) < 2:
            return None
        k, sample = min(10, len(self) - 1), self._sample()
        both = zip(self._answers.by_structure(sample, k), self._answers.exactly(sample, k), strict=True)
        return float(np.mean([np.mean(found >= truth[-1]) for (found, _), (truth, _) in both]))

    def _sample(self) -> list[tuple[npt.NDArray[Any], Ids]]:
        """Some items' vectors as queries, each with its id, which it must not get."""
        ids = self.ids()
        some = np.sort(np.random.default_rng(0).choice(ids, min(100, len(ids)), replace=False))
        return [(vector, some[row : row + 1]) for row, vector in enumerate(self.vectors(some))]

    # Inside

    def must_write(self) -> None:
        """See :meth:`retrieval.index.Index.must_write`."""
        self._require_open()
        if not self._for_writing:
            raise RetrievalError(f"The index {self.name!r} was opened for reading; open it with write=True.")

    def _refresh(self) -> None:
        self._catalog.reread()
        self._answers = _Snapshot(self._engine, self._catalog.meta)
        self._snapshot = self._answers  # type: ignore[assignment]  # as the catalog

    def _chosen(self, where: str) -> tuple[str, Ids]:
        return where, np.empty(0, np.int64)  # what it matches is the engine's to find


class _Catalog:
    """What a :class:`retrieval.index.catalog.Catalog` answers, answered by an engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.meta: dict[str, Any] = {}
        self._seen: dict[int, Item] = {}

    def close(self) -> None:
        self._engine.close()

    def reread(self) -> None:
        self.meta = self._engine.meta()
        self._engine.expected = self.meta["generation"]

    def newest(self) -> int:
        return int(self._engine.meta()["generation"])

    @property
    def generation(self) -> int:
        return int(self.meta["generation"])

    def missing(self, ids: Sequence[int]) -> int | None:
        found = {row.item.id for row in self._engine.rows(ids)}
        return next((id_ for id_ in ids if id_ not in found), None)

    def items(self, ids: Sequence[int]) -> dict[int, Item]:
        return {row.item.id: row.item for row in self._engine.rows(ids)}

    def taken(self, paths: Iterable[str]) -> str | None:
        return next((row.item.path for row in self._engine.find("path", paths)), None)

    def find(self, path: str) -> Item | None:
        return next((row.item for row in self._engine.find("path", [path] if _is_text(path) else [])), None)

    def find_sha256(self, sha256: str) -> list[Item]:
        return [row.item for row in self._engine.find("sha256", [sha256])]

    def known(self) -> dict[str, tuple[int, int]]:
        return {path: (size, at) for path, size, at in self._engine.scan(("path", "size", "mtime_ns"))}

    def paths(self) -> list[str]:
        return [path for (path,) in self._engine.scan(("path",))]

    def labels(self) -> list[str | None]:
        return [label for (label,) in self._engine.scan(("label",))]

    def labels_of(self, ids: Sequence[int]) -> dict[int, str]:
        return {id_: str(label) for id_, label in self._engine.values("label", ids).items()}

    def items_changed(self) -> int:
        """Of whatever changed last: an engine does not tell one change from another."""
        return self.generation

    def label_counts(self) -> list[tuple[Value | None, int]]:
        counts = self._engine.counts("label", None)
        return sorted(counts.items(), key=lambda one: (-one[1], one[0] is not None, one[0] or ""))

    def attributes(self, ids: Sequence[int]) -> dict[int, dict[str, Value]]:
        return {row.item.id: dict(sorted(row.attributes.items())) for row in self._engine.rows(ids)}

    def attribute_kinds(self) -> dict[str, set[str]]:
        return {name: {*kinds} for name, kinds in self.meta["kinds"].items() if kinds}

    def values(self, name: str, ids: Sequence[int]) -> dict[int, Value]:
        return self._engine.values(name, ids)

    def counts(self, names: Sequence[str], ids: Ids | None) -> dict[str, dict[Value | None, int]]:
        return {name: self._engine.counts(name, ids) for name in names}

    def select(self, where: str) -> Ids:
        return self._engine.select(where)

    def skipped(self) -> list[tuple[str, str]]:
        return [(path, reason) for path, reason in self._engine.document("skipped") or ()]

    def left_out(self) -> list[LeftOut]:
        return [tuple(row) for row in self._engine.document("left_out") or ()]

    def facts(self, id_: int) -> Facts:
        return tuple(fact for row in self._engine.rows([id_]) for fact in sorted(row.facts.items()))

    # Writing

    def update(self, items: Mapping[int, NewItem]) -> None:
        rows = self._engine.rows(list(items))
        changed = [replace(row, item=_with_id(row.item.id, items[row.item.id])) for row in rows]
        self._engine.commit(Change(changed=changed))

    def remove(self, ids: Sequence[int]) -> None:
        self._engine.commit(Change(gone=ids))

    def attach(self, attributes: Mapping[int, Mapping[str, Value | None]]) -> None:
        changed = []
        for row in self._engine.rows(list(attributes)):
            given = attributes[row.item.id]
            kept = {name: value for name, value in {**row.attributes, **given}.items() if value is not None}
            changed.append(replace(row, attributes=kept))
        names = {name for pairs in attributes.values() for name in pairs}
        more = _more_kinds(self.attribute_kinds(), (row.attributes for row in changed))
        self._engine.commit(Change(changed=changed, documents={"kinds": more}))
        kinds = self._engine.recount(names)  # those of values that are no more go, as soon as that is known
        if any({*more.get(name, ())} != {*now} for name, now in kinds.items()):
            self._engine.commit(Change(documents={"kinds": {**more, **kinds}}))

    def set_skipped(self, skipped: Iterable[tuple[str, str]]) -> None:
        self._engine.commit(Change(documents={"skipped": [tuple(one) for one in skipped]}))

    def set_left_out(self, rows: Iterable[LeftOut]) -> None:
        self._engine.commit(Change(documents={"left_out": list(rows)}))

    def set_meta(self, key: str, value: object) -> None:
        self._engine.commit(Change(documents={key: value}))


class _Snapshot:
    """What a :class:`retrieval.index.snapshot.Snapshot` answers, answered by an engine: exact scores, ties by id."""

    def __init__(self, engine: Engine, meta: Mapping[str, Any]) -> None:
        self._engine = engine
        self._dim = int(meta["dim"])
        self._binary = meta["storage"] == "binary"
        self._width = self._dim // 8 if self._binary else self._dim
        # Of float32 sums, the engine's own included; codes have whole distances, in the order of which ids break ties.
        self._rounding = 0.0 if self._binary else (1.01 * self._dim + 2) * 2.0**-23
        self._items = int(meta["items"])
        record, structure = meta.get("structure"), None
        if record is not None:
            # The positions of its items are the engine's alone; only their number is asked for.
            nobody = np.broadcast_to(np.int64(0), (self._items,))
            structure = StructureRecord(
                "", record["factory"], record["parameters"], nobody, record["measured"], size=0, checksum=""
            )
        self.state = State(int(meta["generation"]), self._items, (), structure, np.empty(0, np.int64))

    def known_filter(self, where: str) -> bool:
        return False

    def ids(self) -> Ids:
        ids = [id_ for (id_,) in self._engine.scan(("id",))]
        return np.array(ids, np.int64)

    def vectors(self, ids: Ids) -> npt.NDArray[Any]:
        return self._engine.vectors(ids)

    def everything(self) -> tuple[Ids, npt.NDArray[Any]]:
        return self._engine.everything()

    def search(
        self, queries: npt.NDArray[Any], k: int, exclude: Sequence[Ids] | None, chosen: tuple[str, Ids] | None
    ) -> tuple[Floats, Ids]:
        """See :meth:`retrieval.index.snapshot.Snapshot.search`."""
        where = None if chosen is None else chosen[0]
        asked = list(zip(queries, _each(exclude, len(queries)), strict=True))
        if self.state.structure is None or not self._is_worth_it(k, where):
            return _stacked(self.exactly(asked, k, where), k)
        found = self.by_structure(asked, k, None, where)
        for row, (_, ids) in enumerate(found):
            if len(ids) < k:  # too few match, or parts of the graph are out of reach
                found[row : row + 1] = self.exactly(asked[row : row + 1], k, where)
        return _stacked(found, k)

    def search_after(
        self,
        queries: npt.NDArray[Any],
        k: int,
        after: tuple[Floats, Ids],
        exclude: Sequence[Ids] | None,
        chosen: tuple[str, Ids] | None,
    ) -> tuple[Floats, Ids]:
        """See :meth:`retrieval.index.snapshot.Snapshot.search_after`."""
        where = None if chosen is None else chosen[0]
        found = [
            self._exactly(query, k, left_out, where, (after[0][row : row + 1], after[1][row : row + 1]))
            for row, (query, left_out) in enumerate(zip(queries, _each(exclude, len(queries)), strict=True))
        ]
        return _stacked(found, k)

    def range_search(
        self, queries: npt.NDArray[Any], score: float, chosen: tuple[str, Ids] | None
    ) -> list[tuple[Floats, Ids]]:
        """See :meth:`retrieval.index.snapshot.Snapshot.range_search`."""
        from retrieval.index.approximate import range_search  # here, as it brings FAISS

        where = None if chosen is None else chosen[0]
        found = []
        for query in queries:
            rows = self._rows(*self._engine.within(query, score, where))
            found += range_search(rows, query[None], score, None)
        return found

    def exactly(
        self, asked: Sequence[tuple[npt.NDArray[Any], Ids]], k: int, where: str | None = None
    ) -> list[tuple[Floats, Ids]]:
        """The k best for each query, and ids that it must not get, without error."""
        return [self._exactly(query, k, left_out, where, None) for query, left_out in asked]

    def by_structure(
        self,
        asked: Sequence[tuple[npt.NDArray[Any], Ids]],
        k: int,
        effort: int | None = None,
        where: str | None = None,
    ) -> list[tuple[Floats, Ids]]:
        """The same of the candidates that the engine's structure names."""
        if effort is None:
            assert self.state.structure is not None  # who asks without one has one
            effort = self.state.structure.parameters["ef_search"]
        found = []
        for query, left_out in asked:
            near = self._engine.nearest(query, k + 2, left_out, where, effort=effort)
            found.append(self._best(near.ids, near.vectors, query, k, None))
        return found

    def _is_worth_it(self, k: int, where: str | None) -> bool:
        """Whether the structure is asked: not where a good part of all is wanted, nor where few match."""
        if not k or 10 * k > self._items:
            return False
        few = int(max(math.sqrt(25 * k * self._items), 10 * k))  # as retrieval.index.approximate has it
        return where is None or len(self._engine.select(where, few + 1)) > few

    def _exactly(
        self, query: npt.NDArray[Any], k: int, exclude: Ids, where: str | None, after: tuple[Floats, Ids] | None
    ) -> tuple[Floats, Ids]:
        """What the engine finds with its own rounding, scored anew; more of it while that could hide a better one."""
        if not k:
            return np.empty(0, np.float32), np.empty(0, np.int64)
        count, below = k + 2, None if after is None else float(after[0][0])
        while True:
            near = self._engine.nearest(query, count, exclude, where, below=below)
            scores, ids = self._best(near.ids, near.vectors, query, k, after)
            if near.worst == -math.inf:
                return scores, ids
            least = float(scores[-1]) if len(scores) == k else -math.inf
            if least >= near.worst if self._binary else least > near.worst + self._rounding:
                return scores, ids
            count *= 4

    def _best(
        self, ids: Ids, vectors: npt.NDArray[Any], query: npt.NDArray[Any], k: int, after: tuple[Floats, Ids] | None
    ) -> tuple[Floats, Ids]:
        """The best of some candidates by exact scores, as many as there are, up to k."""
        from retrieval.index.approximate import exact  # here, as it brings FAISS

        k = min(k, len(ids))
        scores, found = exact(self._rows(ids, vectors), query[None], k, after=after)
        there = int(np.count_nonzero(found[0] >= 0))
        return scores[0, :there], found[0, :there]

    def _rows(self, ids: Ids, vectors: npt.NDArray[Any]) -> Rows:
        return Rows([ids], [vectors] if len(ids) else [], self._width)


def _stacked(found: Sequence[tuple[Floats, Ids]], k: int) -> tuple[Floats, Ids]:
    """Answers of any length as arrays (nq, k), padded."""
    scores = np.full((len(found), k), -np.inf, np.float32)
    ids = np.full((len(found), k), -1, np.int64)
    for row, (own, mine) in enumerate(found):
        scores[row, : len(own)], ids[row, : len(mine)] = own, mine
    return scores, ids


def _each(exclude: Sequence[Ids] | None, queries: int) -> Sequence[Ids]:
    return [np.empty(0, np.int64)] * queries if exclude is None else exclude


def _with_id(id_: int, item: NewItem) -> Item:
    return Item(id_, *(getattr(item, one.name) for one in fields(NewItem)))


def _without(attributes: Mapping[str, Value], facts: Mapping[str, Value]) -> dict[str, Value]:
    return {name: value for name, value in attributes.items() if name not in facts or facts[name] != value}


def _more_kinds(kinds: Mapping[str, set[str]], attributes: Iterable[Mapping[str, Value]]) -> dict[str, list[str]]:
    """Name → kinds of values, with those of some more items."""
    found = {name: {*there} for name, there in kinds.items()}
    for pairs in attributes:
        for name, value in pairs.items():
            found.setdefault(name, set()).add("text" if isinstance(value, str) else "number")
    return {name: sorted(there) for name, there in found.items()}


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


# The encoder


def _kept_encoder(engine: Engine, name: str) -> Path:
    """A folder with the engine's encoder, from the user's cache or fetched; checked as it is written."""
    files: Mapping[str, str] = engine.meta().get("encoder") or {}
    digest = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:32]
    folder = cache.cache_folder("engines") / digest
    try:
        cache.make_private(folder.parent)
        if cache.private(folder):
            return folder
        with written_folder(folder, lambda _: True) as temporary:
            temporary.chmod(0o700)
            _fetch(engine, files, temporary, name)
        cache.make_room(folder.parent, CACHE)
    except OSError as error:
        raise RetrievalError(
            f"The encoder of {name!r} cannot be kept in {printable(folder.parent)!r} ({error.strerror or error}); make "
            "room there, or set XDG_CACHE_HOME."
        ) from error
    return folder


def _fetch(engine: Engine, files: Mapping[str, str], folder: Path, name: str) -> None:
    """Write an encoder's files.

    Raises:
        RetrievalError: one is not what was exported.
    """
    with contextlib.ExitStack() as opened:
        digests: dict[str, Any] = {}
        streams: dict[str, Any] = {}
        for file, part in engine.encoder():
            if file not in streams:
                place = PurePosixPath(file)
                if file not in files or place.is_absolute() or ".." in place.parts:
                    raise RetrievalError(
                        f"The encoder of {name!r} has a file {printable(file)!r} which nobody exported."
                    )
                (folder / folders.ENCODER / place).parent.mkdir(parents=True, exist_ok=True)
                streams[file] = opened.enter_context((folder / folders.ENCODER / place).open("xb"))
                digests[file] = hashlib.sha256()
            streams[file].write(part)
            digests[file].update(part)
    for file, expected in files.items():
        if file not in digests or digests[file].hexdigest() != expected:
            raise RetrievalError(
                f"The encoder of {name!r} is damaged ({printable(file)!r} is not what was exported); export it again."
            )


def parts_of_encoder(folder: Path, size: int = 1 << 22) -> Iterator[tuple[str, Iterator[bytes]]]:
    """The files of an encoder's folder, by name, each in parts."""

    def parts(file: Path) -> Iterator[bytes]:
        with file.open("rb") as opened:
            while part := opened.read(size):
                yield part

    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        yield file.relative_to(folder).as_posix(), parts(file)
