"""How to evaluate: one set of options for an encoder, an index, vectors, and the command line, checked in one place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from retrieval.base.given import checked_seed, whole
from retrieval.errors import RetrievalError

Split = Literal["train", "val", "test"]
Peer = Literal["pml", "oml"]
Unit = Literal["queries", "classes"]
Kind = Literal["model", "index", "vectors", "benchmark"]

DUPLICATE = 0.999
"""From this score on a picture is taken for a near-duplicate of the query, where nobody says another."""

_KINDS: dict[Kind, str] = {
    "model": "a model, measured on pictures",
    "index": "an index and measured by its own pictures",
    "vectors": "vectors, measured by their labels",
    "benchmark": "measured by a benchmark's protocol",
}

_ONLY: dict[str, tuple[Kind, ...]] = {
    "data": ("model",),
    "within": ("model",),
    "classifier": ("model",),
    "labels": ("vectors",),
    "query_labels": ("vectors",),
    "codes": ("vectors", "benchmark"),
    "graded": ("vectors",),
    "exact": ("index",),
    "as_in": ("model", "index", "vectors"),
}
"""What says something about some kinds of subject alone."""


def check_limit(limit: int | None) -> None:
    """Refuse a limit that leaves nobody.

    Raises:
        RetrievalError: it is below 1.
    """
    if limit is not None and limit < 1:
        raise RetrievalError(f"limit is {limit}: give a whole number from 1 upwards")


WHOLE, DRAWN = 50_000, 5_000
"""Pictures of an index up to which all of them ask, and how many of more do: each is compared with all others, which
takes the square of their number. So many give intervals of a percent."""


@dataclass(frozen=True)
class EvaluationOptions:
    """What to measure, and how.

    Attributes:
        within: of a model: each picture of that split against all others of it, in place of the test split against the
            rest. Then there is no probe.
        neighbours: the k of the kNN accuracy.
        probe: also fit a linear SVM on the gallery, and judge it on the queries, where these are apart.
        classifier: of a model: a run trained with ``--loss softmax``, to be asked for the classes of the same queries.
        clustering: also cluster the queries, and compare with their labels.
        as_in: also give the figures of pytorch-metric-learning ("pml") or open-metric-learning ("oml").
        over: draw the intervals over "queries" or over "classes". None: over queries; of a model over classes where
            these are a sample, which is taken to be so where it was trained on none of them and there are
            :data:`retrieval.measures.intervals.A_SAMPLE` or more.
        duplicate_score: what scores so much with a query is a near-duplicate, and left out of its ranking.
        traps: also look for what makes figures mean something else (docs/traps.md).
        limit: of a model at most so many pictures a side, otherwise at most so many queries, drawn at random.
        exact: of an index of more than :data:`WHOLE` pictures: without a limit ask for all of them, not for
            :data:`DRAWN`, and look for traps among all.
        codes: of vectors: they are binary codes, uint8 (n, bits/8), ranked by Hamming distance.
        graded: of vectors: where pictures have several labels, let NDCG count how many are shared.
        seed: of the bootstrap, the probe's samples and the drawing.
        subject: what to call it in the report; None: by its own name.

    Raises:
        RetrievalError: the limit is below 1, or a choice is none of those above.
    """

    within: Split | None = None
    neighbours: int = 10
    probe: bool = True
    classifier: str | Path | None = None
    clustering: bool = False
    as_in: Peer | None = None
    over: Unit | None = None
    duplicate_score: float | None = None
    traps: bool = False
    limit: int | None = None
    exact: bool = False
    codes: bool = False
    graded: bool = False
    seed: int = 0
    subject: str | None = None

    def __post_init__(self) -> None:
        check_limit(self.limit)
        checked_seed(self.seed)
        whole(self.neighbours, "neighbours")
        for name, choices in (("within", get_args(Split)), ("as_in", get_args(Peer)), ("over", get_args(Unit))):
            value = getattr(self, name)
            if value is not None and value not in choices:
                raise RetrievalError(f"{name} is {value!r}: give {' or '.join(choices)}, or leave it out")

    def check(self, kind: Kind, subject: str, **inputs: object) -> None:
        """Refuse what says nothing about a subject.

        Args:
            kind: of the subject. subject: its name.
            inputs: what else was given beside the options, by name; None where it was not.

        Raises:
            RetrievalError: some of it is about another kind.
        """
        for name, its in _ONLY.items():
            value = inputs[name] if name in inputs else getattr(self, name, None)
            if kind not in its and value not in (None, False):
                said = name if name == "data" else "--" + name.replace("_", "-")
                said = said if value is True else f"{said} {str(value)!r}"
                raise RetrievalError(
                    f"{subject!r} is {_KINDS[kind]}, so {said} says nothing: leave it out, or give who asks with "
                    "--queries"
                )


DEFAULT = EvaluationOptions()
