"""Who asks: a part of what is labelled, drawn at random where there is a limit."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from retrieval.datasets import PictureSet
from retrieval.errors import RetrievalError


def check_limit(limit: int | None) -> None:
    """Refuse a limit that leaves nobody.

    Raises:
        RetrievalError: it is below 1.
    """
    if limit is not None and limit < 1:
        raise RetrievalError(f"limit is {limit}: give a whole number from 1 upwards")


def drawn(n: int, limit: int | None, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """Ascending places of at most `limit` of n."""
    if limit is None or n <= limit:
        return np.arange(n)
    return np.sort(generator.choice(n, limit, replace=False))


def some(pictures: PictureSet, limit: int | None, generator: np.random.Generator) -> PictureSet:
    """At most `limit` of the pictures."""
    return pictures if limit is None else pictures.select(drawn(len(pictures), limit, generator))


def asking_part(queries: PictureSet) -> PictureSet:
    """The test split of a set that is there to ask, all of it where it has none."""
    return queries.select("test") if (queries.splits == "test").any() else queries
