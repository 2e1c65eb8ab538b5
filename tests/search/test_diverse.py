"""Maximal marginal relevance against its definition, written out in loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from index_model import Model, clustered, create, named

from retrieval.index.vectors import as_numbers
from retrieval.search.arrangement import Arrangement
from retrieval.search.diverse import LEAST, MOST, POOL, pool
from retrieval.search.search import Search


def slow(scores: list[float], vectors: np.ndarray, k: int, weight: float) -> list[int]:
    """Of equal ones the first."""
    chosen: list[int] = []
    while len(chosen) < min(k, len(scores)):
        best, most = -1, -np.inf
        for place, score in enumerate(scores):
            if place in chosen:
                continue
            alike = [float(np.vecdot(vectors[place], vectors[other])) for other in chosen]
            gain = weight * score - (1 - weight) * max(alike) if chosen else weight * score
            if gain > most:
                best, most = place, gain
        chosen.append(best)
    return chosen


@pytest.mark.parametrize("storage", ["float32", "float16", "binary"])
@pytest.mark.parametrize("weight", [0.0, 0.3, 0.7, 1.0])
def test_hits_are_chosen_as_the_definition_says(tmp_path: Path, storage: str, weight: float) -> None:
    """Equal vectors among them; the scores stay the inner products; with a filter and within a score, too."""
    vectors = clustered(260, 16)
    vectors[20:60] = vectors[20]
    model = Model(16, storage)
    with create(tmp_path / "index", 16, storage) as index:
        for each in (index, model):
            each.add(vectors, named(260))
    odd = model.select(lambda item, _: item.label == "class3")
    with Search.open(tmp_path / "index") as search:
        for k, where, above in ((6, None, None), (12, None, None), (5, 'label = "class3"', None), (7, None, 0.3)):
            (answer,) = search.query_vectors(
                vectors[3], k, where=where, above=above, arrange=Arrangement(diverse=weight)
            )
            scores, ids = model.search(vectors[3:4], 260, among=odd if where else None)
            within = (ids[0] >= 0) & (scores[0] >= (-2 if above is None else np.float32(above)))
            first, near = ids[0][within][: pool(k)], scores[0][within][: pool(k)].tolist()
            stored = dict(zip(*(array.tolist() for array in (model.ids(), np.arange(260))), strict=True))
            mine = as_numbers(model.all_vectors()[1][[stored[id_] for id_ in first.tolist()]], dtype=np.float64)
            places = slow(near, mine, k, weight)
            assert [hit.id for hit in answer] == first[places].tolist()
            assert [hit.score for hit in answer] == [near[place] for place in places]
            assert [hit.rank for hit in answer] == [*range(1, k + 1)] and answer.next is None
            if weight == 1.0:
                assert places == [*range(k)]


def test_of_few_hits_all_come(tmp_path: Path) -> None:
    with create(tmp_path / "index", 16) as index:
        index.add(clustered(4, 16), named(4))
    with Search.open(tmp_path / "index") as search:
        assert {hit.id for hit in search.query_ids([1], 9, arrange=Arrangement(diverse=0.5))[0]} == {0, 2, 3}
        (none,) = search.query_ids([1], 9, above=1.0, arrange=Arrangement(diverse=0.5, facets=True))
        assert none.hits == () and none.matches == 0 and none.facets is not None


def test_how_many_are_looked_at() -> None:
    assert [pool(k) for k in (1, 10, 50, 2000, 50_000)] == [LEAST, LEAST, 50 * POOL, MOST, 50_000]
