"""One suite for every place where an index can be: whatever is asked, a folder and every engine answer alike.

The reference is :class:`index_model.Model`, in plain Python and float64. Exact search must agree in every bit.
"""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from asked import ask, compare, dim, of
from filter_model import KINDS, random_filter, rows
from index_model import Model, clustered, create, named, random_verb, state

from retrieval.engines.opening import open_index
from retrieval.errors import RetrievalError
from retrieval.index import NewItem
from retrieval.index.lock import WriterAtWorkError
from retrieval.ingest.verify_index import verify

HOSTILE = (
    "a b", "'; DROP TABLE items; --", '"', "%s", "%(f0)s", "{schema}", "$.a", "->>", "\\", "`", "Ünïcode", "\u2028",
    "🦀", "",
)  # fmt: skip


@pytest.mark.parametrize(
    ("storage", "n", "d"), [("float32", 0, 3), ("float32", 300, 64), ("float16", 40, 33), ("binary", 200, 64)]
)
def test_a_life(tmp_path, put, storage, n, d):
    """From the first picture to the last: every change, and every question after it."""
    d = dim(storage, d)
    model, vectors = Model(d, storage), of(storage, n, d)
    queries = np.concatenate([of(storage, n, d)[:2], of(storage, 2, d, seed=4)])
    with create(tmp_path / "index", d, storage) as index:
        for rows_ in np.array_split(np.arange(n), 3):
            for each in (index, model):
                each.add(vectors[rows_], named(len(rows_), int(rows_[0]) if len(rows_) else 0))
        attributes = {i: {"price": (i % 9) / 2, "shop": "ab"[i % 2]} for i in range(0, n, 2)}
        for each in (index, model):
            each.attach(attributes)
    place = put(tmp_path / "index")
    with open_index(place) as index:
        compare(index, model, queries, None)
    with open_index(place, write=True) as index:
        ids = model.ids().tolist()
        fresh = [*named(3, 10**6), *named(n, 0, seed=1)[2::7]]
        for each in (index, model):
            each.remove(ids[1::5])
            each.upsert(of(storage, len(fresh), d, seed=1), fresh)
            each.attach({id_: {"price": None, "shop": "b"} for id_ in each.all_vectors()[0][::3].tolist()})
            each.update({id_: NewItem(f"moved/{id_}", "class3") for id_ in each.all_vectors()[0][::4].tolist()})
        compare(index, model, queries, None)
    assert verify(place).ok
    with open_index(place, write=True) as index:
        for each in (index, model):
            each.remove(each.all_vectors()[0].tolist())
        compare(index, model, queries, None)
        index.compact()
        for each in (index, model):
            assert (each.add(vectors[:1], named(1)[: len(vectors)]) >= n + len(fresh)).all()  # no id comes twice
        compare(index, model, queries, None)
    assert verify(place).ok


@pytest.mark.parametrize("storage", ["float32", "binary"])
def test_of_equal_vectors_the_lowest_ids_come_first(tmp_path, put, storage):
    model, vectors = Model(32, storage), of(storage, 600, 32)
    same = np.random.default_rng(3).permutation(600)[:250]
    vectors[same] = vectors[same[0]]
    queries = np.concatenate([vectors[same[:2]], vectors[:3]])
    with create(tmp_path / "index", 32, storage) as index:
        for each in (index, model):
            each.add(vectors, named(600))
    with open_index(put(tmp_path / "index")) as index:
        for exclude in (None, [np.sort(same)[:5].tolist()] * 5):
            ask(index, model, queries, None, exclude)
        for k in (3, 60):  # pages that begin and end among the equal ones
            scores, ids = index.search(queries, 2 * k)
            after = list(zip(scores[:, k - 1].tolist(), ids[:, k - 1].tolist(), strict=True))
            for whole, page in zip((scores, ids), index.search_after(queries, k, after), strict=True):
                np.testing.assert_array_equal(page, whole[:, k:])


def test_a_random_walk(tmp_path, put, long):
    for seed in range(8 if long else 1):
        rng, model = np.random.default_rng(seed), Model(16)
        create(tmp_path / f"index{seed}", 16).close()
        place = put(tmp_path / f"index{seed}")
        with open_index(place, write=True) as index:
            for step in range(60 if long else 25):
                verb, arguments = random_verb(rng, model)
                np.testing.assert_equal(getattr(index, verb)(*arguments), getattr(model, verb)(*arguments))
                assert state(index) == state(model), f"step {step}, after {verb}"
                some = rng.choice(model.ids(), 2).tolist() if len(model) else []
                ask(index, model, clustered(2, 16, seed=step), None, [some, []])
        assert verify(place).ok


def test_filters_find_what_the_slow_obvious_evaluation_finds(tmp_path, put, long):
    rng = random.Random(1)
    live = rows(rng, 200)
    for number, row in enumerate(live):
        row["path"] = f"{row['path']}/{number}"
    with create(tmp_path / "index", 8) as index:
        items = [
            NewItem(*(row[name] for name in ("path", "label", "width", "height", "size", "mtime_ns"))) for row in live
        ]
        index.add(clustered(200, 8), items)
        index.attach({row["id"]: {name: row[name] for name in KINDS if name in row} for row in live})
    found = 0
    with open_index(put(tmp_path / "index")) as index:
        for depth in [*[0] * 150, *[1] * 60, *[3] * 40] * (5 if long else 1):
            expression, test = random_filter(rng, depth)
            expected = [row["id"] for row in live if test(row)]
            assert index.select(expression).tolist() == expected, expression
            found += 0 < len(expected) < len(live)
    assert found > 80, "the random filters tell nothing apart"


