"""Asking for far more than there is takes no more memory than asking for all of it."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import retrieval
from retrieval import EvaluationOptions, Index, NewItem, Search, traps

ITEMS, DIM, CLASSES = 120, 16, 6
MANY = 10**8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many") / "index"
    rng = np.random.default_rng(0)
    marks = np.arange(ITEMS) % CLASSES
    vectors = rng.standard_normal((CLASSES, DIM))[marks] + 0.5 * rng.standard_normal((ITEMS, DIM))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    with Index.create(folder, DIM, root=str(folder), encoder_hash="imported:many", details={}) as index:
        index.add(vectors, [NewItem(f"{place}.png", f"class {mark}") for place, mark in enumerate(marks)])
    return folder


def query(folder: Path, k: int) -> object:
    with Search.open(folder) as search:
        return search.query_ids([0, 1], k)


def query_above(folder: Path, k: int) -> object:
    with Search.open(folder) as search:
        return search.query_ids([0, 1], k, above=0.2)


def ranked_anew(folder: Path, k: int) -> object:
    with Search.open(folder, reranker="alpha-qe") as search:
        return search.query_ids([0], k)


def look_for_traps(folder: Path, k: int) -> object:
    with Index.open(folder) as index:
        return traps.of_index(index, k)


def calibrate(folder: Path, k: int) -> object:
    return retrieval.calibrate(folder, k=k)


def report(folder: Path, k: int) -> object:
    return retrieval.write_report(folder, folder.parent / "page.html", limit=k)


def evaluate(folder: Path, k: int) -> object:
    return retrieval.evaluate(str(folder), options=EvaluationOptions(neighbours=k, limit=k, traps=False))


def evaluate_gain(folder: Path, k: int) -> object:
    return retrieval.evaluate_gain(str(folder), rerank="aqe", rerank_top=k, limit=5)


QUICK = (query, query_above, ranked_anew, look_for_traps, evaluate_gain)
SLOW = (calibrate, evaluate, report)


@pytest.mark.parametrize("ask", [*QUICK, *(pytest.param(ask, marks=pytest.mark.long) for ask in SLOW)])
def test_memory_does_not_grow_with_what_is_asked_for(folder: Path, ask: Callable[[Path, int], object]) -> None:
    ask(folder, ITEMS)  # what is loaded and kept is there by now
    peaks = []
    for k in (ITEMS, MANY):
        tracemalloc.start()
        ask(folder, k)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] <= 2 * peaks[0] + 2**21, peaks
