"""The page, its parts, and the session of who has a token."""

from __future__ import annotations

import hashlib
import mimetypes
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

from fastapi import FastAPI, Request, Response

from retrieval.service import schemas
from retrieval.service.access import COOKIE, granted, session_of
from retrieval.service.answers import as_json
from retrieval.service.problems import Problem
from retrieval.service.questions import read_json
from retrieval.service.service import Service

_YEAR = 365 * 24 * 3600
_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}


_TOKEN = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"type": "object", "properties": {"token": {"type": "string"}}, "required": ["token"]}
            }
        },
    }
}


class PageRoutes:
    """Args: service: whose."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def add_to(self, app: FastAPI) -> None:
        """Enter them."""
        app.add_api_route("/", self.page, methods=["GET"], include_in_schema=False)
        app.add_api_route("/i/{name}", self.page_of, methods=["GET"], include_in_schema=False)
        app.add_api_route("/static/{file:path}", self.static, methods=["GET"], include_in_schema=False)
        may: Any = {"tags": ["session"], "responses": schemas.answers(schemas.SESSION)}
        app.add_api_route("/session", self.session, methods=["GET"], **may)
        app.add_api_route("/session", self.begin, methods=["POST"], openapi_extra=_TOKEN, **may)
        app.add_api_route("/session", self.end, methods=["DELETE"], **may)

    def page(self) -> Response:
        """The page."""
        return self._page()

    def page_of(self, name: str) -> Response:
        """The page, about one index."""
        self._service.collections.named(name)
        return self._page()

    def static(self, file: str, request: Request) -> Response:
        """A part of the page."""
        part = _parts().get(file)
        if part is None:
            raise Problem(404, f"The page has no part {file[:100]!r}.")
        content = part.read_bytes()
        # With the version in the address it never changes; modules that import one another have none in theirs.
        kept = f"max-age={_YEAR}, immutable" if request.query_params.get("v") else "no-cache"
        headers = {"Cache-Control": f"public, {kept}", "ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"'}
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(b"", 304, headers)
        return Response(content, 200, headers, _media(file))

    async def session(self, request: Request) -> Response:
        """What whoever asks may do."""
        return self._may(request.scope["may_read"], request.scope["may_write"])

    async def begin(self, request: Request) -> Response:
        """Take a token, and keep it in a cookie that scripts cannot read."""
        token = read_json(await request.body()).get("token")
        given = token.encode("utf-8", "replace") if isinstance(token, str) else b""
        reads, writes = granted(self._service.settings, {b"authorization": b"Bearer " + given})
        if not reads or not isinstance(token, str):
            raise Problem(401, "There is no such token.", "wrong-token")
        response = self._may(reads, writes)
        if self._service.settings.tokens:
            response.set_cookie(
                COOKIE, session_of(token), max_age=30 * 24 * 3600, path=self._path, httponly=True, samesite="strict",
                secure=request.scope["scheme"] == "https",
            )  # fmt: skip
        return response

    async def end(self) -> Response:
        """Forget the token."""
        response = self._may(*granted(self._service.settings, {}))
        response.delete_cookie(COOKIE, path=self._path, httponly=True, samesite="strict")
        return response

    def _may(self, reads: bool, writes: bool) -> Response:
        return as_json({"read": reads, "write": writes, "tokens": self._service.settings.tokens})

    @property
    def _path(self) -> str:
        return self._service.settings.root_path or "/"

    def _page(self) -> Response:
        """The page, which finds its parts and the service below the root path."""
        parts = _parts()
        version = hashlib.sha256(b"".join(parts[name].read_bytes() for name in sorted(parts))).hexdigest()[:12]
        text = parts["index.html"].read_text("utf-8")
        text = text.replace("{{root}}", self._service.settings.root_path).replace("{{version}}", version)
        return Response(text, 200, {"Cache-Control": "no-cache"}, "text/html; charset=utf-8")


def _parts() -> dict[str, Traversable]:
    """Every file of the page by its path in the folder `page`."""
    found: dict[str, Traversable] = {}

    def walk(folder: Traversable, before: str) -> None:
        for entry in folder.iterdir():
            if entry.is_dir():
                walk(entry, f"{before}{entry.name}/")
            else:
                found[before + entry.name] = entry

    walk(resources.files("retrieval.service") / "page", "")
    return found


def _media(file: str) -> str:
    suffix = "." + file.rpartition(".")[2]
    media = _TYPES.get(suffix) or mimetypes.guess_type(file)[0] or "application/octet-stream"
    return f"{media}; charset=utf-8" if media.startswith("text/") else media
