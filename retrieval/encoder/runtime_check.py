"""Whether ONNX Runtime may stand in for torch: only where its vectors are equal and it is faster."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.base import progress
from retrieval.images import Pixels, Preprocessing

TOLERANCE = 1e-5
"""The largest difference in any coordinate of a unit vector at which two runtimes count as equal."""

ROUNDS = 3
CLEARLY = 2.0
"""How many times as fast one runtime must be in a round for no further round to be needed."""

PATIENCE = 4.0
"""Seconds after which no further round of timing begins."""

Runner = Callable[[Pixels], NDArray[np.float32]]


@dataclass(frozen=True)
class Comparison:
    """What came of comparing ONNX Runtime with torch.

    Attributes:
        kept: ONNX Runtime is equal, and the graph is saved with the encoder.
        reason: why it was not kept; empty if it was.
        max_difference: largest difference in any coordinate.
        torch: pictures a second with torch, median over the rounds.
        onnx: pictures a second with ONNX Runtime.
        threads: how many cores either used.
        pictures: how many pictures were timed at once.
    """

    kept: bool
    reason: str
    max_difference: float | None = None
    torch: float | None = None
    onnx: float | None = None
    threads: int | None = None
    pictures: int | None = None

    def __post_init__(self) -> None:
        numbers = (self.max_difference, self.torch, self.onnx, self.threads, self.pictures)
        if not (
            isinstance(self.kept, bool)
            and isinstance(self.reason, str)
            and all(n is None or (isinstance(n, int | float) and not isinstance(n, bool)) for n in numbers)
        ):
            raise TypeError("what is said of its runtimes is no comparison")

    @property
    def faster(self) -> bool:
        """Whether ONNX Runtime is equal, and also encodes many pictures faster than torch."""
        return self.kept and (self.torch is None or self.onnx is None or self.onnx > self.torch)


def compare(torch_runner: Runner, onnx_runner: Runner, p: Preprocessing, threads: int) -> Comparison:
    """Compare two runtimes on made-up pictures: first their vectors, then, in turns, their speed.

    Args:
        torch_runner: the one that is right by definition.
        onnx_runner: the one that is on trial.
        p: says what pictures look like to the network.
        threads: how many cores either uses; only recorded, and used to choose the number of pictures.
    """
    pictures = sample_pictures(min(512, max(8, 2 * threads, 2**18 // p.size**2)), p, seed=0)
    runners = {"torch": torch_runner, "onnx": onnx_runner}
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    with progress.bar(1 + ROUNDS, "Choosing the runtime", "rounds") as bar:
        start = time.perf_counter()
        for run in runners.values():
            run(pictures[:1])  # warms it up: the first run allocates
        bar.update()
        for _ in range(ROUNDS):
            vectors = {}
            for name, run in runners.items():
                begin = time.perf_counter()
                vectors[name] = run(pictures)
                seconds[name].append(time.perf_counter() - begin)
            difference = float(np.abs(vectors["torch"] - vectors["onnx"]).max())
            if not difference <= TOLERANCE:  # also where it is not a number
                return Comparison(False, f"vectors differ by {difference:.1e}", difference, threads=threads)
            bar.update()
            last = sorted(times[-1] for times in seconds.values())
            if last[1] > CLEARLY * last[0] or time.perf_counter() - start > PATIENCE:
                break
    speed = {name: round(len(pictures) / statistics.median(times), 2) for name, times in seconds.items()}
    return Comparison(True, "", difference, speed["torch"], speed["onnx"], threads, len(pictures))


def sample_pictures(n: int, p: Preprocessing, seed: int) -> Pixels:
    """Made-up pictures: half are noise, half have the spectrum of natural ones (amplitude 1 / frequency).

    Returns:
        uint8 (n, size, size, channels).
    """
    rng = np.random.default_rng(seed)
    shape = (n, p.size, p.size, p.channels)
    noise = rng.integers(0, 256, shape, np.uint8)
    frequency = np.hypot(np.fft.fftfreq(p.size)[:, None], np.fft.rfftfreq(p.size)[None])
    frequency[0, 0] = 1 / p.size
    spectrum = np.fft.rfft2(noise[::2] - 127.5, axes=(1, 2)) / frequency[None, :, :, None]
    natural = np.fft.irfft2(spectrum, (p.size, p.size), axes=(1, 2))
    natural *= 60 / (natural.std(axis=(1, 2, 3), keepdims=True) + 1e-9)
    noise[::2] = np.clip(natural + 127.5, 0, 255).astype(np.uint8)
    return noise
