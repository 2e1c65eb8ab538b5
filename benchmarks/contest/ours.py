"""Our index, through the front door: a folder on disk, searched with `Index.search`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from contest.data import Floats, K
from contest.system import SEED, Builder, Built, Means, Searches, Setting

EXACT = "exact"


def named(factory: str, n: int, d: int) -> str:
    """A factory string for n vectors of d numbers: LISTS in it stands for 4·√n, DIM for d, and HALF and
    QUARTER for so much of it; SIXTEENS for 2·√n and SOME for a quarter of d, 128 at most, in sixteens."""
    lists = max(1, min(round(4 * math.sqrt(n)), n // 40))
    sixteens, some = 16 * max(1, round(math.sqrt(n) / 8)), 16 * max(1, min(d // 64, 8))
    words = {"SIXTEENS": sixteens, "SOME": some, "LISTS": lists, "DIM": d, "HALF": d // 2, "QUARTER": d // 4}
    for word, number in words.items():
        factory = factory.replace(word, str(number))
    return factory


def index_of(factory: str) -> Builder:
    """An index folder with a structure, or none if it is "exact".

    The factory string is one for :func:`named`. The seconds of building are those of
    everything: adding the vectors to the folder, building the structure, writing it, and reading it anew.
    """

    def build(vectors: Floats, means: Means) -> Built:
        from retrieval.index import Index, NewItem
        from retrieval.index.nearest import SPARE, kinds

        n, d = vectors.shape
        name = named(factory, n, d)
        folder = means.folder / "index"
        settings: list[Setting] = [{}]
        with Index.create(folder, d, root="", encoder_hash="", details={}) as index:
            for start in range(0, n, 100_000):
                part = vectors[start : start + 100_000]
                index.add(part, [NewItem(f"{start + row}.png") for row in range(len(part))])
            if name != EXACT:
                structure = kinds.build(name, index.all_vectors()[1], seed=SEED)
                settings = list(kinds.efforts(name, n))
                index.set_structure(structure, dict(kinds.efforts(name, n)[0]))
                del structure
        index = Index.open(folder)
        index.search(vectors[:1], K)

        def search(queries: Floats) -> Any:
            return index.search(queries, K)[1]

        record = index.structure
        if record is None:
            return Built(name, settings, lambda _: Searches(search, search))
        # Exchanged in place: setting them in the catalog would write the structure's file anew each time.
        parameters: Any = record.parameters
        again: list[Any] = []

        def use(setting: Setting) -> Searches:
            parameters.clear()
            parameters.update({key: int(value) for key, value in setting.items()})
            if not again:  # the index does not lend its own
                again.append(kinds.read(record.factory, folder / record.file, d, n))
            count = (K + SPARE[0]) * parameters.get("candidates", 1)
            asked = dict(parameters)

            def alone(queries: Floats) -> Any:
                return again[0].candidates(np.ascontiguousarray(queries), count, asked)

            return Searches(search, search, alone)

        return Built(name, settings, use)

    return build
