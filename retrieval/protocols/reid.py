"""What the protocols of re-identification share: a query's own identity in its own camera is ignored."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import partial

import numpy as np

from retrieval.measures import Ranking
from retrieval.protocols.protocol import AVERAGE_PRECISION, Ints, Measures, Setting

MEASURES: Measures = {**{f"CMC@{k}": partial(Ranking.hit_rate, k=k) for k in (1, 5, 10)}, **AVERAGE_PRECISION}

DIFFERS = (
    "CMC@k is the share of queries with a right answer among their first k. mAP is the average precision itself, as "
    "deep-person-reid and most programs since count it; the authors' own MATLAB program adds up trapezoids (mAP by "
    "trapezoids)."
)

Seen = tuple[str, int]
"""An identity and a camera."""


def other_cameras(queries: Sequence[Seen], gallery: Sequence[Seen]) -> tuple[Setting, ...]:
    """Right is a query's identity in other cameras; in its own camera it is ignored."""
    places: dict[Seen, list[int]] = defaultdict(list)
    for place, seen in enumerate(gallery):
        places[seen].append(place)
    ignored: tuple[Ints, ...] = tuple(np.array(places.get(seen, []), np.int64) for seen in queries)
    return (Setting(ignored=ignored),)
