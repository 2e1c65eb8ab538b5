#!/usr/bin/env python3
"""What the index costs beside FAISS alone, and from which size an approximate structure is worth having.

    python benchmarks/index.py overhead      our search against the structure alone, and questions against searches
    python benchmarks/index.py cores         batches, evaluate, dedup and builds on one core and on two, by the clock
    python benchmarks/index.py exact         our exact search against a bare faiss.IndexFlatIP, one query and batches
    python benchmarks/index.py opening       a process that answers one query by path, against importing numpy
    python benchmarks/index.py million       opening an index of a million items, adding 1,000, removing 1,000
    python benchmarks/index.py pages         a page of hits at depth 10,000 against the first page, one query at a time
    python benchmarks/index.py facets        counting labels and attributes among a million items, against reading them
    python benchmarks/index.py structure     exact search against the structure, by size: time, recall, build time

Vectors are drawn from clusters. `million` counts the clock's time and compares with what the disk and SQLite need at
least: opening the catalog alone and reading one row; writing the bytes of the new vectors, ids and paths into a file
and fsyncing it; doing so with 1,000 pages of 4 kB, which is what as many items scattered over a table touch. The others
run on one thread and count processor time (`opening`: the clock's), which other programs disturb least; the two sides
take turns, and a ratio is of one turn each. Tables are Markdown; --json for programs.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import rabitqlib
from command import options, show
from contest.data import clustered
from threadpoolctl import threadpool_limits
from turns import take_turns

from retrieval import measures
from retrieval.base import compiled
from retrieval.index import Index, NewItem
from retrieval.index.nearest import kinds
from retrieval.search import Answer, Search
from retrieval.search.arrangement import FIRST, Arrangement
from retrieval.search.facets import facets
from retrieval.traps.neighbours import neighbours_of

K = 10

QUERY_BY_PATH = """
import sys
from retrieval.index import Index
with Index.open(sys.argv[1]) as index:
    item = index.find(sys.argv[2])
    scores, ids = index.search(index.vectors([item.id]), 10, exclude=[[item.id]])
    index.items(ids[0])
"""


def fill(folder: Path, vectors: np.ndarray, step: int = 10_000) -> Index:
    """An index of these vectors, added so many at a time."""
    index = Index.create(folder, vectors.shape[1], root="", encoder_hash="", details={})
    for start in range(0, len(vectors), step):
        part = vectors[start : start + step]
        index.add(part, [NewItem(f"{row}.png", sha256=f"{row:064x}") for row in range(start, start + len(part))])
    return index


def give_graph(index: Index, seed: int) -> None:
    """Let an index search by a graph, with an effort that suits most vectors."""
    ids, vectors = index.all_vectors()
    index.set_structure(kinds.build("HNSW32,Flat", vectors, seed=seed), {"efSearch": 128}, ids=ids)


def turns(ours: Callable[[int], object], other: Callable[[int], object], rounds: int, clock=time.process_time) -> Any:
    """Run both `rounds` times in turn, with the number of the round. Median milliseconds, and ratios ours / other."""

    def numbered(run: Callable[[int], object]) -> Callable[[], object]:
        turn = itertools.count(-1)  # the first round warms up
        return lambda: run(max(next(turn), 0))

    both = take_turns({"other": numbered(other), "ours": numbered(ours)}, rounds, clock)
    return {
        "ours_ms": 1000 * both["ours"]["seconds"],
        "other_ms": 1000 * both["other"]["seconds"],
        **{name: both["ours"][name] for name in ("ratio", "least", "most")},
    }


def overhead(rounds: int, seed: int, folder: Path) -> list[dict[str, Any]]:
    """`Index.search` against the call of SymphonyQG's own library, and `Search.query_*` against `Index.search`."""
    rows = []
    ways = {"compiled": nullcontext, "NumPy": by_numpy} if compiled.kernel is not None else {"NumPy": nullcontext}
    for d in (128, 256, 784):
        both = clustered(51_000, d, seed)
        chosen = np.random.default_rng(seed).permutation(len(both))
        vectors, queries = both[chosen[:50_000]], both[chosen[50_000:]]
        place = folder / f"overhead{d}"
        with fill(place, vectors) as index:
            structure = kinds.build("SymphonyQG32", vectors, seed=seed)
            index.set_structure(structure, {"ef": 0})
            file = place / index.structure.file
        alone = rabitqlib.SymqgIndex.load(str(file))
        for scoring, way in ways.items():
            with way(), Index.open(place) as index:
                rows += [
                    {"dim": d, "scoring": scoring, **row} for row in beside_structure(index, alone, queries, rounds)
                ]
        with Search.open(place) as search:
            search.index.structure.parameters["ef"] = 40
            rows += [{"dim": d, **row} for row in beside_search(search, queries, rounds)]
    fill(folder / "questions", clustered(10_000, 128, seed)).close()
    with Search.open(folder / "questions") as search:
        rows += [{"dim": 128, **row} for row in beside_search(search, clustered(1000, 128, seed + 1), rounds)]
    return rows


