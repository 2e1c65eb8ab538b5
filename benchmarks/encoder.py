#!/usr/bin/env python3
"""Pictures a second through EfficientNet-Lite1: torch, torch with channels last, ONNX Runtime.

    python benchmarks/encoder.py              on one core and on all, as ratios in one run
    python benchmarks/encoder.py --json

All take the same made-up pictures, uint8 in memory, and their vectors are compared first; the last line is `fast`,
EfficientNet-Lite0, on as many of its own. Beside the ways to run the network it measures the two choices within
`retrieval/encoder/onnx_runtime.py`: how many pictures go through the network at once, and that cores work on pictures
of their own instead of sharing each picture.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from unittest import mock

import numpy as np
import torch
from command import options, show
from torch.nn import functional as F
from turns import take_turns

from retrieval.base.machine import cores
from retrieval.encoder import onnx_runtime
from retrieval.encoder.onnx_runtime import OnnxRunner
from retrieval.encoder.runtime_check import TOLERANCE, sample_pictures
from retrieval.encoder.torch_runtime import Graph, TorchRunner, export
from retrieval.images import Pixels
from retrieval.networks.efficientnet_lite import EfficientNetLite0, EfficientNetLite1
from retrieval.networks.published import PUBLISHED

PREPROCESSING = PUBLISHED[EfficientNetLite1.variant].preprocessing
Run = Callable[[Pixels], np.ndarray]


class Planes(Graph):
    """One plane a channel, torch's own default: what pixels as files give them would otherwise not be."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        x = pixels.permute(0, 3, 1, 2).contiguous().float() * self.scale + self.shift
        return F.normalize(self.network(x), dim=1)


def ways(threads: int) -> dict[str, Run]:
    """Name → what turns pixels into vectors; the first is what the others are compared with."""
    network = EfficientNetLite1().eval().requires_grad_(False)
    graph = export(network, PREPROCESSING)
    plain = Planes(EfficientNetLite1().eval().requires_grad_(False), PREPROCESSING)
    onnx = OnnxRunner(graph, threads)

    def torch_plain(pixels: Pixels) -> np.ndarray:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            return np.concatenate([plain(part).numpy() for part in torch.from_numpy(pixels).split(2)])

    def at_once(pictures: int) -> Run:
        def run(pixels: Pixels) -> np.ndarray:
            with mock.patch.object(onnx_runtime, "PIXELS_A_RUN", pictures * PREPROCESSING.size**2):
                return onnx(pixels)

        return run

    found = {
        "torch": torch_plain,
        "torch, channels last": TorchRunner(network, PREPROCESSING, torch.device("cpu"), threads),
        "ONNX Runtime": onnx,
        "ONNX Runtime, 1 picture at once": at_once(1),
        "ONNX Runtime, 32 pictures at once": at_once(32),
    }
    if threads > 1:
        shared = OnnxRunner(graph, threads)
        shared._pool = None  # then all cores share each run
        found["ONNX Runtime, cores share each picture"] = shared
    return found


def fast(threads: int, pictures: int, seed: int) -> Callable[[], np.ndarray]:
    """The other encoder for photographs on made-up pictures of its own."""
    preprocessing = PUBLISHED[EfficientNetLite0.variant].preprocessing
    run = OnnxRunner(export(EfficientNetLite0().eval().requires_grad_(False), preprocessing), threads)
    pixels = sample_pictures(pictures, preprocessing, seed)
    return lambda: run(pixels)


def main() -> int:
    parser = options(__doc__, rounds=7)
    parser.add_argument("--pictures", type=int, default=32)
    args = parser.parse_args()
    pixels = sample_pictures(args.pictures, PREPROCESSING, args.seed)
    rows = []
    for threads in dict.fromkeys((1, cores())):
        runs = ways(threads)
        reference = runs["torch"](pixels)
        differences = {name: float(np.abs(run(pixels) - reference).max()) for name, run in runs.items()}
        if not max(differences.values()) <= TOLERANCE:
            print(f"vectors differ: {differences}", file=sys.stderr)
            return 1
        timed_runs = {name: lambda run=run: run(pixels) for name, run in runs.items()}
        timed_runs["ONNX Runtime, EfficientNet-Lite0"] = fast(threads, args.pictures, args.seed)
        result = take_turns(timed_runs, args.rounds)
        for name, timed in result.items():
            rows.append(
                {
                    "cores": threads,
                    "way": name,
                    "pictures a second": args.pictures / timed["seconds"],
                    "times as fast as torch": 1 / timed["ratio"],
                    "least": 1 / timed["most"],
                    "most": 1 / timed["least"],
                    "largest difference": differences.get(name),
                }
            )
    show(args, rows, pictures=args.pictures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
