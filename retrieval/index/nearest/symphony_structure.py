"""SymphonyQG: a graph whose edges carry one-bit codes of the vectors they lead to, scored many at a time.

Gou et al. 2025, "SymphonyQG: Towards Symphonious Integration of Quantization and Graph for Approximate Nearest Neighbor
Search", https://doi.org/10.1145/3709730, by the authors' own library, rabitqlib, which wants AVX2 or NEON and has no
wheels for every system. Its random rotation has no seed, so that no two builds are the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import Any

import faiss
import numpy as np

from retrieval.base.files import TEMPORARY, name_durably
from retrieval.base.open_file import DamagedFileError
from retrieval.errors import RetrievalError
from retrieval.index.nearest import cores
from retrieval.index.nearest.structure import Floats, Positions

NAME = "SymphonyQG"

_LEAST_DIM = 64
"""Numbers below which its rotation is not defined: shorter vectors are filled up with zeros."""

_EFFORT = 100
"""Width of the search for neighbours while it is built."""

_PATIENCE = 0.2
"""Seconds after which who waits for progress is told that there is none yet."""

_WIDEST = 10_000
"""The widest search that the library allows."""


class SymphonyStructure:
    """One such graph behind the interface of :class:`retrieval.index.nearest.structure.Structure`."""

    vectors: Floats | None = None
    """It has them, in float32 or 8 bits, where nobody else can read them."""

    def __init__(self, factory: str, index: Any, dim: int) -> None:
        self.factory = factory
        self.dim = dim
        self._index = index
        self._size = int(index.num_points)

    def __len__(self) -> int:
        return self._size

    @classmethod
    def build(cls, factory: str, vectors: Floats, *, seed: int, progress: Any) -> SymphonyStructure:
        """Build "SymphonyQG32", where 32 is how many neighbours each vector has; there must be more vectors.

        With "_SQ8" behind it the vectors themselves are kept in 8 bits a number instead of float32.

        See :meth:`retrieval.index.nearest.structure.Structure.build`. The library takes no seed and tells no progress.
        """
        degree, bits = _parts(factory)
        if len(vectors) <= degree:
            raise RetrievalError(
                f"{factory} needs more than {degree} vectors, not {len(vectors):,}; search them exactly."
            )
        index = _library().SymqgIndex(max(vectors.shape[1], _LEAST_DIM), degree, "l2", bits)
        filled, threads = _filled(vectors), faiss.omp_get_max_threads()
        _interruptible(lambda: index.build(filled, _EFFORT, threads), progress)
        return cls(factory, index, vectors.shape[1])

    @classmethod
    def read(cls, factory: str, path: Path, dim: int, items: int, *, mapped: bool) -> SymphonyStructure:
        """See :meth:`retrieval.index.nearest.structure.Structure.read`; it always is in memory."""
        library = _library()
        try:
            index = library.SymqgIndex.load(str(path))
            there = index.num_points, index.dim, index.metric, index.max_degree, index.quantization_bits
            fits = there == (items, max(dim, _LEAST_DIM), "l2", *_parts(factory))
        except (RuntimeError, ValueError, MemoryError, RetrievalError) as error:
            raise DamagedFileError(path, "is not a graph that rabitqlib can read") from error
        if not fits:
            raise DamagedFileError(path, "is not the structure that the catalog describes")
        return cls(factory, index, dim)

    @staticmethod
    def efforts(factory: str, n: int) -> list[dict[str, int]]:
        """See :meth:`retrieval.index.nearest.structure.Structure.efforts`."""
        widths = [width for width in (10, 14, 20, 28, 40, 56, 80, 112, 160, 224, 320, 448, 640) if width < n]
        if not _parts(factory)[1]:
            return [{"ef": width} for width in widths]
        return [{"ef": width, "candidates": times} for width in widths for times in (1, 2)]

    def write(self, path: Path) -> None:
        """Write it durably.

        Raises:
            RetrievalError: the disk is full, or the folder cannot be written.
        """
        temporary = path.with_name(path.name + TEMPORARY)
        try:
            self._index.save(str(temporary))
        except RuntimeError as error:
            temporary.unlink(missing_ok=True)
            raise RetrievalError(f"{str(path)!r} cannot be written; make room, or allow writing there.") from error
        name_durably(temporary, path)

    def bytes(self) -> int:
        """Its vectors, and for each neighbour a code of one bit a number, two factors and an id."""
        width, degree = int(self._index.dim), int(self._index.max_degree)
        each = width + 8 if self._index.quantization_bits else 4 * width
        return self._size * (each + degree * (width // 8 + 12))

    def candidates(self, queries: Floats, count: int, parameters: Mapping[str, int]) -> Positions:
        """See :meth:`retrieval.index.nearest.structure.Structure.candidates`."""
        reach, width = count, max(count, parameters.get("ef", 0))
        if width > self._size:
            reach, width = min(count, self._size), self._size
        if width > _WIDEST:  # narrower it would find too few: who asks has to look at every vector
            return np.full((len(queries), count), -1)
        threads = 1 if len(queries) == 1 else cores.threads(len(queries), cores.EACH)
        found: Positions
        filled = queries if self.dim >= _LEAST_DIM else _filled(queries)
        try:
            found = self._index.search(filled, reach, width, threads)[0]
        except RuntimeError:  # of one query, so many are out of its reach
            if len(queries) > 1:
                found = np.concatenate(
                    [self.candidates(queries[[row]], reach, parameters) for row in range(len(queries))]
                )
            elif reach > 1:
                found = self.candidates(queries, reach // 2, parameters)
            else:
                found = np.full((1, 1), -1, np.int64)
        missing = count - found.shape[1]
        if missing:
            found = np.pad(found.astype(np.int64), ((0, 0), (0, missing)), constant_values=-1)
        return found


def _parts(factory: str) -> tuple[int, int]:
    """Neighbours of each vector, and bits of each number of it; 0 for float32.

    Raises:
        RetrievalError: there is no such structure.
    """
    match = re.fullmatch(rf"{NAME}([1-9][0-9]{{1,2}})(_SQ8)?", factory)
    if match is None or int(match[1]) > 256 or int(match[1]) % 32:
        raise RetrievalError(f"There is no structure {factory!r}; take {NAME}32, {NAME}32_SQ8 or {NAME}64.")
    return int(match[1]), 8 if match[2] else 0


def _interruptible(work: Callable[[], None], progress: Any) -> None:
    """Have a thread do what hears no Ctrl-C for minutes, and wait for it, as long as who waits for progress does. One
    that nobody waits for any more ends by itself, or with the program."""
    done: Future[None] = Future()

    def run() -> None:
        try:
            work()
            done.set_result(None)
        except BaseException as error:  # whatever it is, it is for who waits
            done.set_exception(error)

    Thread(target=run, name="building", daemon=True).start()
    while True:
        try:
            return done.result(None if progress is None else _PATIENCE)
        except TimeoutError:
            if done.done():  # it is the work's own
                raise
            progress.update(0)


def _filled(vectors: Floats) -> Floats:
    missing = _LEAST_DIM - vectors.shape[1]
    return np.pad(vectors, ((0, 0), (0, missing))) if missing > 0 else np.ascontiguousarray(vectors)


def _library() -> Any:
    try:
        import rabitqlib
    except ImportError as error:
        raise RetrievalError(
            f"{NAME} needs the library rabitqlib, which cannot be loaded here; pip install rabitqlib, or take another "
            "structure with `retrieval tune`."
        ) from error
    return rabitqlib
