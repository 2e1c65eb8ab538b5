"""Errors as RFC 9457 has them: a JSON object with the sentence that the command line would give."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import Response

from retrieval.errors import RetrievalError
from retrieval.images.decoding import UnreadableImage
from retrieval.index.filter_syntax import FilterError
from retrieval.index.lock import WriterAtWorkError

MEDIA = "application/problem+json"

RETRY = "1"
"""Seconds after which whoever was told to come again had better do so."""


class Problem(Exception):  # noqa: N818 (the standard's name)
    """A request that is refused.

    Attributes:
        status: of HTTP. detail: the sentence. kind: the last part of the problem's type, if it has one of its own.
        more: other members of the answer. headers: of the answer.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        kind: str = "",
        more: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.kind = kind
        self.more = dict(more or {})
        self.headers = dict(headers or {})

    def body(self) -> bytes:
        """As JSON."""
        named = {
            "type": f"/problems/{self.kind}" if self.kind else "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }
        return json.dumps({**named, **self.more}).encode()

    def response(self) -> Response:
        """As FastAPI gives it."""
        return Response(self.body(), self.status, self.headers, MEDIA)


def busy(what: str) -> Problem:
    """Of who comes when too many others wait."""
    return Problem(503, f"{what}; try again in a moment.", "busy", headers={"Retry-After": RETRY})


def of(error: Exception) -> Problem:
    """What an error becomes."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, FilterError):
        return Problem(400, str(error), "wrong-filter", {"where": error.position})
    if isinstance(error, UnreadableImage):
        return Problem(422, str(error), "unreadable-picture", {"reason": error.reason})
    if isinstance(error, WriterAtWorkError):
        return Problem(409, str(error), "writer-at-work", headers={"Retry-After": RETRY})
    if isinstance(error, RetrievalError):
        return Problem(400, str(error), "refused")
    return Problem(500, "Something went wrong in the service; its log says what.", "failed")
