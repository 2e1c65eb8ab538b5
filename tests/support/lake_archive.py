"""A small archive in the layout of Lake's one-shot runs."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = 8
WAYS = 5


def png(pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def members(runs: int = 3, seed: int = 0, noise: float = 0.15) -> dict[str, bytes]:
    """The files of an archive of runs; a test drawing is its training drawing with some pixels turned over."""
    draw = np.random.default_rng(seed)
    files = {}
    for run in range(1, runs + 1):
        classes = draw.integers(0, 2, (WAYS, SIZE, SIZE)).astype(np.uint8) * 255
        truth = draw.permutation(WAYS)
        lines = []
        for number, picture in enumerate(classes):
            files[f"run{run:02d}/training/class{number + 1:02d}.png"] = png(picture)
        for number, true in enumerate(truth):
            turned = draw.random((SIZE, SIZE)) < noise
            files[f"run{run:02d}/test/item{number + 1:02d}.png"] = png(
                np.where(turned, 255 - classes[true], classes[true])
            )
            lines.append(f"run{run:02d}/test/item{number + 1:02d}.png run{run:02d}/training/class{true + 1:02d}.png\n")
        files[f"run{run:02d}/class_labels.txt"] = "".join(lines).encode()
    return files


def archive(path: Path, files: dict[str, bytes], folder: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as out:
        for name, content in files.items():
            out.writestr(folder + name, content)
    return path
