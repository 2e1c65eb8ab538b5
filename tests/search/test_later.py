"""What an answer makes when somebody asks for it is what it would have been at once."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from pathlib import Path

import numpy as np
import pytest
from vectors import clustered, unit

from retrieval.base import compiled
from retrieval.index import Index, NewItem
from retrieval.index.vectors import directions
from retrieval.search import Answer, Search
from retrieval.search.arrangement import FIRST, Arrangement
from retrieval.search.query import unit_rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("later") / "index"
    with Index.create(place, 8, root="", encoder_hash="", details={}) as index:
        items = [NewItem(f"{row}.png", f"{row % 3}", sha256=f"{row // 2}") for row in range(60)]
        index.add(clustered(60, 8), items)
    return place


def test_hits_are_made_once_and_outlive_the_index(folder: Path) -> None:
    with Search.open(folder) as search:
        vectors = search.index.vectors([7])
        scores, ids = search.index.search(vectors, 4, exclude=[[6, 7]])
        (later,) = search.query_ids([7], 4)
        paths = [item.path for item in search.index.items(ids[0])]
    assert "hits" not in vars(later) and "next" not in vars(later)
    assert [(hit.rank, hit.id, hit.path) for hit in later] == [
        (rank, id_, path) for rank, (id_, path) in enumerate(zip(ids[0].tolist(), paths, strict=True), 1)
    ]
    np.testing.assert_array_equal([hit.score for hit in later], scores[0])
    assert later.left_out == (6, 7) and [hit.relevant for hit in later] == [hit.label == "1" for hit in later]
    assert later.hits is later.hits and later.next is later.next
    with pytest.raises(AttributeError, match="no attribute 'hist'"):
        later.hist  # noqa: B018


def test_a_copy_is_the_same_answer_whoever_asked_first(folder: Path) -> None:
    with Search.open(folder) as search:
        first, second, third, fourth = (search.query_ids([7], 4)[0] for _ in range(4))
    made = Answer(**{field.name: getattr(first, field.name) for field in dataclasses.fields(Answer)})
    assert "hits" not in vars(second)
    assert pickle.loads(pickle.dumps(second)) == made == copy.copy(third)  # noqa: S301  (our own)
    replaced = dataclasses.replace(fourth, hits=fourth.hits[:2])
    assert replaced == dataclasses.replace(made, hits=made.hits[:2]) and replaced.next == made.next
    assert repr(second) == repr(made)


def test_a_cursor_goes_on_though_the_vector_was_changed_since(folder: Path) -> None:
    page = Arrangement(cursor=FIRST)
    with Search.open(folder) as search:
        vector = search.index.vectors([3])
        question = search.understood(search_part(3))[0]
        (later,) = search.ask([question], vector, 5, arrange=page)
        kept = vector.copy()
        vector[:] = unit(1, 8, seed=5)
        assert later.next is not None
        (second,) = search.ask([question], kept, 5, arrange=Arrangement(cursor=later.next))
        (both,) = search.ask([question], kept, 10)
    assert [hit.id for hit in (*later, *second)] == [hit.id for hit in both]


def search_part(id_: int):  # type: ignore[no-untyped-def]
    from retrieval.search.parts import Part

    return Part("id", id_)


@pytest.mark.skipif(compiled.kernel is None, reason="there was no compiler")
@pytest.mark.parametrize("d", [8, 13, 64])
def test_rows_are_scaled_as_numpy_does(d: int, tmp_path: Path) -> None:
    lengths = 10.0 ** np.arange(-30, 33, 7)
    rows = (np.random.default_rng(0).standard_normal((9, d)) * lengths[:, None]).astype(np.float32)
    with Index.create(tmp_path / "index", d, root="", encoder_hash="", details={}) as index:
        found = unit_rows(rows, index)
        for row in range(9):
            np.testing.assert_array_equal(unit_rows(rows[row], index)[0], found[row])
        np.testing.assert_allclose(found, directions(rows)[0], rtol=1e-7)
        out = np.empty_like(rows)
        for bad in (np.zeros(d), np.full(d, np.nan), np.full(d, np.inf)):
            wrong = rows.copy()
            wrong[4] = bad
            assert not compiled.kernel.unit_into(out, wrong, d)
        assert not compiled.kernel.unit_into(out, rows.astype(np.float64), d)
        assert not compiled.kernel.unit_into(out, rows[:5], d)
        assert not compiled.kernel.unit_into(out, np.asfortranarray(rows), d)
