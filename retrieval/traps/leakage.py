"""Leakage: pictures that a measure finds because they are in the set twice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from retrieval.images.perceptual import Hashes
from retrieval.traps.finding import WORST, Example, Finding, Severity, Value
from retrieval.traps.near_duplicates import BITS, SCORE, SPARE, Pairs, near_duplicates

MUCH = 0.01
"""Share of pictures with a near-duplicate from which it is a warning: each such query finds its copy first, so that P@1
and hit rate gain up to one point, as much as the methods that people compare differ by."""

Ints = npt.NDArray[np.int64]


def find_leakage(
    neighbours: Ints | None,
    scores: npt.NDArray[np.float32] | None,
    hashes: Hashes | None = None,
    *,
    score: float | None = None,
    bits: int = BITS,
) -> Finding:
    """Near-duplicates inside one set, where each picture asks for the others.

    Args:
        neighbours: int64 (n, k), rows; see :func:`.near_duplicates` for this and what follows.
        scores: float32 (n, k).
        hashes: of the n pictures.
        score: the least score of near-duplicates.
        bits: the greatest distance of their hashes.

    Returns:
        A notice if there are any, a warning from :data:`MUCH` of the pictures on. Each example is a pair, with its
        "score" and "bits" (null where not known), closest first.
    """
    pairs = near_duplicates(neighbours, scores, hashes, score=score, bits=bits)
    n = len(neighbours) if neighbours is not None else 0 if hashes is None else len(hashes)
    touched = len(np.union1d(pairs.first, pairs.second))
    return _finding(
        pairs, touched, n, "pictures", "another picture of the set", "take one of each out", score, bits, hashes
    )


def find_leakage_between(
    neighbours: Ints | None,
    scores: npt.NDArray[np.float32] | None,
    hashes: Hashes | None = None,
    gallery_hashes: Hashes | None = None,
    *,
    gallery: str = "gallery",
    score: float | None = None,
    bits: int = BITS,
    ignored: Sequence[Ints] = (),
) -> Finding:
    """Queries that have a near-duplicate in another set, in the gallery or among what the model was trained on.

    Args:
        neighbours: int64 (nq, k), for each query the rows of the k nearest of the other set.
        scores: float32 (nq, k).
        hashes: of the queries.
        gallery_hashes: of the other set.
        gallery: what to call the other set ("training set").
        score: the least score of near-duplicates.
        bits: the greatest distance of their hashes.
        ignored: for each query the rows of the other set that do not answer it, as :func:`.near_duplicates` takes them.

    Returns:
        As :func:`find_leakage`; of each example's two rows the first is a query's, and the second the other set's.
    """
    pairs = near_duplicates(
        neighbours, scores, hashes, gallery_hashes, within=False, score=score, bits=bits, ignored=ignored
    )
    n = len(neighbours) if neighbours is not None else 0 if hashes is None else len(hashes)
    touched = len(np.unique(pairs.first))
    return _finding(pairs, touched, n, "queries", f"a picture of the {gallery}", "leave them out", score, bits, hashes)


def _finding(
    pairs: Pairs,
    touched: int,
    n: int,
    what: str,
    other: str,
    advice: str,
    score: float | None,
    bits: int,
    hashes: Hashes | None,
) -> Finding:
    share = touched / n if n else 0.0
    blind = pairs.crowded and hashes is None
    severity: Severity = "warning" if share >= MUCH else "notice" if touched or blind else "fine"
    how = []
    if not pairs.crowded:
        how.append(f"a score of at least {SCORE if score is None else score:g}")
    if hashes is not None:
        how.append(f"perceptual hashes within {bits} bits")
    if pairs.crowded:
        how.append(f"within {bits + SPARE} and a score of at least {SCORE:g}")
    if blind:
        sentence = (
            f"The vectors cannot tell copies: this model gives {SCORE:g} and more to so many pairs of {what} that it "
            "tells classes, as one does that was trained on them; look for near-duplicates by "
            "perceptual hash (retrieval dedup)."
        )
    elif touched:
        sentence = (
            f"{touched:,} of {n:,} {what} ({share:.1%}) have a near-duplicate: {other} with {' or '.join(how)}; such a "
            f"query is answered by its own copy, so look at the pairs, {advice} and measure again."
        )
    else:
        sentence = f"None of the {n:,} {what} has a near-duplicate ({other} with {' or '.join(how)})."
    figures: dict[str, Value] = {
        "pictures": n,
        "with_near_duplicate": touched,
        "share": share,
        "pairs": len(pairs),
        "pairs_by_score": int(pairs.by_score.sum()),
        "pairs_by_hash": int(pairs.by_hash.sum()),
        "least_score": SCORE if score is None else score,
        "most_bits": bits if hashes is not None else None,
        "scores_crowded": int(pairs.crowded),
    }
    worst = tuple(
        Example(
            (int(pairs.first[row]), int(pairs.second[row])),
            {
                "score": None if np.isnan(pairs.score[row]) else round(float(pairs.score[row]), 6),
                "bits": None if pairs.bits[row] < 0 else int(pairs.bits[row]),
            },
        )
        for row in range(min(WORST, len(pairs)))
    )
    return Finding("leakage", severity, sentence, figures, worst)
