"""Answers as JSON: what `retrieval query --json` prints, and more."""

from __future__ import annotations

import json
from collections.abc import Mapping
from operator import attrgetter
from typing import Any

from fastapi import Response

from retrieval.base.text import printable
from retrieval.index import Item
from retrieval.search.answer import Answer, Hit, shown
from retrieval.search.search import Search
from retrieval.service.asking import Found
from retrieval.service.pictures import Pictures
from retrieval.service.questions import Asked

_OF_HIT = ("rank", "id", "path", "label", "score", "relevant", "probability", "reranked", "group", "marked", "copy")
_of_hit = attrgetter(*_OF_HIT)


def as_json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer of the service."""
    return Response(json.dumps(value, allow_nan=False), status, dict(headers or {}), "application/json")


def search_json(search: Search, asked: Asked, found: Found, pictures: Pictures) -> dict[str, Any]:
    """The answer to a question."""
    answer = found.answer

    def hit_json(hit: Hit) -> dict[str, Any]:
        plain = dict(zip(_OF_HIT, _of_hit(hit), strict=True))
        plain["same"] = hit.id in found.same
        plain["evidence"] = None if hit.evidence is None else dict(hit.evidence)
        item = found.items.get(hit.id)
        return plain if item is None else plain | _shape(item, found.attributes[hit.id], pictures)

    return {
        "query": {
            "query": answer.query,
            "label": answer.label,
            "id": answer.id,
            "left_out": list(answer.left_out),
            "calibrated": answer.calibrated,
            "parts": [
                {
                    "part": printable(str(piece.part)),
                    "sign": piece.sign,
                    "weight": piece.part.weight,
                    "id": found.ids[place],
                    "left_out": [] if asked.same else list(found.copies[place]),
                    "sha256": piece.upload,
                    "used": True,
                    "why": None,
                }
                for place, piece in enumerate(asked.pieces)
            ],
        },
        "hits": [hit_json(hit) for hit in answer.hits],
        "fold": fold(search, asked, found),
        "no_match": answer.no_match,
        "no_copy": answer.no_copy,
        "marks": None if answer.marks is None else answer.marks.to_json(),
        "matches": answer.matches,
        "facets": None if answer.facets is None else [facet.to_json() for facet in answer.facets],
        "cursor": answer.next,
        "left_out": [{"path": one.path, "reason": one.reason} for one in answer.unread],
        "generation": found.generation,
    }


def fold(search: Search, asked: Asked, found: Found) -> dict[str, Any]:
    """Where the matches end: how many hits are above the threshold, and a sentence that says how sure that is."""
    answer = found.answer
    calibration, arranged = search.calibration, _arranged(asked, answer)
    if calibration is None:
        return {
            "matches": None,
            "threshold": None,
            "sentence": arranged or "Ordered by likeness; nobody has said yet where matches end.",
            "advice": f"retrieval calibrate {printable(search.name)}",
        }
    told = {"matches": answer.fold, "threshold": calibration.threshold, "advice": None}
    if answer.fold is None:
        unknown = "Ordered by likeness; where matches end is not known of such a question."
        return told | {"sentence": arranged or unknown}
    more = "At least " if answer.fold == len(answer.hits) and answer.next is not None else ""  # and other pages come
    chances = [hit.probability for hit in answer.hits[: answer.fold] if hit.probability is not None]
    if answer.no_match or not chances:
        return told | {"sentence": "Nothing in this collection matches."}
    likely = shown(sum(chances) / len(chances), 2)
    what = "matches" if answer.fold == 1 else "match"
    return told | {"sentence": f"{more}{answer.fold:,} {what}, each with P {likely} on average."}


def _arranged(asked: Asked, answer: Answer) -> str | None:
    """What hits are that do not stand by their scores; None of others."""
    how, n = asked.arrange, answer.matches
    if n is None or (how.sort is None and how.group_by is None):
        return None
    if how.matches:
        return "Nothing in this collection matches." if not n else f"{n:,} {'matches' if n == 1 else 'match'}."
    if asked.above is not None:
        return f"{n:,} with a score of at least {asked.above:.4g}."
    return f"The {n:,} that are most alike."


def item_json(item: Item, attributes: Mapping[str, Any], pictures: Pictures) -> dict[str, Any]:
    """One picture of an index."""
    return {"id": item.id, "path": item.path, "label": item.label} | _shape(item, attributes, pictures)


def _shape(item: Item, attributes: Mapping[str, Any], pictures: Pictures) -> dict[str, Any]:
    return {
        "width": item.width,
        "height": item.height,
        "colour": pictures.colour(item.sha256),
        "taken": attributes.get("taken"),
        "attributes": dict(attributes),
    }