def test_hostile_names_and_values(tmp_path, put):
    values = [
        *HOSTILE,
        0,
        -1,
        2**63 - 1,
        -(2**63),
        2.0**60,
        2**60 + 1,
        0.1,
        5.0,
        1e300,
        5e-324,
        "2024-05-01 01:00+02:00",
    ]
    with create(tmp_path / "index", 8) as index:
        index.add(
            clustered(len(values), 8),
            [NewItem(f"a/{name}{n}", name or None) for n, name in enumerate(map(str, values))],
        )
        attributes = {n: dict.fromkeys(HOSTILE, value) for n, value in enumerate(values)}
        index.attach(attributes)
        long_path = "long/" + "ü" * 1900 + "\\'"
        index.add(clustered(1, 8, seed=1), [NewItem(long_path, "x" * 5000)])
    with open_index(put(tmp_path / "index")) as index:
        kept = index.attributes(range(len(values)))
        assert [json.dumps(one, sort_keys=True) for one in kept] == [
            json.dumps(attributes[n], sort_keys=True) for n in range(len(values))
        ]
        for name in HOSTILE[:-1]:
            quoted = "`" + name.replace("`", "``") + "`"
            for n, value in enumerate(values):
                said = json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
                if "\u2028" not in said:
                    assert index.select(f"{quoted} = {said}").tolist() == [n], (name, value)
            assert index.select(f"{quoted} = 2024-04-30T23:00").tolist() == [len(values) - 1]
            assert index.select(f"{quoted} > 1152921504606846976 and {quoted} < 1e200").tolist() == [16, 19]
        assert index.find(long_path).label == "x" * 5000
        assert index.find("a/\udcff") is None
        assert index.select(f'label = "{"x" * 5000}"').tolist() == [len(values)]


def test_wrong_filters_are_refused_alike(tmp_path, put):
    with create(tmp_path / "index", 8) as index:
        index.add(clustered(2, 8), named(2))
        index.attach({0: {"iso": 100, "camera": "X"}})
    with open_index(put(tmp_path / "index")) as index:
        for wrong, message in (
            ("iso = '1'", "'iso' holds numbers only"), ("camera < 3", "'camera' holds text only"),
            ("zoom = 1", "which is no name here; there are id, path, label, .*camera, iso"), ("label =", "stops where"),
            ("path < 2024-05-01", "'path' is text"),
        ):  # fmt: skip
            with pytest.raises(RetrievalError, match=message):
                index.select(wrong)
            with pytest.raises(RetrievalError, match=message):
                index.search(clustered(1, 8), 3, where=wrong)


def test_mistakes_change_nothing(tmp_path, put):
    with create(tmp_path / "index", 8) as index:
        index.add(clustered(3, 8), named(3))
    with open_index(put(tmp_path / "index"), write=True) as index:
        before, generation, two = state(index), index.generation, clustered(2, 8)
        for verb, *arguments in (
            ("add", two, [NewItem("new"), named(1)[0]]), ("add", two, [NewItem("twice"), NewItem("twice")]),
            ("add", two[:, :4], named(2, 9)), ("upsert", two[:1], named(2)), ("remove", [0, 3]),
            ("update", {0: NewItem("x"), 9: NewItem("y")}), ("update", {0: NewItem(named(3)[2].path)}),
            ("attach", {0: {"a": 1}, 9: {"a": 1}}), ("attach", {0: {"a": float("nan")}}), ("attach", {0: {"path": 1}}),
        ):  # fmt: skip
            with pytest.raises(RetrievalError) as caught:
                getattr(index, verb)(*arguments)
            assert len(str(caught.value).splitlines()) == 1
        assert state(index) == before and index.generation == generation
    with open_index(put(tmp_path / "index")) as index, pytest.raises(RetrievalError, match="opened for reading"):
        index.remove([0])


def test_one_writes_and_any_number_read(tmp_path, put):
    with create(tmp_path / "index", 8) as index:
        index.add(clustered(3, 8), named(3))
    place = put(tmp_path / "index")
    with open_index(place, write=True) as writer, open_index(place) as reader:
        with pytest.raises(WriterAtWorkError, match="is being written by"):
            open_index(place, write=True)
        _, found = reader.search(clustered(1, 8), 3)
        attributes = reader.attributes(found[0])
        writer.remove([1])
        assert [item.id for item in reader.items(found[0])] == found[0].tolist()  # what an answer named can be told
        assert reader.attributes(found[0]) == attributes
        assert reader.newest == writer.generation > reader.generation
        renewed = reader.renewed()
        assert renewed is not None
        with renewed:
            assert renewed.ids().tolist() == [0, 2] and renewed.generation == writer.generation
    with open_index(place, write=True) as writer:  # which the first one has let go
        writer.remove([0])


def test_what_files_told_goes_with_them(tmp_path, put):
    with create(tmp_path / "index", 8) as index:
        index.upsert(clustered(2, 8), named(2), [(("iso", 100), ("lens", "a")), ()])
        index.attach({0: {"lens": "b", "mine": 1}})
    with open_index(put(tmp_path / "index"), write=True) as index:
        assert index.facts(0) == (("iso", 100), ("lens", "a"))
        ids = index.upsert(clustered(1, 8, seed=2), named(1), [(("iso", 200), ("mine", 7))])
        assert index.attributes(ids) == [{"iso": 200, "lens": "b", "mine": 1}]
        assert index.counts(["label", "folder", "mine"]) == {
            "label": {"class0": 1, "class1": 1}, "folder": {"class0": 1, "class1": 1}, "mine": {1: 1},
        }  # fmt: skip
        assert index.values("folder", ids) == ["class0"]
