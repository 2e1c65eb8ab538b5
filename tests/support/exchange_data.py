"""A small index to export, and what is in it, for the tests of the exchange."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from retrieval.index import Index, NewItem

N, DIM = 130, 24
REMOVED = [3, 4, 77]


def unit(n: int = N, dim: int = DIM, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((n, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def items(n: int = N) -> list[NewItem]:
    return [
        NewItem(f"ä{i % 3}/{i}, \"x\".png", f"0{i % 3}" if i % 5 else None, 32, 24, 100 + i, 10**18 + i, f"{i:064x}")
        for i in range(n)
    ]  # fmt: skip


def attributes(i: int) -> dict[str, Any]:
    """Every kind of value; some items have none, and a CSV reader is likely to stumble over some."""
    if i % 2:
        return {}
    return {"year": 2000 + i % 7, "price": i / 7, "note": f'a, "b"\n{i}', "taken": "2024-02-03", "big": 2**62 + i}


def make(folder: Path, storage: str = "float32", vectors: np.ndarray | None = None) -> Path:
    """An index with removed items, labels, attributes and two segments."""
    vectors = unit() if vectors is None else vectors
    with Index.create(folder, DIM, root="pictures", encoder_hash="abc", details={}, storage=storage) as index:
        for rows in (slice(0, 100), slice(100, N)):
            index.add(vectors[rows], items()[rows])
        index.attach({i: attributes(i) for i in range(N)})
        index.remove(REMOVED)
    return folder


def content(folder: Path) -> dict[str, tuple[bytes, tuple[Any, ...], dict[str, Any]]]:
    """path → vector, item without id, attributes without the id that it had elsewhere."""
    with Index.open(folder) as index:
        ids, vectors = index.all_vectors()
        found = {}
        for item, values, vector in zip(index.items(ids), index.attributes(ids), vectors, strict=True):
            facts = (item.label, item.width, item.height, item.size, item.mtime_ns, item.sha256)
            rest = {name: value for name, value in values.items() if name != "source_id"}
            found[item.path] = (vector.tobytes(), facts, rest)
        return found
