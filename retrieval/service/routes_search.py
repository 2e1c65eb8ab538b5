"""Questions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool

from retrieval.search.search import Search
from retrieval.service import limits, schemas
from retrieval.service.answers import as_json, search_json
from retrieval.service.asking import visible
from retrieval.service.collections import Collection
from retrieval.service.forms import read_form
from retrieval.service.parameters import BODY, ID, PARAMETERS
from retrieval.service.problems import Problem
from retrieval.service.questions import Asked, read_asked, read_json, read_npy
from retrieval.service.service import Service


class SearchRoutes:
    """Args: service: whose."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def add_to(self, app: FastAPI) -> None:
        """Enter them."""
        asked, of_item = {"parameters": PARAMETERS, **BODY}, {"parameters": [ID, *PARAMETERS]}
        answer: Any = {"tags": ["search"], "responses": schemas.answers(schemas.ANSWER)}
        app.add_api_route("/search", self.search, methods=["POST"], openapi_extra=asked, **answer)
        app.add_api_route("/items/{id}/similar", self.similar, methods=["GET"], openapi_extra=of_item, **answer)

    async def search(self, request: Request) -> Response:
        """Find what looks like a picture, an item, a text or a vector, or like several of these."""
        return await self._answer(request, await self._asked(request))

    async def similar(self, request: Request) -> Response:
        """Find what looks like a picture of the index."""
        return await self._answer(
            request, read_asked({"like": [f"id:{request.path_params['id']}"]}, request.query_params)
        )

    async def _answer(self, request: Request, asked: Asked) -> Response:
        collection = self._service.collection(request)
        with collection.lease() as search:
            if asked.explain and (len(asked.pieces) != 1 or asked.pieces[0].sign < 0):
                raise Problem(
                    400, "Only a question of one picture has parts to explain a hit by; leave explain out.", "refused"
                )
            asked = replace(asked, where=visible(search, asked.where, hidden=asked.hidden))
            await self._filtered(collection, search, asked.where)
            found = await self._service.asker.ask(search, asked)
            answer = search_json(search, asked, found, self._service.pictures)
            if asked.explain:
                hits = answer["hits"][: limits.EXPLAINED]
                whys = await self._service.explainer.hits(search, asked.pieces[0], [hit["id"] for hit in hits])
                for hit, why in zip(hits, whys, strict=True):
                    hit["explanation"] = None if why is None else why.to_json()
            return as_json(answer)

    async def _filtered(self, collection: Collection, search: Search, where: str | None) -> None:
        """Find out what a filter lets through before its question takes its turn: others are answered meanwhile."""
        if where is not None and not search.index.keeps_filter(where):
            ids = await run_in_threadpool(self._service.columns.ids, collection, search, where)
            search.index.keep_filter(where, ids)

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
