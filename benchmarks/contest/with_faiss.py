"""FAISS as people pick its structures by hand, and as autofaiss picks them."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from contest.data import Floats, K
from contest.system import SEED, WIDTHS, Builder, Built, Means, Searches, Setting, construction, grid, ladder, probes

OWN = "own choice"
"""Marks the setting that autofaiss chose itself; the others are for comparison."""


def faiss_by_hand(factory: str) -> Builder:
    """A structure by its factory string, in which LISTS stands for 4·√n and HALF for half the dimension.

    Lists are trained with 50 vectors each, at random.
    """

    def build(vectors: Floats, _: Means) -> Built:
        import faiss

        faiss.omp_set_num_threads(1)
        n, d = vectors.shape
        lists = max(1, min(round(4 * math.sqrt(n)), n // 40))
        name = factory.replace("LISTS", str(lists)).replace("HALF", str(d // 2))
        index: Any = faiss.index_factory(d, name, faiss.METRIC_L2)
        if "HNSW" in name:
            _inner(faiss, index).hnsw.efConstruction = construction(n)
        sample = np.random.default_rng(SEED).permutation(n)[: max(50 * lists, 20_000)]
        index.train(vectors[np.sort(sample)])
        index.add(vectors)
        graph = f", efConstruction {construction(n)}" if "HNSW" in name else ""
        return Built(name + graph, faiss_settings(name, lists), faiss_use(faiss, index))

    return build


def _inner(faiss: Any, index: Any) -> Any:
    """What stands inside of projections and refinements."""
    while True:
        index = faiss.downcast_index(index)
        if isinstance(index, faiss.IndexPreTransform):
            index = index.index
        elif isinstance(index, faiss.IndexRefine):
            index = index.base_index
        else:
            return index


def faiss_settings(name: str, lists: int) -> list[Setting]:
    """The parameters that a FAISS structure is searched with."""
    if "HNSW" in name:
        parameter, values = "efSearch", list(WIDTHS)
    elif "IVF" in name:
        parameter, values = "nprobe", probes(lists)
    else:
        return [{}]
    if "RFlat" not in name:
        return ladder(parameter, values)
    return grid(k_factor_rf=(2, 3, 5) if "HNSW" in name else (4, 10, 25), **{parameter: values})


def faiss_use(faiss: Any, index: Any) -> Callable[[Setting], Searches]:
    """Searching with parameters set on the index itself, which costs a call nothing."""
    space = faiss.ParameterSpace()

    def use(setting: Setting) -> Searches:
        for name, value in setting.items():
            space.set_index_parameter(index, name, value)
        return Searches(search, search)

    def search(queries: Floats) -> Any:
        return index.search(queries, K)[1]

    return use


def autofaiss(vectors: Floats, means: Means) -> Built:
    """What autofaiss chooses with the memory of ours: the index, and as the first setting the parameters."""
    import autofaiss as library
    import faiss

    logging.disable(logging.CRITICAL)
    index, chosen = library.build_index(
        vectors,
        save_on_disk=False,
        metric_type="l2",
        max_index_memory_usage=f"{means.memory}B",
        nb_cores=1,
        verbose=logging.CRITICAL,
    )
    faiss.omp_set_num_threads(1)
    pairs = (pair.split("=") for pair in chosen["index_param"].split(",") if pair)
    own = {name: float(value) for name, value in pairs}
    others = faiss_settings(chosen["index_key"], getattr(_inner(faiss, index), "nlist", 0))
    use = faiss_use(faiss, index)
    return Built(
        f"{chosen['index_key']}, {chosen['index_param'] or 'no parameters'} (its own choice)",
        [{**own, OWN: 1}, *({**own, **other} for other in others if other)],
        lambda setting: use({name: value for name, value in setting.items() if name != OWN}),
    )
