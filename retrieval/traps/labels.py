"""Label errors: pictures whose neighbours agree with each other, and not with the label."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from retrieval.errors import RetrievalError
from retrieval.measures import arrays
from retrieval.traps.finding import WORST, Example, Finding, Severity, Value

AGAINST, FOR = 0.8, 0.1
"""The least share of neighbours of one other class, and the greatest of its own, for a picture to be suspected: of ten
neighbours eight agree on another label, and one at most has its own."""

VOTES = 5
"""Neighbours that have to be asked at least: of fewer, too many agree by chance."""

SHARE = (0.005, 0.033)
"""Share of suspected pictures for a notice and a warning. Half a per cent moves P@1 by half a point; 3.3 % is the mean
over the test sets of ten well-known benchmarks (Northcutt, Athalye, Mueller, Pervasive Label Errors, 2021)."""

_BLOCK = 4096  # pictures whose neighbours are compared with each other at a time


def find_label_errors(
    neighbours: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float32],
    given: npt.ArrayLike,
    names: list[str] | None = None,
    asked: npt.NDArray[np.int64] | None = None,
    most: int = WORST,
) -> Finding:
    """Pictures whose label is suspect.

    Each picture asks its nearest, v of them: k, or as many as there are others of its label if those are fewer. With a
    votes for the most frequent other label and o for its own, it is suspected where a/v ≥ 0.8 and o/v ≤ 0.1. Its score
    is (a − o)/v · s, where s is the mean score (cosine, not below 0) of the neighbours that agree on the other label:
    1 where all of them agree and are as close as copies. An unlabelled neighbour has no vote. A suspicion is no proof:
    a picture that the model takes for another class looks the same.

    Args:
        neighbours: int64 (m, k), for each picture the rows of its k nearest, best first, −1 where there are fewer.
        scores: float32 (m, k), their cosines.
        given: int64 (n,), labels, −1 for none.
        names: of the labels 0, 1, …
        asked: int64 (m,), the rows of the pictures that are judged; None: of all n.
        most: examples that are named.

    Returns:
        A notice or warning by the share of those that were judged (:data:`SHARE`). Each example is a suspected picture
        and the neighbours that speak against it, with its "label", the "suggested" one, how many "agree" of the
        "votes", and its "score", highest first.

    Raises:
        RetrievalError: arrays of shapes or types that do not fit.
    """
    rows = np.arange(len(neighbours)) if asked is None else asked
    n = len(rows)
    marks = arrays.labels(given, n if asked is None else len(np.asarray(given)), "pictures")
    if neighbours.shape != scores.shape or neighbours.ndim != 2:
        raise RetrievalError(f"Neighbours are {neighbours.shape} and their scores {scores.shape}; give both as (n, k).")
    if neighbours.size and neighbours.max() >= len(marks):
        raise RetrievalError(f"A neighbour is in row {neighbours.max()} of {len(marks)} pictures; count from 0.")
    mine = marks[rows]
    others = np.bincount(marks[marks >= 0], minlength=1)[mine] - 1
    judged = 0
    suspects: list[tuple[float, Example]] = []
    for start in range(0, n, _BLOCK):
        block = slice(start, start + _BLOCK)
        found = neighbours[block]
        voting = np.where(found >= 0, marks[found], -1)
        voting[(np.cumsum(voting >= 0, axis=1) > others[block, None])] = -1
        votes = (voting >= 0).sum(axis=1)
        votes[mine[block] < 0] = 0
        own = (voting == mine[block, None]).sum(axis=1)
        # How many vote as each neighbour does; those for the picture's own label aside.
        same = (voting[:, :, None] == voting[:, None, :]).sum(axis=2)
        same[(voting < 0) | (voting == mine[block, None])] = 0
        leader = same.argmax(axis=1) if same.shape[1] else np.zeros(len(same), np.int64)
        against = same.max(axis=1, initial=0)
        judged += int((votes >= VOTES).sum())
        suspected = (votes >= VOTES) & (against >= AGAINST * votes) & (own <= FOR * votes)
        for at in np.flatnonzero(suspected).tolist():
            agree = voting[at] == voting[at, leader[at]]
            close = max(float(scores[start + at][agree].mean(dtype=np.float64)), 0.0)
            score = float(against[at] - own[at]) / float(votes[at]) * close
            figures: dict[str, Value] = {
                "label": _name(int(mine[start + at]), names),
                "suggested": _name(int(voting[at, leader[at]]), names),
                "agree": int(against[at]),
                "votes": int(votes[at]),
                "score": score,
            }
            suspects.append((score, Example((int(rows[start + at]), *found[at][agree].tolist()), figures)))
    suspects.sort(key=lambda suspect: (-suspect[0], suspect[1].ids))
    share = len(suspects) / judged if judged else 0.0
    severity: Severity = "warning" if share >= SHARE[1] else "notice" if share >= SHARE[0] else "fine"
    counts: dict[str, Value] = {
        "pictures": n,
        "judged": judged,
        "not_judged": n - judged,
        "suspected": len(suspects),
        "share": share,
    }
    worst = tuple(example for _, example in suspects[:most])
    return Finding("labels", severity, _sentence(judged, len(suspects), share, severity), counts, worst)


def _sentence(judged: int, suspected: int, share: float, severity: Severity) -> str:
    if not judged:
        return f"Label errors cannot be looked for: no label has more than {VOTES} pictures with neighbours to ask."
    if not suspected:
        return f"None of the {judged:,} pictures has neighbours that agree on another label than its own."
    found = (
        f"{suspected:,} of {judged:,} pictures ({share:.1%}) have neighbours that agree on another label than theirs"
    )
    if severity == "fine":
        return f"{found}: so few may be the model's own mistakes, but look at them."
    return (
        f"{found}: look at them, worst first, and correct wrong labels; what is left the model takes for another class."
    )


def _name(label: int, names: list[str] | None) -> str:
    return str(label) if names is None else names[label]
