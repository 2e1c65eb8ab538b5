"""Approximate structures: one small interface, and what stands behind each name."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from retrieval.index.nearest.structure import Floats, Structure


def build(factory: str, vectors: Floats, *, seed: int = 0, progress: Any = None) -> Structure:
    """Build one over unit vectors (n, d), the same for the same seed."""
    if factory.startswith("SymphonyQG"):
        from retrieval.index.nearest.symphony_structure import SymphonyStructure

        return SymphonyStructure.build(factory, vectors)
    if factory.startswith("B"):
        from retrieval.index.nearest.binary_structure import BinaryStructure

        return BinaryStructure.build(factory, vectors, seed=seed, progress=progress)
    from retrieval.index.nearest.faiss_structure import FaissStructure

    return FaissStructure.build(factory, vectors, seed=seed, progress=progress)


def read(factory: str, path: Path, dim: int, items: int, *, mapped: bool = False) -> Structure:
    """Read what :meth:`Structure.write` wrote."""
    if factory.startswith("SymphonyQG"):
        from retrieval.index.nearest.symphony_structure import SymphonyStructure

        return SymphonyStructure.read(factory, path, dim, items)
    if factory.startswith("B"):
        from retrieval.index.nearest.binary_structure import BinaryStructure

        return BinaryStructure.read(factory, path, dim, items)
    from retrieval.index.nearest.faiss_structure import FaissStructure

    return FaissStructure.read(factory, path, dim, items, mapped=mapped)


def available(factory: str) -> bool:
    """Whether the library that a structure needs is installed."""
    return not factory.startswith("SymphonyQG") or importlib.util.find_spec("rabitqlib") is not None


def efforts(factory: str, n: int) -> list[dict[str, int]]:
    """Search parameters from cheap to thorough."""
    if factory.startswith("SymphonyQG"):
        return [{"ef": width} for width in (10, 14, 20, 28, 40, 56, 80, 112, 160, 224, 320, 448, 640) if width < n]
    if factory.startswith("B"):
        steps = (
            [{"nprobe": probe} for probe in (1, 2, 4, 8, 16, 32, 64) if probe <= int(factory[4:])]
            if factory.startswith("BIVF")
            else [{"efSearch": width} for width in (20, 40, 80, 160, 320)]
            if factory.startswith("BHNSW")
            else [{}]
        )
        return [{**step, "candidates": times} for step in steps for times in (4, 10, 25, 60)]
    multiples: tuple[int, ...] = (1,)
    for code, times in (("SQ", (1, 2)), ("PCA", (2, 4, 8)), ("PQ", (2, 4, 8, 16, 32)), ("RaBitQ", (4, 8, 16, 32))):
        multiples = times if code in factory else multiples
    if "IVF" in factory:
        lists = int(factory.split("IVF")[1].split(",")[0])
        return [
            {"nprobe": probe, "candidates": times}
            for probe in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256)
            if probe <= lists
            for times in multiples
        ]
    if "HNSW" in factory:
        return [
            {"efSearch": width, "candidates": times} for width in (16, 32, 64, 128, 256, 512) for times in multiples
        ]
    return [{"candidates": times} for times in (1, 2, 4, 10, 20)]
