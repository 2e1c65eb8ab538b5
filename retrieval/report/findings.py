"""What may be wrong with the pictures, their labels or the embedding, with the pictures to judge by."""

from __future__ import annotations

from retrieval import traps
from retrieval.base.text import printable
from retrieval.report.blocks import Group, Row, Section
from retrieval.report.contents import Contents
from retrieval.report.thumbnails import Tile, tile

EXAMPLES = 5
"""Examples of a finding that are shown."""

PICTURES = 9
"""Pictures of an example that are shown: what a line holds."""

TITLES = {
    "leakage": "near-duplicates",
    "collapse": "a collapsed embedding",
    "hubs": "hubs, pictures that are everybody's neighbour",
    "labels": "suspected label errors",
    "small classes": "classes that are too small",
}
"""What the traps are called on the page."""


def findings(contents: Contents) -> Section | None:
    """Each trap in a sentence, and the worst examples of those that were found."""
    if not contents.findings:
        return None
    groups = [
        Group(TITLES[found.name].capitalize(), [_example(one, contents) for one in found.worst[:EXAMPLES]])
        for found in contents.findings
        if found.worst
    ]
    return Section("traps", "What may be wrong", warnings=contents.findings, rows=groups)


def _example(one: traps.Example, contents: Contents) -> Row:
    tiles = [_tile(id_, "query" if not place else "plain", contents) for place, id_ in enumerate(one.ids[:PICTURES])]
    words = ", ".join(
        f"{name} {value:.3f}" if isinstance(value, float) else f"{name} {value}"
        for name, value in one.figures.items()
        if value is not None
    )
    return Row(tiles, "Pictures " + ", ".join(map(str, one.ids)), words)


def _tile(id_: int, kind: str, contents: Contents) -> Tile:
    item = contents.items[id_]
    path = contents.root / item.path
    return tile(path, kind, item.label if item.label is not None else printable(path.name), f"id {id_}")
