"""A calibration as an index keeps it: what it says, how far that held, and what it was measured on."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, NamedTuple, Self, Union, get_args, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt

from retrieval.base.found import Found
from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.measures.intervals import Interval
from retrieval.search.calibration.reliability import Reliability, Telling
from retrieval.search.calibration.score_map import Isotonic, Logistic, ScoreMap
from retrieval.search.calibration.surroundings import HIT
from retrieval.search.calibration.weights import Weights

STALE = 0.1
"""Share of items that came or went, above which a calibration is to be made anew."""

MOST = 100_000
"""Longest list that is read."""

_KINDS = {"logistic": Logistic, "isotonic": Isotonic}

EVIDENCE = "evidence"
"""What P(match) is called that looks at more than the score."""


class Question(NamedTuple):
    """Something that a calibration can be about.

    Attributes:
        verb: what makes it. chance: what its probability is called. one: which hit is a match, in words.
        of_hit: of :data:`HIT`, what can tell whether a hit matches. of_query: of :data:`COLUMNS`, whether any does.
        without: the share of queries that are taken to have no match in the index.
    """

    verb: str
    chance: str
    one: str
    of_hit: tuple[str, ...]
    of_query: tuple[str, ...]
    without: float


_OF_HIT = ("score", "ten", "fifty", "vote")
_OF_QUERY = ("score", "ten", "gap", "cohort")

QUESTIONS = {
    "labels": Question(
        "retrieval calibrate", "P(match)", "has the label of the query", _OF_HIT, _OF_QUERY, without=0.01
    ),
    "copies": Question(
        "retrieval calibrate --copies",
        "P(copy)",
        "is the picture that the query is an altered copy of",
        ("score", "gap", "lead"),
        ("score", "gap", "lead", "cohort"),
        without=0.5,
    ),
    "words": Question(
        "retrieval calibrate --words",
        "P(match)",
        "has the label that the query names",
        _OF_HIT,
        _OF_QUERY,
        without=0.01,
    ),
}
"""By their names, in the order in which they are shown."""


@dataclass(frozen=True)
class Told:
    """What could be told of the other half of the labels.

    Attributes:
        hits: which of them match.
        has_match: area under the ROC curve of whether a query has a match in the index; None where all have.
        missed: the share of the queries with a match in the index that are told there is none; None: none has one.
        false_alarm: the share of the queries without a match that are not told so; None: there is none.
    """

    hits: Telling
    has_match: Interval | None
    missed: Interval | None
    false_alarm: Interval | None


@dataclass(frozen=True)
class Judged:
    """How well a calibration held that was fitted on one half of the labels, on the other half.

    Attributes:
        disjoint: what the halves do not share: "labels", or "pictures" where there are too few labels.
        over: what the intervals of hits and queries were drawn over, "labels" or "queries"; those of pairs always
            are over labels.
        fitted_labels, fitted_queries: how many it was fitted on. labels, queries: how many it was judged on.
        threshold: as fitted on the one half.
        map: which kind of map that was, "logistic", "isotonic" or "evidence".
        false_match: the share of the pairs of two labels at or above the threshold (FMR).
        false_non_match: the share of the pairs of one label below it (FNMR).
        by_evidence: what could be told by what is used. by_score: what the score alone would have told.
        kept_match: of the hits up to the fold, the share that match; None where no hit was kept.
        matches_kept: of the hits that match, the share that lie before the fold.
        reliability: of P(match).
    """

    disjoint: str
    over: str
    fitted_labels: int
    fitted_queries: int
    labels: int
    queries: int
    threshold: float
    map: str
    false_match: Interval
    false_non_match: Interval
    by_evidence: Told
    by_score: Told
    kept_match: Interval | None
    matches_kept: Interval | None
    reliability: Reliability

    def __post_init__(self) -> None:
        known = (
            (self.disjoint, ("labels", "pictures")),
            (self.over, ("labels", "queries")),
            (self.map, (*_KINDS, EVIDENCE)),
        )
        for name, names in known:
            if name not in names:
                raise ValueError(f"{ascii(name)[:40]} is none of {', '.join(names)}")


@dataclass(frozen=True)
class Conditions:
    """What a calibration was measured on.

    Attributes:
        queries: who asked, in words. asked: how many of them. labels: how many different ones they had.
        hits: what P(match) was fitted to; those whose label is not known are left out.
        without_match: the share of queries without a match that P(match) reckons with.
        k: hits that each asked for.
        seed: of everything that was drawn.
        encoder_hash: the model of the index.
        generation, items, last_id: of the index then.
        log_loss: cross-validated, by kind of map; empty where only one was tried.
        versions: of this program and its libraries.
    """

    queries: str
    asked: int
    labels: int
    hits: int
    without_match: float
    k: int
    seed: int
    encoder_hash: str
    generation: int
    items: int
    last_id: int
    log_loss: Mapping[str, float]
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Calibration(Found):
    """What scores in an index say. Fitted on all labels; `judged` belongs to a fit on half of them.

    Attributes:
        about: what a match is: one of :data:`QUESTIONS`.
        map: from the score of a hit alone to the probability that it is a match.
        evidence: the same from all that surrounds the hit; None where that was no better.
        false_match_rate: what was asked for. threshold: the score from which on two pictures count as a match.
        miss_rate: what was asked for. no_match_below: a best hit below this score says that the index has no match,
            where nothing but scores is known.
        has_match: whether there is a match, from all that surrounds the query; None where that was no better than the
            best score. no_match_under: of its log-odds, where there is none.
        cohort: ids of items, ascending, that scores are compared with.
        judged: how well all this held on labels that it was not fitted on.
        measured: on what.
        notes: what to know about the figures, a sentence each.
    """

    about: str
    map: ScoreMap
    evidence: Weights | None
    false_match_rate: float
    threshold: float
    miss_rate: float
    no_match_below: float
    has_match: Weights | None
    no_match_under: float
    cohort: tuple[int, ...]
    judged: Judged
    measured: Conditions
    notes: tuple[str, ...] = ()

    def probability(self, scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """P(match) by the score alone, float64 of the same shape; never falls as the score rises. A query shows
        better where :attr:`evidence` is there."""
        return self.map(scores)

    def stale(self, ids: npt.NDArray[np.int64]) -> str | None:
        """A sentence that says so, if more than :data:`STALE` of the items came or went since.

        Args:
            ids: int64 (n,), ascending, of the items that the index has now. An id is never given twice.
        """
        stayed = int(np.searchsorted(ids, self.measured.last_id, side="right"))
        gone, came = self.measured.items - stayed, len(ids) - stayed
        if gone + came <= STALE * self.measured.items:
            return None
        return (
            f"Since {self.question.chance} was calibrated, {came:,} pictures came into the index and {gone:,} of "
            f"{stayed + gone:,} went; run `{self.question.verb}` again."
        )

    @property
    def question(self) -> Question:
        """What it is about."""
        return QUESTIONS[self.about]

    def to_json(self) -> dict[str, Any]:
        """As JSON holds it; an interval's ends that are not known are null."""
        plain: dict[str, Any] = _plain(self)
        return plain

    def table(self) -> str:
        """What was found, and how well it held on labels that it was not fitted on."""
        judged, measured, curve, chance = self.judged, self.measured, self.judged.reliability, self.question.chance
        known = "its score and what surrounds it" if self.evidence is not None else f"its score, {kind(self.map)}"
        told = "what surrounds it" if self.has_match is not None else f"its best score, below {self.no_match_below:.4f}"
        kinds = "pictures" if self.about == "copies" else "labels"
        lines = [
            f"A match {self.question.one}. Fitted on {measured.asked:,} queries of {measured.labels:,} "
            f"{kinds} ({measured.queries}), {measured.hits:,} hits at k = {measured.k}:",
            f"  two {'sides' if self.about == 'words' else 'pictures'} match from score {self.threshold:.4f} on "
            f"(false match rate {self.false_match_rate:g})",
            f"  no match for a query is told by {told} (missed by {self.miss_rate:g} of the queries that have one)",
            f"  {chance} of a hit: by {known}, with {measured.without_match:g} of the queries having none",
            "",
            f"How well that holds: fitted on {judged.fitted_labels:,} {kinds} ({judged.fitted_queries:,} queries) and "
            f"judged on {judged.labels:,} {'others' if judged.disjoint == 'labels' else 'with other pictures'} "
            f"({judged.queries:,}); 95 % intervals",
        ]
        all_, alone = judged.by_evidence, judged.by_score
        figures: tuple[tuple[str, Interval | None, str], ...] = (
            (
                "false match rate",
                judged.false_match,
                f"wanted {self.false_match_rate:g}, threshold {judged.threshold:.4f}",
            ),
            ("false non-match rate", judged.false_non_match, ""),
            ("told none, and has a match", all_.missed, f"wanted {self.miss_rate:g}"),
            ("not told so, and has none", all_.false_alarm, f"{_alone(alone.false_alarm)}"),
            ("match or not, AUC", all_.has_match, f"whether a query has one; {_alone(alone.has_match)}"),
            (f"{chance}, AUC", all_.hits.auc, _alone(alone.hits.auc)),
            (f"{chance}, log loss", all_.hits.log_loss, _alone(alone.hits.log_loss)),
            ("hits before the fold match", judged.kept_match, ""),
            ("matches before the fold", judged.matches_kept, ""),
            ("expected calibration error", curve.ece, f"{len(curve.bins)} bins of equal mass"),
            ("Brier score", curve.brier, f"{curve.brier_of_base_rate:.4f} if it always said the base rate"),
            ("base rate: hits that match", curve.base_rate, ""),
        )
        for name, figure, note in figures:
            if figure is not None:
                lines.append(f"  {name:<27} {figure.value:.4f}  {_ends(figure):<18} {note}".rstrip())
        lines += ["", f"  {chance + ' said':<13}   were matches                  hits"]
        for one in curve.bins:
            seen = one.observed
            lines.append(f"  {one.predicted:13.4f}   {seen.value:.4f}  {_ends(seen):<18} {seen.n:7,}")
        if self.notes:
            lines += ["", *self.notes]
        return "\n".join(lines)

    @classmethod
    def from_json(cls, record: object) -> Self:
        """Read what :meth:`to_json` gave; anything else is refused.

        Raises:
            RetrievalError: a field is missing, unknown, of another type or out of its range.
        """
        try:
            found: Self = _read(cls, record, "calibration")
        except (ValueError, OverflowError) as problem:
            raise RetrievalError(
                f"The index's calibration is damaged, or of an older version ({problem}); run `retrieval calibrate` "
                "again."
            ) from None
        return found

    def __post_init__(self) -> None:
        for name in ("false_match_rate", "miss_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}")
        if self.evidence is not None and not set(self.evidence.columns) <= set(HIT):
            raise ValueError("evidence of a hit that is known of queries alone")
        if self.about not in QUESTIONS:
            raise ValueError(f"{ascii(self.about)[:40]} is none of {', '.join(QUESTIONS)}")


