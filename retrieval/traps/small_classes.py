"""Small classes: those too small for the measure that is asked for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from retrieval.errors import RetrievalError
from retrieval.measures import arrays
from retrieval.traps.finding import WORST, Example, Finding, Severity, Value

CEILING = 0.9
"""Highest P@k that can be reached, below which it is a warning: what is lost is more than most models differ by."""

ALONE = 0.1
"""Share of pictures without another of their class from which it is a warning: what is measured is another set."""

COARSE = 3
"""Relevant pictures below which MAP@R and R-precision of one query take a few values only, 0 and 1 for a single one."""


def find_small_classes(labels: npt.ArrayLike, k: int, names: list[str] | None = None) -> Finding:
    """Which classes are too small for P@k, recall@k and MAP@R, where each picture asks for the others.

    A picture of a class of c has R = c − 1 relevant ones. If R is 0, every measure leaves it out. P@k reaches R/k at
    most, where R < k. Recall@k reaches k/R at most, where R > k; that is no fault of the classes and alone no notice.

    Args:
        labels: int64 (n,), −1 for none.
        k: how many neighbours are asked for.
        names: of the labels 0, 1, …

    Returns:
        A notice if a class has fewer than k + 1 pictures, a warning by :data:`CEILING` and :data:`ALONE`. Each example
        is a class: its "class", its number of "pictures", the highest P@k that it can reach ("ceiling"), and some rows;
        smallest first.

    Raises:
        RetrievalError: the labels are no integers, or k is below 1.
    """
    if k < 1:
        raise RetrievalError(f"k is {k}; ask for at least one neighbour.")
    marks = arrays.labels(labels, len(np.asarray(labels)), "pictures")
    order = np.argsort(marks, kind="stable")
    order = order[marks[order] >= 0]
    classes, starts, sizes = np.unique(marks[order], return_index=True, return_counts=True)
    total = int(sizes.sum())
    asking = sizes * (sizes > 1)  # pictures of each class that have something to find
    weight = max(int(asking.sum()), 1)
    relevant = np.maximum(sizes - 1, 1)
    precision = float((asking * np.minimum(relevant / k, 1)).sum() / weight) if asking.any() else 0.0
    recall = float((asking * np.minimum(k / relevant, 1)).sum() / weight) if asking.any() else 0.0
    alone = int((sizes == 1).sum())
    small = np.flatnonzero(sizes <= k)
    severity: Severity = "notice" if len(small) else "fine"
    if total and len(small) and (precision < CEILING or alone >= ALONE * total):
        severity = "warning"
    figures: dict[str, Value] = {
        "k": k,
        "classes": len(classes),
        "labelled": total,
        "smallest": int(sizes.min(initial=total)),
        "classes_of_one": alone,
        "classes_with_fewer_than_k_relevant": len(small),
        "classes_too_small_for_map_at_r": int((sizes <= COARSE).sum()),
        "highest_precision_at_k": precision,
        "highest_recall_at_k": recall,
    }
    worst = tuple(
        Example(
            tuple(order[starts[place] : starts[place] + min(int(sizes[place]), 6)].tolist()),
            {
                "class": str(classes[place]) if names is None else names[classes[place]],
                "pictures": int(sizes[place]),
                "ceiling": min((int(sizes[place]) - 1) / k, 1.0),
            },
        )
        for place in small[np.argsort(sizes[small], kind="stable")][:WORST]
    )
    return Finding("small classes", severity, _sentence(figures), figures, worst)


def _sentence(figures: dict[str, Value]) -> str:
    k, classes, small = figures["k"], figures["classes"], figures["classes_with_fewer_than_k_relevant"]
    if not classes:
        return "No picture has a label, so that there are no classes to be too small."
    if not small:
        ceiling = float(figures["highest_recall_at_k"] or 0)
        beside = (
            f"; recall@{k} can reach no more than {ceiling:.2g}, so read R-precision or MAP@R" if ceiling < 0.5 else ""
        )
        return f"Every class has more than {k} pictures, so that P@{k} can reach 1{beside}."
    ceiling, alone = float(figures["highest_precision_at_k"] or 0), figures["classes_of_one"]
    return (
        f"{small:,} of {classes:,} classes have fewer than {k} other pictures to be found ({alone:,} have none): P@{k} "
        f"can reach no more than {ceiling:.2g}; ask for a smaller k, read R-precision or MAP@R, or add pictures."
    )
