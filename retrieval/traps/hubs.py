"""Hubs: pictures that are everybody's neighbour, and those that are nobody's."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from retrieval.errors import RetrievalError
from retrieval.traps.finding import WORST, Example, Finding, Severity, Value

SKEWNESS = 1.4
"""Skewness of the occurrences for a notice, which the literature on hubness takes for high (Radovanović, Nanopoulos,
Ivanović 2010 and those after them); drawn at random it would be about 1/√k, 0.3 for ten."""

EVERYWHERE, TIMES = 0.05, 10
"""A picture that answers one query in twenty, ten times its share, is a warning: people will see it all the time."""

LOST = 1 / 3
"""Share of pictures that nobody finds for a warning: for those the index could as well be smaller."""


def find_hubs(neighbours: npt.NDArray[np.int64]) -> Finding:
    """Which pictures are among the nearest of how many others.

    N_k(x) is the number of pictures that have x among their k nearest; it is k on average. Its skewness
    E[(N_k − μ)³] / σ³ says how unevenly answers are shared out (M. Radovanović, A. Nanopoulos, M. Ivanović, Hubs in
    Space, JMLR 2010); a hub is a picture with N_k above μ + 2σ, an antihub one that nobody finds.

    Args:
        neighbours: int64 (n, k), for each picture the rows of its k nearest, itself not among them; −1 where there are
            fewer.

    Returns:
        A notice by the skewness (:data:`SKEWNESS`), a warning by :data:`EVERYWHERE` and :data:`LOST`. Each example is a
        picture, with its "occurrences" and the share of all "queries" that get it, most first.

    Raises:
        RetrievalError: the neighbours are no rows of the same set.
    """
    if neighbours.ndim != 2 or (neighbours.size and not -1 <= neighbours.min() <= neighbours.max() < len(neighbours)):
        raise RetrievalError(
            f"Neighbours are {neighbours.shape}, {neighbours.min(initial=0)} to {neighbours.max(initial=0)}; give the "
            "rows of the k nearest of each picture, −1 for none."
        )
    n, k = neighbours.shape
    if n <= k or not k:
        return Finding(
            "hubs", "fine", f"{n} pictures are too few to tell hubs among {k} neighbours.", {"pictures": n, "k": k}
        )
    counts = np.bincount(neighbours[neighbours >= 0], minlength=n)
    mean, deviation = float(counts.mean()), float(counts.std())
    skewness = float(((counts - mean) ** 3).mean() / deviation**3) if deviation > 0 else 0.0
    above = counts > mean + 2 * deviation
    most = int(counts.max())
    antihubs = float((counts == 0).mean())
    severity: Severity = "fine"
    if antihubs >= LOST or (most >= EVERYWHERE * (n - 1) and most >= TIMES * mean):
        severity = "warning"
    elif skewness > SKEWNESS:
        severity = "notice"
    shares = f"one picture is among the {k} nearest of {most:,} others, {antihubs:.1%} of all are among those of none"
    if severity == "fine":
        sentence = f"There are no hubs to speak of: skewness {skewness:.1f}; {shares}."
    else:
        sentence = (
            f"Few pictures crowd the answers: skewness {skewness:.1f} (above {SKEWNESS} is high); {shares}; centre "
            "the vectors before they are indexed, or look whether the hubs are blank, blurred or average pictures."
        )
    figures: dict[str, Value] = {
        "pictures": n,
        "k": k,
        "skewness": skewness,
        "most_occurrences": most,
        "hubs": int(above.sum()),
        "hubs_share_of_answers": float(counts[above].sum() / max(counts.sum(), 1)),
        "antihubs": antihubs,
    }
    order = np.lexsort((np.arange(n), -counts))[:WORST]
    worst = tuple(
        Example((int(row),), {"occurrences": int(counts[row]), "queries": float(counts[row] / (n - 1))})
        for row in order
    )
    return Finding("hubs", severity, sentence, figures, worst)