@contextlib.contextmanager
def by_numpy() -> Iterator[None]:
    """Indexes that are opened inside score as they do where nothing could be compiled."""
    kept, compiled.kernel = compiled.kernel, None
    try:
        yield
    finally:
        compiled.kernel = kept


def beside_structure(index: Index, alone: Any, queries: np.ndarray, rounds: int) -> Iterator[dict[str, Any]]:
    """One query and all at once: plain, with an id left out, and filtered; at four efforts.

    The structure alone is asked for as many as ours asks it for, as it can neither leave out nor filter.
    """
    n = len(index)
    where = f"id >= {n // 4}"
    _, nearest = index.search(queries, 1)
    excluded = nearest.tolist()
    asked: dict[str, tuple[int, Callable[[int, int], object]]] = {
        "plain": (K, lambda start, end: index.search(queries[start:end], K)),
        "one excluded": (
            K + 3,
            lambda start, end: index.search(queries[start:end], K, exclude=excluded[start:end]),
        ),
        "filtered": (
            2 + math.ceil(1.5 * K * n / len(index.select(where))),
            lambda start, end: index.search(queries[start:end], K, where=where),
        ),
    }
    for ef in (20, 40, 80, 160):
        index.structure.parameters["ef"] = ef
        for what, (count, ours) in asked.items():
            width = max(ef, count)

            def its(start: int, end: int, count: int = count, width: int = width) -> None:
                alone.search(queries[start:end], count, width, 1)

            for size, calls in ((1, 200), (len(queries), 1)):

                def each(search: Callable[[int, int], object], turn: int, size: int = size, calls: int = calls) -> None:
                    for call in range(calls):
                        start = (turn * calls + call) * size % len(queries)
                        search(start, start + size)

                row = turns(partial(each, ours), partial(each, its), rounds)
                yield {"asked": what, "effort": ef, "queries": size, **per_query(row, calls * size)}


def beside_search(search: Search, queries: np.ndarray, rounds: int) -> Iterator[dict[str, Any]]:
    """A question with its answer, by vector, id and path, against the search that it stands on; and its hits read."""
    index, calls = search.index, 100
    ids = np.random.default_rng(0).permutation(index.ids())
    paths = {item.id: item.path for item in index.items(ids.tolist())}
    vectors = index.vectors(ids[:1000])

    def question(kind: str, at: int) -> None:
        if kind == "id":
            search.query_ids([int(ids[at])], K)
        elif kind == "path":
            search.query_paths([paths[int(ids[at])]], K)
        else:
            (answer,) = search.query_vectors(queries[at], K)
            if kind == "vector, hits read":
                sum(hit.score for hit in answer)

    def its_search(kind: str, at: int) -> None:
        if kind.startswith("vector"):
            index.search(queries[at : at + 1], K)
        else:
            index.search(vectors[at : at + 1], K, exclude=[[int(ids[at])]])

    for kind in ("vector", "vector, hits read", "id", "path"):

        def each(ask: Callable[[str, int], None], turn: int, kind: str = kind) -> None:
            for call in range(calls):
                ask(kind, (turn * calls + call) % 1000)

        row = turns(lambda turn: each(question, turn), lambda turn: each(its_search, turn), rounds)
        yield {"asked": f"by {kind}, with its answer", "queries": 1, **per_query(row, calls)}


