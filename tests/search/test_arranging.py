"""Matches sorted, grouped, counted and paged: against the slow and obvious way, on every structure, with ties."""

from __future__ import annotations

import json
import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from index_model import Model, clustered, create
from vectors import unit

from retrieval.base import moments
from retrieval.cli import main
from retrieval.errors import RetrievalError
from retrieval.index import Index, NewItem
from retrieval.index.nearest import kinds
from retrieval.search.answer import Answer
from retrieval.search.arrangement import FIRST, Arrangement
from retrieval.search.grouping import ALIKE
from retrieval.search.search import Search
from retrieval.traps.near_duplicates import SCORE

N = 420
ABOVE = 0.35
WHERES = (None, "odd = true")
FORMS = ("2024-{m:02d}-{d:02d}T10:00:00", "2024/{m}/{d}", "2024:{m:02d}:{d:02d} 09:30:00")
STRUCTURES = ("exact", "float16", "binary", "HNSW16,Flat", "IVF16,PQ8x4fs")


def attributes(n: int) -> dict[str, Any]:
    """Numbers, texts, dates in three forms, both kinds under one name; each missing somewhere."""
    found: dict[str, Any] = {"odd": n % 2, "wild": n % 5 if n % 3 else f"w{n % 4}"}
    if n % 4:
        found |= {"iso": 100 * (n % 7) + n % 3 / 2, "taken": FORMS[n % 3].format(m=n % 12 + 1, d=n % 28 + 1)}
    return found if n % 9 else {"odd": n % 2, "camera": f"c{n % 5}"}


ITEMS = [
    NewItem(f"{'ab'[n % 2]}/{n % 3}/{n:03d}.png" if n % 10 else f"{n}.png", f"l{n % 6}" if n % 8 else None, 640, 480, n,
            (1_700_000_000 + 40_000 * n) * 10**9)
    for n in range(N)
]  # fmt: skip


@pytest.fixture(scope="module", params=STRUCTURES)
def asked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Search, Model]]:
    """An index in which a hundred vectors are equal, and the model of it."""
    folder = tmp_path_factory.mktemp("arranging") / "index"
    storage = request.param if request.param in ("float16", "binary") else "float32"
    vectors = clustered(N, 16)
    vectors[np.random.default_rng(1).permutation(N)[:100]] = vectors[7]
    model = Model(16, storage)
    with create(folder, 16, storage) as index:
        for each in (index, model):
            each.add(vectors, ITEMS)
            each.attach({n: attributes(n) for n in range(N)})
        if "," in request.param:
            index.set_structure(kinds.build(request.param, index.all_vectors()[1]), {})
    with Search.open(folder) as search:
        yield search, model


def matches(
    model: Model, query: int, where: str | None = None, above: float = ABOVE, *, include_self: bool = False
) -> list[tuple[int, float]]:
    """Ids and scores of what matches item `query`, best first."""
    _, exact = model.scores(model.all_vectors()[1][query : query + 1])
    among = [n for n in range(N) if (n != query or include_self) and (where is None or attributes(n)["odd"])]
    found = [(n, float(exact[0, n])) for n in among if exact[0, n] >= np.float32(above)]
    return sorted(found, key=lambda hit: (-hit[1], hit[0]))


def value(name: str, n: int) -> Any:
    item = ITEMS[n]
    own = {"label": item.label, "path": item.path, "size": item.size, "modified": item.mtime_ns, "id": n}
    if name == "taken":
        return moments.start(attributes(n).get(name))
    return item.path.rpartition("/")[0] if name == "folder" else own.get(name, attributes(n).get(name))


def shown(answer: Answer) -> list[tuple[int, float]]:
    assert (
        [hit.rank for hit in answer] == list(range(answer[0].rank, answer[0].rank + len(answer))) if answer.hits else 1
    )
    return [(hit.id, hit.score) for hit in answer]


