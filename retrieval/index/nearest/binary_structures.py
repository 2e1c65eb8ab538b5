"""Structures over one bit for each number: the signs of the rotated vectors, compared by Hamming distance.

They are 32 times smaller than the vectors, from which what they name is scored anew. Without the rotation numbers of
small spread would count as much as those of large spread, and numbers that are always positive nothing at all (Charikar
2002, "Similarity Estimation Techniques from Rounding Algorithms": signs of random projections keep angles).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from retrieval.errors import RetrievalError
from retrieval.files import TEMPORARY, name_durably
from retrieval.index.damage import DamagedFileError
from retrieval.index.nearest.structures import Floats, Positions

_ROTATION_SEED = 0
"""The rotation is made anew from it, so it belongs to the format."""

_BLOCK = 16_384
"""Vectors that are rotated at a time."""


class BinaryStructure:
    """``BFlat``, ``BHNSW32`` or ``BIVF256`` of FAISS behind the interface of
    :class:`retrieval.index.nearest.structures.Structure`."""

    def __init__(self, factory: str, index: Any, dim: int) -> None:
        self.factory = factory
        self.dim = dim
        self._index = index
        self._rotation = _rotation(dim, int(index.d))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @classmethod
    def build(cls, factory: str, vectors: Floats, *, seed: int) -> BinaryStructure:
        """See :func:`retrieval.index.nearest.structures.build`."""
        dim = vectors.shape[1]
        try:
            index = faiss.index_binary_factory(-(-dim // 8) * 8, factory)
        except RuntimeError as error:
            raise RetrievalError(f"FAISS knows no structure {factory!r}; choose another one.") from error
        lists = int(getattr(index, "nlist", 0))
        if len(vectors) < lists:
            raise RetrievalError(f"{factory} needs at least {lists:,} vectors, not {len(vectors):,}; take fewer lists.")
        made = cls(factory, index, dim)
        codes = np.concatenate(
            [made._codes(vectors[start : start + _BLOCK]) for start in range(0, len(vectors), _BLOCK)]
            or [np.empty((0, index.d // 8), np.uint8)]
        )
        if lists:
            index.cp.seed = seed
            index.train(codes)
        for start in range(0, len(codes), 5000):  # in pieces: FAISS does not see Ctrl-C while it works
            index.add(codes[start : start + 5000])
        return made

    @classmethod
    def read(cls, factory: str, path: Path, dim: int, items: int) -> BinaryStructure:
        """See :func:`retrieval.index.nearest.structures.read`."""
        try:
            index = faiss.read_index_binary(str(path))
        except (RuntimeError, TypeError, MemoryError) as error:
            raise DamagedFileError(path, "is not a structure that FAISS can read") from error
        if index.d != -(-dim // 8) * 8 or index.ntotal != items:
            raise DamagedFileError(path, "is not the structure that the catalog describes")
        return cls(factory, index, dim)

    def write(self, path: Path) -> None:
        """Write it durably."""
        temporary = path.with_name(path.name + TEMPORARY)
        try:
            faiss.write_index_binary(self._index, str(temporary))
        except RuntimeError as error:
            temporary.unlink(missing_ok=True)
            raise RetrievalError(f"{str(path)!r} cannot be written; make room, or allow writing there.") from error
        name_durably(temporary, path)

    def bytes(self) -> int:
        """What its file takes."""
        return len(faiss.serialize_index_binary(self._index))

    def candidates(self, queries: Floats, count: int, parameters: Mapping[str, int]) -> Positions:
        """See :meth:`retrieval.index.nearest.structures.Structure.candidates`."""
        settings = None
        if "nprobe" in parameters:
            settings = faiss.SearchParametersIVF(nprobe=parameters["nprobe"])
        elif "efSearch" in parameters:
            settings = faiss.SearchParametersHNSW(efSearch=max(count, parameters["efSearch"]))
        found: Positions = self._index.search(self._codes(queries), count, params=settings)[1]
        return found

    def _codes(self, vectors: Floats) -> npt.NDArray[np.uint8]:
        # One at a time where they are few: a product of matrices rounds otherwise than one of a vector, and an answer
        # is not to depend on the batch.
        turned = np.vecdot(vectors[:, None, :], self._rotation) if len(vectors) < 64 else None
        if turned is None:
            turned = np.concatenate(
                [np.vecdot(vectors[at : at + 64, None, :], self._rotation) for at in range(0, len(vectors), 64)]
            )
        return np.packbits(turned > 0, axis=1, bitorder="little")


def _rotation(dim: int, bits: int) -> Floats:
    """Orthonormal directions (bits, dim); some more than numbers if these do not fill whole bytes."""
    gaussian = np.random.default_rng(_ROTATION_SEED).standard_normal((max(dim, bits), dim))
    rows = np.linalg.qr(gaussian.T)[0].T
    more = gaussian[dim:bits] / np.linalg.norm(gaussian[dim:bits], axis=1, keepdims=True)
    return np.ascontiguousarray(np.concatenate([rows[:dim], more])[:bits], dtype=np.float32)
