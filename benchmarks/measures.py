#!/usr/bin/env python3
"""Time and memory of the ranking measures, beside pytorch-metric-learning's AccuracyCalculator on the same arrays.

    python benchmarks/measures.py           10,000 queries × 50,000 items for the measures that end at rank R, and
                                            2,000 × 10,000 for the mAP over everything
    python benchmarks/measures.py --small   a twentieth of that
    python benchmarks/measures.py --json

The vectors are made up: ten classes as overlapping clusters, 128 numbers each. Every run is a process of its own, the
sides in turn; the clock starts when the arrays are there and the libraries imported. Memory is the most that the
process held beyond what it held then. Our side always computes everything (P@1, P@10, R-precision, MAP@R, mAP and the
kNN accuracy); the other only what is named, since its mAP over everything keeps arrays of queries × items. Both use all
cores. The figures must agree to 1e-4: they differ where float32 scores tie, which only our side takes as a tie.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from turns import markdown

from retrieval.machine import describe

TO_R = {"P@1": "precision_at_1", "R-precision": "r_precision", "MAP@R": "mean_average_precision_at_r"}
ALL = TO_R | {"mAP": "mean_average_precision"}
TOLERANCE = 1e-4


def arrays(n: int, seed: int, dim: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors (n, dim) of ten overlapping clusters, and their labels (n,)."""
    centres = np.random.default_rng(1000).normal(size=(10, dim))
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, n)
    vectors = 0.35 * centres[labels] + rng.normal(size=(n, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), labels


def resident(field: str) -> int:
    """Bytes of memory of this process: VmRSS now, or VmHWM at most."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise SystemExit("memory is read from /proc, which this system does not have")


def measure(side: str, queries: int, items: int, what: str, seed: int) -> dict[str, Any]:
    """One run, in this process."""
    asked, gallery = arrays(queries, seed), arrays(items, seed + 1)
    if side == "ours":
        from retrieval.measures import rank

        def call() -> dict[str, float]:
            result = rank(*asked, *gallery)
            return {name: float(values.mean()) for name, values in result.values.items()}

    else:
        import torch
        from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

        names = ALL if what == "everything" else TO_R
        calculator = AccuracyCalculator(
            include=tuple(names.values()),
            k=None if what == "everything" else "max_bin_count",
            device=torch.device("cpu"),
        )

        def call() -> dict[str, float]:
            theirs = calculator.get_accuracy(*asked, *gallery)
            return {ours: theirs[name] for ours, name in names.items()}

    Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts anew: making the arrays took memory, too
    before = resident("VmRSS")
    began = time.perf_counter()
    figures = call()
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "bytes": max(0, resident("VmHWM") - before), "figures": figures}


def compare(queries: int, items: int, what: str, rounds: int, seed: int) -> dict[str, Any]:
    """Both sides in processes of their own, in turn."""
    runs: dict[str, list[dict[str, Any]]] = {"ours": [], "theirs": []}
    for turn in range(rounds):
        for side in list(runs) if turn % 2 else reversed(list(runs)):
            command = [sys.executable, __file__, "--seed", str(seed), "--run", side, str(queries), str(items), what]
            out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            runs[side].append(json.loads(out))
    ours, theirs = runs["ours"][0]["figures"], runs["theirs"][0]["figures"]
    difference = max(abs(ours[name] - theirs[name]) for name in theirs)
    if difference > TOLERANCE:
        raise SystemExit(f"the figures differ by {difference:.2g}: {ours} and {theirs}")
    ratios = [b["seconds"] / a["seconds"] for a, b in zip(runs["ours"], runs["theirs"], strict=True)]
    row: dict[str, Any] = {"queries": queries, "items": items, "compared": what}
    for side, results in runs.items():
        row[f"{side}_s"] = statistics.median(result["seconds"] for result in results)
        row[f"{side}_MiB"] = statistics.median(result["bytes"] for result in results) / 2**20
    return row | {
        "times_faster": statistics.median(ratios),
        "least": min(ratios),
        "most": max(ratios),
        "of_the_memory": row["ours_MiB"] / row["theirs_MiB"],
        "difference": difference,
    }


def main() -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a twentieth of the work")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each side (3)")
    parser.add_argument("--seed", type=int, default=0, help="of the vectors (0)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--run", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run is not None:
        side, queries, items, what = args.run
        print(json.dumps(measure(side, int(queries), int(items), what, args.seed)))
        return 0
    share = 20 if args.small else 1
    sizes = ((10_000 // share, 50_000, "to rank R"), (2_000 // share, 10_000, "everything"))
    rows = [compare(*size, args.rounds, args.seed) for size in sizes]
    if args.json:
        print(json.dumps({"machine": describe(), "seed": args.seed, "rounds": args.rounds, "rows": rows}, indent=2))
        return 0
    print(f"{describe()}; seed {args.seed}, {args.rounds} rounds\n\n{markdown(rows)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
