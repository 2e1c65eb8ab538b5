"""Small real things for tests: a network of a few thousand weights, and pictures to feed it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from retrieval.encoder import encoder
from retrieval.encoder.runtime_check import Comparison
from retrieval.images import Preprocessing

SIZE = 32


def only_vectors(torch_runner: Any, onnx_runner: Any, p: Preprocessing, threads: int) -> Comparison:
    """In place of `encoder.compare`: which runtime is faster at this moment is no matter in a test."""
    pixels = np.random.default_rng(0).integers(0, 256, (4, p.size, p.size, p.channels), np.uint8)
    difference = float(np.abs(torch_runner(pixels) - onnx_runner(pixels)).max())
    return Comparison(difference <= 1e-5, f"vectors differ by {difference}", difference)


def model(factory: pytest.TempPathFactory, seed: int = 0) -> Path:
    """A run folder with a tiny untrained network, saved once in a session."""
    run = factory.getbasetemp() / f"tiny-network-{seed}"  # no name that mktemp() gives
    if not run.exists():
        import torch

        from retrieval import networks
        from retrieval.encoder import EncoderConfig, save_trained

        with torch.random.fork_rng():
            torch.manual_seed(seed)
            options = {"dim": 16, "widths": [8, 8]}
            network = networks.create("convnet", **options)
        config = EncoderConfig("convnet", options, 16, network.preprocessing)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(encoder, "compare", only_vectors)
            save_trained(run / "encoder", network, config, "A card.")
    return run


def picture(seed: int, width: int = SIZE, height: int = SIZE) -> Image.Image:
    """Coarse coloured squares: pictures of different seeds look nothing like each other."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.NEAREST)


def folder(root: Path, classes: tuple[str, ...] = ("cat", "dog"), each: int = 4) -> Path:
    """A folder of PNG files, `each` a class folder."""
    for number, name in enumerate(classes):
        (root / name).mkdir(parents=True, exist_ok=True)
        for one in range(each):
            picture(100 * number + one).save(root / name / f"{one}.png")
    return root
