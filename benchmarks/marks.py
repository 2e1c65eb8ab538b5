#!/usr/bin/env python3
"""What a ranking gains from marks: hits called right or wrong, five a round, on CIFAR-10.

    python benchmarks/marks.py data/cifar10.h5 --out runs/marks --into docs/marks.md

Somebody who knows the labels is shown a ranking and marks the first five hits that are not marked yet; the next ranking
is learned from all marks so far; three rounds. Each way of learning leads its own marks, since it is its own ranking
that is looked at. MAP@100 is that of the residual collection: the query and what was marked are neither ranked nor
counted as relevant, so that nothing is gained by showing again what was said already.

Two encoders with room to gain: a small network that was trained for two epochs on 8,000 of the training pictures, asked
about all test pictures, and EfficientNet-Lite0 with its published weights, asked about some of them. The weights of
each way are chosen on training pictures that no network was trained on, for both encoders together, and the figures are
those of the test pictures. Vectors are kept in --out, and made once.
"""

from __future__ import annotations

import functools
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from command import markdown, options, put, status
from numpy.typing import NDArray

from retrieval import datasets
from retrieval.base.machine import describe
from retrieval.base.progress import bar
from retrieval.cli.train import print_warning
from retrieval.datasets import PictureSet
from retrieval.encoder import Encoder
from retrieval.index import Index, NewItem
from retrieval.measures import compare
from retrieval.measures.intervals import mean_intervals
from retrieval.measures.ranking import Ranking
from retrieval.search.learned import OTHERS, FromMarks, direction
from retrieval.search.marks import Asked, Mark
from retrieval.search.search import Search
from retrieval.training.loop import train
from retrieval.training.recipe import Recipe

ROUNDS, PER_ROUND, DEPTH = 3, 5, 100
HELD_OUT, LEARN = 5000, 8000
"""Training pictures that the weights are chosen on, and others that the small network is trained on."""

PICTURES = {"trained": (HELD_OUT, 10_000), "fast": (2500, 4000)}
"""Of each encoder: pictures to choose on, and test pictures."""

NAMES = {"trained": "two short epochs", "fast": "EfficientNet-Lite0"}
ROCCHIO = (0.75, 0.15)
"""Weights of the right and of the wrong ones, where the query has 1, that are called reasonable in Manning, Raghavan
and Schütze, "Introduction to Information Retrieval" (2008), section 9.1.1."""

PAGE = ("<!-- table: python benchmarks/marks.py DATA -->", "<!-- end of the table -->")

Doubles = NDArray[np.float64]
Way = Callable[[Doubles, Doubles, Doubles, Doubles], Doubles]
"""Query (d,), right, wrong and random vectors (n, d) to what is looked for next (d,)."""


class Vectors(NamedTuple):
    """Vectors float32 (n, d), and their classes int64 (n,)."""

    rows: NDArray[np.float32]
    labels: NDArray[np.int64]


def encoded(pictures: PictureSet, out: Path) -> dict[tuple[str, str], Vectors]:
    """The vectors of both encoders, to choose on ("choose") and to report ("test"); made where they are not kept."""
    draw = np.random.default_rng(0)
    order = draw.permutation(np.flatnonzero(pictures.splits == "train"))
    held_out, learn = order[:HELD_OUT], order[HELD_OUT : HELD_OUT + LEARN]
    test = np.flatnonzero(pictures.splits == "test")
    out.mkdir(parents=True, exist_ok=True)
    found = {}
    for name, counts in PICTURES.items():
        parts = {
            "choose": held_out[: counts[0]],
            "test": (test if name == "trained" else draw.permutation(test))[: counts[1]],
        }
        encoder = None
        for part, rows in parts.items():
            kept = out / f"{name}-{part}.npz"
            if not kept.is_file():
                encoder = encoder or _encoder(name, pictures.select(learn), out)
                np.savez(kept, rows=_encode(encoder, pictures.select(rows)), labels=pictures.labels[rows])
            with np.load(kept) as file:
                found[name, part] = Vectors(file["rows"], file["labels"])
    return found


def _encoder(name: str, learn: PictureSet, out: Path) -> Encoder:
    if name == "trained":
        if not (out / name / "encoder").is_dir():
            train(learn, out / name, Recipe(widths="16,32,64", epochs=2), warn=print_warning)
        return Encoder.load(out / name)
    encoder = Encoder.load(name)
    encoder.optimise()
    return encoder


