"""From what is wanted of an index to the structure that does it best here, by measurement.

docs/tuning.md says how it is measured and chosen.
"""

from __future__ import annotations

from retrieval.tuning.choice import EXACT, Point, Wishes, choose, pareto
from retrieval.tuning.default import FAST_ENOUGH, default_structure
from retrieval.tuning.report import TuningReport
from retrieval.tuning.tune_index import MINUTES, RECALL, tune

__all__ = [
    "EXACT",
    "FAST_ENOUGH",
    "MINUTES",
    "RECALL",
    "Point",
    "TuningReport",
    "Wishes",
    "choose",
    "default_structure",
    "pareto",
    "tune",
]
