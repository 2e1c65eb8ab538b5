#!/usr/bin/env python3
"""Pictures per second of build_index.py, beside the bare forward pass and bare decoding.

    python benchmarks/build.py tiny                10,000 PNG files of 32 × 32, a small convolutional network
    python benchmarks/build.py photos              200 JPEG files of 1600 × 1200, EfficientNet-Lite1
    python benchmarks/build.py large               60 JPEG files of 4000 × 3000
    python benchmarks/build.py photos --folder DIR your own pictures
    python benchmarks/build.py photos --against DIR    another checkout in turn with this one, and whether the vectors
                                                       are the same
    python benchmarks/build.py tiny --json

In every round each of the three runs once, on all cores and on the same files, which the system has in memory: the
whole build (a process; from the first file to the last commit, as it reports itself, and with its start), and in
another process decoding alone (every file to the network's input, with its hash), then the network alone on those
inputs, ready in memory.

`of the slower` compares the build with the slower of the other two. They want the same cores, so on a CPU no program
can do both at the speed of one: `of what sharing allows` compares with 1 / (1/decoding + 1/forward). `bound` is that
bound by processor time, cores / (decoding + forward), which other work on the machine hardly changes; `of what sharing
allows, by processor time` compares the sum of the two with what the build takes, without what the same command takes
when there is nothing left to do.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from command import options, show
from textures import write_photos, write_tiny

from retrieval import images
from retrieval.base.machine import cores
from retrieval.encoder import Encoder, EncoderConfig
from retrieval.images.reading import choose_decoder, read_picture, recorded_decoder
from retrieval.index import Index

TOP = Path(__file__).parent.parent
THIS, OTHER = "this checkout", "the other"


def small_network(folder: Path, seed: int) -> Path:
    """The default network, untrained: its speed does not depend on its weights."""
    import torch

    from retrieval import networks

    torch.manual_seed(seed)
    network = networks.create("convnet")
    Encoder.of(network, EncoderConfig("convnet", {}, network.dim, network.preprocessing)).save(folder / "encoder")
    return folder


def decode_all(files: list[Path], p: images.Preprocessing, decoder: images.Decoder) -> np.ndarray:
    """Every file as the network's input, on all cores."""
    with ThreadPoolExecutor(cores()) as pool:
        return np.stack(list(pool.map(lambda file: read_picture(file, p, decoder).pixels, files, chunksize=16)))


def alone(folder: Path, model: str, decoder: str) -> dict[str, float]:
    """Decoding alone and the network alone: pictures per second, and seconds of processor time for each picture."""
    encoder = Encoder.load(model)
    encoder.optimise()
    p = encoder.config.preprocessing
    files = [folder / path for path in images.find(folder).paths]
    pixels = decode_all(files[:16], p, recorded_decoder(decoder))  # which also warms up
    encoder.encode(pixels)
    made: list[np.ndarray] = []
    decoding = timed(lambda: made.append(decode_all(files, p, recorded_decoder(decoder))))
    forward = timed(lambda: encoder.encode(made[0]))
    count = len(files)
    return {
        "decoding": count / decoding[0],
        "forward": count / forward[0],
        "decoding, processor ms": 1e3 * decoding[1] / count,
        "forward, processor ms": 1e3 * forward[1] / count,
    }


def timed(run: Callable[[], object]) -> tuple[float, float]:
    """The seconds that it takes, by the clock and of the processor."""
    began, used = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - began, time.process_time() - used


def reported(top: Path, *command: object) -> dict[str, Any]:
    """What a command of a checkout reports, with the seconds of its process, by the clock and of the processor."""
    began, used = time.perf_counter(), processor_seconds_of_children()
    done = subprocess.run(
        [sys.executable, *map(str, command), "--json"],
        check=True,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(top)},
    )
    return {
        **json.loads(done.stdout),
        "process_seconds": time.perf_counter() - began,
        "processor_seconds": processor_seconds_of_children() - used,
    }


def processor_seconds_of_children() -> float:
    times = os.times()
    return times.children_user + times.children_system


