"""Two indexes side by side: what was measured of both, query by query, where somebody kept that.

`retrieval evaluate indexes/a --save indexes/a.json` writes `indexes/a.queries.npz` beside the index; with one of each,
the figures and their differences are those of `retrieval compare`.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from retrieval.errors import RetrievalError
from retrieval.evaluation import paired_comparison, per_query

MEASURES = 6
"""Measures that are shown."""


def figures(first: Path | str, second: Path | str) -> dict[str, Any] | None:
    """The differences, as `retrieval compare --json` has them; None where either was not measured.

    Args:
        first, second: folders of indexes; of one in a database nothing is kept beside it.
    """
    if isinstance(first, str) or isinstance(second, str):
        return None
    files = [folder.resolve().parent / (folder.resolve().name + per_query.SUFFIX) for folder in (first, second)]
    try:
        times = [file.stat().st_mtime_ns for file in files]
    except OSError:
        return None
    return _compared(files[0], files[1], times[0], times[1])


@lru_cache(16)
def _compared(first: Path, second: Path, *_: int) -> dict[str, Any] | None:
    try:
        found = paired_comparison.compare_kept(per_query.read(first), per_query.read(second)).to_json()
    except RetrievalError as error:
        return {"error": str(error)}
    return {
        "queries": found["queries"],
        "measures": dict(list(found["measures"].items())[:MEASURES]),
        "notes": found["notes"],
    }