def in_order(found: list[tuple[int, float]], name: str, descends: bool) -> list[tuple[int, float]]:
    """One comparison after the other, as a person would do it."""

    def before(a: tuple[int, float], b: tuple[int, float]) -> bool:
        x, y = (hit[1] if name == "score" else value(name, hit[0]) for hit in (a, b))
        if x is None or y is None or x == y:
            return (x is None, -a[1], a[0]) < (y is None, -b[1], b[0])
        smaller = bool(x < y) if isinstance(x, str) == isinstance(y, str) else isinstance(y, str)
        return smaller != descends

    out: list[tuple[int, float]] = []
    for hit in found:
        place = next((at for at, other in enumerate(out) if before(hit, other)), len(out))
        out.insert(place, hit)
    return out


SORTS = ["score", "score:asc", "path", "label:desc", "size", "modified:desc", "taken", "taken:desc", "iso", "wild:desc",
         "camera", "folder"]  # fmt: skip


@pytest.mark.parametrize("sort", SORTS)
def test_all_matches_are_sorted_and_paged(asked: tuple[Search, Model], sort: str) -> None:
    search, model = asked
    name, _, way = sort.partition(":")
    for where in WHERES:
        found = matches(model, 7, where)
        expected = in_order(found, name, way != "asc" if name == "score" else way == "desc")
        how = Arrangement(sort)
        (answer,) = search.query_ids([7], None, above=ABOVE, where=where, arrange=how)
        assert shown(answer) == expected and answer.matches == len(expected)
        (first,) = search.query_ids([7], 9, above=ABOVE, where=where, arrange=how)
        assert shown(first) == expected[:9] and first.matches == len(expected)
        pages, cursor = [], first.next
        while cursor is not None:
            (page,) = search.query_ids([7], 40, above=ABOVE, where=where, arrange=Arrangement(sort, cursor=cursor))
            assert page[0].rank == 10 + len(pages)
            pages += shown(page)
            cursor = page.next
        assert pages == expected[9:]


def test_where_no_score_ends_them_the_first_k_are_sorted(asked: tuple[Search, Model]) -> None:
    search, _ = asked
    (plain,) = search.query_ids([7], 12)
    (sorted_,) = search.query_ids([7], 12, arrange=Arrangement("size:desc"))
    assert [hit.id for hit in sorted_] == sorted((hit.id for hit in plain), reverse=True)
    assert sorted_.matches == 12 and sorted_.next is None and plain.next is not None


@pytest.mark.parametrize("by", ["label", "folder", "day", "day:modified", "iso", "camera", "near-duplicate:0.8"])
def test_groups_stand_by_their_best(asked: tuple[Search, Model], by: str) -> None:
    search, model = asked
    vectors = model.all_vectors()[1]
    alike = model.scores(vectors)[1] >= np.float32(0.8)
    for where in WHERES:
        found, groups = matches(model, 7, where), {}  # type: ignore[var-annotated]
        heads: list[int] = []
        for hit in found:
            if by.startswith("near"):
                head = next((other for other in heads if alike[other, hit[0]]), None)
                heads += [hit[0]] if head is None else []
                key = f"id {hit[0] if head is None else head}"
            elif by.startswith("day"):
                when = value("taken", hit[0]) if by == "day" else value("modified", hit[0]) // 1000
                key = None if when is None else str(np.datetime64(when, "us").astype("datetime64[D]"))
            else:
                key = value(by, hit[0])
                key = key if key is None or isinstance(key, str) else f"{key:g}"
            groups.setdefault(key, []).append(hit)
        (answer,) = search.query_ids([7], None, above=ABOVE, where=where, arrange=Arrangement(group_by=by))
        assert shown(answer) == [hit for group in groups.values() for hit in group]
        assert [hit.group for hit in answer] == [key for key, group in groups.items() for _ in group]
        (some,) = search.query_ids([7], 3, above=ABOVE, where=where, arrange=Arrangement(group_by=by))
        assert shown(some) == [hit for group in [*groups.values()][:3] for hit in group]
        (first,) = search.query_ids([7], 20, where=where, arrange=Arrangement(group_by=by))
        assert len(first) == 20


def test_groups_keep_the_order_of_a_sort(asked: tuple[Search, Model]) -> None:
    search, _ = asked
    (answer,) = search.query_ids([7], None, above=ABOVE, arrange=Arrangement("size:desc", "label"))
    for group in {hit.group for hit in answer}:
        mine = [hit.id for hit in answer if hit.group == group]
        assert mine == sorted(mine, reverse=True)
    firsts = [hit.id for place, hit in enumerate(answer) if not place or answer[place - 1].group != hit.group]
    assert firsts == sorted(firsts, reverse=True)


