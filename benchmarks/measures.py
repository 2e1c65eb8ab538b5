#!/usr/bin/env python3
"""Time and memory of the ranking measures, beside four other libraries on the same arrays.

    python benchmarks/measures.py           the whole comparison
    python benchmarks/measures.py --small   a tenth of the queries
    python benchmarks/measures.py --only everything --json

Four tasks, of made-up vectors: ten classes as overlapping clusters, 128 numbers each.

    to rank R       10,000 queries × 50,000 items, the measures that end at rank R
    everything      1,000 × 10,000, the average precision over the whole ranking and what else a library has
    within a set    5,000 × themselves, each without itself, to rank R
    binary codes    10,000 × 50,000 of 128 bits; the other side is our own, on the same codes as vectors of ±1

Every run is a process of its own, the sides in turn; the clock starts when the arrays are there, the libraries imported
and, for those that compile themselves, a small task done. Memory is the most that the process held beyond what it held
then. All start from the same vectors, use all cores, and must agree to 1e-4: they differ where float32 scores tie,
which only our side takes as a tie. Our side always computes everything that it knows, with the neighbours' vote; the
others only what is named in the code below. torchmetrics and ranx do not take vectors: they are given scores and
relevance, in batches of queries, and what that takes is in their time. (torchmetrics takes relevant items of a score
below 0 for irrelevant, so its scores are moved up.) ranx takes dictionaries, and `then` is its time without making
them. Whoever cannot be imported is named as missing. All but pytorch-metric-learning want an environment of their own:

    python3 -m venv runs/peers
    runs/peers/bin/pip install -c constraints.txt -e .
    runs/peers/bin/pip install --no-deps -r benchmarks/measures.txt
    runs/peers/bin/python benchmarks/measures.py
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from command import options, show

Vectors = np.ndarray
Side = tuple[Vectors, np.ndarray]
"""Vectors (n, d) and labels (n,)."""

TOLERANCE = 1e-4
BATCH = 500
"""So many queries are scored at a time for those who take scores."""

TO_R = {"precision_at_1": "P@1", "r_precision": "R-precision", "mean_average_precision_at_r": "MAP@R"}
ALL = TO_R | {"mean_average_precision": "mAP", "mean_reciprocal_rank": "MRR"}


class Task(NamedTuple):
    """What is compared.

    Attributes:
        queries, items: how many.
        sides: who takes part, ours first.
        within: whether queries and items are the same.
    """

    queries: int
    items: int
    sides: tuple[str, ...]
    within: bool = False


TASKS = {
    "to rank R": Task(10_000, 50_000, ("ours", "pytorch-metric-learning")),
    "everything": Task(
        1_000, 10_000, ("ours", "pytorch-metric-learning", "open-metric-learning", "torchmetrics", "ranx")
    ),
    "within a set": Task(5_000, 5_000, ("ours", "pytorch-metric-learning"), within=True),
    "binary codes": Task(10_000, 50_000, ("ours", "ours, ±1")),
}


def arrays(n: int, seed: int, dim: int = 128) -> Side:
    """Unit vectors (n, dim) of ten overlapping clusters, and their labels (n,)."""
    centres = np.random.default_rng(1000).normal(size=(10, dim))
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, n)
    vectors = 0.35 * centres[labels] + rng.normal(size=(n, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), labels


def ours(what: str, asked: Side, shelf: Side | None) -> dict[str, float]:
    from retrieval.measures import rank

    result = rank(*asked, *(shelf or ()))
    return {name: float(values.mean()) for name, values in result.values.items()}


def pytorch_metric_learning(what: str, asked: Side, shelf: Side | None) -> dict[str, float]:
    import torch
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

    names = ALL if what == "everything" else TO_R
    k = None if what == "everything" else "max_bin_count"
    calculator = AccuracyCalculator(include=tuple(names), k=k, device=torch.device("cpu"))
    theirs = calculator.get_accuracy(*asked, *(shelf or ()))
    return {name: theirs[its] for its, name in names.items()}


def open_metric_learning(what: str, asked: Side, shelf: Side | None) -> dict[str, float]:
    import torch
    from oml.functional.knn import batched_knn_qg
    from oml.functional.metrics import calc_retrieval_metrics

    (queries, labels), (items, item_labels) = ([torch.from_numpy(part) for part in side] for side in (asked, shelf))
    _, found, relevant = batched_knn_qg(queries, items, len(items), labels_query=labels, labels_gallery=item_labels)
    theirs = calc_retrieval_metrics(
        found, relevant, cmc_top_k=(1, 10), precision_top_k=(10,), map_top_k=(len(items),), verbose=False
    )
    return {
        "hit rate@1": float(theirs["cmc"][1]),
        "hit rate@10": float(theirs["cmc"][10]),
        "P@10": float(theirs["precision"][10]),
        "mAP": float(theirs["map"][len(items)]),  # divided by what was found, and here all is found
    }


def scored(asked: Side, shelf: Side) -> Iterator[tuple[range, Vectors, np.ndarray]]:
    """Some queries, their scores and which items are relevant."""
    for first in range(0, len(asked[0]), BATCH):
        queries = range(first, min(first + BATCH, len(asked[0])))
        yield queries, asked[0][queries] @ shelf[0].T, asked[1][queries, None] == shelf[1]


def torchmetrics(what: str, asked: Side, shelf: Side | None) -> dict[str, float]:
    import torch
    from torchmetrics.retrieval import RetrievalMAP, RetrievalMRR, RetrievalPrecision, RetrievalRPrecision

    measures = {
        "mAP": RetrievalMAP(),
        "MRR": RetrievalMRR(),
        "P@10": RetrievalPrecision(top_k=10),
        "R-precision": RetrievalRPrecision(),
    }
    total = dict.fromkeys(measures, 0.0)
    for queries, scores, relevant in scored(asked, shelf or asked):
        numbers = torch.arange(len(queries)).repeat_interleave(scores.shape[1])
        moved = torch.from_numpy(scores.astype(np.float64).ravel() + 2)
        for name, measure in measures.items():
            measure.update(moved, torch.from_numpy(relevant.ravel()), indexes=numbers)
            total[name] += float(measure.compute()) * len(queries)
            measure.reset()
    return {name: value / len(asked[0]) for name, value in total.items()}


def ranx(what: str, asked: Side, shelf: Side | None) -> dict[str, float]:
    from ranx import Qrels, Run, evaluate

    names = {"map": "mAP", "mrr": "MRR", "precision@10": "P@10", "r-precision": "R-precision", "ndcg@10": "NDCG@10"}
    total = dict.fromkeys(names.values(), 0.0)
    items = [str(item) for item in range(len((shelf or asked)[0]))]
    evaluating = 0.0
    for queries, scores, relevant in scored(asked, shelf or asked):
        judged = {str(q): {items[i]: 1 for i in np.flatnonzero(row)} for q, row in zip(queries, relevant, strict=True)}
        run = {str(q): dict(zip(items, row.tolist(), strict=True)) for q, row in zip(queries, scores, strict=True)}
        qrels, ranked = Qrels(judged), Run(run)
        began = time.perf_counter()
        theirs = evaluate(qrels, ranked, list(names))
        evaluating += time.perf_counter() - began
        for its, name in names.items():
            total[name] += float(theirs[its]) * len(queries)
    return {name: value / len(asked[0]) for name, value in total.items()} | {"then": evaluating}


MODULES = {
    "pytorch-metric-learning": "pytorch_metric_learning",
    "open-metric-learning": "oml",
    "torchmetrics": "torchmetrics",
    "ranx": "ranx",
}
CALLS: dict[str, Callable[[str, Side, Side | None], dict[str, float]]] = {
    "ours": ours,
    "ours, ±1": ours,
    "pytorch-metric-learning": pytorch_metric_learning,
    "open-metric-learning": open_metric_learning,
    "torchmetrics": torchmetrics,
    "ranx": ranx,
}


def given(what: str, side: str, queries: int, items: int, seed: int) -> tuple[Side, Side | None]:
    """What a side is given."""
    asked = arrays(queries, seed)
    shelf = None if TASKS[what].within else arrays(items, seed + 1)
    if what != "binary codes" or shelf is None:
        return asked, shelf
    signs = [(np.where(vectors > 0, 1, -1).astype(np.float32), labels) for vectors, labels in (asked, shelf)]
    if side == "ours, ±1":
        return signs[0], signs[1]
    codes = [(np.packbits(vectors > 0, axis=1, bitorder="little"), labels) for vectors, labels in signs]
    return codes[0], codes[1]


def resident(field: str) -> int:
    """Bytes of memory of this process: VmRSS now, or VmHWM at most."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise SystemExit("memory is read from /proc, which this system does not have")


