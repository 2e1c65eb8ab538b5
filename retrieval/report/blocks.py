"""What a page is made of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from retrieval import traps
from retrieval.report.thumbnails import Tile


@dataclass(frozen=True)
class Headline:
    """A figure at the top."""

    name: str
    value: str
    note: str


@dataclass(frozen=True)
class Chart:
    """A chart, what it says to who cannot see it, and what stands under it."""

    svg: str
    alt: str
    caption: str
    wide: bool = False


@dataclass(frozen=True)
class Table:
    """Cells as text; the first of a row names it."""

    name: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Row:
    """Pictures beside one another."""

    tiles: Sequence[Tile]
    alt: str
    note: str = ""


@dataclass(frozen=True)
class Group:
    """Rows under a title."""

    title: str
    rows: Sequence[Row]
    text: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page; what it has is shown in this order."""

    id: str
    title: str
    texts: Sequence[str] = ()
    warnings: Sequence[traps.Finding] = ()
    tables: Sequence[Table] = ()
    charts: Sequence[Chart] = ()
    rows: Sequence[Group] = ()
    notes: Sequence[str] = ()
    raw: Mapping[str, str] | None = None


def number(value: float) -> str:
    """A figure to three digits; a dash where there is none."""
    return "–" if math.isnan(value) else f"{value:.3f}"


def interval(low: float, high: float) -> str:
    """Its interval."""
    return "" if math.isnan(low) or math.isnan(high) else f"{low:.3f} to {high:.3f}"