@pytest.mark.parametrize("where", WHERES)
def test_facets_count_all_matches(asked: tuple[Search, Model], where: str | None) -> None:
    search, model = asked
    ids = [id_ for id_, _ in matches(model, 7, where)]
    (answer,) = search.query_ids([7], 5, above=ABOVE, where=where, arrange=Arrangement(facets=True))
    assert len(answer) == 5 and answer.matches == len(ids) and answer.facets is not None
    told = {facet.name: facet for facet in answer.facets}
    assert list(told) == [
        "label",
        "folder",
        "width",
        "height",
        "size",
        "modified",
        "camera",
        "iso",
        "odd",
        "taken",
        "wild",
    ]
    for name, facet in told.items():
        mine = [value(name, id_) for id_ in ids]
        assert facet.missing == mine.count(None) if name not in ("width", "height") else facet.missing == 0
        counted = sum(count for _, count in facet.values or ()) + sum(one.count for one in facet.bins or ())
        assert counted + facet.other + facet.missing == len(ids)
    for name in ("label", "folder", "camera"):
        assert dict(told[name].values or ()) == Counter(v for id_ in ids if (v := value(name, id_)) is not None)
    assert told["odd"].values == tuple(sorted(Counter(value("odd", id_) for id_ in ids).items()))
    sizes = [value("size", id_) for id_ in ids]
    assert (told["size"].least, told["size"].most) == (min(sizes), max(sizes))
    for one in told["size"].bins or ():
        assert one.count == sum(one.start <= size < one.end for size in sizes)  # type: ignore[operator]
    for one in told["taken"].bins or ():
        start, end = moments.start(one.start), moments.start(one.end)
        assert one.count == sum(start <= at < end for id_ in ids if (at := value("taken", id_)) is not None)  # type: ignore[operator]
    (first,) = search.query_ids([7], 30, where=where, arrange=Arrangement(facets=True))
    assert first.matches == 30 and sum(count for _, count in first.facets[1].values) == 30  # type: ignore[index, union-attr]


# Pages


def pages(ask: Callable[[str], Answer]) -> list[tuple[int, float]]:
    found, cursor = [], FIRST
    while True:
        page = ask(cursor)
        assert not page.hits or page[0].rank == len(found) + 1
        found += shown(page)
        if page.next is None:
            return found
        cursor = page.next


@pytest.mark.parametrize("where", WHERES)
@pytest.mark.parametrize("above", [None, ABOVE])
def test_pages_are_the_exact_ranking(asked: tuple[Search, Model], where: str | None, above: float | None) -> None:
    """Ties across their borders, of every length, whatever structure; the query itself left out or not."""
    search, model = asked
    for include_self in (False, True):
        expected = matches(model, 7, where, -1.5 if above is None else above, include_self=include_self)
        for k in (13, 70, 1000):
            asked_for: Any = {"k": k, "where": where, "above": above, "include_self": include_self}
            found = pages(lambda cursor: search.query_ids([7], arrange=Arrangement(cursor=cursor), **asked_for)[0])  # noqa: B023
            assert found == expected
            if above is not None:  # counted on every page
                (last,) = search.query_ids([7], arrange=Arrangement(facets=True, cursor=FIRST), **asked_for)
                while last.next is not None and k > 13:
                    (last,) = search.query_ids([7], arrange=Arrangement(facets=True, cursor=last.next), **asked_for)
                assert last.matches == len(expected) and (k == 13 or shown(last)[-1] == expected[-1])


def test_a_plain_answer_goes_on_in_pages(asked: tuple[Search, Model]) -> None:
    search, model = asked
    (plain,) = search.query_ids([200], 25)
    (page,) = search.query_ids([200], 25, arrange=Arrangement(cursor=plain.next))
    last = (plain[-1].id, plain[-1].score)
    everything = matches(model, 200, None, -1.5)
    at = everything.index(last)
    assert shown(page) == everything[at + 1 : at + 26] and page[0].rank == 26
    (few,) = search.query_ids([200], 25, above=0.3)
    (page,) = search.query_ids([200], 25, above=0.3, arrange=Arrangement(cursor=few.next))
    assert shown(few) + shown(page) == matches(model, 200, None, 0.3)[:50]
    assert few.matches == len(matches(model, 200, None, 0.3))


