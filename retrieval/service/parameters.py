"""What requests take, for OpenAPI to say and for FastAPI to check.

Questions are only said here, and checked by :mod:`retrieval.service.questions` alone: FastAPI's checks would take
longer than a search.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Query

from retrieval.service import limits

CURSOR = "^$|^[0-9a-f]{16}:[^:]+:[0-9]+:[0-9]+(:[^:]*)?$"
"""How a cursor looks."""

PART = "^(id:[0-9]|path:.|text:.|upload:[0-9a-f]{64})"
"""How a part of a question begins."""

Id = Annotated[int, Path(ge=0, lt=2**63, description="the id of a picture")]
Index = Annotated[str | None, Query(description="the index that is meant; the first one if absent")]
Hits = Annotated[int | None, Query(ge=1, le=limits.HITS, description="pictures on a page (50)")]
Filter = Annotated[str | None, Query(max_length=limits.TEXT, description="a filter (docs/filters.md)")]
Sort = Annotated[str | None, Query(max_length=limits.TEXT, description="by what, as `retrieval query --sort` takes it")]
Cursor = Annotated[
    str | None,
    Query(max_length=limits.TEXT, pattern=CURSOR, description="what the page before said; empty for the first"),
]

_TEXT = {"type": "string", "maxLength": limits.TEXT}
_SWITCH = {"type": "boolean"}

_OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "k": ({"type": "integer", "minimum": 1, "maximum": limits.HITS}, "hits that are wanted (50; with `above` all)"),
    "filter": (_TEXT, "what hits must match (docs/filters.md)"),
    "above": ({"oneOf": [{"type": "number"}, {"const": "matches"}]}, "the least score, or that of a match"),
    "matches": (_SWITCH, "1: only what matches, by what is calibrated"),
    "sort": (_TEXT, "by what the matches are sorted (docs/searching.md)"),
    "group": (_TEXT, "by what they are brought together"),
    "facets": (_SWITCH, "count labels, folders and attributes among the matches"),
    "cursor": ({**_TEXT, "pattern": CURSOR}, "empty for the first page, and then what an answer said"),
    "diverse": ({"type": ["number", "boolean"], "minimum": 0, "maximum": 1}, "hits that are unlike one another, too"),
    "rerank": ({"enum": ["aqe", "alpha-qe", "k-reciprocal"]}, "what orders the hits anew (docs/rerank.md)"),
    "same": (_SWITCH, "0: leave the picture itself, and its copies, out (1)"),
    "details": (_SWITCH, "0: hits tell nothing of their files (1)"),
    "hidden": (_SWITCH, "1: hidden pictures, too (0)"),
    "explain": (
        _SWITCH,
        f"1: hits say which parts of the two pictures make their score; {limits.EXPLAINED} at most",
    ),
}

PARAMETERS: list[dict[str, Any]] = [
    {"name": name, "in": "query", "required": False, "schema": schema, "description": said}
    for name, (schema, said) in {"index": ({"type": "string"}, "the index that is meant"), **_OPTIONS}.items()
]
"""What may stand in the address of a question."""

ID: dict[str, Any] = {"name": "id", "in": "path", "required": True, "schema": {"type": "integer", "minimum": 0}}
"""The id of a picture, in the path."""

FOREIGN: dict[str, Any] = {
    "name": "X-Retrieval", "in": "header", "required": True, "schema": {"const": "1"},
    "description": "what no form of a foreign page can send",
}  # fmt: skip
"""The header of a form that writes."""

_PART: dict[str, Any] = {
    "oneOf": [
        {"type": "string", "pattern": PART, "description": "id:17, path:2019/a.jpg, text:a red dog or upload:SHA256"},
        {
            "type": "object",
            "properties": {
                "part": {"type": "string", "pattern": PART},
                "weight": {"type": "number", "exclusiveMinimum": 0},
                "box": {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "number"}}]},
            },
            "required": ["part"],
        },
    ]
}

BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "like": {"type": "array", "items": _PART, "maxItems": limits.PARTS},
                        "unlike": {"type": "array", "items": _PART, "maxItems": limits.PARTS},
                        "vector": {"type": "array", "items": {"type": "number"}, "minItems": 1},
                        "marks": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "properties": {"item": {"type": ["integer", "string"]}, "right": {"type": "boolean"}},
                                "required": ["item", "right"],
                            },
                        },
                        **{name: schema for name, (schema, _) in _OPTIONS.items()},
                    },
                }
            },
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "box": {"type": "string", "description": "which part of the picture is meant"},
                        "json": {"type": "string", "description": "what the JSON form would be"},
                    },
                    "required": ["file"],
                }
            },
            "application/x-npy": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
"""What the body of a question may be."""


def shown(*media: str) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of an answer that is no JSON."""
    return {200: {"description": "as it is", "content": {one: {"schema": {"type": "string"}} for one in media}}}
