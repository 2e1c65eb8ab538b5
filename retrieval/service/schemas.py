"""What answers look like, for OpenAPI to say, as JSON Schemas."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_WHOLE: Schema = {"type": "integer"}
_NUMBER: Schema = {"type": "number"}
_SWITCH: Schema = {"type": "boolean"}
_VALUE: Schema = {"type": ["string", "number"]}
_MAYBE_TEXT: Schema = {"type": ["string", "null"]}
_MAYBE_WHOLE: Schema = {"type": ["integer", "null"]}
_MAYBE_NUMBER: Schema = {"type": ["number", "null"]}
_MAYBE_SWITCH: Schema = {"type": ["boolean", "null"]}


def _object(properties: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    return {"type": "object", "properties": properties | (optional or {}), "required": sorted(properties)}


def _list(of: Schema) -> Schema:
    return {"type": "array", "items": of}


_OF_FILE: dict[str, Schema] = {
    "width": _WHOLE,
    "height": _WHOLE,
    "colour": {**_MAYBE_TEXT, "description": "the mean of its pixels, #a0b1c2, once a thumbnail was shown"},
    "taken": {"type": ["string", "number", "null"]},
    "attributes": {"type": "object", "additionalProperties": _VALUE},
}

_ITEM: dict[str, Schema] = {"id": _WHOLE, "path": _TEXT, "label": _MAYBE_TEXT, **_OF_FILE}

_STATE: dict[str, Schema] = {"state": {"enum": ["ready", "making", "failed"]}, "generation": _WHOLE}

_HIT = _object(
    {
        "rank": _WHOLE,
        "id": _WHOLE,
        "path": _TEXT,
        "label": _MAYBE_TEXT,
        "score": {**_NUMBER, "description": "the inner product of unit vectors, from -1 to 1"},
        "relevant": {**_MAYBE_SWITCH, "description": "whether it has the question's label, where both are known"},
        "probability": {**_MAYBE_NUMBER, "description": "that it is a true match, where that was calibrated"},
        "reranked": _MAYBE_NUMBER,
        "group": _MAYBE_TEXT,
        "marked": _MAYBE_SWITCH,
        "copy": {**_MAYBE_NUMBER, "description": "the chance that it is a copy, where that was calibrated"},
        "same": {**_SWITCH, "description": "whether it is the question itself, or an exact copy of it"},
        "evidence": {"type": ["object", "null"]},
    },
    {**_OF_FILE, "explanation": {"type": ["object", "null"]}},
)

_FACET = _object(
    {"name": _TEXT, "kind": {"enum": ["text", "number", "date"]}, "other": _WHOLE, "missing": _WHOLE},
    {
        "values": _list(_object({"value": _VALUE, "count": _WHOLE})),
        "bins": _list(_object({"from": _VALUE, "to": _VALUE, "count": _WHOLE})),
        "least": _VALUE,
        "most": _VALUE,
    },
)

ANSWER = _object(
    {
        "query": _object(
            {
                "query": _TEXT,
                "label": _MAYBE_TEXT,
                "id": _MAYBE_WHOLE,
                "left_out": _list(_WHOLE),
                "calibrated": _SWITCH,
                "parts": _list(
                    _object(
                        {
                            "part": _TEXT,
                            "sign": {"enum": [1, -1]},
                            "weight": _NUMBER,
                            "id": _MAYBE_WHOLE,
                            "left_out": _list(_WHOLE),
                            "sha256": _MAYBE_TEXT,
                            "used": _SWITCH,
                            "why": _MAYBE_TEXT,
                        }
                    )
                ),
            }
        ),
        "hits": _list(_HIT),
        "fold": _object(
            {"matches": _MAYBE_WHOLE, "threshold": _MAYBE_NUMBER, "sentence": _TEXT, "advice": _MAYBE_TEXT}
        ),
        "no_match": _MAYBE_SWITCH,
        "no_copy": _MAYBE_SWITCH,
        "marks": {"type": ["object", "null"]},
        "matches": _MAYBE_WHOLE,
        "facets": {"oneOf": [_list(_FACET), {"type": "null"}]},
        "cursor": _MAYBE_TEXT,
        "left_out": _list(_object({"path": _TEXT, "reason": _TEXT})),
        "generation": _WHOLE,
    }
)

ITEM = _object({**_ITEM, "size": _WHOLE, "modified_ns": _WHOLE, "sha256": _MAYBE_TEXT, "served": _SWITCH})
ITEMS = _object({"items": _list(_object(_ITEM)), "total": _WHOLE, "cursor": _MAYBE_TEXT, "generation": _WHOLE})
SOME_ITEMS = _object({"items": _list(_object(_ITEM))})
WALL = _object({"items": _list(_object(_ITEM)), "total": _WHOLE, "generation": _WHOLE})
FACETS = _object({"facets": _list(_FACET), "total": _WHOLE, "generation": _WHOLE})
UPLOADS = _object({"uploads": _list(_object({"name": _TEXT, "sha256": _TEXT}))})
ADDED = _object({"added": _list(_object({"name": _TEXT, "sha256": _TEXT, "ids": _list(_WHOLE)}))})
CHANGED = _object({"changed": _WHOLE, "generation": _WHOLE})
REMOVED = _object({"removed": _object({"id": _WHOLE, "path": _TEXT}), "generation": _WHOLE, "warning": _TEXT})
SESSION = _object(
    {"read": _SWITCH, "write": _SWITCH, "tokens": {**_SWITCH, "description": "whether one needs a token"}}
)
STATUS = _object({"status": _TEXT})
CALIBRATED = _object({"about": _TEXT, "threshold": _NUMBER, "no_match_below": _MAYBE_NUMBER})
COMPARED = _object({"figures": {"type": ["object", "null"]}})

INFO = _object(
    {
        "indexes": _list(
            _object(
                {"name": _TEXT, "items": _WHOLE, "generation": _MAYBE_WHOLE, "building": {"type": ["object", "null"]}},
                {
                    "dim": _WHOLE,
                    "encoder": _MAYBE_TEXT,
                    "labelled": _WHOLE,
                    "words": {**_SWITCH, "description": "whether the model knows words"},
                    "pictures": {**_SWITCH, "description": "whether pictures can be sent to look for"},
                    "calibrated": _SWITCH,
                    "writable": _SWITCH,
                    "warnings": _list(_TEXT),
                },
            )
        ),
        "version": _TEXT,
    }
)

_GROUP = _object({"id": _WHOLE, "kind": {"enum": ["exact", "near", "similar"]}, "items": _list(_object(_ITEM))})

GROUPS = _object(
    {**_STATE, "rule": _TEXT, "score": _MAYBE_NUMBER},
    {
        "groups": _list(_GROUP),
        "total": {"type": "object", "additionalProperties": _WHOLE},
        "decided": {"type": "object", "additionalProperties": _WHOLE},
        "folders": _list(_TEXT),
        "cursor": _MAYBE_WHOLE,
        "notes": _list(_TEXT),
        "moves": _object({"allowed": _SWITCH, "undo": _list(_TEXT)}),
    },
)  # fmt: skip
PREVIEW = _object(
    {
        "groups": _WHOLE, "keep": _WHOLE, "go": _WHOLE, "bytes": _WHOLE, "some": _list(_TEXT),
        "decisions": {"type": "object", "additionalProperties": _TEXT},
    }
)  # fmt: skip
DECIDED = _object({"decided": _WHOLE, "generation": _WHOLE})
MOVED = _object(
    {
        "moved": _list(_TEXT), "size": _WHOLE, "left": _list(_object({"path": _TEXT, "reason": _TEXT})),
        "undo": _MAYBE_TEXT, "dry_run": _SWITCH,
    }
)  # fmt: skip

SUSPECTS = _object(
    _STATE,
    {
        "sentence": _TEXT,
        "items": _list(
            _object(
                {
                    "id": _WHOLE, "label": _TEXT, "suggested": _TEXT, "agree": _WHOLE, "votes": _WHOLE,
                    "score": _NUMBER, "item": _object(_ITEM), "neighbours": _list(_object(_ITEM)),
                    "decided": _MAYBE_TEXT,
                }
            )
        ),
        "total": _object({"open": _WHOLE, "decided": _WHOLE}),
        "labels": _list(_TEXT),
        "cursor": _MAYBE_WHOLE,
    },
)  # fmt: skip

MAP = _object({**_STATE, "n": _WHOLE, "by": _list(_TEXT)})
COLOURS = _object(
    {
        "by": _TEXT,
        "values": _list(_object({"value": {"type": ["string", "number", "null"]}, "count": _WHOLE})),
        "none": _WHOLE,
        "ordered": _SWITCH,
        "codes": {**_TEXT, "description": "a byte a picture, in base 64"},
    }
)


def answers(schema: Schema, status: int = 200) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of an answer."""
    return {status: {"description": "the answer", "content": {"application/json": {"schema": schema}}}}
