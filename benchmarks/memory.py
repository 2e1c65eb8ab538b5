#!/usr/bin/env python3
"""Peak memory of a build by the number of pictures and their size, with and without --memory.

    python benchmarks/memory.py                          1,000, 10,000 and 40,000 PNG files of 32 × 32
    python benchmarks/memory.py --pictures 1000 5000     other numbers
    python benchmarks/memory.py --json

Each figure is the largest resident set of one process, in MB (a million bytes), as Linux counts it: of the first
build, of the same command again (nothing to do), after all files were moved to another folder (all are renamed), and
of a build of 12 PNG files of 6000 × 4000 with transparency, on 4 threads. The network is the default one, untrained.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from build import TOP, small_network
from command import options, show
from PIL import Image
from textures import write_tiny

BUILD = """
import sys
from retrieval.cli import main
code = main(["build", *sys.argv[1:], "--json"])
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(status["VmHWM"].split()[0], file=sys.stderr)
sys.exit(code)
"""
"""A build that says its peak itself: what the system tells about a child counts its parent's memory, too."""


def peak(folder: Path, out: Path, model: Path, memory: str | None) -> float:
    """MB that one build takes at most."""
    command = [sys.executable, "-c", BUILD, folder, "--out", out, "--model", model, "--threads", "4"]
    done = subprocess.run(
        [*map(str, command), *([] if memory is None else ["--memory", memory])],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(TOP)},
    )
    if done.returncode:
        sys.exit(done.stderr)
    return 1024 * int(done.stderr.split()[-1]) / 1e6


def write_large(folder: Path, count: int) -> None:
    """PNG files of 6000 × 4000, half of them transparent."""
    folder.mkdir(parents=True)
    pixels = np.zeros((4000, 6000, 4), np.uint8)
    pixels[:2000] = 200
    for number in range(count):
        pixels[0, 0, 0] = number
        Image.fromarray(pixels).save(folder / f"{number}.png", compress_level=1)


def main() -> int:
    parser = options(__doc__)
    parser.add_argument("--pictures", type=int, nargs="+", default=[1_000, 10_000, 40_000])
    parser.add_argument("--memory", default="1500MB")
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        model = small_network(work / "run", args.seed)
        for memory in (None, args.memory):
            limit = memory or "no limit"
            for count in args.pictures:
                folder, out = work / "pictures", work / f"index {count} {limit}"
                write_tiny(folder / "here", count, args.seed)
                row: dict[str, Any] = {"--memory": limit, "pictures": count}
                row["first build"] = round(peak(folder, out, model, memory))
                row["again"] = round(peak(folder, out, model, memory))
                (folder / "here").rename(folder / "there")
                row["all moved"] = round(peak(folder, out, model, memory))
                (folder / "there").rename(work / f"used {count} {limit}")
                rows.append(row)
            large = work / f"large {limit}"
            write_large(large, 12)
            rows.append({"--memory": limit, "pictures": "12 of 24 megapixels"})
            rows[-1]["first build"] = round(peak(large, work / f"large index {limit}", model, memory))
    show(args, rows, figures="MB at the peak")
    return 0


if __name__ == "__main__":
    sys.exit(main())
