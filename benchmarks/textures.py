"""Picture files for the benchmarks, made from a seed: as large, and as hard to decode, as real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

BASES = 8


def write_tiny(folder: Path, count: int, seed: int, side: int = 32) -> None:
    """PNG files of side × side pixels in ten class folders; about 2.2 kB each, as CIFAR-10's are."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), np.float32)
        pixels = np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)
        file = folder / f"class{number % 10}" / f"{number:05d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)


def write_photos(folder: Path, count: int, seed: int, width: int = 1600, height: int = 1200) -> None:
    """JPEG files of quality 90; about 400 kB each at 1600 × 1200, as photographs are.

    Noise of all sizes, each octave weaker the finer it is, as in photographs; every file is a base that is mirrored
    and shifted.
    """
    rng = np.random.default_rng(seed)
    bases = [_texture(rng, width, height) for _ in range(min(BASES, count))]
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        pixels = np.roll(bases[number % len(bases)], rng.integers(0, (height, width)), (0, 1))
        Image.fromarray(pixels[:, :: rng.choice((-1, 1))]).save(folder / f"{number:05d}.jpg", quality=90)


def _texture(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """uint8 (height, width, 3)."""
    total = np.zeros((height, width, 3), np.float32)
    cells = 4
    while cells <= width:
        shape = (max(2, cells * height // width), cells, 3)
        octave = Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8))
        total += np.asarray(octave.resize((width, height), Image.Resampling.BICUBIC), np.float32) / cells**0.5
        cells *= 2
    low, high = np.percentile(total, (0.5, 99.5))
    return np.clip((total - low) * (255 / (high - low)), 0, 255).astype(np.uint8)
