"""Pictures that come in a form, as a browser sends it."""

from __future__ import annotations

from typing import Any

from fastapi import Request

from retrieval.service import limits
from retrieval.service.problems import Problem
from retrieval.service.service import Service
from retrieval.service.uploads import Upload

FILES: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"file": {"type": "string", "format": "binary"}},
                    "required": ["file"],
                }
            }
        },
    }
}
"""What OpenAPI says of such a form."""


async def read_form(request: Request, service: Service) -> tuple[list[Upload], dict[str, str]]:
    """The pictures of a form, which are kept from now on, and its other fields.

    Raises:
        Problem: it is no form, or has no picture.
    """
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "multipart/form-data":
        raise Problem(415, f"{media[:60]!r} is no form; send multipart/form-data with a picture as the field `file`.")
    length = request.headers.get("content-length", "")
    async with (
        service.uploads.arriving(int(length) if length.isascii() and length.isdigit() else limits.UPLOAD),
        request.form(max_files=limits.FILES, max_fields=8, max_part_size=limits.BODY) as form,
    ):
        files = [one for one in form.getlist("file") if not isinstance(one, str)]
        if not files:
            raise Problem(400, "The form has no picture; send one as the field `file`.", "refused")
        fields = {name: value for name, value in form.items() if isinstance(value, str)}
        return [service.uploads.put(one.filename or "", await one.read()) for one in files], fields
