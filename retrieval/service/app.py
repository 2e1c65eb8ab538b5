"""The ASGI application."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError

from retrieval.base import progress
from retrieval.errors import RetrievalError
from retrieval.service import problems
from retrieval.service.access import Guard
from retrieval.service.problems import Problem
from retrieval.service.routes_about import AboutRoutes
from retrieval.service.routes_duplicates import DuplicateRoutes
from retrieval.service.routes_explain import ExplainRoutes
from retrieval.service.routes_items import ItemRoutes
from retrieval.service.routes_map import MapRoutes
from retrieval.service.routes_page import PageRoutes
from retrieval.service.routes_search import SearchRoutes
from retrieval.service.routes_views import ViewRoutes
from retrieval.service.routes_write import WriteRoutes
from retrieval.service.service import Service
from retrieval.version import __version__

_PROBLEM = {"description": "A problem (RFC 9457).", "content": {problems.MEDIA: {"schema": {"type": "object"}}}}

ROUTES = (
    PageRoutes,
    AboutRoutes,
    SearchRoutes,
    ItemRoutes,
    WriteRoutes,
    ExplainRoutes,
    ViewRoutes,
    DuplicateRoutes,
    MapRoutes,
)
"""Every group of paths."""


def create_app(service: Service) -> Guard:
    """The application, behind its guard.

    Args:
        service: what it serves; it is closed when the application ends.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    async def said(_: Request, error: Exception) -> Response:
        problem = problems.of(error)
        problem.detail = service.collections.without_folders(problem.detail)
        return problem.response()

    app = FastAPI(
        title="retrieval",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        telemetry={"tracing": False},
        lifespan=lifespan,
        responses={"4XX": _PROBLEM, "5XX": _PROBLEM},
        exception_handlers={
            Problem: said,
            RetrievalError: said,
            RequestValidationError: _not_valid,
            404: _by_status,
            405: _by_status,
            400: _by_status,
            Exception: _failed,
        },
    )
    for routes in ROUTES:
        routes(service).add_to(app)
    return Guard(app, service.settings, service.metrics.request)


async def _not_valid(_: Request, error: Any) -> Response:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:])
    return Problem(422, f"{where or 'The request'}: {first['msg']}.", "not-valid").response()


async def _by_status(request: Request, error: HTTPException) -> Response:
    detail = str(error.detail)
    if error.status_code == 404:
        detail = f"There is nothing at {request.url.path[:200]!r} here."
    headers = dict(error.headers or {})
    if error.status_code == 405:
        detail = f"{request.method} is not for {request.url.path[:200]!r}."
        headers["Allow"] = ", ".join(sorted(_allowed(request)))
    return Problem(error.status_code, detail, headers=headers).response()


def _allowed(request: Request) -> set[str]:
    """The methods of all routes that a path has."""
    found: set[str] = set()
    for route in request.app.routes:
        for method in getattr(route, "methods", None) or ():
            if route.matches({**request.scope, "method": method})[0].name == "FULL":
                found.add(method)
    return found


async def _failed(_: Request, error: Exception) -> Response:
    progress.note("".join(traceback.format_exception(error)))
    return problems.of(error).response()
