#!/usr/bin/env python3
"""Pictures per second of build_index.py, beside the bare forward pass and bare decoding.

    python benchmarks/build.py tiny                10,000 PNG files of 32 × 32, a small convolutional network
    python benchmarks/build.py photos              200 JPEG files of 1600 × 1200, EfficientNet-Lite0
    python benchmarks/build.py photos --folder DIR your own pictures
    python benchmarks/build.py tiny --json

In every round each of the three runs once, on all cores and on the same files, which the system has in memory: the
whole build (a process; from the first file to the last commit, as it reports itself, and with its start), decoding
alone (every file to the network's input), and the network alone on those inputs, ready in memory.

`of the slower` compares the build with the slower of the other two. They want the same cores, so on a CPU no program
can do both at the speed of one: `of what sharing allows` compares with 1 / (1/decoding + 1/forward).
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
from retrieval.images.reading import choose_decoder, recorded_decoder

TOP = Path(__file__).parent.parent


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
        return np.stack(list(pool.map(lambda file: images.read(file, p, decoder), files, chunksize=16)))


def build(folder: Path, out: Path, model: str, decoder: str) -> dict[str, Any]:
    """The report of one process, with the seconds that the process took."""
    began = time.perf_counter()
    command = [
        sys.executable,
        TOP / "build_index.py",
        folder,
        "--out",
        out,
        "--model",
        model,
        "--decoder",
        decoder.split()[0],
    ]
    done = subprocess.run(
        [*map(str, command), "--json"],
        check=True,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(TOP)},
    )
    return {**json.loads(done.stdout), "process_seconds": time.perf_counter() - began}


def measure(folder: Path, model: str, decoder: str, rounds: int, work: Path) -> dict[str, Any]:
    """Median rates, and ratios round by round."""
    encoder = Encoder.load(model)
    encoder.optimise()
    p = encoder.config.preprocessing
    files = [folder / path for path in images.find(folder).paths]
    pixels = decode_all(files, p, recorded_decoder(decoder))
    encoder.encode(pixels[:64])
    rows: list[dict[str, float]] = []
    for turn in range(rounds + 1):  # the first warms up
        row: dict[str, float] = {}
        steps: list[Callable[[], None]] = [
            lambda row=row: row.update(decoding=rate(lambda: decode_all(files, p, recorded_decoder(decoder)), files)),
            lambda row=row: row.update(forward=rate(lambda: encoder.encode(pixels), files)),
            lambda row=row, turn=turn: row.update(built(build(folder, work / f"{turn}", model, decoder))),
        ]
        for step in steps if turn % 2 else steps[::-1]:
            step()
        row["of the slower"] = row["build"] / min(row["decoding"], row["forward"])
        row["of what sharing allows"] = row["build"] * (1 / row["decoding"] + 1 / row["forward"])
        if turn:
            rows.append(row)
    summary: dict[str, Any] = {
        "pictures": len(files),
        "kB a file": sum(f.stat().st_size for f in files) / 1e3 / len(files),
    }
    for name in rows[0]:
        values = sorted(row[name] for row in rows)
        summary[name] = statistics.median(values)
        if name.startswith("of "):
            summary[f"{name}, least"], summary[f"{name}, most"] = values[0], values[-1]
    return {**summary, "runtime": encoder.runtime, "decoder": decoder}


def rate(run: Callable[[], object], files: list[Path]) -> float:
    began = time.perf_counter()
    run()
    return len(files) / (time.perf_counter() - began)


def built(report: dict[str, Any]) -> dict[str, float]:
    return {
        "build": report["pictures_per_second"],
        "build, whole process": report["total"] / report["process_seconds"],
    }


def main() -> int:
    parser = options(__doc__, rounds=5)
    parser.add_argument("case", choices=["tiny", "photos"])
    parser.add_argument("--folder", type=Path, help="pictures of your own")
    parser.add_argument("--pictures", type=int, help="how many to make (10,000 tiny ones, 200 photos)")
    parser.add_argument("--model", help="another model than the case's")
    parser.add_argument("--decoder", default="auto", choices=["auto", "pillow", "simplejpeg"])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        folder = args.folder
        if folder is None:
            folder = work / "pictures"
            write, count = (write_tiny, 10_000) if args.case == "tiny" else (write_photos, 200)
            write(folder, args.pictures or count, args.seed)
        model = args.model or ("default" if args.case == "photos" else str(small_network(work / "run", args.seed)))
        found = measure(folder, model, choose_decoder(args.decoder), args.rounds, work)
    show(args, [{"case": args.case, **found}], figures="pictures per second, medians")
    return 0


if __name__ == "__main__":
    sys.exit(main())