def per_query(row: dict[str, Any], count: int) -> dict[str, Any]:
    """Microseconds a query, and how many more ours takes."""
    ours, other = (1000 * row[name] / count for name in ("ours_ms", "other_ms"))
    return {
        "ours_us": ours,
        "other_us": other,
        "more_us": ours - other,
        **{n: row[n] for n in ("ratio", "least", "most")},
    }


def exact(rounds: int, seed: int, folder: Path) -> list[dict[str, Any]]:
    """Our exact search against faiss.IndexFlatIP on 60,000 × 128."""
    vectors = clustered(60_000, 128, seed)
    queries = np.concatenate([vectors[::100], clustered(1400, 128, seed + 1)])
    bare = faiss.IndexFlatIP(128)
    bare.add(vectors)
    rows = []
    with fill(folder / "exact", vectors) as index:
        for size in (1, 10, 100, 1000):
            starts = np.random.default_rng(seed).integers(0, len(queries) - size, (rounds, max(1, 100 // size)))

            def each(search: Callable[[np.ndarray, int], object], turn: int, size: int = size, starts=starts) -> None:
                for start in starts[turn]:
                    search(queries[start : start + size], K)

            row = turns(lambda turn: each(index.search, turn), lambda turn: each(bare.search, turn), rounds)
            calls = starts.shape[1]
            rows.append(
                {"queries": size, **row, "ours_ms": row["ours_ms"] / calls, "other_ms": row["other_ms"] / calls}
            )
    return rows


def opening(rounds: int, seed: int, folder: Path) -> list[dict[str, Any]]:
    """One process that answers one query, against one that imports numpy; wall-clock time."""
    rows = []
    for n in (10_000, 60_000):
        place = folder / f"opening{n}"
        fill(place, clustered(n, 128, seed)).close()
        ours = [sys.executable, "-c", QUERY_BY_PATH, str(place), "17.png"]
        other = [sys.executable, "-c", "import numpy"]
        row = turns(
            lambda _: subprocess.run(ours, check=True),  # noqa: B023
            lambda _: subprocess.run(other, check=True),  # noqa: B023
            rounds,
            time.perf_counter,
        )
        rows.append({"items": n, **row})
    return rows


def million(rounds: int, seed: int, folder: Path) -> list[dict[str, Any]]:
    """Opening and changing an index of a million vectors of 128 numbers, against what disk and SQLite need."""
    n, some = 1_000_000, 1000
    place, beside = folder / "million", folder / "beside"
    fill(place, clustered(n, 128, seed), step=100_000).close()
    new = [clustered(some, 128, seed + 1 + turn) for turn in range(rounds + 1)]
    names = itertools.count()
    doomed = iter(np.random.default_rng(seed).permutation(n)[: (rounds + 1) * some].reshape(-1, some).tolist())

    def opened(_: int) -> None:
        with Index.open(place) as index:
            index.find("17.png")

    def opened_by_sqlite(_: int) -> None:
        with contextlib.closing(sqlite3.connect(place / "catalog.sqlite")) as catalog:
            catalog.execute("SELECT * FROM items WHERE id = 17").fetchone()

    def written(content: bytes) -> None:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    def added(turn: int) -> None:
        index.add(new[turn], [NewItem(f"new/{next(names)}.png") for _ in range(some)])

    paths = "".join(f"new/{number}.png" for number in range(some)).encode()
    content = new[0].tobytes() + np.arange(some).tobytes() + paths
    clock = time.perf_counter
    with Index.open(place, write=True) as index:
        index.search(new[0][:1], K)  # a service that changes its index has it in memory
        rows = {
            "opening": turns(opened, opened_by_sqlite, rounds, clock),
            "adding 1,000": turns(added, lambda _: written(content), rounds, clock),
            "removing 1,000": turns(
                lambda _: index.remove(next(doomed)), lambda _: written(bytes(4096 * some)), rounds, clock
            ),
        }
    return [{"items": n, "what": what, **row} for what, row in rows.items()]


def pages(rounds: int, seed: int, folder: Path) -> list[dict[str, Any]]:
    """The page of 50 hits after the first 10,000 against the first page, of 100,000 × 128; and plain queries."""
    deep, size = 10_000, 50
    both = clustered(101_000, 128, seed)
    chosen = np.random.default_rng(seed).permutation(len(both))
    vectors, queries = both[chosen[:100_000]], both[chosen[100_000:]]
    fill(folder / "pages", vectors).close()
    rows = []
    with Search.open(folder / "pages") as search:
        search.index.all_vectors()

        def ask(turn: int, cursor: str | None, **asked: Any) -> Answer:
            how = Arrangement(cursor=cursor)
            return search.query_vectors(queries[turn : turn + 1], size, arrange=how, **asked)[0]

        for name, asked in {"all": {}, "filtered": {"where": "id >= 20000"}, "above a score": {"above": -0.5}}.items():
            places = [
                search.query_vectors(queries[turn : turn + 1], deep, arrange=Arrangement(cursor=FIRST), **asked)[0].next
                for turn in range(rounds + 1)
            ]
            for other, cursor in (("first page", FIRST), ("plain query", None)):
                row = turns(
                    lambda turn: ask(turn, places[turn], **asked),  # noqa: B023
                    lambda turn: ask(turn, cursor, **asked),  # noqa: B023
                    rounds,
                )
                rows.append({"hits": name, "ours": f"page after {deep:,}", "other": other, **row})
    return rows


def counting(rounds: int, seed: int, folder: Path) -> list[dict[str, Any]]:
    """Facets of some and of all of a million items with four attributes, against counting values one by one."""
    n, step = 1_000_000, 100_000
    vectors, rng = clustered(n, 8, seed), np.random.default_rng(seed)
    cameras, taken = rng.integers(0, 40, n), rng.integers(0, 10_000, n)
    with Index.create(folder / "facets", 8, root="", encoder_hash="", details={}) as index:
        for start in range(0, n, step):
            rows = range(start, start + step)
            index.upsert(
                vectors[start : start + step],
                [NewItem(f"{row // 1000}/{row}.png", f"{row % 500}", 6, 4, row % 7777, row * 10**12) for row in rows],
                attributes=[
                    {"iso": 100 * (row % 9), "camera": f"{cameras[row]}", "number": row,
                     "taken": str(np.datetime64("2000-01-01T12:00:00") + np.timedelta64(int(taken[row]), "D"))}
                    for row in rows
                ],
            )  # fmt: skip
    found = []
    with Index.open(folder / "facets") as index:
        for some in (100, 10_000, n):
            ids = np.sort(rng.permutation(n)[:some])
            names = [facet.name for facet in facets(index, ids)]
            row = turns(
                lambda _: facets(index, ids),  # noqa: B023
                lambda _: [Counter(index.values(name, ids)) for name in names],  # noqa: B023
                rounds,
            )
            found.append({"items": n, "counted": some, "names": len(names), **row})
    return found


def structure(rounds: int, seed: int, folder: Path) -> list[dict[str, Any]]:
    """Exact search against the structure, one query at a time; the queries are not in the index."""
    rows = []
    for n, d in ((20_000, 128), (60_000, 128), (250_000, 128), (26_000, 1280)):
        both = clustered(n + 1000, d, seed)
        chosen = np.random.default_rng(seed).permutation(len(both))
        vectors, queries = both[chosen[:n]], both[chosen[n:]]
        place = folder / f"structure{n}x{d}"
        with fill(place, vectors) as index:
            _, truth = index.search(queries, K)
        with Index.open(place) as exact, Index.open(place, write=True) as graph:
            start = time.process_time()
            give_graph(graph, seed)
            seconds = time.process_time() - start
            _, found = graph.search(queries, K)
            recall = np.mean([len(np.intersect1d(a, b)) / K for a, b in zip(truth, found, strict=True)])
            row = turns(
                lambda turn: graph.search(queries[turn : turn + 1], K),  # noqa: B023
                lambda turn: exact.search(queries[turn : turn + 1], K),  # noqa: B023
                rounds,
            )
            rows.append(
                {"items": n, "dim": d, "recall": float(recall), "build_s": seconds, **row, **graph.info()["structure"]}
            )
    return rows


def on_cores(rounds: int, seed: int, folder: Path) -> list[dict[str, Any]]:
    """One thread against two, 50,000 × 256: batches, what goes through all of an index, and builds."""
    both = clustered(52_000, 256, seed)
    chosen = np.random.default_rng(seed).permutation(len(both))
    vectors, queries = both[chosen[:50_000]], both[chosen[50_000:]]
    labels = (vectors @ vectors[:100].T).argmax(axis=1)
    rows = []
    fill(folder / "cores", vectors).close()
    some = np.arange(len(queries))
    efforts = {"SymphonyQG32_SQ8": {"ef": 80, "candidates": 1}, "IVF256,PQ128x4fs": {"nprobe": 8, "candidates": 8}}
    for factory in (None, *efforts):
        with Index.open(folder / "cores", write=True) as index:
            built = None if factory is None else kinds.build(factory, vectors, seed=seed)
            index.set_structure(built, efforts.get(factory or ""))
        with Index.open(folder / "cores") as index:
            asked: dict[str, Callable[[], Any]] = {factory or "exact": lambda: index.search(queries, K)}
            if factory is None:
                asked |= {
                    "above a score": lambda: index.range_search(queries, 0.5),
                    "a page after a score": lambda: index.search_after(queries[:100], K, [(0.5, 0)] * 100),
                    "neighbours, for dedup": lambda: neighbours_of(index, K, some, exact=True),
                    "measures, for evaluate": lambda: ranked_measures(vectors, labels, queries),
                }
            rows += [one_and_two(name, ask, rounds) for name, ask in asked.items()]
    for factory in ("HNSW32,Flat", "IVF256,PQ128x4fs", "SymphonyQG32"):
        ask = partial(kinds.build, factory, vectors[:20_000], seed=seed)
        rows.append(one_and_two(f"building {factory}, 20,000", ask, max(1, rounds // 3)))
    return rows


def ranked_measures(vectors: np.ndarray, labels: np.ndarray, queries: np.ndarray) -> list[np.ndarray]:
    """What `evaluate` measures of as many queries as it draws of a large index."""
    threads = faiss.omp_get_max_threads()
    rankings = measures.rank(
        vectors[: len(queries)], labels[: len(queries)], vectors, labels, own=np.arange(len(queries)), threads=threads
    )
    return list(rankings.values.values())


def one_and_two(name: str, ask: Callable[[], Any], rounds: int) -> dict[str, Any]:
    """What takes so long on one thread and on two, and whether it comes to the same."""
    kept = {}

    def on(threads: int) -> None:
        most = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(threads)
        with threadpool_limits(threads):
            kept[threads] = ask()
        faiss.omp_set_num_threads(most)

    row = turns(lambda _: on(1), lambda _: on(2), rounds, time.perf_counter)
    arrays = [one if isinstance(one, tuple | list) else () for one in (kept[1], kept[2])]
    same = str(all(np.array_equal(one, two, equal_nan=True) for one, two in zip(*arrays, strict=True)))
    return {
        "what": name, "one_ms": row["ours_ms"], "two_ms": row["other_ms"], "scaling": row["ratio"],
        "least": row["least"], "most": row["most"], "same bits": same if arrays[0] else "",
    }  # fmt: skip


MEASURES: dict[str, Callable[[int, int, Path], list[dict[str, Any]]]] = {
    "overhead": overhead,
    "exact": exact,
    "cores": on_cores,
    "opening": opening,
    "million": million,
    "pages": pages,
    "facets": counting,
    "structure": structure,
}


def main() -> int:
    """Measure, and print."""
    parser = options(__doc__, rounds=30)
    parser.add_argument("what", choices=tuple(MEASURES))
    args = parser.parse_args()
    faiss.omp_set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = MEASURES[args.what](args.rounds, args.seed, Path(folder))
    show(args, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
