"""What a score says: whether two pictures match, how likely a hit is a true one, and whether there is any.

:func:`calibrate` measures it on labels, and the index keeps what was found as a :class:`Calibration`, which a query
reads. docs/calibration.md has the method. Nothing here is heavy to import, since every query does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from retrieval.search.calibration.record import Calibration, Conditions, Judged
from retrieval.search.calibration.reliability import Bin, Reliability, reliability
from retrieval.search.calibration.score_map import Isotonic, Logistic, ScoreMap

if TYPE_CHECKING:
    from retrieval.search.calibration.calibrate_index import calibrate

__all__ = [
    "Bin",
    "Calibration",
    "Conditions",
    "Isotonic",
    "Judged",
    "Logistic",
    "Reliability",
    "ScoreMap",
    "calibrate",
    "reliability",
]


def __getattr__(name: str) -> Any:
    if name == "calibrate":  # brings all measures, which a query does not need
        from retrieval.search.calibration.calibrate_index import calibrate

        return calibrate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
