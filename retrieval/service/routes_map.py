"""The map of a collection, its suspected label errors, and two indexes compared: what the other views ask for."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from fastapi import FastAPI, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from retrieval.search.search import Search
from retrieval.service import comparison, export, label_errors, schemas
from retrieval.service import map as maps
from retrieval.service.answers import as_json, item_json
from retrieval.service.asking import visible
from retrieval.service.collections import Collection
from retrieval.service.map import Layout
from retrieval.service.parameters import Index, shown
from retrieval.service.problems import Problem
from retrieval.service.questions import read_json
from retrieval.service.routes_views import IDS
from retrieval.service.routes_write import LABEL
from retrieval.service.service import Service

By = Annotated[str, Query(max_length=200, description="label, or the name of an attribute")]
After = Annotated[int | None, Query(ge=0, lt=2**31, description="how many to pass over")]
Some = Annotated[int, Query(ge=1, le=200, description="pictures that are wanted")]
With = Annotated[str, Query(alias="with", description="the other index")]

_ITEMS = 10_000
"""Pictures that are told of at once."""

_LABELS = 500
"""Labels that may be chosen from."""


class MapRoutes:
    """Args: service: whose."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def add_to(self, app: FastAPI) -> None:
        """Enter them."""
        said = schemas.answers
        app.add_api_route("/map", self.map, methods=["GET"], tags=["map"], responses=said(schemas.MAP))
        raw: Any = {"responses": shown("application/octet-stream"), "response_class": Response}
        app.add_api_route("/map/points", self.points, methods=["GET"], tags=["map"], **raw)
        get: Any = {"methods": ["GET"]}
        some = said(schemas.SOME_ITEMS)
        app.add_api_route("/map/colours", self.colours, tags=["map"], responses=said(schemas.COLOURS), **get)
        app.add_api_route("/map/items", self.items, methods=["POST"], tags=["map"], openapi_extra=IDS, responses=some)
        suspects = said(schemas.SUSPECTS)
        app.add_api_route("/label-errors", self.label_errors, tags=["label errors"], responses=suspects, **get)
        app.add_api_route("/compare", self.compare, tags=["compare"], responses=said(schemas.COMPARED), **get)

    def map(self, request: Request, index: Index = None) -> Response:
        """Whether there is a map, and how far its making is."""
        collection = self._service.collection(request)
        found = self._service.kept.get(collection, maps.MAP)
        with collection.lease() as search:
            n = 0 if found.value is None else len(self._visible(collection, search, found.value).ids)
            by = ["label", *sorted(search.index.attribute_kinds())]
            return as_json({**found.state, "n": n, "by": by, "generation": search.index.generation})

    def points(self, request: Request, index: Index = None) -> Response:
        """Where the pictures are: float32 x, y of each, and then the int64 id of each, little-endian."""
        collection = self._service.collection(request)
        with collection.lease() as search:
            layout = self._layout(collection, search)
            data = layout.places.astype("<f4").tobytes() + layout.ids.astype("<i8").tobytes()
            return Response(data, 200, {"X-Generation": str(search.index.generation)}, "application/octet-stream")

    def colours(self, request: Request, by: By, index: Index = None) -> Response:
        """What tells the pictures apart, in the order of the points."""
        collection = self._service.collection(request)
        with collection.lease() as search:
            layout = self._layout(collection, search)
            if by != "label" and by not in search.index.attribute_kinds():
                raise Problem(404, f"No picture of this index has {by[:60]!r}.", "no-such-attribute")
            columns = self._service.columns

            def made() -> tuple[dict[str, Any], int]:
                column = columns.column(collection, search, by)
                told = maps.coloured(column.different, column.codes[np.searchsorted(search.index.ids(), layout.ids)])
                return told, len(told["codes"])

            return as_json({"by": by, **columns.keep(search, ("colours", by, len(layout.ids)), made)})

    async def items(self, request: Request, index: Index = None) -> Response:
        """Some pictures by their ids, in that order."""
        ids = export.ids_of(read_json(await request.body()).get("ids"), _ITEMS)
        return await run_in_threadpool(self._items, self._service.collection(request), ids)

    def _items(self, collection: Collection, ids: list[int]) -> Response:
        with collection.lease() as search:
            export.known(search, ids)
            told = zip(search.index.items(ids), search.index.attributes(ids), strict=True)
            return as_json({"items": [item_json(item, more, self._service.pictures) for item, more in told]})

    def label_errors(
        self, request: Request, index: Index = None, cursor: After = None, k: Some = 20, decided: bool = False
    ) -> Response:
        """Pictures whose neighbours agree on another label, the worst first; those that are decided by themselves."""
        collection = self._service.collection(request)
        found = self._service.kept.get(collection, label_errors.LABEL_ERRORS)
        with collection.lease() as search:
            opened = search.index
            body: dict[str, Any] = {**found.state, "generation": opened.generation}
            if found.value is None:
                return as_json(body)
            there = self._present(
                collection, search, [id_ for one in found.value.all for id_ in (one.id, *one.neighbours)]
            )
            suspects = [one for one in found.value.all if one.id in there]
            said = _corrected(search, [one.id for one in suspects])
            some = [one for one in suspects if (one.id in said) == decided]
            start = cursor or 0
            page = some[start : start + k]
            labels = [str(one) for one in self._service.columns.column(collection, search, "label").different.values]
            ids = sorted({id_ for one in page for id_ in (one.id, *one.neighbours) if id_ in there})
            told = {
                item.id: item_json(item, more, self._service.pictures)
                for item, more in zip(opened.items(ids), opened.attributes(ids), strict=True)
            }
            return as_json(
                body
                | {
                    "sentence": found.value.sentence,
                    "items": [
                        {
                            **one._asdict(),
                            "item": told[one.id],
                            "neighbours": [told[id_] for id_ in one.neighbours if id_ in told],
                            "decided": said.get(one.id),
                        }
                        for one in page
                    ],
                    "total": {"open": len(suspects) - len(said), "decided": len(said)},
                    "labels": labels[:_LABELS],
                    "cursor": start + k if start + k < len(some) else None,
                }
            )

    def compare(self, request: Request, other: With, index: Index = None) -> Response:
        """What the two indexes score query by query, where that was measured and kept."""
        first, second = self._service.collection(request), self._service.collections.named(other)
        return as_json({"figures": comparison.figures(first.place, second.place)})

    def _layout(self, collection: Collection, search: Search) -> Layout:
        found = self._service.kept.get(collection, maps.MAP)
        if found.value is None:
            if found.making is not None and found.making.error is not None:
                raise Problem(409, found.making.error, "not-made")
            raise Problem(503, "The map is still being made.", "being-made", headers={"Retry-After": "2"})
        return self._visible(collection, search, found.value)

    def _visible(self, collection: Collection, search: Search, layout: Layout) -> Layout:
        """Those of a layout that are in the index and not hidden."""

        def made() -> tuple[tuple[Layout, Layout], int]:
            there = self._shown(collection, search, layout.ids)
            if there.all():
                return (layout, layout), 0
            some = Layout(layout.ids[there], layout.places[there])
            return (layout, some), some.ids.nbytes + some.places.nbytes

        # With the layout itself, so that no other one comes to have its number.
        return self._service.columns.keep(search, ("map", id(layout)), made)[1]

    def _present(self, collection: Collection, search: Search, ids: list[int]) -> set[int]:
        """Those of some pictures that are shown."""
        some = np.unique(np.array(ids, np.int64))
        return set(some[self._shown(collection, search, some)].tolist())

    def _shown(self, collection: Collection, search: Search, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which of some pictures, each named once, are in the index and not hidden."""
        shown = self._service.columns.ids(collection, search, visible(search, None, hidden=False))
        return np.isin(ids, shown, assume_unique=True)


def _corrected(search: Search, ids: list[int]) -> dict[int, str]:
    if LABEL not in search.index.attribute_kinds() or not ids:
        return {}
    values = search.index.values(LABEL, ids)
    return {id_: str(value) for id_, value in zip(ids, values, strict=True) if value is not None}
