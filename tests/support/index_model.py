"""What an index must answer, in plain Python and float64: the reference that the suites compare it with."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from retrieval.index import Index, Item, NewItem

Value = str | int | float
Predicate = Callable[[NewItem, Mapping[str, Value]], bool]

STORAGES = ("float32", "float16", "binary")


def unit(n: int, d: int, seed: int = 0) -> np.ndarray:
    """Random unit vectors (n, d)."""
    vectors = np.random.default_rng(seed).standard_normal((n, d))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def clustered(n: int, d: int, seed: int = 0) -> np.ndarray:
    """Unit vectors (n, d) in twenty clusters, the same ones for every seed, as the vectors of pictures lie."""
    centres = np.random.default_rng(99).standard_normal((20, d))
    rng = np.random.default_rng(seed)
    vectors = centres[rng.integers(0, 20, n)] + 0.5 * rng.standard_normal((n, d))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def named(n: int, start: int = 0, seed: int = 0) -> list[NewItem]:
    """Items in seven classes, whose paths count up from ``start``; another seed stands for other contents."""
    return [
        NewItem(
            f"class{i % 7}/{i:05d}.png",
            f"class{i % 7}",
            32,
            24,
            100 + i,
            i,
            hashlib.sha256(b"%d" % (i + seed)).hexdigest(),
        )
        for i in range(start, start + n)
    ]


def create(folder: Any, dim: int, storage: str = "float32") -> Index:
    """An empty index."""
    return Index.create(folder, dim, root="pictures", encoder_hash="abc", details={}, storage=storage)


class Model:
    """An index in a dictionary. Its methods are those of :class:`retrieval.index.Index`.

    Args:
        dim: numbers of a vector, or bits of a code.
        storage: "float32", "float16" or "binary".

    Attributes:
        kinds: name → the kinds of values that an attribute ever had.
    """

    def __init__(self, dim: int, storage: str = "float32") -> None:
        self.dim = dim
        self.storage = storage
        self.next_id = 0
        self.stored_items: dict[int, NewItem] = {}
        self.rows: dict[int, np.ndarray] = {}
        self.stored_attributes: dict[int, dict[str, Value]] = {}
        self.kinds: dict[str, set[str]] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def copy(self) -> Model:
        """One that goes its own way from here."""
        other = Model(self.dim, self.storage)
        other.next_id = self.next_id
        other.stored_items, other.rows = dict(self.stored_items), dict(self.rows)
        other.stored_attributes, other.kinds = copy.deepcopy((self.stored_attributes, self.kinds))
        return other

    # Changing it

    def add(self, vectors: np.ndarray, items: Sequence[NewItem]) -> np.ndarray:
        ids = np.arange(self.next_id, self.next_id + len(items))
        for id_, row, item in zip(ids.tolist(), self.as_stored(vectors), items, strict=True):
            self.rows[id_], self.stored_items[id_] = row, item
        self.next_id += len(items)
        return ids

    def upsert(self, vectors: np.ndarray, items: Sequence[NewItem]) -> np.ndarray:
        there = {item.path: id_ for id_, item in self.stored_items.items()}
        replaced = [(place, there[item.path]) for place, item in enumerate(items) if item.path in there]
        kept = {place: self.stored_attributes.get(old, {}) for place, old in replaced}
        self.remove([old for _, old in replaced])
        ids = self.add(vectors, items)
        self.stored_attributes |= {int(ids[place]): attributes for place, attributes in kept.items()}
        return ids

    def update(self, items: Mapping[int, NewItem]) -> None:
        self.stored_items.update(items)

    def remove(self, ids: Iterable[int]) -> None:
        for id_ in ids:
            del self.rows[id_], self.stored_items[id_]
            self.stored_attributes.pop(id_, None)

    def attach(self, attributes: Mapping[int, Mapping[str, Value | None]]) -> None:
        for id_, values in attributes.items():
            mine = self.stored_attributes.setdefault(id_, {})
            for name, value in values.items():
                if value is None:
                    mine.pop(name, None)
                else:
                    mine[name] = value
                    self.kinds.setdefault(name, set()).add(_kind(value))

    def compact(self) -> None:
        """Changes nothing that can be asked for."""

    # Reading it

    def ids(self) -> np.ndarray:
        return np.array(sorted(self.rows), np.int64)

    def all_vectors(self) -> tuple[np.ndarray, np.ndarray]:
        ids = self.ids()
        empty = self.as_stored(np.empty((0, self.dim), np.float32))
        return ids, np.stack([self.rows[id_] for id_ in ids.tolist()]) if len(ids) else empty

    def items(self, ids: Iterable[int]) -> list[Item]:
        return [Item(int(id_), *dataclasses.astuple(self.stored_items[int(id_)])) for id_ in ids]

    def attributes(self, ids: Iterable[int]) -> list[dict[str, Value]]:
        return [self.stored_attributes.get(int(id_), {}) for id_ in ids]

    def attribute_kinds(self) -> dict[str, set[str]]:
        """What the values are now; an index may also name what they were, as :attr:`kinds` does."""
        kinds: dict[str, set[str]] = {}
        for values in self.stored_attributes.values():
            for name, value in values.items():
                kinds.setdefault(name, set()).add(_kind(value))
        return kinds

    def select(self, predicate: Predicate) -> np.ndarray:
        chosen = [
            id_ for id_ in sorted(self.rows) if predicate(self.stored_items[id_], self.stored_attributes.get(id_, {}))
        ]
        return np.array(chosen, np.int64)

    def search(
        self,
        queries: np.ndarray,
        k: int,
        *,
        exclude: Sequence[Sequence[int]] | None = None,
        among: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Every score in float64, rounded once, sorted by (−score, id)."""
        ids, exact = self.scores(queries)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        found = np.full((len(queries), k), -1)
        for query, row in enumerate(exact):
            keep = self._kept(ids, query, exclude, among)
            order = keep[np.lexsort((ids[keep], -row[keep]))][:k]
            scores[query, : len(order)], found[query, : len(order)] = row[order], ids[order]
        return scores, found

    def range_search(
        self,
        queries: np.ndarray,
        score: float,
        *,
        exclude: Sequence[Sequence[int]] | None = None,
        among: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        ids, exact = self.scores(queries)
        limits, scores, found = [0], [np.empty(0, np.float32)], [np.empty(0, np.int64)]
        for query, row in enumerate(exact):
            keep = self._kept(ids, query, exclude, among)
            keep = keep[row[keep] >= score]
            order = keep[np.lexsort((ids[keep], -row[keep]))]
            limits.append(limits[-1] + len(order))
            scores.append(row[order])
            found.append(ids[order])
        return np.array(limits), np.concatenate(scores), np.concatenate(found)

    def scores(self, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """All ids (n,), ascending, and all scores float32 (nq, n)."""
        ids, rows = self.all_vectors()
        asked = self.as_stored(queries) if self.storage == "binary" else queries
        out = np.empty((len(queries), len(ids)))
        for row, query in zip(out, asked, strict=True):
            if self.storage == "binary":
                row[:] = 1 - 2 * np.unpackbits(rows ^ query, axis=1).sum(axis=1, dtype=np.int64) / self.dim
            else:
                row[:] = (rows.astype(np.float64) * query.astype(np.float64)).sum(axis=1)
        return ids, np.clip(out.astype(np.float32), -1, 1)

    def as_stored(self, vectors: np.ndarray) -> np.ndarray:
        """Rows as `Index.vectors` gives them back."""
        if self.storage == "binary":
            return vectors if vectors.dtype == np.uint8 else np.packbits(vectors > 0, axis=1, bitorder="little")
        return vectors.astype(np.float16).astype(np.float32) if self.storage == "float16" else vectors

    @staticmethod
    def _kept(
        ids: np.ndarray, query: int, exclude: Sequence[Sequence[int]] | None, among: np.ndarray | None
    ) -> np.ndarray:
        keep = np.ones(len(ids), bool)
        if exclude is not None:
            keep &= ~np.isin(ids, np.asarray(exclude[query], np.int64))
        if among is not None:
            keep &= np.isin(ids, among)
        return np.flatnonzero(keep)


def _kind(value: Value) -> str:
    return "text" if isinstance(value, str) else "number"


def state(index: Index | Model) -> str:
    """Everything that can be asked of an index, as one text: two indexes that hold the same have the same."""
    ids, vectors = index.all_vectors()
    return json.dumps(
        {
            "ids": ids.tolist(),
            "items": [dataclasses.astuple(item) for item in index.items(ids)],
            "vectors": hashlib.sha256(np.ascontiguousarray(vectors)).hexdigest(),
            "attributes": list(index.attributes(ids)),
        },
        sort_keys=True,
    )


def random_verb(rng: np.random.Generator, model: Model) -> tuple[str, tuple[Any, ...]]:
    """The name of a method that changes an index like this one, and arguments for it that are right."""
    ids = model.ids()
    verbs = ["add", "upsert", "update", "remove", "attach", "compact"]
    verb = rng.choice(verbs, p=[0.3, 0.2, 0.15, 0.15, 0.15, 0.05]) if len(ids) else "add"
    some = rng.choice(ids, int(rng.integers(1, min(len(ids), 9) + 1)), replace=False).tolist() if len(ids) else []
    if verb == "remove":
        return "remove", (ids.tolist() if rng.random() < 0.05 else some,)
    if verb == "attach":
        values: list[Value | None] = [None, 3, -2.5, 1e300, "red", "2024-05-01", "", 2**40, "ü 'quoted'"]
        choose = lambda: {str(name): values[rng.integers(len(values))] for name in rng.choice(["price", "shop"], 2)}  # noqa: E731
        return "attach", ({id_: choose() for id_ in some},)
    if verb == "update":
        turned = [*some[1:], *some[:1]]  # each takes the path of the next: all at once, since one by one they collide
        paths = [model.stored_items[id_].path for id_ in turned]
        if rng.random() < 0.5:
            paths = [f"moved/{id_}-{model.next_id}-{rng.integers(1 << 30)}.png" for id_ in some]
        return "update", ({id_: NewItem(path, "moved", 1, 2, 3, 4) for id_, path in zip(some, paths, strict=True)},)
    if verb == "compact":
        return "compact", ()
    fresh = named(int(rng.integers(1, 12)), model.next_id, seed=int(rng.integers(1 << 30)))
    old = [dataclasses.replace(model.stored_items[id_], mtime_ns=7) for id_ in some] if verb == "upsert" else []
    items = [*old, *fresh]
    vectors = clustered(len(items), model.dim, seed=int(rng.integers(1 << 30)))
    vectors[rng.random(len(vectors)) < 0.2] = vectors[0]  # duplicates
    return str(verb), (vectors, items)
