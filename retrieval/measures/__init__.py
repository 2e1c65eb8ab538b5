"""Arrays in, numbers out: how good a ranking or an embedding is, and how sure that figure is.

Each measure states its denominator; ties count by expectation; queries without a relevant item are left out
and counted. docs/measuring.md has the definitions in one place.
"""

from retrieval.measures.exhaustive import UNLABELLED, Rankings, rank
from retrieval.measures.intervals import RESAMPLES, Interval, bootstrap, difference
from retrieval.measures.probes import Probe, linear_probe
from retrieval.measures.ranking import (
    Ranking,
    average_precision,
    average_precision_at_r,
    precision_at,
    r_precision,
)

__all__ = [
    "RESAMPLES",
    "UNLABELLED",
    "Interval",
    "Probe",
    "Ranking",
    "Rankings",
    "average_precision",
    "average_precision_at_r",
    "bootstrap",
    "difference",
    "linear_probe",
    "precision_at",
    "r_precision",
    "rank",
]
