"""The usual layouts of labelled sets, small, for tests that need real files."""

from __future__ import annotations

import gzip
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from retrieval.datasets import PictureSet, cifar10

FORMATS = {
    "jpg": {"quality": 95},
    "png": {},
    "webp": {"lossless": True},
    "gif": {},
    "bmp": {},
    "tif": {},
    "ppm": {},
    "jpeg": {"progressive": True, "quality": 95},
    "tiff": {"compression": "tiff_lzw"},
}
"""What pictures are saved as, with the options for Pillow."""

SHARED = Path(__file__).parents[3] / "shared" / "data"

PER_BATCH = 4  # pictures in each batch of the small CIFAR-10 here


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def in_memory(count: int = 12, classes: tuple[str, ...] = ("cat", "dog", "eel")) -> PictureSet:
    labels = np.arange(count) % len(classes)
    splits = np.where(np.arange(count) < count // 2, "train", "test").astype("<U5")
    names = tuple(f"{s}/{classes[k]}/{i:05d}.png" for i, (k, s) in enumerate(zip(labels, splits, strict=True)))
    return PictureSet("small", names, classes, labels, splits, noise(count, 6, 5, 3))


def same(a: PictureSet, b: PictureSet) -> None:
    assert (a.name, tuple(a.names), a.classes) == (b.name, tuple(b.names), b.classes)
    assert (None if a.levels is None else tuple(a.levels)) == (None if b.levels is None else tuple(b.levels))
    np.testing.assert_array_equal(a.labels, b.labels)
    np.testing.assert_array_equal(a.splits, b.splits)
    np.testing.assert_array_equal(a.pixels, b.pixels)


def cifar10_pixels() -> tuple[np.ndarray, np.ndarray]:
    """uint8 (24, 32, 32, 3) and labels, the last batch being the test pictures."""
    return noise(6 * PER_BATCH, 32, 32, 3), np.arange(6 * PER_BATCH) % 10


def batches() -> list[tuple[str, np.ndarray, np.ndarray]]:
    pixels, labels = cifar10_pixels()
    parts = [slice(n * PER_BATCH, (n + 1) * PER_BATCH) for n in range(6)]
    return [(name, pixels[part], labels[part]) for name, part in zip(cifar10.BATCHES, parts, strict=True)]


def python_version(folder: Path, protocol: int = 2) -> None:
    folder.mkdir(parents=True)
    for name, pixels, labels in batches():
        planes = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).reshape(-1, 3072)
        content = {b"batch_label": b"x", b"labels": labels.tolist(), b"data": planes, b"filenames": [b"a.png"]}
        (folder / name).write_bytes(pickle.dumps(content, protocol))


def binary_version(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name, pixels, labels in batches():
        planes = pixels.transpose(0, 3, 1, 2).reshape(-1, 3072)
        records = np.concatenate([labels[:, None].astype(np.uint8), planes], axis=1)
        (folder / f"{name}.bin").write_bytes(records.tobytes())


def npm_version(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name, pixels, _ in batches():
        Image.fromarray(pixels.reshape(-1, 1024, 3)).save(folder / f"{name}.png")
    labels = cifar10_pixels()[1].tolist()
    (folder / "train_lables.json").write_text(json.dumps(labels[: 5 * PER_BATCH]))
    (folder / "test_lables.json").write_text(json.dumps(labels[5 * PER_BATCH :]))


VERSIONS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "python": ("cifar-10-batches-py", python_version),
    "binary": ("cifar-10-batches-bin", binary_version),
    "npm": ("package", npm_version),
}


def write_idx(folder: Path, part: str, pixels: np.ndarray, labels: np.ndarray, zipped: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    images_ = struct.pack(">IIII", 0x803, *pixels.shape) + pixels.tobytes()
    marks = struct.pack(">II", 0x801, len(labels)) + labels.astype(np.uint8).tobytes()
    for name, data in (("images-idx3", images_), ("labels-idx1", marks)):
        path = folder / f"{part}-{name}-ubyte"
        if zipped:
            path.with_name(path.name + ".gz").write_bytes(gzip.compress(data))
        else:
            path.write_bytes(data)


def omniglot(root: Path) -> None:
    for part, letters in (("background", "Greek Latin"), ("evaluation", "Tengwar")):
        for alphabet in letters.split():
            for character in ("character01", "character02"):
                for drawing in range(3):
                    name = f"images_{part}/{alphabet}/{character}/{alphabet}_{character}_{drawing}.png"
                    write(root / name, noise(9, 9, seed=hash_of(name)))


def hash_of(text: str) -> int:
    return int.from_bytes(text.encode()[-8:], "big") % 2**31


def zipped(folder: Path) -> Path:
    archive = folder.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*.p*")):
            file.write(path, path.relative_to(folder.parent))
    return archive


def gradient(width: int = 60, height: int = 40) -> Image.Image:
    """Smooth, in colour, and different in all four corners."""
    y, x = np.mgrid[0:height, 0:width]
    channels = (255 * x / width, 255 * y / height, 255 * (1 - x / width))
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


def scene(seed: int, side: int = 256) -> Image.Image:
    """Smooth shapes at several scales, as in a photograph; different seeds have nothing in common."""
    rng = np.random.default_rng(seed)
    total = np.zeros((side, side, 3))
    for cells in (3, 6, 12, 24):
        coarse = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), np.uint8))
        total += np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), float) / np.sqrt(cells)
    total -= total.min()
    return Image.fromarray((total * 235 / total.max() + 10).astype(np.uint8))
