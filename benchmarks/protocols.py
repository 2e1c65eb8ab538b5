#!/usr/bin/env python3
"""What the protocols of large benchmarks take, beside the matrix product that nobody can do without.

    python benchmarks/protocols.py                     both
    python benchmarks/protocols.py --only sop
    python benchmarks/protocols.py --only distractors --items 100000 --memory 500MB

    sop           60,502 vectors of 128 numbers, 11,316 classes, each against all others: the measures of Stanford
                  Online Products, R@1000 among them
    distractors   70 questions of 2,048 numbers against 4,993 pictures and a million distractors that lie on the disk:
                  the three settings of Revisited Oxford, in the memory that is given

The vectors are made up. The product is made in the same blocks by as many threads, and thrown away; the two take turns
in one process, and what is compared is the time of processors, not that of the clock, so that other programs do not
count. Memory is the most that the process held beyond what it held when the vectors were there; mapped files count
while they are read, and the system takes their room back when it needs it.
"""

from __future__ import annotations

import resource
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from command import options, show, status
from threadpoolctl import threadpool_limits

from retrieval import measures
from retrieval.base.machine import cores
from retrieval.base.units import parse_bytes
from retrieval.evaluation.distractors import DistractorFile
from retrieval.protocols import PROTOCOLS

ROWS = 128
"""Queries of a block of the bare product."""


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Watched:
    """The most memory that is not a file's, beyond that at the beginning, looked at a hundred times a second."""

    def __enter__(self) -> Watched:
        self._stop, self._start = threading.Event(), self._now()
        self.most = 0
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.01):
            self.most = max(self.most, self._now() - self._start)

    @staticmethod
    def _now() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("RssAnon")).split()[1])


def product(queries: np.ndarray, blocks: Callable[[], Any]) -> None:
    """The bare product, in blocks, by all cores."""

    def work(start: int) -> None:
        for block in blocks():
            np.matmul(queries[start : start + ROWS], block.T)

    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(cores()) as pool:
        list(pool.map(work, range(0, len(queries), ROWS)))


def timed(job: Callable[[], Any]) -> tuple[float, float, int]:
    """Processor seconds, seconds of the clock, and bytes."""
    with Watched() as watched:
        began, clock = processor_seconds(), time.perf_counter()
        job()
        return processor_seconds() - began, time.perf_counter() - clock, watched.most


def row(what: str, rounds: int, ours: Callable[[], Any], bare: Callable[[], Any]) -> dict[str, Any]:
    turns = [(timed(ours), timed(bare)) for _ in range(rounds)]
    ratios = [one[0] / other[0] for one, other in turns]
    return {
        "task": what,
        "processor seconds": statistics.median(one[0] for one, _ in turns),
        "bare product": statistics.median(other[0] for _, other in turns),
        "ratio": statistics.median(ratios),
        "seconds": statistics.median(one[1] for one, _ in turns),
        "MB": max(one[2] for one, _ in turns) / 1e6,
    }


def sop(args: Any) -> dict[str, Any]:
    rng = np.random.default_rng(args.seed)
    n = args.items or 60_502
    labels = np.sort(rng.integers(0, n * 11_316 // 60_502, n))
    centres = rng.normal(size=(labels.max() + 1, 128)).astype(np.float32)
    vectors = unit(centres[labels] + rng.normal(size=(n, 128)).astype(np.float32))
    return row(
        f"sop, {n:,} × {n:,} × 128",
        args.rounds,
        lambda: measures.rank(vectors, labels, measures=PROTOCOLS["sop"].measures, neighbours=None),
        lambda: product(vectors, lambda: [vectors]),
    )


def distractors(args: Any) -> dict[str, Any]:
    rng = np.random.default_rng(args.seed)
    n, width = args.items or 1_000_000, 2048
    queries, gallery = (unit(rng.normal(size=(count, width))) for count in (70, 4993))
    lists = [[rng.choice(4993, 60, replace=False) for _ in range(70)] for _ in range(2)]
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        file = Path(folder) / "distractors.npy"
        far = np.lib.format.open_memmap(file, "w+", np.float32, (n, width))
        for start in range(0, n, 8192):
            far[start : start + 8192] = unit(rng.standard_normal((min(8192, n - start), width), np.float32))
        far.flush()
        del far

        def ours() -> None:
            held = DistractorFile(file)
            for _ in range(3):
                measures.rank(
                    queries,
                    None,
                    gallery,
                    relevant=lists[0],
                    ignore=lists[1],
                    distractors=held,
                    memory=args.memory,
                    measures=PROTOCOLS["roxford"].measures,
                    neighbours=None,
                )

        def bare() -> None:
            far = np.load(file, mmap_mode="r")
            for _ in range(3):
                product(queries, lambda: (gallery, *(far[s : s + 4096] for s in range(0, n, 4096))))

        return row(f"roxford + {n:,} × {width}", args.rounds, ours, bare)


TASKS = {"sop": sop, "distractors": distractors}


def main() -> int:
    parser = options(__doc__, rounds=3)
    parser.add_argument("--only", choices=TASKS, help="one of the two")
    parser.add_argument("--items", type=int, help="vectors of sop, or distractors (60,502; 1,000,000)")
    parser.add_argument("--memory", type=parse_bytes, default=10**9, help="what distractors' scores may take (1GB)")
    parser.add_argument("--folder", type=Path, help="where the distractors lie meanwhile (the system's)")
    args = parser.parse_args()
    show(args, [TASKS[name](args) for name in ([args.only] if args.only else TASKS)])
    return 0


if __name__ == "__main__":
    sys.exit(status(main))
