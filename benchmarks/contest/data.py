"""Sets of unit vectors with queries, and what the true neighbours of each query score."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from retrieval import datasets
from retrieval.errors import RetrievalError
from retrieval.index import Index

Floats = npt.NDArray[np.float32]

K = 10
"""Neighbours that are asked for."""

TOLERANCE = 1e-6
"""How far below the true tenth score one may be and still count: what float32 loses."""


class Task(NamedTuple):
    """What every system gets.

    Attributes:
        folder: where it is kept: the vectors (`base.npy`), the queries and their tenth scores.
        about: name, items, dim, queries, what was asked for.
    """

    folder: Path
    about: dict[str, Any]

    def base(self) -> Floats:
        """The vectors (n, d), read into memory."""
        vectors: Floats = np.load(self.folder / "base.npy")
        return vectors

    def queries(self) -> Floats:
        """(nq, d), none of which is among the vectors."""
        queries: Floats = np.load(self.folder / "queries.npy")
        return queries

    def recall(self, found: npt.NDArray[np.integer[Any]]) -> float:
        """recall@10 of the answers to the first queries: which share of the true neighbours was found.

        A neighbour counts if its score reaches the true tenth one's, so that any choice among equal ones is right; one
        that is given twice counts once.

        Args:
            found: (up to nq, 10) rows of the base, −1 where there is none.
        """
        base = np.load(self.folder / "base.npy", mmap_mode="r")
        queries = self.queries()[: len(found)].astype(np.float64)
        tenth = np.load(self.folder / "tenth.npy")[: len(found), None]
        found = np.sort(found.astype(np.int64), axis=1)
        counts = found >= 0
        counts[:, 1:] &= found[:, 1:] != found[:, :-1]
        scores = np.vecdot(queries[:, None], base[np.maximum(found, 0)].astype(np.float64))
        return float((counts & (scores >= tenth - TOLERANCE)).sum(axis=1).mean() / K)


def clustered(n: int, d: int, seed: int) -> Floats:
    """Unit vectors float32 (n, d) around one centre for every 500 of them."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((max(1, n // 500), d), dtype=np.float32)
    vectors = centres[rng.integers(0, len(centres), n)]
    for start in range(0, n, 1 << 16):
        part = vectors[start : start + (1 << 16)]
        part += 0.7 * rng.standard_normal(part.shape, dtype=np.float32)
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return vectors


def fashion(folder: Path) -> tuple[Floats, Floats]:
    """The training and the test pictures of Fashion-MNIST as unit vectors of 784 numbers."""
    pictures = datasets.load(folder)
    if pictures.name != "fashion-mnist" or pictures.pixels is None:
        raise RetrievalError(f"{str(folder)!r} is not Fashion-MNIST but {pictures.name!r}; install its four files.")
    train, test = (
        _unit(pictures.pixels[pictures.splits == split].reshape(-1, 784).astype(np.float32))
        for split in ("train", "test")
    )
    return train, test


def indexed(folder: Path, queries: Path | None, held_out: int, seed: int) -> tuple[Floats, Floats]:
    """The vectors of an index, and those of another one as queries; without one, a random sample is held out."""
    with Index.open(folder) as index:
        vectors = index.all_vectors()[1]
        dim, maker = index.dim, index.encoder_hash
    if queries is None:
        order = np.random.default_rng(seed).permutation(len(vectors))
        return vectors[order[held_out:]], vectors[order[:held_out]]
    with Index.open(queries) as index:
        if (index.dim, index.encoder_hash) != (dim, maker):
            raise RetrievalError(f"{str(queries)!r} was made with another model than {str(folder)!r}; name its index.")
        return vectors, index.all_vectors()[1]


def prepare(
    work: Path, name: str, title: str, request: dict[str, Any], make: Callable[[], tuple[Floats, Floats]]
) -> Task:
    """Keep a set of vectors in a folder of its own, unless it is there already.

    Args:
        work: where such folders are.
        name: of the folder.
        title: what a reader sees.
        request: all that decides about the vectors: `items` (0: all), `queries`, `seed`, where they come from.
        make: gives the vectors and the queries to choose from, at random.
    """
    folder = work / name
    about_file = folder / "about.json"
    if about_file.is_file():
        about = json.loads(about_file.read_text())
        if about["request"] != request:
            raise RetrievalError(f"{str(folder)!r} was begun with {about['request']}; name another --work folder.")
        return Task(folder, about)
    base, queries = make()
    rng = np.random.default_rng(request["seed"])
    if 0 < request["items"] < len(base):
        base = base[np.sort(rng.permutation(len(base))[: request["items"]])]
    queries = queries[rng.permutation(len(queries))[: request["queries"]]]
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "base.npy", base)
    np.save(folder / "queries.npy", queries)
    np.save(folder / "tenth.npy", tenth_scores(base, queries))
    about = {
        "title": f"{title}, {len(base):,} × {base.shape[1]}",
        "items": len(base),
        "dim": base.shape[1],
        "queries": len(queries),
        "request": request,
    }
    about_file.write_text(json.dumps(about))
    return Task(folder, about)


def tenth_scores(base: Floats, queries: Floats) -> npt.NDArray[np.float64]:
    """The inner product of each query (nq, d) with its tenth nearest vector: chosen by numpy's matrix product, with
    some to spare for its rounding, and computed in float64."""
    best = np.empty((len(queries), 0))
    for start in range(0, len(base), 1 << 14):
        block = base[start : start + (1 << 14)]
        near = np.argpartition(-(queries @ block.T), min(3 * K, len(block) - 1), axis=1)[:, : 3 * K]
        exact = np.vecdot(queries[:, None].astype(np.float64), block[near].astype(np.float64))
        best = -np.sort(-np.concatenate([best, exact], axis=1), axis=1)[:, :K]
    return best[:, -1]


def _unit(vectors: Floats) -> Floats:
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors
