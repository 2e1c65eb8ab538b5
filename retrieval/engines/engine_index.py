"""The class :class:`EngineIndex`: an index that an engine holds, as any other to those who ask or change it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt

from retrieval.engines.address import Address
from retrieval.engines.engine import Change, Engine, Row, engine_class
from retrieval.engines.engine_catalog import EngineCatalog, more_kinds, with_id
from retrieval.engines.engine_snapshot import EngineSnapshot
from retrieval.engines.kept_encoder import kept_encoder
from retrieval.errors import RetrievalError
from retrieval.index import Index, NewItem
from retrieval.index.records import Facts, Value
from retrieval.index.vectors import checked, directions

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
Found = TypeVar("Found", bound=tuple[Any, ...])


_ASKED = 100
"""Questions by which it is measured what a structure finds."""

_SEEN = 2000
"""Hits of an answer, at most, of which what they are is fetched at once, so that nobody removes one before it is asked
for; who asks for more does not show them."""


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
        self._catalog = self._held = EngineCatalog(engine)  # type: ignore[assignment]  # all of a catalog that is asked here
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
        return kept_encoder(self._engine, self.name)

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
            rows.append(Row(with_id(int(ids[place]), item), own, told))
        change = Change(
            gone=[row.item.id for row in there.values()],
            new=rows,
            vectors=vectors,
            documents={
                "next_id": first + len(items),
                "kinds": more_kinds(self._catalog.attribute_kinds(), (row.attributes for row in rows)),
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
        k, sample = min(10, len(self)), self._sample()
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
        """What the structure finds of the ten nearest, against exact search, for questions like its own vectors."""
        structure = self._state.structure
        if structure is None or len(self) < 2:
            return None
        k, sample = min(10, len(self)), self._sample()
        both = zip(self._answers.by_structure(sample, k), self._answers.exactly(sample, k), strict=True)
        return float(np.mean([np.mean(found >= truth[-1]) for (found, _), (truth, _) in both]))

    def _sample(self) -> list[tuple[npt.NDArray[Any], Sequence[int]]]:
        """Questions that are like the index's own vectors and none of them, which its structure would find too easily:
        each as far from one, in any direction, as that one's nearest neighbour."""
        rng, ids = np.random.default_rng(0), self.ids()
        chosen = rng.choice(ids, min(_ASKED, len(ids)), replace=False)
        own = self.vectors(chosen)
        asked = [(one, [id_]) for one, id_ in zip(own, chosen.tolist(), strict=True)]
        nearest = np.array([scores[:1].sum() for scores, _ in self._answers.exactly(asked, 1)])  # 0 where it is alone
        if self.storage == "binary":
            flipped = rng.random((len(own), self.dim)) < (1 - nearest[:, None]) / 2
            return [(code, ()) for code in own ^ np.packbits(flipped, axis=1, bitorder="little")]
        away, _ = directions(rng.standard_normal(own.shape))
        found, _ = directions(own + np.sqrt(np.maximum(2 - 2 * nearest, 0))[:, None] * away)
        return [(one, ()) for one in found.astype(np.float32)]

    # Inside

    def must_write(self) -> None:
        """See :meth:`retrieval.index.Index.must_write`."""
        self._require_open()
        if not self._for_writing:
            raise RetrievalError(f"The index {self.name!r} was opened for reading; open it with write=True.")

    def _refresh(self) -> None:
        self._catalog.reread()
        self._answers = EngineSnapshot(self._engine, self._catalog.meta)
        self._snapshot = self._answers  # type: ignore[assignment]  # as the catalog

    def search(self, *args: Any, **options: Any) -> tuple[Floats, Ids]:
        """See :meth:`retrieval.index.Index.search`."""
        return self._seen_too(lambda: super(EngineIndex, self).search(*args, **options))

    def search_after(self, *args: Any, **options: Any) -> tuple[Floats, Ids]:
        """See :meth:`retrieval.index.Index.search_after`."""
        return self._seen_too(lambda: super(EngineIndex, self).search_after(*args, **options))

    def range_search(self, *args: Any, **options: Any) -> tuple[Ids, Floats, Ids]:
        """See :meth:`retrieval.index.Index.range_search`."""
        return self._seen_too(lambda: super(EngineIndex, self).range_search(*args, **options))

    def _seen_too(self, ask: Callable[[], Found]) -> Found:
        """An answer all of whose hits can be told: asked again where one was removed meanwhile."""
        while True:
            found = ask()
            if found[-1].size > _SEEN or self._catalog.see(found[-1]):  # type: ignore[attr-defined]
                return found

    def keep_filter(self, where: str, ids: Ids) -> None:
        """Nothing is kept: what a filter matches is the engine's to find."""

    def keeps_filter(self, where: str) -> bool:
        """Whether nothing need be found for it."""
        return True


def _without(attributes: Mapping[str, Value], facts: Mapping[str, Value]) -> dict[str, Value]:
    return {name: value for name, value in attributes.items() if name not in facts or facts[name] != value}
