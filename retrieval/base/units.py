"""Sizes and times as people write them: ``200MB``, ``5ms``."""

from __future__ import annotations

import math
import re

from retrieval.errors import RetrievalError

_BYTES = {
    "": 1, "b": 1,
    "k": 10**3, "kb": 10**3, "m": 10**6, "mb": 10**6, "g": 10**9, "gb": 10**9, "t": 10**12, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip
_SECONDS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}


def parse_bytes(text: str) -> int:
    """The number of bytes that ``200MB``, ``1.5 GiB`` or ``1000000`` mean; MB is a million, MiB 2²⁰.

    Raises:
        RetrievalError: it is no size above zero.
    """
    value = _parse(text, _BYTES)
    if value is None:
        raise RetrievalError(f"{text!r} is no size; give a number and a unit, such as 200MB or 1.5GiB.")
    return math.ceil(value)


def parse_seconds(text: str) -> float:
    """The seconds that ``5ms``, ``0.2 s`` or ``300us`` mean; the unit must be there.

    Raises:
        RetrievalError: it is no time above zero.
    """
    value = _parse(text, _SECONDS)
    if value is None:
        raise RetrievalError(f"{text!r} is no time; give a number and a unit, such as 5ms or 0.2s.")
    return value


def show_bytes(count: float) -> str:
    """A number of bytes with three digits, as in ``24.6 MB``."""
    value = float(count)
    for unit in ("bytes", "kB", "MB"):
        if value < 999.5:
            return f"{value:.0f} {unit}" if unit == "bytes" or value >= 99.95 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def show_seconds(seconds: float) -> str:
    """A time with three digits, in the unit that a person would use, as in ``0.43 ms``."""
    for unit, factor in (("µs", 1e6), ("ms", 1e3)):
        if seconds * factor < 999.5:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.3g} s" if seconds < 99.5 else f"{seconds:,.0f} s"


def _parse(text: str, units: dict[str, float] | dict[str, int]) -> float | None:
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-zµ]*)\s*", text.lower(), re.ASCII | re.IGNORECASE)
    if match is None or match[2] not in units:
        return None
    value = float(match[1]) * units[match[2]]
    return value if 0 < value < math.inf else None
