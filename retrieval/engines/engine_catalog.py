"""What an engine knows of the items, as a catalog answers it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from retrieval.engines.engine import Change, Engine, Ids, Row
from retrieval.index import Item, NewItem
from retrieval.index.records import Column, Facts, LeftOut, Value, is_unicode


class EngineCatalog:
    """What a :class:`retrieval.index.catalog.Catalog` answers, answered by an engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.meta: dict[str, Any] = {}
        self._seen: dict[int, Row] = {}

    def close(self) -> None:
        self._engine.close()

    def reread(self) -> None:
        self.meta, self._seen = self._engine.meta(), {}
        self._engine.expected = self.meta["generation"]

    def newest(self) -> int:
        return int(self._engine.document("generation"))

    @property
    def generation(self) -> int:
        return int(self.meta["generation"])

    def see(self, ids: Ids) -> bool:
        """Fetch what some items are, and remember it instead of what was remembered; whether all of them are there."""
        wanted = np.unique(ids[ids >= 0]).tolist()
        rows = self._engine.rows(wanted)
        self._seen = {row.item.id: row for row in rows}
        return len(rows) == len(wanted)

    def _rows(self, ids: Sequence[int]) -> list[Row]:
        seen = self._seen  # which another thread may replace
        return [seen[id_] for id_ in ids] if all(id_ in seen for id_ in ids) else self._engine.rows(ids)

    def missing(self, ids: Sequence[int]) -> int | None:
        found = {row.item.id for row in self._rows(ids)}
        return next((id_ for id_ in ids if id_ not in found), None)

    def items(self, ids: Sequence[int]) -> dict[int, Item]:
        return {row.item.id: row.item for row in self._rows(ids)}

    def taken(self, paths: Iterable[str]) -> str | None:
        return next((row.item.path for row in self._engine.find("path", paths)), None)

    def find(self, path: str) -> Item | None:
        return next((row.item for row in self._engine.find("path", [path] if is_unicode(path) else [])), None)

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
        return {row.item.id: dict(sorted(row.attributes.items())) for row in self._rows(ids)}

    def attribute_kinds(self) -> dict[str, set[str]]:
        return {name: {*kinds} for name, kinds in self.meta["kinds"].items() if kinds}

    def values(self, name: str, ids: Sequence[int]) -> dict[int, Value]:
        return self._engine.values(name, ids)

    def counts(self, names: Sequence[str], ids: Ids | None) -> dict[str, dict[Value | None, int]]:
        return {name: self._engine.counts(name, ids) for name in names}

    def column(self, name: str, ids: Ids) -> Column:
        found = self.values(name, ids.tolist())
        return Column.of([found.get(id_) for id_ in ids.tolist()])

    def changed(self, name: str) -> tuple[int, ...]:
        return (self.generation,)

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
        changed = [replace(row, item=with_id(row.item.id, items[row.item.id])) for row in rows]
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
        more = more_kinds(self.attribute_kinds(), (row.attributes for row in changed))
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


def with_id(id_: int, item: NewItem) -> Item:
    """The item of an id."""
    return Item(id_, *(getattr(item, one.name) for one in fields(NewItem)))


def more_kinds(kinds: Mapping[str, set[str]], attributes: Iterable[Mapping[str, Value]]) -> dict[str, list[str]]:
    """Name → kinds of values, with those of some more items."""
    found = {name: {*there} for name, there in kinds.items()}
    for pairs in attributes:
        for name, value in pairs.items():
            found.setdefault(name, set()).add("text" if isinstance(value, str) else "number")
    return {name: sorted(there) for name, there in found.items()}
