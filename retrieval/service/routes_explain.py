"""Why a hit is one, and what scores say: the heat map over it, and the measuring that makes scores mean something."""

from __future__ import annotations

import io
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import FastAPI, Query, Request, Response
from PIL import Image

from retrieval.index import Index as Opened
from retrieval.search.calibration import Calibration, calibrate
from retrieval.search.heat_map import overlay
from retrieval.search.parts import Part
from retrieval.search.search import Search
from retrieval.service import limits, schemas
from retrieval.service.answers import as_json
from retrieval.service.asking import item_of, item_of_part
from retrieval.service.parameters import PART, Id, Index, shown
from retrieval.service.pictures import SIDES
from retrieval.service.problems import Problem
from retrieval.service.questions import Piece, read_json, read_piece
from retrieval.service.service import Service, require_writer

Asked = Annotated[
    str,
    Query(max_length=limits.TEXT, pattern=PART, description="the question: id:17, path:2019/a.jpg or upload:SHA256"),
]
Of = Annotated[Literal["hit", "query"], Query(description="over which of the two the map lies")]
Side = Annotated[int, Query(ge=16, le=SIDES[-1], description="pixels of the longer side")]


_ABOUT = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"type": "object", "properties": {"about": {"enum": ["labels", "copies"]}}},
            }
        },
    }
}


class ExplainRoutes:
    """Args: service: whose."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def add_to(self, app: FastAPI) -> None:
        """Enter them."""
        drawn = {"response_class": Response, "responses": shown("image/png")}
        app.add_api_route("/items/{id}/heat", self.heat, methods=["GET"], tags=["search"], **drawn)
        made: Any = {"tags": ["write"], "responses": schemas.answers(schemas.CALIBRATED)}
        app.add_api_route("/calibrate", self.calibrate, methods=["POST"], openapi_extra=_ABOUT, **made)

    async def heat(
        self, request: Request, id: Id, query: Asked, of: Of = "hit", s: Side = 256, index: Index = None
    ) -> Response:
        """A picture of the index in grey, coloured by what makes it like the question: red raises the score."""
        piece = read_piece(query)
        hit = Piece(Part("id", id))
        asker = self._service.asker
        with self._service.collection(request).lease() as search:
            item_of(search, id)
            found = await self._service.explainer.hit(search, piece, id)
            map_ = found.query_map if of == "query" else found.hit_map
            picture = await asker.beside(partial(self._picture, search, piece if of == "query" else hit, s))
            most = max(float(np.abs(one.values).max()) for one in (found.query_map, found.hit_map))
            content = io.BytesIO()
            overlay(picture, map_, most or None).save(content, "PNG")
        return Response(content.getvalue(), 200, {"Cache-Control": "private, max-age=60"}, "image/png")

    def _picture(self, search: Search, piece: Piece, side: int) -> Image.Image:
        if piece.upload is not None:
            data = self._service.pictures.of_upload(self._service.uploads.get(piece.upload), side).data
        else:
            data = self._service.pictures.thumbnail(search, item_of_part(search, piece.part), side).data
        return Image.open(io.BytesIO(data)).convert("RGB")

    async def calibrate(self, request: Request, index: Index = None) -> Response:
        """Measure what scores say: of labels, or, as {"about": "copies"}, of altered copies; it takes a while."""
        require_writer(request)
        about = read_json(await request.body()).get("about", "labels")
        if about not in ("labels", "copies"):
            raise Problem(400, f"about is {str(about)[:60]!r}; give labels or copies.", "refused")
        collection = self._service.collection(request)
        found = await self._service.writer.change(
            collection, lambda opened: _recorded(opened, calibrate(opened, about=about))
        )
        return as_json({"about": about, "threshold": found.threshold, "no_match_below": found.no_match_below})


def _recorded(index: Opened, calibration: Calibration) -> Calibration:
    index.record_calibration(calibration.to_json())
    return calibration
