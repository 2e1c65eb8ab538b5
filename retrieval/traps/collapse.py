"""Collapse: an embedding that uses little of its space, or puts whole classes on one point."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from retrieval.base.given import seeded
from retrieval.measures import arrays
from retrieval.traps.finding import WORST, Example, Finding, Severity, Value

PAIRS = 100_000
"""Random pairs that the mean cosine is taken over: its standard error is then below 0.003."""

SAMPLE = 20_000
"""Rows that the effective rank is computed from at most."""

ONE_POINT = 0.999
"""Mean cosine of a class's pairs (an angle of 2.6°) from which its pictures cannot be told apart."""

DEAD = 0.01
"""Standard deviation, as a share of that of the dimensions' root mean square, below which one carries nothing."""

COSINE = (0.7, 0.9)
"""Mean cosine of random pairs for a notice and a warning. Trained on classes it is about 0; EfficientNet-Lite0 has 0.4
on CIFAR-10, and CLIP's narrow cone 0.56 (Liang et al., Mind the Gap, 2022)."""

RANK = 0.02
"""Effective rank, as a share of what is possible, for a notice. A model trained on C classes needs C − 1 directions and
no more (Papyan, Han, Donoho 2020), so that where there are labels half of that will do."""

COLLAPSED = 2.0
"""Effective rank for a warning: all vectors lie on one line."""


def find_collapse(
    vectors: npt.ArrayLike, labels: npt.ArrayLike | None = None, names: list[str] | None = None, *, seed: int = 0
) -> Finding:
    """How much of its space an embedding uses.

    The mean cosine of random pairs; the effective rank exp(−Σ pᵢ ln pᵢ) of the singular values of the centred vectors,
    pᵢ = σᵢ / Σ σⱼ (O. Roy, M. Vetterli, The Effective Rank, 2007); the share of dimensions whose standard deviation is
    next to nothing; and the classes whose pictures all lie on one point.

    Args:
        vectors: float32 (n, d); they are scaled to unit length.
        labels: int64 (n,), −1 for none.
        names: of the labels 0, 1, …
        seed: of the pairs and rows that are drawn.

    Returns:
        A warning where random pairs score above the second of :data:`COSINE`, the effective rank is below
        :data:`COLLAPSED`, or more than half of the classes are one point each; a notice by the lower limits, for a
        quarter of dead dimensions, or for a class on one point. Each example is such a class: its "class", "pictures",
        mean "cosine" of its pairs, and some of its rows.

    Raises:
        RetrievalError: vectors or labels have another shape or type.
    """
    rows = arrays.vectors(vectors, "vectors")
    n, d = rows.shape
    marks = None if labels is None else arrays.labels(labels, n, "vectors")
    if n < 3:
        return Finding("collapse", "fine", f"{n} vectors are too few to tell whether they collapse.", {"vectors": n})
    rng = seeded(seed)
    cosine = _mean_cosine(rows, rng)
    rank, dead = _spread(rows, rng)
    possible = min(d, n - 1)
    classes = 0 if marks is None else len(np.unique(marks[marks >= 0]))
    needed = max(COLLAPSED, min(RANK * possible, (classes - 1) / 2 if classes > 2 else np.inf))
    points, judged = ([], 0) if marks is None else _points(rows, marks, names)
    problems = []
    warning = cosine > COSINE[1] or rank < COLLAPSED or len(points) > judged / 2
    if cosine > COSINE[0]:
        problems.append(f"random pairs have a mean cosine of {cosine:.2f}")
    if rank < needed or warning:
        problems.append(f"the effective rank is {rank:.1f} of {possible}")
    if dead > 0.25:
        problems.append(f"{dead:.0%} of the {d} dimensions carry nothing")
    if points:
        problems.append(f"{len(points)} of {judged} classes are one point each ({_some(points)})")
    severity: Severity = "warning" if warning else "notice" if problems else "fine"
    if problems:
        sentence = (
            f"The embedding has {'collapsed' if warning else 'collapsed in part'}: {'; '.join(problems)}; rankings "
            "in it are left to chance, so train with another loss, a lower rate or more varied batches, or take "
            "another model."
        )
    else:
        sentence = (
            f"The embedding is spread out: random pairs have a mean cosine of {cosine:.2f}, and its effective rank is "
            f"{rank:.1f} of {possible}."
        )
    figures: dict[str, Value] = {
        "vectors": n,
        "dimensions": d,
        "mean_cosine": cosine,
        "effective_rank": rank,
        "possible_rank": possible,
        "dead_dimensions": dead,
        "classes": judged,
        "classes_on_one_point": len(points),
    }
    return Finding("collapse", severity, sentence, figures, tuple(points[:WORST]))


