"""A calibration as an index keeps it: what it says, how far that held, and what it was measured on."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Self, Union, get_args, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt

from retrieval.base.found import Found
from retrieval.base.text import printable
from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.measures.intervals import Interval
from retrieval.search.calibration.reliability import Reliability
from retrieval.search.calibration.score_map import Isotonic, Logistic, ScoreMap

STALE = 0.1
"""Share of items that came or went, above which a calibration is to be made anew."""

MOST = 100_000
"""Longest list that is read."""

_KINDS = {"logistic": Logistic, "isotonic": Isotonic}


@dataclass(frozen=True)
class Judged:
    """How well a calibration held that was fitted on one half of the labels, on the other half.

    Attributes:
        disjoint: what the halves do not share: "labels", or "pictures" where there are too few labels.
        over: what the intervals of hits and queries were drawn over, "labels" or "queries"; those of pairs always
            are over labels.
        fitted_labels, fitted_queries: how many it was fitted on. labels, queries: how many it was judged on.
        threshold, no_match_below: as fitted on the one half.
        map: which kind of map that was, "logistic" or "isotonic".
        false_match: the share of the pairs of two labels at or above the threshold (FMR).
        false_non_match: the share of the pairs of one label below it (FNMR).
        missed: the share of the queries with a match in the index that are told there is none.
        false_alarm: the share of the queries without a match that are not told so.
        reliability: of P(match).
    """

    disjoint: str
    over: str
    fitted_labels: int
    fitted_queries: int
    labels: int
    queries: int
    threshold: float
    no_match_below: float
    map: str
    false_match: Interval
    false_non_match: Interval
    missed: Interval
    false_alarm: Interval
    reliability: Reliability

    def __post_init__(self) -> None:
        known = (self.disjoint, ("labels", "pictures")), (self.over, ("labels", "queries")), (self.map, _KINDS)
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
        map: from the score of a hit to the probability that it is a true match.
        false_match_rate: what was asked for. threshold: the score from which on two pictures count as a match.
        miss_rate: what was asked for. no_match_below: a best hit below this score says that the index has no match.
        judged: how well all this held on labels that it was not fitted on.
        measured: on what.
        notes: what to know about the figures, a sentence each.
    """

    map: ScoreMap
    false_match_rate: float
    threshold: float
    miss_rate: float
    no_match_below: float
    judged: Judged
    measured: Conditions
    notes: tuple[str, ...] = ()

    def probability(self, scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """P(match) of hits with these scores, float64 of the same shape; never falls as the score rises."""
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
            f"Since P(match) was calibrated, {came:,} pictures came into the index and {gone:,} of {stayed + gone:,} "
            "went; run `retrieval calibrate` again."
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON holds it; an interval's ends that are not known are null."""
        plain: dict[str, Any] = _plain(self)
        return plain

    def table(self) -> str:
        """What was found, and how well it held on labels that it was not fitted on."""
        judged, measured, curve = self.judged, self.measured, self.judged.reliability
        lines = [
            f"Fitted on {measured.asked:,} queries of {measured.labels:,} labels ({measured.queries}), "
            f"{measured.hits:,} hits at k = {measured.k}:",
            f"  two pictures match from score {self.threshold:.4f} on (false match rate {self.false_match_rate:g})",
            f"  no match in this index below a best score of {self.no_match_below:.4f} "
            f"(missed by {self.miss_rate:g} of the queries that have one)",
            f"  P(match) of a hit: {kind(self.map)} in its score, with {measured.without_match:g} of the queries "
            "having none",
            "",
            f"How well that holds: fitted on {judged.fitted_labels:,} labels ({judged.fitted_queries:,} queries) and "
            f"judged on {judged.labels:,} {'others' if judged.disjoint == 'labels' else 'with other pictures'} "
            f"({judged.queries:,}); 95 % intervals",
        ]
        figures = (
            (
                "false match rate",
                judged.false_match,
                f"wanted {self.false_match_rate:g}, threshold {judged.threshold:.4f}",
            ),
            ("false non-match rate", judged.false_non_match, ""),
            (
                "told none, and has a match",
                judged.missed,
                f"wanted {self.miss_rate:g}, below {judged.no_match_below:.4f}",
            ),
            ("not told so, and has none", judged.false_alarm, "queries whose label is taken out of the index"),
            ("expected calibration error", curve.ece, f"{len(curve.bins)} bins of equal mass"),
            ("Brier score", curve.brier, f"{curve.brier_of_base_rate:.4f} if it always said the base rate"),
            ("base rate: hits that match", curve.base_rate, ""),
        )
        for name, figure, note in figures:
            lines.append(f"  {name:<27} {figure.value:.4f}  {_ends(figure):<18} {note}".rstrip())
        lines += ["", "  P(match) said   were matches                  hits"]
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
                f"The index's calibration is damaged ({problem}); run `retrieval calibrate` again."
            ) from None
        return found

    def __post_init__(self) -> None:
        for name in ("false_match_rate", "miss_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}")
        if not (math.isfinite(self.threshold) and math.isfinite(self.no_match_below)):
            raise ValueError("a threshold that is not finite")


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


def stored(index: Index) -> Calibration | None:
    """What was calibrated for an index; None if nothing was, or it is damaged or was for another model.

    What is wrong with it, or that it is stale, goes to the index's warnings.
    """
    record = index.calibration
    if record is None:
        return None
    try:
        found = Calibration.from_json(record)
    except RetrievalError as error:
        index.warnings.append(str(error))
        return None
    if found.measured.encoder_hash != index.encoder_hash:
        index.warnings.append(
            "P(match) was calibrated for another model than the index has now; run `retrieval calibrate` again."
        )
        return None
    stale = found.stale(index.ids())
    if stale is not None:
        index.warnings.append(stale)
    return found


def match_threshold(index: Index, calibration: Calibration | None) -> float:
    """The score from which on a hit counts as a match.

    Raises:
        RetrievalError: there is no calibration.
    """
    if calibration is None:
        raise RetrievalError(
            f"The index {printable(index.folder)!r} has no calibration that could tell matches from other hits; "
            "run `retrieval calibrate` on it first."
        )
    return calibration.threshold


def _ends(figure: Interval) -> str:
    return "" if math.isnan(figure.low) else f"({figure.low:.4f} to {figure.high:.4f})"
