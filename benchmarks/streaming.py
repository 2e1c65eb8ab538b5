#!/usr/bin/env python3
"""Pictures from disk to the training, with and without reading ahead.

    python benchmarks/streaming.py            2,000 JPEGs that the program makes, pictures a second and ratios
    python benchmarks/streaming.py --json

Two uses of each batch: none (how fast it can be read), and a wait of as long as reading the batch takes (a step on a
GPU that keeps up with the disk). Before anything is timed, the pictures of both ways are compared, and must be equal.
"""

from __future__ import annotations

import functools
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from command import options, show
from PIL import Image
from torch import Tensor
from turns import take_turns

from retrieval import datasets
from retrieval.images import Preprocessing
from retrieval.training import training_set

BATCH, CLASSES = 100, 10
"""Pictures a batch, and class folders."""


def make(folder: Path, count: int, seed: int) -> None:
    """JPEGs of 500×375 pixels in class folders: as soft as photographs, so that they take as long to decode."""
    random = np.random.default_rng(seed)
    for i in range(count):
        place = folder / str(i % CLASSES)
        place.mkdir(exist_ok=True)
        coarse = Image.fromarray(random.integers(0, 256, (38, 50, 3), dtype=np.uint8))
        pixels = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC), np.int16)
        pixels = pixels + random.integers(-6, 7, pixels.shape, dtype=np.int16)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(place / f"{i}.jpg", quality=90)


def one_by_one(source: training_set.Source, batches: Iterable[np.ndarray]) -> Iterator[Tensor]:
    yield from map(source.read, batches)


def main() -> int:
    parser = options(__doc__, rounds=3)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--size", type=int, default=32, help="side of the network's input")
    args = parser.parse_args()
    training_set.IN_MEMORY = 0
    with tempfile.TemporaryDirectory() as name:
        make(Path(name), args.pictures, args.seed)
        source = training_set.Source(datasets.load(name), Preprocessing(size=args.size))
        batches = np.array_split(
            np.random.default_rng(args.seed).permutation(args.pictures), max(1, args.pictures // BATCH)
        )
        started = time.perf_counter()
        for ahead, read in zip(source.stream(batches), one_by_one(source, batches), strict=True):
            if not torch.equal(ahead, read):
                print("reading ahead gives other pictures", file=sys.stderr)
                return 1
        one_batch = (time.perf_counter() - started) / 2 / len(batches)
        uses: dict[str, Callable[[Tensor], object]] = {
            "nothing": lambda pixels: None,
            "a wait as long as reading takes": lambda pixels: time.sleep(one_batch),
        }

        def epoch(reader: Callable[[Iterable[np.ndarray]], Iterator[Tensor]], use: Callable[[Tensor], object]) -> None:
            for pixels in reader(batches):
                use(pixels)

        rows = []
        for what, use in uses.items():
            readers = {"one by one": functools.partial(one_by_one, source), "ahead": source.stream}
            runs = {name: functools.partial(epoch, reader, use) for name, reader in readers.items()}
            result = take_turns(runs, args.rounds)
            rows.append(
                {
                    "each batch is used for": what,
                    "pictures/s": args.pictures / result["one by one"]["seconds"],
                    "read ahead": args.pictures / result["ahead"]["seconds"],
                    "seconds, ahead / one by one": result["ahead"]["ratio"],
                    "least": result["ahead"]["least"],
                    "most": result["ahead"]["most"],
                }
            )
    show(args, rows, pictures=args.pictures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
