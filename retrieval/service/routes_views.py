"""The wall, and what one takes along."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from fastapi import FastAPI, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from retrieval.search.search import Search
from retrieval.service import export, schemas, wall
from retrieval.service.answers import as_json, item_json
from retrieval.service.asking import visible
from retrieval.service.collections import Collection
from retrieval.service.parameters import Index, shown
from retrieval.service.questions import read_json
from retrieval.service.service import Service

Some = Annotated[int, Query(ge=1, le=wall.MOST, description="pictures that are wanted")]

IDS: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {"ids": {"type": "array", "items": {"type": "integer"}, "minItems": 1}},
                    "required": ["ids"],
                }
            }
        },
    }
}
"""What OpenAPI says of a body that names pictures."""


class ViewRoutes:
    """Args: service: whose."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def add_to(self, app: FastAPI) -> None:
        """Enter them."""
        add: Any = app.add_api_route
        add("/wall", self.wall, methods=["GET"], tags=["items"], responses=schemas.answers(schemas.WALL))
        for path, made, media in (("csv", self.csv, "text/csv"), ("zip", self.zip, "application/zip")):
            add(
                f"/export/{path}",
                made,
                methods=["POST"],
                tags=["export"],
                openapi_extra=IDS,
                responses=shown(media),
                response_class=Response,
            )

    def wall(self, request: Request, index: Index = None, k: Some = 120) -> Response:
        """Varied pictures of the collection, as unlike one another as can be."""
        collection = self._service.collection(request)
        with collection.lease() as search:
            total, chosen = self._service.columns.keep(search, "wall", lambda: self._wall(collection, search))
            ids = chosen[:k].tolist()
            told = zip(search.index.items(ids), search.index.attributes(ids), strict=True)
            return as_json(
                {
                    "items": [item_json(item, more, self._service.pictures) for item, more in told],
                    "total": total,
                    "generation": search.index.generation,
                }
            )

    def _wall(self, collection: Collection, search: Search) -> tuple[tuple[int, npt.NDArray[np.int64]], int]:
        ids = self._service.columns.ids(collection, search, visible(search, None, hidden=False))
        chosen = wall.varied(search.index, ids)
        return (len(ids), chosen), chosen.nbytes

    async def csv(self, request: Request, index: Index = None) -> Response:
        """A table of some pictures."""
        ids = export.ids_of(read_json(await request.body()).get("ids"), export.ROWS)
        collection = self._service.collection(request)
        with collection.lease() as search:
            await run_in_threadpool(export.known, search, ids)
        return _attached(_leased(collection, lambda search: export.csv_rows(search, ids)), "text/csv", "pictures.csv")

    async def zip(self, request: Request, index: Index = None) -> Response:
        """The files of some pictures, with all that they say besides the pixels."""
        ids = export.ids_of(read_json(await request.body()).get("ids"), export.ROWS)
        collection = self._service.collection(request)
        with collection.lease() as search:
            await run_in_threadpool(export.known, search, ids)
            items = await self._service.asker.beside(lambda: export.to_pack(search, ids))
        blocks = _leased(collection, lambda search: export.zip_blocks(search, items))
        return _attached(blocks, "application/zip", "pictures.zip")


def _leased(collection: Collection, blocks: Any) -> Iterator[bytes]:
    """What is made of an index while it is sent, which stays open until the end."""
    with collection.lease() as search:
        yield from blocks(search)


def _attached(blocks: Iterator[bytes], media: str, name: str) -> Response:
    return StreamingResponse(blocks, 200, {"Content-Disposition": f'attachment; filename="{name}"'}, media)
