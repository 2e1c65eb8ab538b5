"""The calibration that an index has, if it can be used."""

from __future__ import annotations

from retrieval.calibration.record import Calibration
from retrieval.errors import RetrievalError
from retrieval.images import printable
from retrieval.index import Index


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
