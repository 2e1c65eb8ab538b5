"""The pictures of an index: listed, told about, shown."""

from __future__ import annotations

import os
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import StreamingResponse

from retrieval.images import kinds
from retrieval.search.arrangement import FIRST
from retrieval.search.search import Search
from retrieval.service import listing, schemas
from retrieval.service.answers import as_json, item_json
from retrieval.service.asking import item_of, visible
from retrieval.service.forms import FILES, read_form
from retrieval.service.parameters import Cursor, Filter, Hits, Id, Index, Sort, shown
from retrieval.service.pictures import SIDES, Thumbnail, media_of, opened
from retrieval.service.problems import Problem
from retrieval.service.schemas import answers
from retrieval.service.service import Service

Side = Annotated[
    int, Query(ge=1, le=SIDES[-1], description="pixels of the longer side; the next larger of a few is made")
]

_BLOCK = 1 << 18


class ItemRoutes:
    """Args: service: whose."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def add_to(self, app: FastAPI) -> None:
        """Enter them."""
        app.add_api_route("/items", self.items, methods=["GET"], tags=["items"], responses=answers(schemas.ITEMS))
        app.add_api_route("/facets", self.facets, methods=["GET"], tags=["items"], responses=answers(schemas.FACETS))
        app.add_api_route("/items/{id}", self.item, methods=["GET"], tags=["items"], responses=answers(schemas.ITEM))
        small = {"response_class": Response, "responses": {**shown("image/jpeg"), 304: {"description": "as before"}}}
        app.add_api_route("/items/{id}/thumbnail", self.thumbnail, methods=["GET"], tags=["items"], **small)
        whole = {"response_class": Response, "responses": shown("image/*", "application/octet-stream")}
        app.add_api_route("/items/{id}/image", self.image, methods=["GET"], tags=["items"], **whole)
        app.add_api_route(
            "/uploads", self.uploads, methods=["POST"], tags=["search"], openapi_extra=FILES, status_code=201,
            responses=answers(schemas.UPLOADS, 201),
        )  # fmt: skip
        app.add_api_route("/uploads/{sha256}/thumbnail", self.upload, methods=["GET"], tags=["items"], **small)

    def items(
        self, request: Request, index: Index = None, k: Hits = None, filter: Filter = None, sort: Sort = None,
        cursor: Cursor = None, hidden: bool = False,
    ) -> Response:  # fmt: skip
        """The pictures of an index, by ascending id or sorted, a page at a time."""
        collection = self._service.collection(request)
        with collection.lease() as search:
            where = visible(search, filter or None, hidden=hidden)
            page = listing.page(
                self._service.columns, collection, search, where, sort or None, cursor or FIRST, k or 50
            )
            return as_json(
                {
                    "items": self._told(search, page.ids.tolist()),
                    "total": page.total,
                    "cursor": page.next,
                    "generation": search.index.generation,
                }
            )

    def facets(self, request: Request, index: Index = None, filter: Filter = None, hidden: bool = False) -> Response:
        """How many pictures have each label, folder and attribute."""
        collection = self._service.collection(request)
        with collection.lease() as search:
            if not filter and not hidden:
                return as_json(self._service.counter.of(collection, search)._asdict())
            where = visible(search, filter or None, hidden=hidden)
            return as_json(self._service.counter.among(collection, search, where)._asdict())

    def item(self, request: Request, id: Id, index: Index = None) -> Response:
        """All that is known of a picture."""
        with self._service.collection(request).lease() as search:
            item = item_of(search, id)
            (told,) = self._told(search, [id])
            try:
                opened(search, item).close()
                served = True
            except Problem:
                served = False
            more = {"size": item.size, "modified_ns": item.mtime_ns, "sha256": item.sha256 or None, "served": served}
            return as_json(told | more)

    async def thumbnail(self, request: Request, id: Id, s: Side = 256, index: Index = None) -> Response:
        """A picture, small, as a JPEG without anything that its file says besides the pixels."""
        with self._service.collection(request).lease() as search:
            item = item_of(search, id)
            small = await self._service.asker.beside(lambda: self._service.pictures.thumbnail(search, item, s))
            return _shown(request, small)

    async def uploads(self, request: Request) -> Response:
        """Send pictures that a question will name as `upload:SHA256`; they are kept for an hour."""
        uploads, _ = await read_form(request, self._service)
        return as_json({"uploads": [{"name": one.name, "sha256": one.sha256} for one in uploads]}, 201)

    async def upload(self, request: Request, sha256: str, s: Side = 256) -> Response:
        """A picture that was asked with, small."""
        upload = self._service.uploads.get(sha256)
        return _shown(request, await self._service.asker.beside(lambda: self._service.pictures.of_upload(upload, s)))

    def image(self, request: Request, id: Id, index: Index = None) -> Response:
        """A picture's file, as it is, with all that it says besides the pixels."""
        with self._service.collection(request).lease() as search:
            item = item_of(search, id)
            file = opened(search, item)
        size = os.fstat(file.fileno()).st_size
        head = file.read(kinds.HEAD) or b""
        if kinds.kind_of(head) is None:
            file.close()
            raise Problem(403, "The file is not shown: it is no picture.", "not-shown")
        media = media_of(head) or "application/octet-stream"
        name = item.path.rpartition("/")[2].encode("ascii", "replace").decode().replace('"', "'").replace("\\", "_")
        plain = "".join(letter if letter.isprintable() else "_" for letter in name)
        shown = "inline" if media_of(head) else "attachment"

        def blocks() -> Any:
            with file:
                yield head
                while block := file.read(_BLOCK):
                    yield block

        headers = {
            "Content-Length": str(size),
            "Content-Disposition": f'{shown}; filename="{plain}"',
            "Cache-Control": "private, no-cache",
        }
        return StreamingResponse(blocks(), 200, headers, media)

    def _told(self, search: Search, ids: list[int]) -> list[dict[str, Any]]:
        attributes = search.index.attributes(ids)
        return [
            item_json(item, some, self._service.pictures)
            for item, some in zip(search.index.items(ids), attributes, strict=True)
        ]


def _shown(request: Request, small: Thumbnail) -> Response:
    if small.tag is None:
        return Response(small.data, 200, {"Cache-Control": "no-store"}, "image/jpeg")
    tag = f'"{small.tag}"'
    # The address names no content, so that a browser asks whether it is still the same, but not at every glance.
    headers = {"ETag": tag, "Cache-Control": "private, max-age=60"}
    if request.headers.get("if-none-match") == tag:
        return Response(b"", 304, headers)
    return Response(small.data, 200, headers, "image/jpeg")
