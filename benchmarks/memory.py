#!/usr/bin/env python3
"""Peak memory of a build by the number of pictures and their size, with and without --memory; memory of an open index.

    python benchmarks/memory.py                          1,000, 10,000 and 40,000 PNG files of 32 × 32
    python benchmarks/memory.py --pictures 1000 5000     other numbers
    python benchmarks/memory.py --open                   an index of 20,000 × 784 that has been searched, by structure
    python benchmarks/memory.py --json

Each figure is the largest resident set of one process, in MB (a million bytes), as Linux counts it: of the first
build, of the same command again (nothing to do), after all files were moved to another folder (all are renamed), and
of a build of 12 PNG files of 6000 × 4000 with transparency, on 4 threads. The network is the default one, untrained.
Of an open index it is the resident set, and its peak, above those of a process that has imported the same.
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
from contest.data import clustered
from index import fill
from PIL import Image
from textures import write_tiny

from retrieval.index import Index
from retrieval.index.nearest import kinds

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


OPEN = """
import sys
from retrieval.index import Index
import numpy as np
from retrieval.index import approximate
from retrieval.index.nearest import kinds
if len(sys.argv) > 2:
    kinds._class(sys.argv[2])
if len(sys.argv) > 3:
    index = Index.open(sys.argv[1])
    index.search(np.eye(1, index.dim, dtype=np.float32), 10)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(status["VmRSS"].split()[0], status["VmHWM"].split()[0])
"""


def resident(*arguments: str) -> list[float]:
    """MB that a process takes that opened an index, or only imported what that takes; and its peak."""
    done = subprocess.run(
        [sys.executable, "-c", OPEN, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(TOP)},
    )
    return [1024 * int(kilobytes) / 1e6 for kilobytes in done.stdout.split()]


def opened(seed: int, work: Path) -> list[dict[str, Any]]:
    """An index of 20,000 × 784 by its structure."""
    vectors = clustered(20_000, 784, seed)
    rows = []
    with fill(work / "open", vectors) as index:
        index.compact()
    for factory in ("", "HNSW32,Flat", "HNSW32_SQ8", "SymphonyQG32", "SymphonyQG32_SQ8"):
        with Index.open(work / "open", write=True) as index:
            built = kinds.build(factory, vectors, seed=seed) if factory else None
            index.set_structure(built, kinds.efforts(factory, len(vectors))[0] if factory else None)
            size = 0 if index.structure is None else index.structure.size
        (own, peak_), (base, base_peak) = (
            resident(*arguments) for arguments in ((str(work / "open"), factory, "open"), ("", factory))
        )
        rows.append(
            {"structure": factory or "exact", "vectors": round(vectors.nbytes / 1e6), "its file": round(size / 1e6),
             "resident": round(own - base), "peak": round(peak_ - base_peak)}
        )  # fmt: skip
    return rows


def main() -> int:
    parser = options(__doc__)
    parser.add_argument("--open", action="store_true", help="of an open index, not of a build")
    parser.add_argument("--pictures", type=int, nargs="+", default=[1_000, 10_000, 40_000])
    parser.add_argument("--memory", default="1500MB")
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    if args.open:
        with tempfile.TemporaryDirectory() as name:
            show(args, opened(args.seed, Path(name)), figures="MB")
        return 0
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
