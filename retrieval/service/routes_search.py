"""Questions."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, Path, Query, Request, Response

from retrieval.service import limits
from retrieval.service.answers import as_json, search_json
from retrieval.service.forms import read_form
from retrieval.service.problems import Problem
from retrieval.service.questions import Asked, read_asked, read_json, read_npy
from retrieval.service.service import Service

Id = Annotated[int, Path(ge=0, lt=2**63, description="the id of a picture")]
Index = Annotated[str | None, Query(description="the index that is meant; the first one if absent")]
Hits = Annotated[int | None, Query(ge=1, le=limits.HITS, description="hits that are wanted (50)")]
Filter = Annotated[str | None, Query(max_length=limits.TEXT, description="a filter that hits match (docs/filters.md)")]
Above = Annotated[str | None, Query(max_length=40, description="the least score of a hit, or `matches`")]
Flag = Annotated[bool | None, Query()]
Name = Annotated[
    str | None, Query(max_length=limits.TEXT, description="as `retrieval query` takes it (docs/searching.md)")
]
Cursor = Annotated[
    str | None, Query(max_length=limits.TEXT, description="empty: the first page; or what an answer said")
]
Diverse = Annotated[float | None, Query(ge=0, le=1, description="hits that are unlike one another, too (0.7)")]

_PART: dict[str, Any] = {
    "oneOf": [
        {"type": "string", "description": "id:17, path:2019/a.jpg, text:a red dog or upload:SHA256"},
        {
            "type": "object",
            "properties": {
                "part": {"type": "string"},
                "weight": {"type": "number", "exclusiveMinimum": 0},
                "box": {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "number"}}]},
            },
            "required": ["part"],
        },
    ]
}

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "like": {"type": "array", "items": _PART, "maxItems": limits.PARTS},
                        "unlike": {"type": "array", "items": _PART, "maxItems": limits.PARTS},
                        "vector": {"type": "array", "items": {"type": "number"}},
                        "k": {"type": "integer", "minimum": 1, "maximum": limits.HITS},
                        "filter": {"type": "string", "maxLength": limits.TEXT},
                        "above": {"oneOf": [{"type": "number"}, {"const": "matches"}]},
                        "sort": {"type": "string"},
                        "group": {"type": "string"},
                        "facets": {"type": "boolean"},
                        "cursor": {"type": "string"},
                        "diverse": {"type": "number", "minimum": 0, "maximum": 1},
                        "same": {"type": "boolean"},
                        "details": {"type": "boolean"},
                        "hidden": {"type": "boolean"},
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


class SearchRoutes:
    """Args: service: whose."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def add_to(self, app: FastAPI) -> None:
        """Enter them."""
        app.add_api_route("/search", self.search, methods=["POST"], tags=["search"], openapi_extra=_BODY)
        app.add_api_route("/items/{id}/similar", self.similar, methods=["GET"], tags=["search"])

    async def search(
        self,
        request: Request,
        index: Index = None,
        k: Hits = None,
        filter: Filter = None,
        above: Above = None,
        same: Flag = None,
        details: Flag = None,
        hidden: Flag = None,
        sort: Name = None,
        group: Name = None,
        facets: Flag = None,
        cursor: Cursor = None,
        diverse: Diverse = None,
    ) -> Response:
        """Find what looks like a picture, an item, a text or a vector."""
        return await self._answer(request, await self._asked(request))

    async def similar(
        self,
        request: Request,
        id: Id,
        index: Index = None,
        k: Hits = None,
        filter: Filter = None,
        above: Above = None,
        same: Flag = None,
        details: Flag = None,
        hidden: Flag = None,
        sort: Name = None,
        group: Name = None,
        facets: Flag = None,
        cursor: Cursor = None,
        diverse: Diverse = None,
    ) -> Response:
        """Find what looks like a picture of the index."""
        return await self._answer(request, read_asked({"like": [f"id:{id}"]}, request.query_params))

    async def _answer(self, request: Request, asked: Asked) -> Response:
        with self._service.collection(request).lease() as search:
            found = await self._service.asker.ask(search, asked)
            return as_json(search_json(search, asked, found, self._service.pictures))

    async def _asked(self, request: Request) -> Asked:
        media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media == "multipart/form-data":
            uploads, fields = await read_form(request, self._service)
            box = fields.get("box")
            given = read_json(fields.get("json", "").encode())
            sent = [{"part": f"upload:{one.sha256}", "box": box} for one in uploads]
            like = given.get("like", [])
            return read_asked(
                {**given, "like": [*sent, *(like if isinstance(like, list) else [like])]}, request.query_params
            )
        body = await request.body()
        if media in ("application/x-npy", "application/octet-stream"):
            return read_asked({}, request.query_params).also((read_npy(body),))
        if media in ("application/json", ""):
            return read_asked(read_json(body), request.query_params)
        raise Problem(
            415, f"{media[:60]!r} is no form of a question; send JSON, multipart/form-data or application/x-npy."
        )
