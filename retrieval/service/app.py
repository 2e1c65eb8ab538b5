"""The ASGI application."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from retrieval.base import progress
from retrieval.errors import RetrievalError
from retrieval.service import problems
from retrieval.service.access import Guard, Receive, Scope, Send
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

    async def said(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException):
            return _by_status(request, error)
        if isinstance(error, ClientDisconnect):
            return Problem(400, "The request ended before it was complete.").response()  # which nobody hears
        problem = problems.of(error)
        if problem.status == 500:
            progress.note("".join(traceback.format_exception(error)))
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
            HTTPException: said,
            ClientDisconnect: said,
            Exception: said,
        },
    )
    for routes in ROUTES:
        routes(service).add_to(app)
    straight = Straight(app, "/search", SearchRoutes(service).search, said)
    return Guard(straight, service.settings, service.metrics.request)


class Straight:
    """The application, with the questions led past FastAPI.

    What that does for any request (its dependencies, its checks, who catches what) takes longer than a search, and
    nothing of it is for questions, which are checked by :mod:`retrieval.service.questions` alone. It describes them.

    Args:
        app: the application. path: of the questions. answer: answers one. said: what an error becomes.
    """

    def __init__(
        self,
        app: FastAPI,
        path: str,
        answer: Callable[[Request], Awaitable[Response]],
        said: Callable[[Request, Exception], Awaitable[Response]],
    ) -> None:
        self._app = app
        self._path = path
        self._answer = answer
        self._said = said
        self._route = next(route for route in app.routes if getattr(route, "path", None) == path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] != scope["root_path"] + self._path:
            await self._app(scope, receive, send)
            return
        scope.update(app=self._app, route=self._route)
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except Exception as error:
            response = await self._said(request, error)
        await response(scope, receive, send)


async def _not_valid(_: Request, error: Any) -> Response:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:])
    return Problem(422, f"{where or 'The request'}: {first['msg']}.", "not-valid").response()


def _by_status(request: Request, error: HTTPException) -> Response:
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
