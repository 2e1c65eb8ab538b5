"""One system in a process of its own, on one core: it builds its index, and then searches it whenever it is told to.

    python -m contest.worker TASK SYSTEM CORE MEMORY

`benchmarks/neighbours.py` starts it. The first line on stdout tells about the built index; then each line of stdin is
a setting to search with, and is answered by one line. Everything else that libraries print goes to stderr.

Speeds are queries per second of the processor's time, which other programs disturb least; the clock's are told, too.
Memory is what the process has resident beyond what it had before it read the vectors, which are given up before
measuring: whoever still needs them has kept them. The peak of building includes them.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from contest.data import Floats, K, Task
from contest.system import Built, Means, Search
from contest.systems import find

ENOUGH = 0.3
"""Seconds of single queries after which no more are asked."""

ENOUGH_AT_ONCE = 0.6
"""Seconds that a batch may take, judged by single queries; it is cut where it would take longer."""

LEAST = 50
"""Queries that are asked even so."""


class Times(NamedTuple):
    """Seconds: of the processor and of the clock."""

    processor: float
    clock: float


def timed(run: Callable[[], Any]) -> tuple[Any, Times]:
    clock, processor = time.perf_counter(), time.process_time()
    out = run()
    return out, Times(time.process_time() - processor, time.perf_counter() - clock)


def resident() -> int:
    """Bytes of memory that this process has, without what its allocator keeps for later."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc
    if trim is not None:
        trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak() -> int:
    """The most bytes that it ever had since :func:`forget_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def build(task: Task, name: str, means: Means) -> tuple[Built, dict[str, Any]]:
    """The index, and what it took, after a small one that loads the library and lets it compile itself."""
    system = find(name)
    first = means.folder / "first"
    first.mkdir()
    small = task.base()[:2000].copy()
    trial = system.build(small, Means(first, means.memory))
    trial.use(trial.settings[0]).one(small[:1])
    del small, trial
    before = resident()
    forget_peak()
    built, times = timed(lambda: system.build(task.base(), means))
    most = peak()
    return built, {
        "details": built.details,
        "settings": built.settings,
        "build_seconds": times.processor,
        "build_clock_seconds": times.clock,
        "memory": resident() - before,
        "peak": most - before,
    }


def measure(task: Task, built: Built, setting: dict[str, float], queries: Floats) -> dict[str, Any]:
    """Speed and recall with one setting, one query at a time and in one call."""
    searches = built.use(setting)
    single = one_by_one(searches.one, queries)
    found = {"one": told(task, *single)}
    most = min(len(queries), max(LEAST, int(found["one"]["speed"] * ENOUGH_AT_ONCE)))
    if searches.many is not None:
        found["many"] = told(task, *at_once(searches.many, queries[:most]))
    if searches.alone is not None:  # the same questions, for what our own layer costs
        found["alone, one"] = told(task, *one_by_one(searches.alone, queries))
        found["alone, many"] = told(task, *at_once(searches.alone, queries[:most]))
    return found


def one_by_one(search: Search, queries: Floats) -> tuple[np.ndarray, Times]:
    """The answers to as many queries as fit the time, and the time they took."""
    rows = [queries[row : row + 1] for row in range(len(queries))]
    for row in rows[:20]:
        search(row)
    answers: list[Any] = []
    spent = Times(0.0, 0.0)
    while len(answers) < len(rows) and spent.processor < ENOUGH:
        some, times = timed(lambda: [search(row) for row in rows[len(answers) : len(answers) + LEAST]])  # noqa: B023
        answers += some
        spent = Times(spent.processor + times.processor, spent.clock + times.clock)
    return table(answers), spent


def at_once(search: Search, queries: Floats) -> tuple[np.ndarray, Times]:
    search(queries[:LEAST])
    answers, times = timed(lambda: search(queries))
    return table(answers), times


def table(answers: Any) -> np.ndarray:
    """Rows of ids (nq, 10), −1 where an answer is shorter."""
    found = np.full((len(answers), K), -1, np.int64)
    for row, answer in enumerate(answers):
        ids = np.asarray(answer).reshape(-1)[:K]
        found[row, : len(ids)] = ids
    return found


def told(task: Task, found: np.ndarray, times: Times) -> dict[str, float]:
    return {
        "recall": task.recall(found),
        "speed": len(found) / times.processor,
        "clock_speed": len(found) / times.clock,
        "queries": len(found),
    }


def main() -> int:
    folder, name, core, memory = sys.argv[1:]
    os.sched_setaffinity(0, {int(core)})  # before any library counts the cores
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def reply(message: dict[str, Any]) -> None:
        print(json.dumps(message), file=replies, flush=True)

    task = Task(Path(folder), {})
    queries = task.queries()
    with tempfile.TemporaryDirectory(dir=Path(folder) / "places") as place:
        built, report = build(task, name, Means(Path(place), int(memory)))
        reply(report)
        for line in sys.stdin:
            reply(measure(task, built, json.loads(line), queries))
    return 0


if __name__ == "__main__":
    sys.exit(main())