def _encode(encoder: Encoder, pictures: PictureSet, batch: int = 256) -> NDArray[np.float32]:
    parts = []
    with bar(len(pictures), "Encoding", "picture") as shown:
        for start in range(0, len(pictures), batch):
            some = pictures.select(np.arange(start, min(start + batch, len(pictures))))
            parts.append(encoder.encode(some.read(encoder.config.preprocessing)))
            shown.update(len(some))
    return np.concatenate(parts)


def plain(query: Doubles, right: Doubles, wrong: Doubles, others: Doubles) -> Doubles:
    """The query, whatever was marked."""
    return query


def rocchio(
    query: Doubles,
    right: Doubles,
    wrong: Doubles,
    others: Doubles,
    towards: float = ROCCHIO[0],
    away: float = ROCCHIO[1],
) -> Doubles:
    """The query moved towards the mean of what is right and away from the mean of what is wrong (Rocchio 1971)."""
    for rows, weight in ((right, towards), (wrong, -away)):
        if len(rows):
            query = query + weight * rows.mean(axis=0)
    return query


def simulate(way: Way, vectors: Vectors, queries: NDArray[np.int64]) -> Doubles:
    """AP@100 of the residual collection for each query before and after each round, float64 (n, ROUNDS + 1)."""
    rows, labels = vectors
    others = np.random.default_rng(0).choice(len(rows), OTHERS, replace=False)
    found = np.empty((len(queries), ROUNDS + 1))
    for place, query in enumerate(queries):
        relevant = labels == labels[query]
        left = np.ones(len(rows), bool)
        left[query] = False
        marked = np.empty(0, np.int64)
        towards = rows[query].astype(np.float64)
        for number in range(ROUNDS + 1):
            if number:
                right, wrong = marked[relevant[marked]], marked[~relevant[marked]]
                negatives = others[left[others]]
                towards = way(*(rows[some].astype(np.float64) for some in (query, right, wrong, negatives)))
            scores = rows @ towards.astype(np.float32)
            found[place, number] = Ranking.of(scores[left], relevant[left]).average_precision_at(DEPTH)
            scores[~left] = -np.inf
            marked = np.concatenate([marked, np.argsort(-scores, kind="stable")[:PER_ROUND]])
            left[marked] = False
    return found


def choose(sets: dict[tuple[str, str], Vectors], count: int, seed: int) -> dict[str, Way]:
    """Each way, with the weights that are best on average over encoders and rounds on the training pictures."""
    weights = (0.5, 1.0, 2.0, 4.0)
    grids: dict[str, list[Way]] = {
        "rocchio": [
            functools.partial(rocchio, towards=a, away=b) for a, b in itertools.product(weights, (0.15, 0.5, 1.0, 2.0))
        ],
        "learned": [
            functools.partial(direction, weight=weight, ridge=ridge)
            for weight, ridge in itertools.product((1.0, 3.0, 10.0), (0.3, 1.0, 3.0))
        ],
    }
    asked = {encoder: drawn(sets[encoder, "choose"], count, seed) for encoder in PICTURES}

    def gained(way: Way) -> float:
        means = [simulate(way, sets[encoder, "choose"], queries)[:, 1:].mean() for encoder, queries in asked.items()]
        shown.update(1)
        return float(np.mean(means))

    with bar(sum(map(len, grids.values())), "Choosing", "setting") as shown:
        return {name: max(grid, key=gained) for name, grid in grids.items()}


def drawn(vectors: Vectors, count: int, seed: int) -> NDArray[np.int64]:
    """So many queries at random."""
    return np.random.default_rng(seed).permutation(len(vectors.labels))[:count]


def seconds(vectors: Vectors, seed: int, repeats: int = 20) -> dict[str, float]:
    """Milliseconds of processor time that a query by id takes, without marks and with ten, the median of some."""
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder) / "index"
        details: dict[str, object] = {}
        with Index.create(where, vectors.rows.shape[1], root=folder, encoder_hash="x", details=details) as index:
            index.add(vectors.rows, [NewItem(f"{row}.png") for row in range(len(vectors.rows))])
        ids = drawn(vectors, repeats, seed).tolist()
        marks = []
        with Search.open(where) as search:
            search.query_ids(ids[:1])
            without = _median(lambda id_: search.query_ids([id_]), ids)
            for id_ in ids:
                for hit in search.query_ids([id_], 10)[0]:
                    right = bool(vectors.labels[id_] == vectors.labels[hit.id])
                    marks.append(Mark(Asked.of(f"id:{id_}"), hit.path, right))
        with Search.open(where, reranker=FromMarks(marks)) as search:
            search.query_ids(ids[:1])
            with_marks = _median(lambda id_: search.query_ids([id_]), ids)
    return {"without": 1000 * without, "with ten marks": 1000 * with_marks}


