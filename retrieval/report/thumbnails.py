"""Small pictures inside the page, so that it needs no other file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from PIL import Image

from retrieval.base.text import printable
from retrieval.images.embedded import data_address, embedded, small
from retrieval.search.answer import shown

if TYPE_CHECKING:
    from retrieval.base.placed_files import Placed, Root
    from retrieval.search.answer import Answer, Hit
    from retrieval.search.explain import Explanation, HeatMap

SIDE = 128
"""Pixels of the longer side of a picture: more than it is shown at, for fine screens."""


@dataclass(frozen=True)
class Tile:
    """One picture of the page.

    Attributes:
        source: the picture as a ``data:`` address; None if its file is gone or cannot be read.
        alt: what it shows, for who cannot see it.
        kind: "query", "right", "wrong" or "plain".
        caption, under: the lines under it.
        mark: ✓ or ✗, so that nothing hangs on a colour.
    """

    source: str | None
    alt: str
    kind: str
    caption: str
    under: str = ""
    mark: str = ""

    @property
    def mark_words(self) -> str:
        """The mark, read aloud."""
        return {"✓": "same label", "✗": "another label"}.get(self.mark, "")


def tile(path: Path | Placed, kind: str, caption: str, under: str = "") -> Tile:
    """A picture file as a tile."""
    name = printable(path.name)
    return Tile(embedded(path, SIDE), f"{caption}, {name}" if caption != name else name, kind, caption, under)


def query_tile(answer: Answer) -> Tile:
    """The picture that asked."""
    path = answer.picture or Path(answer.query)
    name = printable(path.name)
    label = answer.label if answer.label is not None else name
    return Tile(embedded(path, SIDE), f"query: {label}, {name}", "query", label, name)


def hit_tile(hit: Hit, root: Root) -> Tile:
    """A hit, and whether it is right."""
    mark = {True: "✓", False: "✗", None: ""}[hit.relevant]
    kind = {True: "right", False: "wrong", None: "plain"}[hit.relevant]
    name = printable(PurePosixPath(hit.path).name)
    label = hit.label if hit.label is not None else name
    likely = "" if hit.probability is None else f" · P {shown(hit.probability, 2)}"
    score = f"{hit.score:.3f}".replace("-", "−") + likely
    return Tile(
        embedded(root / hit.path, SIDE), f"hit {hit.rank}: {label}, {name}, score {score}", kind, label, score, mark
    )


def explained_tiles(answer: Answer, explanations: Sequence[Explanation | None], root: Root) -> list[Tile]:
    """The query and its first explained hit, with what carries their similarity laid over both."""
    for hit, found in zip(answer.hits, explanations, strict=False):
        if found is None or answer.picture is None:
            continue
        words = f"which parts of the {{}} carry the score of hit {hit.rank}"
        limit = max(abs(found.query_map.values).max(), abs(found.hit_map.values).max(), 1e-9)
        pairs = ((answer.picture, found.query_map, "query"), (root / hit.path, found.hit_map, "hit"))
        return [
            Tile(_overlaid(path, heat, float(limit)), words.format(what), "plain", f"why: {what}", f"hit {hit.rank}")
            for path, heat, what in pairs
        ]
    return []


def _overlaid(path: Path | Placed, heat: HeatMap, limit: float) -> str | None:
    from retrieval.search.heat_map import overlay

    picture = small(path, SIDE)
    if picture is None:
        return None
    scale = SIDE / max(picture.size)  # small ones are enlarged first, so that the map is smooth
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return data_address(overlay(picture.resize(size, Image.Resampling.LANCZOS), heat, limit))