def kind(map_: ScoreMap) -> str:
    """What a map is called."""
    return next(name for name, type_ in _KINDS.items() if isinstance(map_, type_))


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        called = {"kind": kind(value)} if isinstance(value, ScoreMap) else {}
        return called | {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if isinstance(value, Mapping):
        return dict(value)
    return None if isinstance(value, float) and math.isnan(value) else value


def _read(wanted: Any, value: object, where: str) -> Any:
    """A value of the wanted type, from JSON. ValueError says where it is none."""
    if type(None) in get_args(wanted):  # or nothing
        return None if value is None else _read(get_args(wanted)[0], value, where)
    if get_origin(wanted) in (Union, types.UnionType):  # of maps, which name their kind
        if not isinstance(value, dict) or not isinstance(value.get("kind"), str) or value["kind"] not in _KINDS:
            raise ValueError(f"{where} is no map")
        return _read(_KINDS[value["kind"]], {name: one for name, one in value.items() if name != "kind"}, where)
    if isinstance(wanted, type) and is_dataclass(wanted):
        hints = get_type_hints(wanted)
        names = {field.name for field in fields(wanted)}
        if not isinstance(value, dict) or value.keys() != names:
            raise ValueError(f"{where} has other fields")
        if wanted is Interval:
            value = {name: math.nan if one is None and name in ("low", "high") else one for name, one in value.items()}
            hints |= {"low": None, "high": None}
        return wanted(**{name: _read(hints[name], value[name], f"{where}.{name}") for name in names})
    if get_origin(wanted) is tuple:
        if not isinstance(value, list) or len(value) > MOST:
            raise ValueError(f"{where} is no list, or too long")
        return tuple(_read(get_args(wanted)[0], one, where) for one in value)
    if get_origin(wanted) is Mapping:
        if not isinstance(value, dict) or len(value) > MOST:
            raise ValueError(f"{where} is no table, or too long")
        return {name: _read(get_args(wanted)[1], one, where) for name, one in value.items()}
    if wanted is float or wanted is None:  # None: NaN is allowed
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{where} is no number")
        if not math.isfinite(value) and not (wanted is None and math.isnan(value)):
            raise ValueError(f"{where} is not finite")
        return float(value)
    if isinstance(value, bool) or not isinstance(value, wanted):
        raise ValueError(f"{where} is not {wanted.__name__}")
    if isinstance(value, int) and not 0 <= value < 2**63:
        raise ValueError(f"{where} is out of range")
    return value


def stored(index: Index) -> dict[str, Calibration]:
    """What was calibrated for an index, by what it is about; without what is damaged or was for another model.

    What is wrong with it, or that it is stale, goes to the index's warnings.
    """
    found = {}
    kept: object = index.calibration or {}
    for about, record in kept.items() if isinstance(kept, dict) else [("", kept)]:
        try:
            one = Calibration.from_json(record)
            if one.about != about:
                raise RetrievalError(f"The index's calibration {ascii(about)[:40]} is about something else.")
        except RetrievalError as error:
            index.warnings.append(str(error))
            if about not in QUESTIONS:  # it is no table of calibrations, and each of its rows would say so
                return {}
            continue
        question = one.question
        if one.measured.encoder_hash != index.encoder_hash:
            index.warnings.append(
                f"{question.chance} was calibrated for another model than the index has now; run `{question.verb}` "
                "again."
            )
            continue
        stale = one.stale(index.ids())
        if stale is not None:
            index.warnings.append(stale)
        found[about] = one
    return found


def fold(chances: npt.ArrayLike) -> int:
    """How many of the first hits to keep: as many as make the number of matches among them, less that of others, the
    greatest that can be expected. Of hits whose P(match) falls from one to the next, those of 0.5 and more.

    Args:
        chances: (k,), P(match) in the order in which the hits are shown.
    """
    gained = np.cumsum(np.asarray(chances, np.float64) - 0.5)
    return int(np.argmax(gained)) + 1 if gained.size and gained.max() > 0 else 0


def _alone(figure: Interval | None) -> str:
    return "" if figure is None else f"by the score alone {figure.value:.4f}"


def _ends(figure: Interval) -> str:
    return "" if math.isnan(figure.low) else f"({figure.low:.4f} to {figure.high:.4f})"
