"""Lists of vectors that lie near each other, each vector in few numbers of 8 bits: ``Lists256x32``.

What a network has learned to tell classes apart by has few directions: of an embedding of ten classes in 128 numbers
nine have nearly all of the spread. So vectors are turned into the directions in which most of them lie, of which the
first few are kept, and put into lists as k-means groups them (Jégou, Douze, Schmid 2011, "Product Quantization for
Nearest Neighbor Search", section IV). Of a vector its difference from the centre of its list is kept, in 8 bits a
number. Inner products in few numbers, within the nearest lists, are what makes LoRANN fast on such vectors (Jääsaari,
Hyvönen, Roos 2024, "LoRANN: Low-Rank Matrix Factorization for Approximate Nearest Neighbor Search"); one rotation for
all lists, in place of a regression for each, names as much of a trained embedding (docs/speed.md).

The kernel does the work where it was compiled; what stands here says the same without. Both sum what decides in twice
the precision, or in whole numbers below 2²⁴, so that they name the same candidates, but for a sum that lies between two
roundings.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy as np
import numpy.typing as npt

from retrieval.base import compiled
from retrieval.base.files import TEMPORARY, name_durably
from retrieval.base.given import seeded
from retrieval.base.open_file import DamagedFileError
from retrieval.errors import RetrievalError
from retrieval.index.nearest import cores, faiss_files
from retrieval.index.nearest.exact import matrix_products
from retrieval.index.nearest.structure import Floats, Positions, finite

_SIDE = 16
"""Vectors that the kernel scores at a time, and lists; numbers of a vector come in as many."""

_MOST = 128
"""The most numbers that a vector is kept as."""

_WHOLE = 24
"""Below 2 to this power sums of whole numbers are exact in float32."""

_ZERO = 128
"""The code of zero."""

_SAMPLE = 65_536
"""Vectors that directions and centres are found from, at most; lists take 64 each."""

_ROUNDS = 10
"""Of k-means."""

_PIECE = 5000
"""Vectors that are put into lists at a time, so that progress shows."""


class Arrays(NamedTuple):
    """What is kept, in the order of the file. Each list is filled up to whole blocks of sixteen vectors.

    Attributes:
        rotation: float32 (d, width): directions, the one in which most lies first.
        centres: float32 (lists, width).
        steps: float32 (lists,): of each list what a code counts.
        starts: int32 (lists + 1,): the first block of each list, and behind the last.
        positions: int32 (blocks · 16,): the vector at each place; −1 where there is none.
        codes: uint8 (blocks, width / 4, 16, 4): for each four numbers those of the sixteen vectors of a block, the
            difference from the centre in steps, zero as 128.
    """

    rotation: Floats
    centres: Floats
    steps: Floats
    starts: npt.NDArray[np.int32]
    positions: npt.NDArray[np.int32]
    codes: npt.NDArray[np.uint8]


class ListsStructure:
    """Such lists behind the interface of :class:`retrieval.index.nearest.structure.Structure`."""

    vectors: Floats | None = None

    def __init__(self, factory: str, arrays: Arrays, size: int) -> None:
        self.factory = factory
        self.dim, self._width = arrays.rotation.shape
        self._arrays, self._size = arrays, size
        self._turning, self._centres = (array.astype(np.float64) for array in arrays[:2])
        self._halves = (self._centres**2).sum(axis=1) / 2

    def __len__(self) -> int:
        return self._size

    @classmethod
    def build(cls, factory: str, vectors: Floats, *, seed: int, progress: Any) -> ListsStructure:
        """Build "Lists256x32": 256 lists, a vector in 32 numbers; both are multiples of 16.

        See :func:`retrieval.index.nearest.structure.Structure.build`.
        """
        lists, width = _parts(factory)
        n, dim = vectors.shape
        if width > dim:
            raise RetrievalError(f"{factory} keeps {width} numbers of each vector, which has {dim}; take fewer.")
        if n < lists:
            raise RetrievalError(f"{factory} needs at least {lists:,} vectors, not {n:,}; take fewer lists.")
        if n + _SIDE * lists > np.iinfo(np.int32).max:
            raise RetrievalError(f"{factory} holds two billion vectors at most, not {n:,}.")
        sample = finite(vectors[np.sort(seeded(seed).permutation(n)[: max(_SAMPLE, 64 * lists)])])
        second = np.zeros((dim, dim))  # of inner products, so nothing is centred
        for start in range(0, len(sample), _PIECE):
            rows = sample[start : start + _PIECE].astype(np.float64)
            second += rows.T @ rows
        rotation = np.ascontiguousarray(np.linalg.eigh(second)[1][:, ::-1][:, :width], np.float32)
        with matrix_products(True):
            groups = faiss.Kmeans(width, lists, niter=_ROUNDS, seed=seed, min_points_per_centroid=1)
            groups.train(sample @ rotation)
            centres = np.ascontiguousarray(groups.centroids)
            turned, of = np.empty((n, width), np.float32), np.empty(n, np.int64)
            for start in range(0, n, _PIECE):
                some = slice(start, start + _PIECE)
                turned[some] = finite(vectors[some]) @ rotation
                of[some] = groups.index.search(turned[some], 1)[1][:, 0]
                if progress is not None:
                    progress.update(len(turned[some]))
        steps = np.zeros(lists, np.float32)
        for start in range(0, n, _PIECE):
            some = slice(start, start + _PIECE)
            turned[some] -= centres[of[some]]
            np.maximum.at(steps, of[some], np.abs(turned[some]).max(axis=1))
        steps = np.maximum(steps / (_ZERO - 1), np.finfo(np.float32).tiny)
        sizes = np.bincount(of, minlength=lists)
        starts = np.zeros(lists + 1, np.int32)
        np.cumsum(-(-sizes // _SIDE), out=starts[1:])
        order = np.argsort(of, kind="stable")
        place = np.arange(n) + (starts[:-1] * _SIDE - np.cumsum(sizes) + sizes)[of[order]]
        positions = np.full(starts[-1] * _SIDE, -1, np.int32)
        positions[place] = order
        codes = np.full((len(positions), width), _ZERO, np.uint8)
        for start in range(0, n, _PIECE):
            its = order[start : start + _PIECE]
            own = np.rint(turned[its] / steps[of[its], None]) + _ZERO
            codes[place[start : start + _PIECE]] = np.clip(own, 0, 255)
        beside = np.ascontiguousarray(codes.reshape(-1, _SIDE, width // 4, 4).transpose(0, 2, 1, 3))
        return cls(factory, Arrays(rotation, centres, steps, starts, positions, beside), n)

    @classmethod
    def read(cls, factory: str, path: Path, dim: int, items: int, *, mapped: bool) -> ListsStructure:
        """See :func:`retrieval.index.nearest.structure.Structure.read`."""
        try:
            lists, width = _parts(factory)
            shapes = [(dim, width), (lists, width), (lists,), (lists + 1,)]
            blocks, rest = divmod(path.stat().st_size - 4 * sum(map(math.prod, shapes)), _SIDE * (4 + width))
            if blocks < 0 or rest:
                raise DamagedFileError(path, faiss_files.OTHER)
            shapes += [(blocks * _SIDE,), (blocks, width // 4, _SIDE, 4)]
            whole = np.memmap(path, np.uint8, "r") if mapped else np.fromfile(path, np.uint8)
            ends = np.cumsum([np.dtype(kind).itemsize * math.prod(of) for kind, of in zip(_KINDS, shapes, strict=True)])
            parts = zip(np.split(whole, ends[:-1]), _KINDS, shapes, strict=True)
            arrays = Arrays(*(part.view(kind).reshape(shape) for part, kind, shape in parts))
        except (OSError, ValueError, RetrievalError) as error:
            raise DamagedFileError(path, faiss_files.OTHER) from error
        if not _whole(arrays, items):
            raise DamagedFileError(path, faiss_files.OTHER)
        return cls(factory, arrays, items)

    @staticmethod
    def efforts(factory: str, n: int) -> list[dict[str, int]]:
        """See :meth:`retrieval.index.nearest.structure.Structure.efforts`."""
        probes = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256)
        lists = _parts(factory)[0]
        return [{"nprobe": probe, "candidates": times} for probe in probes if probe <= lists for times in (1, 2, 4, 8)]

    def write(self, path: Path) -> None:
        """Write it durably: its arrays as they lie in memory, one after the other.

        Raises:
            RetrievalError: the disk is full, or the folder cannot be written.
        """
        temporary = path.with_name(path.name + TEMPORARY)
        try:
            with temporary.open("wb") as file:
                for array, kind in zip(self._arrays, _KINDS, strict=True):
                    file.write(np.ascontiguousarray(array, kind).data)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise RetrievalError(f"{str(path)!r} cannot be written; make room, or allow writing there.") from error
        name_durably(temporary, path)

    def bytes(self) -> int:
        """What its file takes."""
        return sum(array.nbytes for array in self._arrays)

    def candidates(self, queries: Floats, count: int, parameters: Mapping[str, int]) -> Positions:
        """See :meth:`retrieval.index.nearest.structure.Structure.candidates`."""
        probes = min(max(1, parameters.get("nprobe", 1)), len(self._centres))
        found = np.empty((len(queries), count), np.int64)
        if self._compiled is None:
            for query, row in zip(queries, found, strict=True):
                row[:] = self._named(query, count, probes)
        elif len(queries) == 1:
            self._compiled.into(found, queries, probes)
        else:

            def part(some: slice) -> None:
                self._compiled.into(found[some], queries[some], probes)

            cores.in_parts(part, len(queries), cores.threads(len(queries), cores.EACH))
        return found

    @cached_property
    def _compiled(self) -> Any:
        if compiled.kernel is None:
            return None
        a = self._arrays
        centres = np.ascontiguousarray(self._centres.reshape(-1, _SIDE, self._width).transpose(0, 2, 1))
        kept = zip((a.steps, a.starts, a.codes.view("<u4"), a.positions), ("f4", "i4", "u4", "i4"), strict=True)
        native = (np.asarray(array, kind) for array, kind in kept)
        return compiled.kernel.Lists(self._width, self._turning, centres, self._halves, *native)

    def _named(self, query: Floats, count: int, probes: int) -> npt.NDArray[np.int64]:
        """The candidates of one query (d,): (count,), best first, equal ones by ascending position, −1 where there is
        none."""
        a = self._arrays
        own = (query.astype(np.float64) @ self._turning).astype(np.float32)
        # in whole numbers, so few that sums of their products with codes are exact; by a power of two, which is exact
        bits = int(math.log2(2**_WHOLE / (255 * self._width)))
        unit = 2.0 ** (int(np.frexp(np.abs(own).max())[1]) - bits)
        whole = np.rint(own / unit).astype(np.float32)
        inner = self._centres @ own.astype(np.float64)
        lists = np.argsort(-(inner - self._halves).astype(np.float32), kind="stable")[:probes]
        blocks = np.concatenate([np.arange(a.starts[each], a.starts[each + 1]) for each in lists])
        of = np.repeat(np.repeat(lists, np.diff(a.starts)[lists]), _SIDE)
        positions = a.positions.reshape(-1, _SIDE)[blocks].ravel()
        codes = a.codes[blocks].transpose(0, 2, 1, 3).reshape(-1, self._width)
        sums = codes.astype(np.float32) @ whole - np.float64(_ZERO) * whole.sum(dtype=np.float64)
        scores = inner[of].astype(np.float32) + (a.steps[of].astype(np.float64) * unit) * sums
        there = positions >= 0
        best = np.lexsort((positions[there], -scores[there]))[:count]
        named = positions[there][best].astype(np.int64)
        return np.pad(named, (0, count - len(named)), constant_values=-1)


_KINDS = ("<f4", "<f4", "<f4", "<i4", "<i4", "u1")
"""Of the arrays in the file."""


def _whole(arrays: Arrays, items: int) -> bool:
    """Whether its blocks are those of its lists, which name each of so many positions once, by finite numbers."""
    starts, positions = arrays.starts, arrays.positions
    if starts[0] != 0 or (starts[1:] < starts[:-1]).any() or _SIDE * int(starts[-1]) != len(positions):
        return False
    if not all(np.isfinite(array).all() for array in arrays[:3]) or not (arrays.steps > 0).all():
        return False
    named = positions[positions != -1]
    inside = not len(named) or 0 <= int(named.min()) <= int(named.max()) < items
    return inside and len(named) == items and bool((np.bincount(named, minlength=items) == 1).all())


def _parts(factory: str) -> tuple[int, int]:
    """Lists, and numbers of each vector.

    Raises:
        RetrievalError: there is no such structure.
    """
    match = re.fullmatch(r"Lists([1-9]\d{0,5})x([1-9]\d{0,2})", factory)
    lists, width = (int(match[1]), int(match[2])) if match else (0, 0)
    if not lists or lists % _SIDE or width % _SIDE or width > _MOST:
        raise RetrievalError(
            f"There is no structure {factory!r}; lists and numbers come in sixteens, as in Lists256x32, up to "
            f"{_MOST} numbers."
        )
    return lists, width