def measure(what: str, side: str, queries: int, items: int, seed: int) -> dict[str, Any]:
    """One run, in this process."""
    warnings.simplefilter("ignore")
    CALLS[side](what, *given(what, side, 40, 60, seed))  # imports, and compiles
    asked, shelf = given(what, side, queries, items, seed)
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts anew: making the arrays took memory, too
    before = resident("VmRSS")
    began = time.perf_counter()
    figures = CALLS[side](what, asked, shelf)
    seconds = time.perf_counter() - began
    then = figures.pop("then", seconds)
    return {"seconds": seconds, "then": then, "bytes": max(0, resident("VmHWM") - before), "figures": figures}


def compare(what: str, share: int, rounds: int, seed: int) -> list[dict[str, Any]]:
    """All sides in processes of their own, in turn; one row each."""
    task = TASKS[what]
    queries, items = task.queries // share, task.items // (share if task.within else 1)
    missing = [side for side in task.sides if side in MODULES and importlib.util.find_spec(MODULES[side]) is None]
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in task.sides if side not in missing}
    for turn in range(rounds):
        for side in list(runs) if turn % 2 else reversed(list(runs)):
            command = [sys.executable, __file__, "--seed", str(seed), "--run", what, side, str(queries), str(items)]
            out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            runs[side].append(json.loads(out.splitlines()[-1]))
    own = runs["ours"]
    rows = []
    for side in task.sides:
        row: dict[str, Any] = {"task": what, "queries": queries, "items": items, "side": side}
        if side in missing:
            rows.append(row | {"seconds": "missing"})
            continue
        theirs = runs[side][0]["figures"]
        difference = max(abs(own[0]["figures"][name] - value) for name, value in theirs.items())
        if difference > TOLERANCE:
            raise SystemExit(f"the figures differ by {difference:.2g}: {own[0]['figures']} and {theirs} of {side}")
        ratios = [b["seconds"] / a["seconds"] for a, b in zip(own, runs[side], strict=True)]
        row |= {
            "seconds": statistics.median(result["seconds"] for result in runs[side]),
            "MiB": statistics.median(result["bytes"] for result in runs[side]) / 2**20,
            "slower": statistics.median(ratios),
            "least": min(ratios),
            "most": max(ratios),
            "difference": difference,
            "figures": len(theirs),
        }
        if side == "ranx":
            row["then"] = statistics.median(result["then"] for result in runs[side])
        rows.append(row)
    return rows


def main() -> int:
    """Measure, and print."""
    parser = options(__doc__, rounds=3)
    parser.add_argument("--small", action="store_true", help="a tenth of the queries")
    parser.add_argument("--only", choices=TASKS, nargs="+", default=list(TASKS), help="these tasks (all)")
    parser.add_argument("--run", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run is not None:
        what, side, queries, items = args.run
        print(json.dumps(measure(what, side, int(queries), int(items), args.seed)))
        return 0
    rows = [row for what in args.only for row in compare(what, 10 if args.small else 1, args.rounds, args.seed)]
    show(args, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