def test_a_cursor_belongs_to_what_was_asked(asked: tuple[Search, Model]) -> None:
    search, model = asked
    token = search.query_ids([7], 5)[0].next
    assert token is not None
    another = next(n for n, vector in enumerate(model.all_vectors()[1]) if (vector != model.all_vectors()[1][7]).any())
    how = Arrangement(cursor=token)
    other: list[Callable[[], object]] = [
        lambda: search.query_ids([another], 5, arrange=how),
        lambda: search.query_ids([7], 5, where="odd = true", arrange=how),
        lambda: search.query_ids([7], 5, above=0.1, arrange=how),
        lambda: search.query_ids([7], 5, include_self=True, arrange=how),
        lambda: search.query_ids([7], 5, above=0.1, arrange=Arrangement("size", cursor=token)),
    ]
    for ask in other:
        with pytest.raises(RetrievalError, match="belongs to another query"):
            ask()
    with pytest.raises(RetrievalError, match="one query, and there are 2"):
        search.query_ids([7, 8], 5, arrange=how)
    assert len(search.query_ids([7], 90, arrange=how)[0]) == 90  # a page may be longer than the one before


def test_what_is_no_cursor_is_refused(tmp_path: Path) -> None:
    with create(tmp_path / "index", 8) as index:
        index.add(unit(30, 8), [NewItem(f"{n}.png") for n in range(30)])
    with Search.open(tmp_path / "index") as search:
        right = str(search.query_ids([1], 5)[0].next)
        ends = ["nan:1:5", "inf:1:5", "1e99:1:5", "0.5:-1:5", f"0.5:{2**63}:5", "0.5:1", f"0.5:1:{'9' * 5000}"]
        wrong = ["x", ":::", *(f"{right[:16]}:{end}" for end in ends)]
        wrong += [f"{right}:{value}" for value in ("[1]", "NaN", "1:2", "%ff", "true", "[" * 9999)]
        for token in wrong:
            with pytest.raises(RetrievalError, match="is no cursor") as caught:
                search.query_ids([1], 5, arrange=Arrangement(cursor=token))
            assert len(str(caught.value)) < 250


def test_nothing_is_missed_or_shown_twice_while_a_writer_works(tmp_path: Path) -> None:
    """To a depth of 10,000, ties included: what was there all the time comes once, in order."""
    n, stay = 12_000, 9_000
    vectors = clustered(n, 16)
    vectors[:n:7] = vectors[0]
    with create(tmp_path / "index", 16) as index:
        index.add(vectors, [NewItem(f"{row}.png", f"{row % 2}") for row in range(n)])
    stop, turns, problems = threading.Event(), [], []

    def write() -> None:
        rng, gone = np.random.default_rng(5), stay
        try:
            with Index.open(tmp_path / "index", write=True) as writer:
                while not stop.is_set() and gone + 60 < n:
                    fresh = np.concatenate([clustered(40, 16, seed=len(turns)), np.repeat(vectors[:1], 10, axis=0)])
                    names = [NewItem(f"new/{len(turns)}-{row}.png", f"{row % 2}") for row in range(50)]
                    writer.add(fresh, names)
                    writer.remove(range(gone, gone + 50))
                    gone += 50
                    if rng.random() < 0.2:
                        writer.compact()
                    turns.append(gone)
        except BaseException as problem:
            problems.append(problem)

    thread = threading.Thread(target=write)
    thread.start()
    found: list[tuple[int, float]] = []
    cursor: str | None = FIRST
    generations = set()
    try:
        while cursor is not None and len(found) < 10_500:
            with Search.open(tmp_path / "index") as search:
                generations.add(search.index.generation)
                (page,) = search.query_vectors(vectors[:1], 500, arrange=Arrangement(cursor=cursor))
            found += shown(page)
            cursor = page.next
    finally:
        stop.set()
        thread.join()
    assert not problems and len(generations) > 3
    assert len(found) >= 10_000 or cursor is None
    ids = [id_ for id_, _ in found]
    assert len(set(ids)) == len(ids)
    assert found == sorted(found, key=lambda hit: (-hit[1], hit[0]))
    model = Model(16)
    model.add(vectors[:stay], [NewItem(f"{row}") for row in range(stay)])
    scores, order = model.search(vectors[:1], stay)
    last = (-found[-1][1], found[-1][0])
    reached = [id_ for id_, score in zip(order[0].tolist(), scores[0].tolist(), strict=True) if (-score, id_) <= last]
    assert [id_ for id_ in ids if id_ < stay] == reached and len(reached) > 7_000