def effective_rank(values: npt.NDArray[np.float64]) -> float:
    """exp of the entropy of singular values (m,); 0 where all of them are 0."""
    total = values.sum()
    if total <= 0:
        return 0.0
    p = values[values > 0] / total
    return float(np.exp(-(p * np.log(p)).sum()))


def _unit(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    wide = rows.astype(np.float64)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    unit: npt.NDArray[np.float64] = np.divide(wide, length, out=np.zeros_like(wide), where=length > 0)
    return unit


def _mean_cosine(rows: npt.NDArray[np.float32], rng: np.random.Generator) -> float:
    first = rng.integers(0, len(rows), PAIRS)
    second = (first + rng.integers(1, len(rows), PAIRS)) % len(rows)  # never the same
    total = 0.0
    for start in range(0, PAIRS, 4096):
        block = slice(start, start + 4096)
        total += float((_unit(rows[first[block]]) * _unit(rows[second[block]])).sum())
    return total / PAIRS


def _spread(rows: npt.NDArray[np.float32], rng: np.random.Generator) -> tuple[float, float]:
    """Effective rank, and the share of dead dimensions."""
    if len(rows) > SAMPLE:
        rows = rows[np.sort(rng.choice(len(rows), SAMPLE, replace=False))]
    centred = _unit(rows)
    centred -= centred.mean(axis=0)
    small = centred.T @ centred if centred.shape[1] <= len(centred) else centred @ centred.T
    values = np.linalg.eigvalsh(small)
    # Below this an eigenvalue is what rounding left of nothing.
    values[values < max(values.max() * 1e-12, 1e-9)] = 0
    deviation = centred.std(axis=0)
    whole = float(np.sqrt((deviation**2).mean()))
    dead = float((deviation < DEAD * whole).mean()) if whole > 0 else 1.0
    return effective_rank(np.sqrt(values)), dead


def _points(
    rows: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], names: list[str] | None
) -> tuple[list[Example], int]:
    """The classes of three pictures or more that lie on one point, tightest first, and how many classes were judged."""
    order = np.argsort(labels, kind="stable")
    order = order[labels[order] >= 0]
    marks, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
    points, judged = [], 0
    for mark, start, count in zip(marks.tolist(), starts.tolist(), counts.tolist(), strict=True):
        if count < 3:
            continue
        judged += 1
        members = order[start : start + count]
        length = np.linalg.norm(_unit(rows[members]).sum(axis=0))
        cosine = float((length**2 - count) / (count * (count - 1)))  # of all its pairs, by the length of their sum
        if cosine >= ONE_POINT:
            name = str(mark) if names is None else names[mark]
            figures: dict[str, Value] = {"class": name, "pictures": count, "cosine": cosine}
            points.append(Example(tuple(members[:6].tolist()), figures))
    return sorted(points, key=lambda point: (-float(point.figures["cosine"] or 0), point.ids)), judged


def _some(points: list[Example]) -> str:
    return ", ".join(str(point.figures["class"]) for point in points[:3]) + (", …" if len(points) > 3 else "")
