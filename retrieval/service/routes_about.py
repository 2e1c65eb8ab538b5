"""What there is, and whether it runs."""

from __future__ import annotations

import json
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from fastapi import FastAPI, Response

from retrieval.base.saved_folder import CONFIG
from retrieval.index.folder import ENCODER
from retrieval.index.records import NO_ENCODER
from retrieval.search.search import Search
from retrieval.service import metrics, schemas
from retrieval.service.answers import as_json
from retrieval.service.collections import Collection
from retrieval.service.parameters import shown
from retrieval.service.problems import Problem
from retrieval.service.schemas import answers
from retrieval.service.service import Service
from retrieval.version import __version__


class AboutRoutes:
    """Args: service: whose."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._known: WeakKeyDictionary[Search, dict[str, Any]] = WeakKeyDictionary()  # the page asks often

    def add_to(self, app: FastAPI) -> None:
        """Enter them."""
        app.add_api_route("/info", self.info, methods=["GET"], tags=["about"], responses=answers(schemas.INFO))
        status: Any = {"methods": ["GET"], "tags": ["about"], "responses": answers(schemas.STATUS)}
        app.add_api_route("/healthz", self.healthz, **status)
        app.add_api_route("/readyz", self.readyz, **status)
        text = {"response_class": Response, "responses": shown("text/plain")}
        app.add_api_route("/metrics", self.metrics, methods=["GET"], tags=["about"], **text)

    def info(self) -> Response:
        """What is served here."""
        return as_json({"indexes": [self._told(one) for one in self._service.collections.all], "version": __version__})

    async def healthz(self) -> Response:
        """Whether the service runs."""
        return as_json({"status": "ok"})

    async def readyz(self) -> Response:
        """Whether every index can be searched."""
        waiting = [one.name for one in self._service.collections.all if not one.ready]
        if waiting:
            raise Problem(503, f"There is nothing to search yet in {', '.join(waiting)}.", headers={"Retry-After": "2"})
        return as_json({"status": "ready"})

    def metrics(self) -> Response:
        """What the service counts, for Prometheus."""
        return Response(self._service.metrics.text(), 200, {}, metrics.MEDIA)

    def _told(self, collection: Collection) -> dict[str, Any]:
        building = None if collection.building is None else collection.building.to_json()
        if building is not None and building["error"] is not None:
            building["error"] = self._service.collections.without_folders(building["error"])
        if not collection.ready:
            return {"name": collection.name, "items": 0, "generation": None, "building": building}
        with collection.lease() as search:
            if search not in self._known:
                labels = self._service.columns.column(collection, search, "label")
                self._known[search] = _about(search) | {"labelled": int(np.count_nonzero(labels.codes >= 0))}
            state = {"building": building, "writable": self._writable, "warnings": list(search.index.warnings)}
            return {"name": collection.name} | self._known[search] | state

    @property
    def _writable(self) -> bool:
        return self._service.settings.write or bool(self._service.settings.writers)


def _about(search: Search) -> dict[str, Any]:
    index, calibration = search.index, search.calibration
    config = _config(search)
    return {
        "items": len(index),
        "dim": index.dim,
        "encoder": config.get("network"),
        "words": bool(config.get("text")),
        "pictures": not index.encoder_hash.startswith(NO_ENCODER),
        "calibrated": calibration is not None,
        "calibrations": sorted(search.calibrations),
        "calibration": None
        if calibration is None
        else {
            "threshold": calibration.threshold,
            "false_match_rate": calibration.false_match_rate,
            "no_match_below": calibration.no_match_below,
        },
        "attributes": {name: "/".join(sorted(kinds)) for name, kinds in sorted(index.attribute_kinds().items())},
        "generation": index.generation,
        "root_served": search.pictures.is_there(),
    }


def _config(search: Search) -> dict[str, Any]:
    """What the index's encoder says of itself, without loading it."""
    try:
        found = json.loads((search.folder / ENCODER / CONFIG).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
