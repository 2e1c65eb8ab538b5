"""A calibration as text for a terminal."""

from __future__ import annotations

import math

from retrieval.calibration.record import Calibration, kind
from retrieval.measures.intervals import Interval


def table(found: Calibration) -> str:
    """What was found, and how well it held on labels that it was not fitted on."""
    judged, measured, curve = found.judged, found.measured, found.judged.reliability
    lines = [
        f"Fitted on {measured.asked:,} queries of {measured.labels:,} labels ({measured.queries}), "
        f"{measured.hits:,} hits at k = {measured.k}:",
        f"  two pictures match from score {found.threshold:.4f} on (false match rate {found.false_match_rate:g})",
        f"  no match in this index below a best score of {found.no_match_below:.4f} "
        f"(missed by {found.miss_rate:g} of the queries that have one)",
        f"  P(match) of a hit: {kind(found.map)} in its score, with {measured.without_match:g} of the queries "
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
            f"wanted {found.false_match_rate:g}, threshold {judged.threshold:.4f}",
        ),
        ("false non-match rate", judged.false_non_match, ""),
        ("told none, and has a match", judged.missed, f"wanted {found.miss_rate:g}, below {judged.no_match_below:.4f}"),
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
    if found.notes:
        lines += ["", *found.notes]
    return "\n".join(lines)


def _ends(figure: Interval) -> str:
    return "" if math.isnan(figure.low) else f"({figure.low:.4f} to {figure.high:.4f})"
