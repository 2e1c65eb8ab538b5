"""Numbers as JSON takes them, and JSON as people read it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt

SHORT = 60
"""Letters of a name that shares its line with others."""

DIGITS = 6
"""Digits behind the point of the many numbers of a curve or a table."""


def plain(values: npt.NDArray[Any]) -> list[Any]:
    """An array as nested lists, floats to :data:`DIGITS` digits; what is no number is null."""
    if values.ndim > 1:
        return [plain(row) for row in values]
    if not np.issubdtype(values.dtype, np.floating):
        return list(values.tolist())
    return [None if value != value else value for value in values.round(DIGITS).tolist()]


def json_text(value: Any, indent: str = "") -> str:
    """JSON, one line for each key and each sentence, but for a row of numbers or of short names a single one."""
    inner = indent + "  "
    if isinstance(value, dict) and value:
        rows = [
            f"{inner}{json.dumps(str(key), ensure_ascii=False)}: {json_text(one, inner)}" for key, one in value.items()
        ]
        return "{\n" + ",\n".join(rows) + f"\n{indent}}}"
    if isinstance(value, list | tuple) and any(isinstance(one, dict | list | tuple) or _long(one) for one in value):
        return "[\n" + ",\n".join(inner + json_text(one, inner) for one in value) + f"\n{indent}]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _long(value: object) -> bool:
    return isinstance(value, str) and len(value) > SHORT
