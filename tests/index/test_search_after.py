"""Hits after a place in the order of scores: on every storage, bit for bit as the slow search has them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from index_model import Model, clustered, create, named

from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.index.nearest import kinds

STORAGES = ("float32", "float16", "binary")
FIRST = (math.inf, -1)


def filled(folder: Path, storage: str, structure: str | None = None) -> tuple[Index, Model, np.ndarray]:
    """500 vectors in two segments and some removed, 120 of them equal; and queries, the first of them such a one."""
    model = Model(16, storage)
    vectors = clustered(500, 16)
    vectors[np.random.default_rng(1).permutation(500)[:120]] = vectors[7]
    index = create(folder, 16, storage)
    for each in (index, model):
        each.add(vectors[:300], named(300))
        each.add(vectors[300:], named(200, 300))
        each.attach({id_: {"shop": "ab"[id_ % 2]} for id_ in range(500)})
    if structure is not None:
        index.set_structure(kinds.build(structure, index.all_vectors()[1]), {"efSearch": 16})
    for each in (index, model):
        each.remove(list(range(40, 90, 3)))
    return index, model, np.concatenate([vectors[7:8], clustered(2, 16, seed=5)])


@pytest.mark.parametrize(("storage", "structure"), [*((one, None) for one in STORAGES), ("float32", "HNSW16,Flat")])
@pytest.mark.parametrize("mapped", [False, True])
def test_pages_are_the_whole_ranking(tmp_path: Path, storage: str, structure: str | None, mapped: bool) -> None:
    """Page by page, ties across the borders, whatever the structure; also filtered, and with some left out."""
    writer, model, queries = filled(tmp_path / "index", storage, structure)
    writer.close()
    odd = model.select(lambda _, attributes: attributes["shop"] == "b")
    exclude = [[7, 11, 10**9], [], [3]]
    with Index.open(tmp_path / "index", mapped=mapped) as index:
        for where, left_out in ((None, None), ('shop = "b"', None), (None, exclude), ('shop = "b"', exclude)):
            among = odd if where else None
            scores, ids = model.search(queries, len(model), exclude=left_out, among=among)
            places, pages = [FIRST] * len(queries), []
            for _ in range(0, len(model) + 37, 37):
                page = index.search_after(queries, 37, places, exclude=left_out, where=where)
                alone = index.search_after(queries[:1], 37, places[:1], exclude=left_out and left_out[:1], where=where)
                np.testing.assert_array_equal(alone[1][0], page[1][0])
                pages.append(page)
                places = [
                    (float(s[i >= 0][-1]), int(i[i >= 0][-1])) if (i >= 0).any() else place
                    for s, i, place in zip(*page, places, strict=True)
                ]
            for query in range(len(queries)):
                kept = ids[query] >= 0
                found = np.concatenate([page[1][query] for page in pages])
                np.testing.assert_array_equal(found[found >= 0], ids[query][kept])
                given = np.concatenate([page[0][query] for page in pages])
                np.testing.assert_array_equal(given[found >= 0].view(np.int32), scores[query][kept].view(np.int32))


def test_a_place_need_not_be_an_item(tmp_path: Path) -> None:
    index, model, queries = filled(tmp_path / "index", "float32")
    ids, exact = model.scores(queries[1:2])
    with index:
        for place in ((0.25, 10**12), (0.25, -7), (2.0, 5), (-1.5, 3), (-math.inf, 0)):
            scores, found = index.search_after(queries[1:2], 1000, [place])
            later = (exact[0] < np.float32(place[0])) | ((exact[0] == np.float32(place[0])) & (ids > place[1]))
            order = np.lexsort((ids, -exact[0]))
            np.testing.assert_array_equal(found[0][found[0] >= 0], ids[order][later[order]])
            assert (scores[0][found[0] < 0] == -np.inf).all()
        assert index.search_after(queries, 0, [FIRST] * 3)[1].shape == (3, 0)
        assert index.search_after(queries[:0], 5, [])[1].shape == (0, 5)


def test_what_is_no_place_is_refused(tmp_path: Path) -> None:
    index, _, queries = filled(tmp_path / "index", "float32")
    with index:
        for k, after, said in (
            (5, [(math.nan, 0)] * 3, "not a number"),
            (5, [FIRST], "1 places for 3 queries"),
            (5, [(0.5, 1.5)] * 3, "whole number"),
            (-1, [FIRST] * 3, "k is -1"),
        ):
            with pytest.raises(RetrievalError, match=said):
                index.search_after(queries, k, after)  # type: ignore[arg-type]
