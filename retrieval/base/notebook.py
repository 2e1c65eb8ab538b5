"""What a notebook shows of a value: plain HTML, every text in it escaped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from retrieval.base.text import printable

SIDE = 96
"""Pixels of a small picture's longer side."""

_TILE = f"display:inline-block;vertical-align:top;width:{SIDE + 8}px;margin:0 6px 6px 0;font-size:11px;line-height:1.3;"
_LINE = "overflow:hidden;text-overflow:ellipsis;white-space:nowrap"
_COLOURS = {True: "#2e7d32", False: "#c62828", None: "#9aa0a6"}


@dataclass(frozen=True)
class Tile:
    """A small picture and what stands under it.

    Attributes:
        source: the picture as a ``data:`` address; None if there is none to show.
        alt: what it shows, for who cannot see it.
        lines: the lines under it.
        right: whether its frame is green or red; None for a grey one.
    """

    source: str | None
    alt: str
    lines: Sequence[str]
    right: bool | None = None


def preformatted(text: str) -> str:
    """A text of a terminal, its columns as they are."""
    return f'<pre style="line-height:1.3">{_safe(text)}</pre>'


def tiles(title: str, shown: Sequence[Tile], note: str = "") -> str:
    """Small pictures in rows, under a line of title; `note` stands below."""
    end = f"<div>{_safe(note)}</div>" if note else ""
    return f"<div><div><b>{_safe(title)}</b></div>{''.join(map(_tile, shown))}{end}</div>"


def _tile(tile: Tile) -> str:
    frame = f"border:3px solid {_COLOURS[tile.right]}"
    height = f"max-width:{SIDE}px;max-height:{SIDE}px;{frame}"
    picture = (
        f'<div style="width:{SIDE}px;height:{SIDE}px;{frame}">no picture</div>'
        if tile.source is None
        else f'<img src="{_safe(tile.source)}" alt="{_safe(tile.alt)}" style="{height}">'
    )
    lines = "".join(f'<div style="{_LINE}" title="{_safe(line)}">{_safe(line)}</div>' for line in tile.lines)
    return f'<div style="{_TILE}">{picture}{lines}</div>'


def _safe(text: str) -> str:
    return escape(printable(text), quote=True)
