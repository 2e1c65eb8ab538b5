"""Structures over one bit for each number: the signs of the rotated vectors, compared by Hamming distance.

They are 32 times smaller than the vectors, from which what they name is scored anew. Without the rotation numbers of
small spread would count as much as those of large spread, and without centring bits that are nearly always set would
tell nothing (Charikar 2002, "Similarity Estimation Techniques from Rounding Algorithms": signs of random projections
keep angles).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from retrieval.base.given import seeded
from retrieval.base.open_file import DamagedFileError
from retrieval.errors import RetrievalError
from retrieval.index.nearest import faiss_files
from retrieval.index.nearest.faiss_options import Settings, empty, linear, project
from retrieval.index.nearest.structure import Floats, Positions

_KNOWN = re.compile(r"BFlat|BHNSW\d{1,3}|BIVF\d{1,6}")

_SAMPLE = 65_536
"""Vectors that are averaged for the centre, at most."""

_PIECE = 5000
"""Vectors that are added at a time, so that progress shows."""


class BinaryStructure:
    """``BFlat``, ``BHNSW32`` or ``BIVF256`` of FAISS behind the interface of
    :class:`retrieval.index.nearest.structure.Structure`."""

    vectors: Floats | None = None

    def __init__(self, factory: str, index: Any, transform: Any) -> None:
        self.factory = factory
        self.dim = int(transform.d_in)
        self._index = index
        self._transform = transform
        self._settings = Settings(index)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @classmethod
    def build(cls, factory: str, vectors: Floats, *, seed: int, progress: Any) -> BinaryStructure:
        """See :func:`retrieval.index.nearest.structure.Structure.build`."""
        n, dim = vectors.shape
        index = _empty(factory, dim)
        lists = int(getattr(index, "nlist", 0))
        if n < lists:
            raise RetrievalError(f"{factory} needs at least {lists:,} vectors, not {n:,}; take fewer lists.")
        rng = seeded(seed)
        rotation = _rotation(dim, int(index.d), rng)
        rows = np.sort(rng.permutation(n)[:_SAMPLE])
        centre = vectors[rows].mean(axis=0, dtype=np.float64) if n else np.zeros(dim)
        transform = linear(rotation, -rotation @ centre)
        if lists:
            index.cp.seed = seed
            index.train(_codes(transform.apply(np.ascontiguousarray(vectors[rows]))))
        for start in range(0, n, _PIECE):
            index.add(_codes(transform.apply(np.ascontiguousarray(vectors[start : start + _PIECE]))))
            if progress is not None:
                progress.update(len(vectors[start : start + _PIECE]))
        return cls(factory, index, transform)

    @classmethod
    def read(cls, factory: str, path: Path, dim: int, items: int, *, mapped: bool) -> BinaryStructure:
        """See :func:`retrieval.index.nearest.structure.Structure.read`."""
        try:
            like = _empty(factory, dim)
        except RetrievalError as error:
            raise DamagedFileError(path, faiss_files.OTHER) from error
        return cls(factory, *faiss_files.read_coded(path, like, items, dim))

    @staticmethod
    def efforts(factory: str, n: int) -> list[dict[str, int]]:
        """See :meth:`retrieval.index.nearest.structure.Structure.efforts`."""
        steps: list[dict[str, int]] = [{}]
        if factory.startswith("BIVF"):
            steps = [{"nprobe": probe} for probe in (1, 2, 4, 8, 16, 32, 64) if probe <= int(factory[4:])]
        elif factory.startswith("BHNSW"):
            steps = [{"efSearch": width} for width in (20, 40, 80, 160, 320)]
        return [{**step, "candidates": times} for step in steps for times in (4, 10, 25, 60)]

    def write(self, path: Path) -> None:
        """Write it durably."""
        faiss_files.write(path, self._transform, self._index)

    def bytes(self) -> int:
        """What its file takes."""
        return faiss_files.size(self._transform, self._index)

    def candidates(self, queries: Floats, count: int, parameters: Mapping[str, int]) -> Positions:
        """See :meth:`retrieval.index.nearest.structure.Structure.candidates`."""
        codes = _codes(project(self._transform, queries))
        found: Positions = self._index.search(codes, count, params=self._settings(count, parameters))[1]
        return found


def _empty(factory: str, dim: int) -> Any:
    """Of as many bits as numbers, filled up to whole bytes."""
    return empty(_KNOWN, lambda dim, factory: faiss.index_binary_factory(-(-dim // 8) * 8, factory), factory, dim)


def _codes(turned: Floats) -> npt.NDArray[np.uint8]:
    return np.packbits(turned > 0, axis=1, bitorder="little")


def _rotation(dim: int, bits: int, rng: np.random.Generator) -> Floats:
    """Orthonormal directions (bits, dim); some more than numbers if these do not fill whole bytes."""
    gaussian = rng.standard_normal((bits, dim))
    rows = np.linalg.qr(gaussian.T)[0].T
    more = gaussian[dim:] / np.linalg.norm(gaussian[dim:], axis=1, keepdims=True)
    return np.ascontiguousarray(np.concatenate([rows, more]), dtype=np.float32)