# What does not go together, and the command


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small") / "index"
    with create(folder, 8) as index:
        index.add(clustered(60, 8), [NewItem(f"{n % 2}/{n}.png", f"l{n % 3}") for n in range(60)])
        index.attach({n: {"iso": n, "camera": "x", "score": -n, "taken": "2024-05-01"} for n in range(60)})
    return folder


REFUSED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (
        {"sort": "nothing"},
        {},
        r"There is no 'nothing' to sort by; there are score, id, path.*camera, iso, score, taken\.",
    ),
    ({"group_by": "nothing"}, {}, "There is no 'nothing' to group by; there are day, near-duplicate, id"),
    ({"group_by": "day:nothing"}, {}, "There is no 'nothing' to take the day of"),
    ({"sort": "`folder`"}, {}, "hidden by it; call it otherwise"),
    ({"group_by": "day:camera"}, {}, "'camera' of these matches is no date"),
    ({"group_by": "near-duplicate:x"}, {}, "'x' is no similarity"),
    ({"group_by": "near-duplicate:1.5"}, {}, "'1.5' is no similarity"),
    ({"diverse": 1.5}, {}, "is 1.5; give a number from 0 to 1"),
    ({"diverse": math.nan}, {}, "is nan; give a number"),
    ({"diverse": 0.5, "sort": "iso"}, {}, "leave it or --sort out"),
    ({"diverse": 0.5, "group_by": "iso"}, {}, "leave it or --group-by out"),
    ({"diverse": 0.5}, {"k": None, "above": 0.2}, "say how many"),
    ({"diverse": 0.5, "cursor": FIRST}, {}, "leave it or --cursor out"),
    ({"group_by": "label", "cursor": FIRST}, {}, "leave it or --cursor out"),
    ({"sort": "iso", "cursor": FIRST}, {}, "give --above"),
    ({"facets": True, "cursor": FIRST}, {}, "give --above"),
    ({"cursor": FIRST}, {"k": None, "above": 0.2}, "A page has some number of hits"),
]


@pytest.mark.parametrize(("how", "asked_for", "said"), REFUSED)
def test_what_makes_no_sense_is_refused_in_a_sentence(
    small: Path, how: dict[str, Any], asked_for: dict[str, Any], said: str
) -> None:
    with Search.open(small) as search, pytest.raises(RetrievalError, match=said):
        search.query_ids([1], **{"k": 5, **asked_for}, arrange=Arrangement(**how))


def test_reranked_hits_have_no_pages_and_are_not_made_diverse(small: Path) -> None:
    with Search.open(small, reranker="aqe") as search:
        for how in (Arrangement(cursor=FIRST), Arrangement(diverse=0.5)):
            with pytest.raises(RetrievalError, match="--rerank"):
                search.query_ids([1], 5, arrange=how)
        (answer,) = search.query_ids([1], 5, arrange=Arrangement("iso:desc", facets=True))
        assert [hit.id for hit in answer] == sorted((hit.id for hit in search.query_ids([1], 5)[0]), reverse=True)
        assert answer.next is None and answer.matches == 5


def test_an_attribute_called_like_something_else_stands_in_backticks(small: Path) -> None:
    with Search.open(small) as search:
        (answer,) = search.query_ids([1], 9, arrange=Arrangement("`score`"))
        assert [hit.id for hit in answer] == sorted((hit.id for hit in answer), reverse=True)


def test_near_duplicates_are_those_of_dedup() -> None:
    assert ALIKE == SCORE