def _median(ask: Callable[[int], object], ids: list[int]) -> float:
    took = []
    for id_ in ids:
        start = time.process_time()
        ask(id_)
        took.append(time.process_time() - start)
    return float(np.median(took))


def rows_of(found: dict[tuple[str, str], Doubles]) -> list[dict[str, Any]]:
    """A row an encoder and way."""
    rows = []
    for (encoder, way), values in found.items():
        row: dict[str, Any] = {"encoder": NAMES[encoder], "ranking": way}
        for number in range(ROUNDS + 1):
            interval = mean_intervals(values[:, number])[0]
            row[f"{number * PER_ROUND} marks"] = f"{interval.value:.3f} ({interval.low:.3f}–{interval.high:.3f})"
        rows.append(row)
    return rows


def gains_of(found: dict[tuple[str, str], Doubles]) -> list[dict[str, Any]]:
    """What the learned ranking gains on each of the others, paired by query."""
    rows = []
    for (encoder, way), values in found.items():
        if way != LEARNED:
            row: dict[str, Any] = {"encoder": NAMES[encoder], "gain over": way}
            for number in range(1, ROUNDS + 1):
                gap = compare(found[encoder, LEARNED][:, number], values[:, number]).difference
                row[f"{number * PER_ROUND} marks"] = f"{gap.value:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})"
            rows.append(row)
    return rows


LEARNED = "learned from marks"


def main() -> int:
    parser = options(__doc__)
    parser.add_argument("data", help="what `retrieval data cifar10 --to data` wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder for the encoder and the vectors")
    parser.add_argument("--queries", type=int, default=500, help="to report on, for each encoder (default: 500)")
    parser.add_argument("--choosing", type=int, default=150, help="to choose on, for each encoder (default: 150)")
    parser.add_argument("--into", type=Path, metavar="PAGE", help="a page of the documentation to put the tables into")
    args = parser.parse_args()
    sets = encoded(datasets.load(args.data), args.out)
    best = choose(sets, args.choosing, args.seed)
    towards, away = best["rocchio"].keywords["towards"], best["rocchio"].keywords["away"]
    chosen = best["learned"].keywords
    ways: dict[str, Way] = {
        "the query alone": plain,
        f"Rocchio 1, {ROCCHIO[0]:g}, {ROCCHIO[1]:g}": rocchio,
        f"Rocchio 1, {towards:g}, {away:g} (chosen)": best["rocchio"],
        LEARNED: best["learned"],
    }
    found = {
        (encoder, name): simulate(way, sets[encoder, "test"], drawn(sets[encoder, "test"], args.queries, args.seed))
        for encoder in PICTURES
        for name, way in ways.items()
    }
    took = seconds(sets["trained", "test"], args.seed)
    tables = [rows_of(found), gains_of(found)]
    about = {
        "machine": describe(),
        "seed": args.seed,
        "queries": args.queries,
        "chosen": {"rocchio": [1, towards, away], "others_weight": chosen["weight"], "ridge": chosen["ridge"]},
        "milliseconds": {name: round(value, 1) for name, value in took.items()},
    }
    text = (
        f"MAP@{DEPTH} of what is not marked yet, with 95 % intervals over {args.queries} queries for each encoder:\n\n"
        f"{markdown(tables[0])}\n\nWhat the learned ranking gains, query by query:\n\n{markdown(tables[1])}\n\n"
        f"A query by id among {len(sets['trained', 'test'].rows):,} vectors of {sets['trained', 'test'].rows.shape[1]} "
        f"numbers takes {took['without']:.1f} ms of one core, and {took['with ten marks']:.1f} ms with ten marks. "
        f"{describe()}; seed {args.seed}. Of the weights that were tried on training pictures, "
        f"{chosen['weight']:g} for all random items together and {chosen['ridge']:g} for the squared length were the "
        f"best, and for Rocchio {towards:g} and {away:g}."
    )
    if args.into is not None:
        put(args.into, (f"\n{text}\n", PAGE))
    print(json.dumps({**about, "rows": tables[0], "gains": tables[1]}, indent=2) if args.json else text)
    return 0


if __name__ == "__main__":
    sys.exit(status(main))
