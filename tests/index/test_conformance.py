"""Every verb on every structure and storage, against a reference in float64: the same answers from all of them.

Exact search must agree in every bit. An approximate structure may miss neighbours, and nothing else: what it gives
has the exact scores, in order, nothing twice, nothing that was removed, excluded or filtered out, and as many as there
are; and at its most thorough it finds nearly all.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from asked import FILTERS, ask, compare, dim, of, usable
from index_model import Model, clustered, create, named, random_verb, state

from retrieval.errors import RetrievalError
from retrieval.index import Index, NewItem
from retrieval.index.integrity import verify
from retrieval.index.nearest import kinds

EXACT: list[tuple[str, str | None]] = [("float32", None), ("float16", None), ("binary", None)]
FAMILIES = (
    "HNSW16,Flat", "HNSW16_SQ8", "IVF16,Flat", "IVF16,PQ8x4fs", "IVF16,RaBitQ", "PCA8,HNSW16_SQ8", "SQ8",
    "BFlat", "BHNSW16", "BIVF16", "SymphonyQG32", "Lists16x16",
)  # fmt: skip
APPROXIMATE = [*(("float32", factory) for factory in FAMILIES), ("float16", "HNSW16,Flat")]
WALKED = ("HNSW16,Flat", "IVF16,PQ8x4fs", "BHNSW16", "SymphonyQG32")
"""Structures that take a random walk, and live through every verb, in the normal run, too."""
SHORT = [
    pytest.param(storage, factory, marks=[] if factory in WALKED else pytest.mark.long)
    for storage, factory in APPROXIMATE
]

RECALL = 0.9
"""What a structure must find of the ten nearest at its most thorough."""


def thorough(index: Index, factory: str) -> None:
    """Give the index a structure over what it holds, set to its most thorough."""
    if factory.startswith("SymphonyQG"):
        pytest.importorskip("rabitqlib")
    _, vectors = index.all_vectors()
    built = kinds.build(factory, vectors)
    index.set_structure(built, kinds.efforts(factory, len(vectors))[-1])


def life(folder: Path, storage: str, factory: str | None, n: int, d: int) -> None:
    """From the first picture to the last: every verb, and every question after it."""
    d = dim(storage, d)
    model = Model(d, storage)
    vectors, queries = of(storage, n, d), np.concatenate([of(storage, n, d)[:2], of(storage, 2, d, seed=4)])
    with create(folder, d, storage) as index:
        for rows in np.array_split(np.arange(n), 3):
            items = named(len(rows), len(model))
            np.testing.assert_array_equal(index.add(vectors[rows], items), model.add(vectors[rows], items))
        if factory is not None and n:
            thorough(index, factory)
        attributes = {i: {"price": (i % 9) / 2, "shop": "ab"[i % 2]} for i in range(0, n, 2)}
        for each in (index, model):
            each.attach(attributes)
        compare(index, model, queries, factory)

        ids = model.ids().tolist()
        fresh = [*named(3, 10**6), *named(n, 0, seed=1)[2::7]]
        for each in (index, model):
            each.remove(ids[1::5])
            each.upsert(of(storage, len(fresh), d, seed=1), fresh)
            each.attach({id_: {"price": None, "shop": "b"} for id_ in each.all_vectors()[0][::3].tolist()})
            each.update({id_: NewItem(f"moved/{id_}", "class3") for id_ in each.all_vectors()[0][::4].tolist()})
        compare(index, model, queries, factory)
        assert verify(folder).ok
    with Index.open(folder) as index:
        compare(index, model, queries, factory)
    with Index.open(folder, mapped=True) as index:
        compare(index, model, queries, factory)
    with Index.open(folder, write=True) as index:
        index.compact()
        compare(index, model, queries, factory)
        assert verify(folder).ok
        assert (index.info()["items"], index.info()["removed"]) == (len(model), 0)
    with Index.open(folder, write=True) as index:
        assert state(index) == state(model)
        for each in (index, model):
            each.remove(each.all_vectors()[0].tolist())
        compare(index, model, queries, factory)
        with Index.open(folder) as reader:  # which has no vector to load, and perhaps a structure
            compare(reader, model, queries, factory)
        index.compact()
        for each in (index, model):
            assert (each.add(vectors[:1], named(1)[: len(vectors)]) >= n + len(fresh)).all()  # no id comes twice
        compare(index, model, queries, factory)
        assert verify(folder).ok


@pytest.mark.parametrize(("n", "d"), [(0, 3), (1, 1), (17, 2), (40, 2048), (300, 64)])
@pytest.mark.parametrize(("storage", "factory"), EXACT)
def test_exact_search_agrees_in_every_bit(tmp_path, storage, factory, n, d):
    life(tmp_path / "index", storage, factory, n, d)


@pytest.mark.parametrize(("storage", "factory"), SHORT)
def test_structures_give_valid_answers(tmp_path, storage, factory):
    life(tmp_path / "index", storage, factory, 400, 16)


@pytest.mark.parametrize("n", [1, 17])
def test_a_structure_over_a_few_items(tmp_path, n):
    life(tmp_path / "index", "float32", "HNSW16,Flat", n, 8)


@pytest.mark.long
@pytest.mark.parametrize(("n", "d"), [(1, 2048), (300, 1), (2000, 128), (3000, 1000), (20_000, 32)])
@pytest.mark.parametrize(("storage", "factory"), [*EXACT, *APPROXIMATE])
def test_large_ones_too(tmp_path, storage, factory, n, d):
    if factory is None or n >= 2000:
        life(tmp_path / "index", storage, factory, n, d)


@pytest.mark.kernels
@pytest.mark.parametrize(("storage", "factory"), APPROXIMATE)
def test_a_thorough_structure_finds_nearly_all(tmp_path, storage, factory):
    model = Model(64, storage)
    vectors, queries = of(storage, 2000, 64), of(storage, 40, 64, seed=2)

    def recall(where: str | None = None) -> float:
        among = None if where is None else model.select(FILTERS[where])
        truth, _ = model.search(queries, 10, among=among)
        scores, _ = index.search(queries, 10, where=where)
        return float(np.mean(scores >= truth[:, -1:]))  # equal scores are equally right

    with create(tmp_path / "index", 64, storage) as index:
        for each in (index, model):
            each.add(vectors, named(2000))
        thorough(index, factory)
        assert recall() >= RECALL
        nearest = np.unique(model.search(queries, 3)[1]).tolist()
        for each in (index, model):
            each.remove(nearest)
            each.add(of(storage, 100, 64, seed=6), named(100, 2000))
        assert recall() >= RECALL
        assert recall("label = 'class3'") >= RECALL


@pytest.mark.parametrize(("storage", "factory"), [*EXACT, *APPROXIMATE])
def test_of_equal_vectors_the_lowest_ids_come_first(tmp_path, storage, factory):
    model = Model(32, storage)
    vectors = of(storage, 600, 32)
    same = np.random.default_rng(3).permutation(600)[:250]
    vectors[same] = vectors[same[0]]
    queries = np.concatenate([vectors[same[:2]], vectors[:3]])
    with create(tmp_path / "index", 32, storage) as index:
        for rows in np.array_split(np.arange(600), 2):
            for each in (index, model):
                each.add(vectors[rows], named(len(rows), int(rows[0])))
        if factory is not None:
            thorough(index, factory)
        for exclude in (None, [np.sort(same)[:5].tolist()] * 5):
            ask(index, model, queries, factory, exclude)


@pytest.mark.parametrize("d", [8, 64, 1000])
def test_codes_and_floats_are_the_same_to_a_binary_index(tmp_path, d):
    floats, queries = clustered(60, d), clustered(5, d, seed=1)
    codes = np.packbits(floats > 0, axis=1, bitorder="little")
    model = Model(d, "binary")
    with create(tmp_path / "index", d, "binary") as index:
        for each in (index, model):
            each.add(floats[:30], named(30))
            each.add(codes[30:], named(30, 30))
        np.testing.assert_array_equal(index.vectors(np.arange(60)), codes)
        asked = np.packbits(queries > 0, axis=1, bitorder="little")
        for kind in (queries, asked):
            for got, expected in zip(index.search(kind, 9), model.search(queries, 9), strict=True):
                np.testing.assert_array_equal(got, expected)


# A random walk


def wrong_verb(rng: np.random.Generator, model: Model) -> tuple[str, tuple[object, ...]]:
    """A method that changes an index, and arguments that it must refuse."""
    here = int(rng.choice(model.ids()))
    item = model.stored_items[here]
    vectors = clustered(2, model.dim)
    mistakes = [
        ("add", (vectors, [NewItem("a new one"), item])),  # a path that is there
        ("add", (vectors, [NewItem("twice"), NewItem("twice")])),
        ("upsert", (vectors, [NewItem("twice"), NewItem("twice")])),
        ("upsert", (vectors[:1], [NewItem("one"), NewItem("more")])),
        ("remove", ([here, model.next_id],)),
        ("update", ({here: NewItem("x"), model.next_id + 5: NewItem("y")},)),
        ("update", ({here: NewItem("z"), **{id_: NewItem("z") for id_ in model.ids()[:2].tolist()}},)),
        ("attach", ({here: {"price": 1}, model.next_id: {"price": 1}},)),
        ("attach", ({here: {"price": float("nan")}},)),
    ]
    if len(model) < 2:
        mistakes = [mistakes[0], mistakes[4]]
    return mistakes[rng.integers(len(mistakes))]


def walk(folder: Path, storage: str, factory: str | None, seed: int, steps: int) -> None:
    """Change an index and its model alike, at random, and compare them after each step.

    Readers that were opened on the way must go on seeing what they saw, whatever comes later.
    """
    rng = np.random.default_rng(seed)
    model = Model(16, storage)
    index = create(folder, 16, storage)
    readers: list[tuple[Index, Model]] = []
    try:
        for step in range(steps):
            what = rng.choice(["change", "mistake", "reopen", "structure", "reader"], p=[0.6, 0.12, 0.1, 0.06, 0.12])
            if what == "change":
                verb, arguments = random_verb(rng, model)
                np.testing.assert_equal(getattr(index, verb)(*arguments), getattr(model, verb)(*arguments))
            elif what == "mistake" and len(model):
                verb, arguments = wrong_verb(rng, model)
                with pytest.raises(RetrievalError) as caught:
                    getattr(index, verb)(*arguments)
                assert len(str(caught.value).splitlines()) == 1
            elif what == "reopen":
                index.close()
                index = Index.open(folder, write=True, mapped=bool(rng.integers(2)))
            elif what == "structure" and factory is not None and len(model) >= 40:  # some take no fewer
                thorough(index, factory)
            elif what == "reader":
                readers.append((Index.open(folder, mapped=bool(rng.integers(2))), model.copy()))
                if len(readers) > 3:
                    readers.pop(0)[0].close()
            held, seen = readers[rng.integers(len(readers))] if readers and step % 5 == 0 else (index, model)
            queries = clustered(3, 16, seed=step)
            some = rng.choice(seen.ids(), 2).tolist() if len(seen) else []
            where = rng.choice([None, *(where for where in FILTERS if usable(where, held, seen))])
            assert state(held) == state(seen), f"step {step}, after {what}"
            ask(held, seen, queries, factory, [some, [], some] if rng.random() < 0.5 else None, where)
        assert verify(folder).ok
    finally:
        for reader, _ in readers:
            reader.close()
        index.close()


@pytest.mark.parametrize(
    ("storage", "factory"),
    [*EXACT, *SHORT],
)
def test_a_random_walk(tmp_path, storage, factory, long):
    for seed in range(20 if long else 1):
        walk(tmp_path / f"index{seed}", storage, factory, seed, 300 if long else 40)