def test_too_many_are_not_compared_with_all(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retrieval.search.grouping.MOST", 20)
    with Search.open(small) as search, pytest.raises(RetrievalError, match="There are 59 matches"):
        search.query_ids([1], None, above=-1, arrange=Arrangement(group_by="near-duplicate"))


def test_the_command_arranges(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ask = ["query", str(small), "--id", "7", "--above=-1"]

    def told(*flags: str) -> tuple[str, str]:
        assert main([*ask, *flags]) == 0
        return capsys.readouterr()

    (answer,) = json.loads(told("--sort", "iso:desc", "-k", "4", "--facets", "--json")[0])["answers"]
    assert [hit["id"] for hit in answer["hits"]] == [59, 58, 57, 56] and answer["matches"] == 59
    assert answer["facets"][0]["name"] == "label" and sum(v["count"] for v in answer["facets"][0]["values"]) == 59
    (after,) = json.loads(told("--sort", "iso:desc", "-k", "4", "--cursor", answer["next"], "--json")[0])["answers"]
    assert [hit["id"] for hit in after["hits"]] == [55, 54, 53, 52] and after["hits"][0]["rank"] == 5
    out, _ = told("--group-by", "folder", "-k", "1", "--facets")
    assert "(label l1, 29 of 59 matches)" in out or "30 of 59" in out
    assert "\n  1 (29)\n" in out or "\n  0 (30)\n" in out
    assert "\n  label: l0 20, l2 20, l1 19\n" in out
    out, _ = told("--cursor", "-k", "50")
    token = out.strip().rpartition(" ")[2]
    assert "  next page: --cursor " in out
    assert len(told("--cursor", token, "-k", "50")[0].splitlines()) == 2 + 9
    out, err = told("--cursor", "-k", "3", "-f")
    assert len(out.splitlines()) == 3 and "next page of id 7: --cursor " in err
    out, _ = told("--group-by", "label", "--csv")
    assert out.splitlines()[0].endswith(",group") and len(out.splitlines()) == 60
    assert main([*ask, "--facets", "--csv"]) == 1
    assert "--facets has no place" in capsys.readouterr().err
    assert main([*ask, "-k", "3", "--diverse"]) == 0 and main([*ask, "-k", "3", "--diverse", "0.2"]) == 0
    with pytest.raises(SystemExit):
        main(["query", str(small), "--diverse", "a.jpg"])
    assert "what is to be looked for stands before --diverse" in capsys.readouterr().err
    marks = small.parent / "marks.jsonl"
    marks.touch()
    for flag in ("--cursor", "--diverse"):
        assert main([*ask, "-k", "3", flag, "--marks", str(marks)]) == 1
        said = capsys.readouterr().err
        assert "--marks" in said and "--rerank" not in said


def test_a_least_score_below_zero(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for least in ("-1", "-.5", "-0.5", "-1e-3"):
        assert main(["query", str(small), "--id", "7", "--above", least, "--json"]) == 0
        (answer,) = json.loads(capsys.readouterr().out)["answers"]
        assert answer["hits"] and all(hit["score"] >= float(least) for hit in answer["hits"])
    assert main(["query", str(small), "--id", "7", "--above", "-1", "-0"]) == 0
    assert capsys.readouterr().out.count("\0") == 59


def test_every_way_of_asking_arranges(small: Path, tmp_path: Path) -> None:
    with Search.open(small) as search:
        vector = search.index.vectors([7])
        np.save(tmp_path / "v.npy", vector)

        class KnowsWords:
            def encode_text(self, texts: list[str]) -> np.ndarray:
                return vector

        search.__dict__["encoder"] = KnowsWords()
        how = Arrangement("iso:desc", "label")
        answers = [
            search.query_ids([7], 20, include_self=True, arrange=how)[0],
            search.query_paths(["1/7.png"], 20, include_self=True, arrange=how)[0],
            search.query_vectors(vector, 20, arrange=how)[0],
            search.query_file(tmp_path / "v.npy", 20, arrange=how)[0],
            search.query_texts(["a bird"], 20, arrange=how)[0],
            search.query_parts("id:7", k=20, include_self=True, arrange=how),
        ]
    hits = [[(hit.rank, hit.id, hit.group) for hit in answer] for answer in answers]
    assert all(mine == hits[0] for mine in hits) and hits[0] != sorted(hits[0], key=lambda hit: hit[1])
    assert "l1" in answers[0]._repr_html_()
