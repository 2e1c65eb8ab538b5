"""What a program may hand to an index by mistake: one sentence each, which blames the right thing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from vectors import brute, make, unit

from retrieval.errors import RetrievalError
from retrieval.index import Index, NewItem
from retrieval.index.index import PADDED

N, D = 40, 8
VECTORS = unit(N, D)


@pytest.fixture
def index(tmp_path: Path):  # type: ignore[no-untyped-def]
    with make(tmp_path / "index", VECTORS) as index:
        yield index


def test_whole_numbers_of_any_library_are_taken(index: Index) -> None:
    expected = index.search(VECTORS[:3], 5)[1]
    for k in (np.int64(5), np.uint8(5), np.int32(5)):
        np.testing.assert_array_equal(index.search(VECTORS[:3], k)[1], expected)
    ids = np.array([3, 1], np.uint16)
    assert [item.id for item in index.items(ids)] == [3, 1]
    index.attach(
        {np.int64(2): {"iso": np.int64(400), "f": np.float32(2.5), "good": np.bool_(True), "by": np.str_("a")}}
    )
    assert index.attributes([2]) == [{"by": "a", "f": 2.5, "good": 1, "iso": 400}]
    index.remove(ids)
    assert len(index) == N - 2


@pytest.mark.parametrize("wrong", [2.0, 1.9, "3", None, [1], np.float32(1)])
def test_what_is_no_whole_number_is_refused(index: Index, wrong: object) -> None:
    for call in (
        lambda: index.search(VECTORS[:1], wrong),
        lambda: index.search(VECTORS[:1], 3, exclude=[[wrong]]),
        lambda: index.remove([wrong]),
        lambda: index.items([wrong]),
        lambda: index.vectors([wrong]),
    ):
        with pytest.raises(RetrievalError, match="give a whole number"):
            call()
    assert len(index) == N
    with pytest.raises(RetrievalError, match="give a list of whole numbers"):
        index.remove(7)  # type: ignore[arg-type]


@pytest.mark.parametrize("k", [N + 1, 10**9, 2**70])
def test_k_asks_for_no_memory(index: Index, k: int) -> None:
    scores, ids = index.search(VECTORS, k)
    width = min(k, N + PADDED)
    assert scores.shape == ids.shape == (N, width)
    for mine, expected in zip((scores, ids), brute(VECTORS, VECTORS, np.arange(N), width), strict=True):
        np.testing.assert_array_equal(mine, expected)


CALLS: dict[str, tuple[Callable[[Index], object], str]] = {
    "a number too large": (lambda index: index.attach({0: {"h": 2**63}}), "larger than the index can keep"),
    "half a character": (lambda index: index.attach({0: {"h": "\udcff"}}), "not Unicode text"),
    "half a character in a name": (lambda index: index.attach({0: {"\udcff": 1}}), "give it a name"),
    "no name": (lambda index: index.attach({0: {3: 1}}), "give it a name"),  # type: ignore[dict-item]
    "a list": (lambda index: index.attach({0: {"h": [1]}}), "a text or a finite number"),  # type: ignore[dict-item]
    "a path": (lambda index: index.add(VECTORS[:1], [NewItem(Path("c"))]), "give a text"),  # type: ignore[arg-type]
    "a label": (lambda index: index.add(VECTORS[:1], [NewItem("c", 3)]), "give a text"),  # type: ignore[arg-type]
    "a path that is not Unicode": (lambda index: index.add(VECTORS[:1], [NewItem("c\udcff")]), "not Unicode"),
    "a size too large": (lambda index: index.add(VECTORS[:1], [NewItem("c", size=2**64)]), "below 2"),
    "details of NumPy": (lambda index: index.record_details({"a": np.int64(1)}), "can neither keep"),
    "a filter": (lambda index: index.select('label = "\udcff"'), "not Unicode text"),
    "a list of what was left out": (lambda index: index.record_skipped([("\udcff", "x")]), "can neither keep"),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_sound_catalog_is_not_blamed(index: Index, name: str) -> None:
    call, says = CALLS[name]
    generation = index.generation
    with pytest.raises(RetrievalError, match=says) as caught:
        call(index)
    assert "build the index again" not in str(caught.value)
    assert index.generation == generation and len(index) == N
    index.attach({0: {"after": 1}})  # and it goes on
    assert index.attributes([0]) == [{"after": 1}]


def test_what_cannot_be_there_is_not_found(index: Index) -> None:
    assert index.find("a\udcff.png") is None
    assert index.search(VECTORS[:1], 1, exclude=[[2**80, -5]])[1][0, 0] == 0
    for id_ in (-1, 2**63, 2**80):
        with pytest.raises(RetrievalError, match=f"has no item {id_}"):
            index.items([id_])


def test_after_close_it_says_that_it_was_closed(index: Index) -> None:
    index.search(VECTORS[:1], 1)
    index.close()
    for call in (
        lambda: index.search(VECTORS[:1], 1),
        lambda: index.range_search(VECTORS[:1], 0.5),
        lambda: index.vectors([0]),
        lambda: index.items([0]),
        index.ids,
        index.labels,
        lambda: index.select("id = 1"),
        lambda: index.remove([0]),
        lambda: index.add(VECTORS[:1], [NewItem("new")]),
    ):
        with pytest.raises(RetrievalError, match="was closed; open it again"):
            call()
    index.close()
