"""Builds an index in a process that is killed at random calls by which it changes the folder, until it is done.

A program of its own, since a process with threads cannot be forked safely; ``test_kill.py`` starts it:

    python killed_build.py PICTURES MODEL FOLDER KILLS SEED

The result is compared with a build that nobody disturbed. What is wrong is printed as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import faults
import numpy as np

from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.index.integrity import verify
from retrieval.ingest import build, memory_limits

memory_limits.COMMIT_PICTURES = 4


def contents(folder: Path) -> tuple[list[tuple[object, ...]], np.ndarray]:
    with Index.open(folder) as index:
        ids, vectors = index.all_vectors()
        return [(item.path, item.label, item.size, item.sha256) for item in index.items(ids)], vectors


def run(pictures: Path, model: Path, folder: Path, kills: int, seed: int) -> dict[str, object]:
    rng = np.random.default_rng(seed)
    problems: list[str] = []

    def building_into(out: Path, fatal: int | None) -> faults.Outcome:
        def work(arm: faults.Arm) -> str:
            with arm:
                build(pictures, out, model=model, threads=1)
            return "done"

        # The folder above, where a new index grows beside its place.
        return faults.supervised(
            work, folder, lambda number, call: faults.KILL if number == fatal else faults.GO_ON, seconds=300
        )

    straight = building_into(folder / "straight", None)
    if straight.report != "done":
        return {"problems": [straight.report], "killed": 0}
    expected, vectors = contents(folder / "straight")
    killed = 0
    while killed < kills:
        out = folder / f"disturbed{killed}"
        fatal: int | None = int(rng.integers(len(straight.calls)))
        while True:  # each process goes on where the last one was killed
            outcome = building_into(out, fatal)
            killed += outcome.killed
            if not outcome.killed:
                break
            if (out / "catalog.sqlite").exists():
                problems += [f"killed at call {fatal}: {problem}" for problem in verify(out).problems]
            fatal = int(rng.integers(len(straight.calls))) if killed < kills else None
        if outcome.report != "done":
            problems.append(outcome.report)
            break
        items, others = contents(out)
        if items != expected:
            problems.append(f"{len(items)} items, {len(set(items))} of them different, instead of {len(expected)}")
        elif np.abs(vectors - others).max() > 1e-6:
            problems.append("other vectors")
        there = {path.name for path in out.rglob("*")} - {path.name for path in (folder / "straight").rglob("*")}
        if there - {path.name for path in (out / "segments").glob("*.h5")}:  # there can be more of them
            problems.append(f"{sorted(there)} were left behind")
        beside = sorted(path.name for path in folder.iterdir() if path.name.startswith("."))
        if beside:
            problems.append(f"{beside} were left behind")
    return {"problems": problems, "killed": killed}


if __name__ == "__main__":
    first, second, third, fourth, fifth = sys.argv[1:]
    try:
        print(json.dumps(run(Path(first), Path(second), Path(third), int(fourth), int(fifth))), flush=True)
    except RetrievalError as error:
        print(json.dumps({"problems": [str(error)], "killed": 0}), flush=True)
    os._exit(0)
