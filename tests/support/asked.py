"""Everything that an index is asked, held beside what the slow and obvious :class:`index_model.Model` answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from index_model import Model, Predicate, clustered, state

from retrieval.errors import RetrievalError
from retrieval.index import Index

FILTERS: Mapping[str, Predicate] = {
    "label = 'class3'": lambda item, _: item.label == "class3",
    "price >= 2.5": lambda _, attributes: number(attributes) >= 2.5,
    "price < 1 and shop = 'b'": lambda _, attributes: number(attributes, 9) < 1 and attributes.get("shop") == "b",
    "label = 'nobody'": lambda item, _: False,
}


def number(attributes: Mapping[str, object], default: float = -1e9) -> float:
    price = attributes.get("price", default)
    return default if isinstance(price, str) else float(price)  # type: ignore[arg-type]


def usable(where: str, index: Index, model: Model) -> bool:
    """Whether the names of a filter are known, and of the kind that it compares them with: otherwise it is refused."""
    needs = {"price": "number", "shop": "text"}
    kinds = index.attribute_kinds()
    for name, there in model.attribute_kinds().items():
        assert there <= kinds[name] <= model.kinds[name]
    return all(kind in kinds.get(name, ()) for name, kind in needs.items() if name in where)


def of(storage: str, n: int, d: int, seed: int = 0) -> np.ndarray:
    """Vectors that an index of this storage takes; those of an odd seed are codes where it holds codes."""
    vectors = clustered(n, d, seed)
    return np.packbits(vectors > 0, axis=1, bitorder="little") if storage == "binary" and seed % 2 else vectors


def dim(storage: str, d: int) -> int:
    return max(8, d // 8 * 8) if storage == "binary" else d


def compare(index: Index, model: Model, queries: np.ndarray, factory: str | None) -> None:
    """Ask everything of both."""
    assert len(index) == len(model)
    assert state(index) == state(model)
    ids = model.ids()
    np.testing.assert_array_equal(index.vectors(ids[::-1]), model.all_vectors()[1][::-1])
    some = np.random.default_rng(len(ids)).permutation(ids)[:7].tolist()
    exclude = [[*some[: q % 7], 10**9, -5] for q in range(len(queries))]
    ask(index, model, queries, factory)
    ask(index, model, queries, factory, exclude)
    for number, (where, predicate) in enumerate(FILTERS.items()):
        if not usable(where, index, model):
            with pytest.raises(RetrievalError):
                index.select(where)
            continue
        np.testing.assert_array_equal(index.select(where), model.select(predicate))
        ask(index, model, queries, factory, exclude if number % 2 == 0 else None, where)


def ask(
    index: Index,
    model: Model,
    queries: np.ndarray,
    factory: str | None,
    exclude: Sequence[Sequence[int]] | None = None,
    where: str | None = None,
) -> None:
    """Search both, for k and for a score, and hold the answers side by side."""
    among = None if where is None else model.select(FILTERS[where])
    for k in (0, 1, 10, len(model) + 3):
        scores, found = index.search(queries, k, exclude=exclude, where=where)
        assert scores.dtype == np.float32 and found.dtype == np.int64
        assert scores.shape == found.shape == (len(queries), k)
        if factory is None:
            truth = model.search(queries, k, exclude=exclude, among=among)
            np.testing.assert_array_equal(found, truth[1])
            np.testing.assert_array_equal(scores, truth[0])
        else:
            check_valid(model, queries, scores, found, exclude, among)
        for query in range(len(queries)) if k == 10 else ():
            one = slice(query, query + 1)
            alone = index.search(queries[one], k, exclude=exclude and exclude[one], where=where)
            np.testing.assert_array_equal(alone[0].view(np.int32), scores[one].view(np.int32))  # bit for bit
            np.testing.assert_array_equal(alone[1], found[one])
    for score in (-1.0, 0.3, 0.999):
        got = index.range_search(queries, score, exclude=exclude, where=where)
        for mine, expected in zip(got, model.range_search(queries, score, exclude=exclude, among=among), strict=True):
            np.testing.assert_array_equal(mine, expected)


def check_valid(
    model: Model,
    queries: np.ndarray,
    scores: np.ndarray,
    found: np.ndarray,
    exclude: Sequence[Sequence[int]] | None,
    among: np.ndarray | None,
) -> None:
    """What holds for an approximate answer: see the top of the file."""
    _, allowed = model.search(queries, len(model), exclude=exclude, among=among)
    ids, exact = model.scores(queries)
    k = found.shape[1]
    for query in range(len(queries)):
        may = allowed[query][allowed[query] >= 0]
        count = min(k, len(may))
        got, mine = found[query][:count], scores[query][:count]
        assert np.isin(got, may).all() and len(np.unique(got)) == count
        np.testing.assert_array_equal(mine, exact[query][np.searchsorted(ids, got)])
        np.testing.assert_array_equal(np.lexsort((got, -mine)), np.arange(count))
        assert (found[query][count:] == -1).all() and (scores[query][count:] == -np.inf).all()
