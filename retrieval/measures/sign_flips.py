"""Could chance have decided which of two systems scored which? A permutation test of paired differences."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from retrieval.errors import RetrievalError

FLIPS = 9999
"""So many are drawn; with the one that was seen the smallest p-value is 1/10,000."""

BLOCK = 2**22
"""Signs that are in memory at a time."""

ROUNDING = 1e-12
"""Sums that differ by no more of their size are the same sum in another order."""


def sign_flip_test(
    differences: npt.ArrayLike, *, over: npt.ArrayLike | None = None, flips: int = FLIPS, seed: int = 0
) -> npt.NDArray[np.float64]:
    """Two-sided p-values of mean paired differences (Fisher's randomisation test, with random sign flips).

    If it made no difference which system is which, each query's difference could as well have the other sign. The
    p-value is the share of such flips, the one that was seen among them, whose mean is at least as far from 0:
    (1 + those) / (1 + drawn), as Phipson and Smyth (2010) advise. All columns see the same flips.

    Args:
        differences: numbers (n, m), one row a query and one column a measure; (n,) for one measure.
        over: integers (n,), the class of each query: then whole classes flip, which is right where the queries of a
            class are alike and the classes are a sample.
        flips: how many are drawn.
        seed: of the draws.

    Returns:
        float64 (m,); 1 where every difference is 0.

    Raises:
        RetrievalError: there is no difference, one is no number, or classes do not fit.
    """
    table = np.asarray(differences, np.float64)
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2 or not table.size or not np.isfinite(table).all():
        raise RetrievalError(
            f"a test needs differences, not an array of shape {table.shape} with gaps: leave those queries out"
        )
    if over is not None:
        classes = np.asarray(over)
        if classes.shape != table.shape[:1]:
            raise RetrievalError(f"{len(table)} differences come with classes of shape {classes.shape}: give one each")
        places = np.unique(classes, return_inverse=True)[1]
        table = np.stack([np.bincount(places, column) for column in table.T], axis=1)
    generator = np.random.default_rng(seed)
    total = table.sum(axis=0)
    least = np.abs(total) - ROUNDING * np.abs(table).sum(axis=0)
    as_far, step = np.ones(table.shape[1]), max(1, BLOCK // len(table))
    for start in range(0, flips, step):
        kept = generator.integers(0, 2, (min(step, flips - start), len(table)), np.int8).astype(np.float64)
        as_far += (np.abs(2 * (kept @ table) - total) >= least).sum(axis=0)
    return as_far / (1 + flips)