def one_round(top: Path, folder: Path, out: Path, model: str, decoder: str) -> dict[str, float]:
    """A checkout's rates."""
    asked = ["--model", model, "--decoder", decoder]
    row = {**reported(top, Path(__file__).absolute(), "alone", "--folder", folder, *asked)}
    del row["process_seconds"], row["processor_seconds"]
    built, again = (reported(top, top / "build_index.py", folder, "--out", out, *asked) for _ in range(2))
    two = row["decoding, processor ms"] + row["forward, processor ms"]
    row["bound"] = 1e3 * cores() / two
    row["build"] = built["pictures_per_second"]
    row["build, whole process"] = built["total"] / built["process_seconds"]
    row["of the slower"] = row["build"] / min(row["decoding"], row["forward"])
    row["of what sharing allows"] = row["build"] * (1 / row["decoding"] + 1 / row["forward"])
    row["build, processor ms"] = 1e3 * (built["processor_seconds"] - again["processor_seconds"]) / built["total"]
    row["of what sharing allows, by processor time"] = two / row["build, processor ms"]
    return row


def measure(sides: dict[str, Path], folder: Path, model: str, decoder: str, rounds: int, work: Path) -> dict[str, Any]:
    """Of each side median rates, and ratios round by round."""
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for turn in range(rounds + 1):  # the first warms up
        for name in list(sides) if turn % 2 else reversed(list(sides)):
            row = one_round(sides[name], folder, work / f"{name} {turn}", model, decoder)
            if turn:
                rows[name].append(row)
    found = {name: summary(of) for name, of in rows.items()}
    if OTHER in sides:
        for what in ("bound", "build"):
            ratios = [mine[what] / theirs[what] for mine, theirs in zip(rows[THIS], rows[OTHER], strict=True)]
            found[THIS] |= spread(f"{what}, times the other", ratios)
        vectors = []
        for name in sides:
            with Index.open(work / f"{name} 1") as index:
                vectors.append(index.all_vectors()[1])
        found[THIS]["largest difference of a coordinate"] = float(np.abs(vectors[0] - vectors[1]).max())
    return found


def summary(rows: list[dict[str, float]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        found |= spread(name, values) if name.startswith("of ") else {name: statistics.median(values)}
    return found


def spread(name: str, values: list[float]) -> dict[str, float]:
    return {name: statistics.median(values), f"{name}, least": min(values), f"{name}, most": max(values)}


MADE = {
    "tiny": (10_000, write_tiny),
    "photos": (200, write_photos),
    "large": (60, lambda folder, count, seed: write_photos(folder, count, seed, 4000, 3000)),
}
"""Of each case, how many pictures are made, and how."""


def main() -> int:
    parser = options(__doc__, rounds=5)
    parser.add_argument("case", choices=[*MADE, "alone"], help="alone: what a round does in a process of its own")
    parser.add_argument("--folder", type=Path, help="pictures of your own")
    parser.add_argument("--pictures", type=int, help="how many to make (10,000 tiny ones, 200 photos, 60 large ones)")
    parser.add_argument("--model", help="another model than the case's")
    parser.add_argument("--decoder", default="auto", choices=["auto", "pillow", "simplejpeg"])
    parser.add_argument("--against", type=Path, help="another checkout, with its compiled parts built")
    args = parser.parse_args()
    decoder = recorded_decoder(choose_decoder(args.decoder))
    if args.case == "alone":
        print(json.dumps(alone(args.folder, args.model, decoder)))
        return 0
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        folder = args.folder
        if folder is None:
            folder = work / "pictures"
            count, write = MADE[args.case]
            write(folder, args.pictures or count, args.seed)
        model = args.model or (str(small_network(work / "run", args.seed)) if args.case == "tiny" else "default")
        sides = {THIS: TOP.absolute()}
        if args.against is not None:
            sides[OTHER] = args.against.absolute()
        found = measure(sides, folder, model, decoder, args.rounds, work)
        files = [folder / path for path in images.find(folder).paths]
        size = sum(file.stat().st_size for file in files) / 1e3 / len(files)
    rows = [{"case": args.case, "side": side, **of} for side, of in found.items()]
    show(
        args,
        rows,
        figures="pictures per second, medians; processor milliseconds a picture",
        pictures=len(files),
        kilobytes_a_file=round(size),
        decoder=decoder,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
