#!/usr/bin/env python3
"""What the first answer costs: an index of one photograph, whole processes.

    python benchmarks/first_picture.py
    python benchmarks/first_picture.py --json

In turns: the first build ever (an empty cache folder), the next index of one picture, and a query by picture. Seconds
of the processor, of all its cores together, beside those of the clock: where other programs are busy only the former
say much.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from command import options, show
from textures import write_photos

TOP = Path(__file__).parent.parent


def used() -> float:
    """Seconds of the processor that the processes started here took so far."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def main() -> int:
    args = options(__doc__, rounds=5).parse_args()
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        write_photos(folder / "photos", 1, seed=args.seed)
        photo = next(path for path in (folder / "photos").rglob("*") if path.is_file())
        environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
        # Where Python may not keep what it compiles, it compiles this program anew each time, which nobody's does.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        build = [sys.executable, str(TOP / "build_index.py"), str(folder / "photos"), "--out", str(folder / "index")]
        query = [sys.executable, str(TOP / "query.py"), str(folder / "index"), str(photo)]
        taken: dict[str, list[tuple[float, float]]] = {"first build": [], "next build": [], "query": []}
        for turn in range(args.rounds + 1):
            shutil.rmtree(folder / "cache", ignore_errors=True)
            for name, command in zip(taken, (build, build, query), strict=True):
                if name != "query":
                    shutil.rmtree(folder / "index", ignore_errors=True)
                start, before = time.perf_counter(), used()
                subprocess.run(command, env=environment, check=True, capture_output=True)
                if turn:  # the first one warms up the files' cache
                    taken[name].append((used() - before, time.perf_counter() - start))
    rows = []
    for name, pairs in taken.items():
        processor, clock = (sorted(side) for side in zip(*pairs, strict=True))
        rows.append(
            {
                "what": name,
                "processor's seconds": statistics.median(processor),
                "least": processor[0],
                "most": processor[-1],
                "seconds": statistics.median(clock),
                "fastest": clock[0],
            }
        )
    show(args, rows, load=os.getloadavg()[0])
    return 0


if __name__ == "__main__":
    sys.exit(main())
