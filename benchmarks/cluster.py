#!/usr/bin/env python3
"""Pictures per second of a build on a Ray cluster, by the number of workers, beside the bare encoder.

    ray start --head --num-cpus=4 --include-dashboard=false
    python benchmarks/cluster.py                   # 4,000 PNG files of 32 × 32, EfficientNet-Lite0, the cluster here
    python benchmarks/cluster.py --ray HOST:PORT --workers 1 2 4 8 --folder /mnt/photos --scratch /mnt/scratch
    python benchmarks/cluster.py --json
    python benchmarks/cluster.py --listing 500000 --scratch /mnt/scratch   # without a cluster: what it waits for

In every round each side runs once, the other way round in every other. The bare encoder is one process that reads,
decodes and encodes the same files with one thread, and keeps nothing; each worker has one core, too. `pictures/s` is
counted from the first picture to the last commit, without the start of the workers; `seconds` is the whole build.

Before the first task, the machine that asks lists all pictures. `--listing` measures that: so many empty files, a
thousand in a folder and five in a folder, and each kind with a pause before every folder, as a server's disk makes one.

Workers share the machine's cores with each other and with whatever else runs: four workers on two cores cannot be any
faster than two. `cores` and `load` (processes that want to run, on average over the last minute) say how it was.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from command import options, show
from textures import write_tiny

from retrieval import RayCluster, build, images
from retrieval.base.machine import cores
from retrieval.encoder import Encoder
from retrieval.encoder.file_encoding import encode_files
from retrieval.images.reading import choose_decoder, recorded_decoder

PAUSE = 0.002
"""Seconds that a server far away may take to answer for a folder."""


def bare(root: Path, paths: list[str], encoder: Encoder) -> dict[str, float]:
    """One thread that reads and encodes, and keeps nothing."""
    began = time.perf_counter()
    decoder = recorded_decoder(choose_decoder("auto"))
    for _ in encode_files(paths, encoder, decoder, threads=1, root=root):
        pass
    seconds = time.perf_counter() - began
    return {"pictures/s": len(paths) / seconds, "seconds": seconds}


def built(root: Path, scratch: Path, model: str, on: RayCluster) -> dict[str, float]:
    """A build by so many workers of one core each."""
    out = scratch / "index"
    report = build(root, out, model=model, threads=1, on=on)
    shutil.rmtree(out)
    return {"pictures/s": report.pictures_per_second or 0.0, "seconds": report.seconds}


def listed(args: argparse.Namespace) -> None:
    """What listing takes for a million files, and what is kept of each."""
    rows = []
    for each in (1000, 5):
        with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
            for number in range(args.listing):
                folder = Path(scratch, f"{number // (100 * each):04d}", f"{number // each % 100:02d}")
                if number % each == 0:
                    folder.mkdir(parents=True)
                (folder / f"{number:08d}.jpg").touch()
            for pause in (0.0, PAUSE):
                seconds, computed = [], []
                for _ in range(args.rounds):
                    with slow_folders(pause):
                        began, worked = time.perf_counter(), time.process_time()
                        images.find(scratch)
                        seconds.append(time.perf_counter() - began)
                        computed.append(time.process_time() - worked)
                rows.append({
                    "files in a folder": each,
                    "pause, ms": 1e3 * pause,
                    "processor s a million": statistics.median(computed) * 1e6 / args.listing,
                    "s a million": statistics.median(seconds) * 1e6 / args.listing,
                    "bytes a file": kept_by(lambda scratch=scratch: images.find(scratch)) / args.listing,
                })  # fmt: skip
    show(args, rows, files=args.listing, cores=cores(), load=f"{os.getloadavg()[0]:.1f}")


@contextmanager
def slow_folders(pause: float) -> Iterator[None]:
    """Each folder answers after some seconds."""
    at_once = os.scandir

    def late(*folder: Any) -> Any:
        if pause:
            time.sleep(pause)
        return at_once(*folder)

    os.scandir = late
    try:
        yield
    finally:
        os.scandir = at_once


def kept_by(work: Callable[[], Any]) -> int:
    """Bytes of Python's that what it gives takes."""
    tracemalloc.start()
    found = work()
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    del found
    return kept


def main() -> None:
    """Measure, and say it."""
    parser = options(__doc__, rounds=3)
    parser.add_argument("--ray", default="auto", metavar="ADDRESS", help="of the cluster (auto)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4], metavar="N", help="to be compared (1 2 4)")
    parser.add_argument("--model", default="fast", help="the encoder (fast)")
    parser.add_argument("--pictures", type=int, default=4000, metavar="N", help="that are made (4000)")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="of pictures, in place of those that are made")
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="a folder that every node sees (a temporary one)")
    parser.add_argument("--listing", type=int, metavar="N", help="measure listing so many files, and nothing else")
    args = parser.parse_args()
    if args.listing is not None:
        listed(args)
        return
    with tempfile.TemporaryDirectory(dir=args.scratch) as folder:
        scratch = Path(folder)
        root = args.folder or scratch / "pictures"
        if args.folder is None:
            write_tiny(root, args.pictures, args.seed)
        paths = list(images.find(root).paths)
        encoder = Encoder.load(args.model, threads=1)
        encoder.optimise()
        sides: dict[str, Any] = {"the bare encoder": lambda: bare(root, paths, encoder)}
        for count in args.workers:
            on = RayCluster(args.ray, count)
            name = f"{count} worker" + "s" * (count > 1)
            sides[name] = lambda on=on: built(root, scratch, args.model, on)
        found: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
        for turn in range(args.rounds):
            for name in list(sides) if turn % 2 == 0 else reversed(list(sides)):
                found[name].append(sides[name]())
    rows = []
    for name, runs in found.items():
        speeds = [run["pictures/s"] for run in runs]
        ratios = [mine / run["pictures/s"] for mine, run in zip(speeds, found["the bare encoder"], strict=True)]
        rows.append({
            "side": name,
            "pictures/s": statistics.median(speeds),
            "of the bare encoder": statistics.median(ratios),
            "least": min(ratios),
            "most": max(ratios),
            "seconds": statistics.median(run["seconds"] for run in runs),
        })  # fmt: skip
    show(args, rows, pictures=len(paths), model=args.model, cores=cores(), load=f"{os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
