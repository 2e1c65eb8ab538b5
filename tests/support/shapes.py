"""Labelled pictures to measure, and an encoder whose vector is the picture itself."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from retrieval.datasets import PictureSet
from retrieval.encoder import EncoderConfig
from retrieval.images import Preprocessing
from retrieval.index import Index, NewItem

CLASSES = ("circle", "cross", "square")


@dataclass
class PixelEncoder:
    """Its vector is the picture itself, and a constant that keeps black pictures from having none."""

    constant: float = 1.0
    weight: float = 1.0
    hash: str = hashlib.sha256(b"pixels").hexdigest()
    dim: int = 65
    config: EncoderConfig = field(
        default_factory=lambda: EncoderConfig("pixels", {}, 65, Preprocessing(8, "L", "stretch"), CLASSES, "shapes")
    )

    def encode(self, pixels: np.ndarray, batch: int | None = None) -> np.ndarray:
        values = np.full((len(pixels), self.dim), self.constant, np.float32)
        values[:, 1:] = self.weight * (pixels.reshape(len(pixels), -1) / np.float32(255) - 0.5)
        return values / np.linalg.norm(values, axis=1, keepdims=True)


def shapes(n: int, seed: int, splits: tuple[str, ...] = ("train", "test")) -> PictureSet:
    """Three noisy classes of 8×8 pictures, the splits in turn."""
    rng = np.random.default_rng(seed)
    models = np.random.default_rng(7).integers(90, 165, (3, 8, 8, 1))
    labels = rng.integers(0, 3, n)
    pixels = np.clip(models[labels] + rng.normal(0, 60, (n, 8, 8, 1)), 0, 255).astype(np.uint8)
    return PictureSet(
        "shapes",
        tuple(f"{i:03}.png" for i in range(n)),
        CLASSES,
        labels,
        np.array([splits[i % len(splits)] for i in range(n)]),
        pixels=pixels,
    )


def as_files(pictures: PictureSet, folder: Path) -> PictureSet:
    assert pictures.pixels is not None
    files = []
    for name, split, label, pixels in zip(
        pictures.names, pictures.splits, pictures.labels, pictures.pixels, strict=True
    ):
        file = folder / split / CLASSES[label] / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[..., 0]).save(file)
        files.append(file)
    return replace(pictures, pixels=None, files=tuple(files))


def indexed(folder: Path, pictures: PictureSet, encoder: PixelEncoder) -> Index:
    index = Index.create(folder, encoder.dim, root=".", encoder_hash=encoder.hash, details={})
    labels = [None if label < 0 else CLASSES[label] for label in pictures.labels]
    items = [NewItem(path=name, label=label) for name, label in zip(pictures.names, labels, strict=True)]
    half = len(items) // 2
    vectors = encoder.encode(pictures.pixels)
    index.add(vectors[:half], items[:half])
    index.add(vectors[half:], items[half:])
    return index
