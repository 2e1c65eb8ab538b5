"""Changes: tags and corrected labels, pictures added and taken out."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response

from retrieval.base.files import write_durably
from retrieval.engines.opening import open_index
from retrieval.errors import RetrievalError
from retrieval.images import kinds
from retrieval.images.decoding import Wanted, decode
from retrieval.index import Index as Opened
from retrieval.index.records import Value
from retrieval.service import limits, schemas
from retrieval.service.answers import as_json
from retrieval.service.asking import HIDDEN
from retrieval.service.forms import FILES, read_form
from retrieval.service.parameters import FOREIGN, Id, Index
from retrieval.service.problems import Problem
from retrieval.service.questions import read_json
from retrieval.service.schemas import answers
from retrieval.service.service import Service, require_writer
from retrieval.service.uploads import Upload

TAG, LABEL = "tag", "label_corrected"
"""Besides :data:`HIDDEN` the attributes that may be written. A sync leaves them and the folder's label alone."""

MOST_IDS = 10_000
"""Pictures that one request changes."""

LETTERS = 500
"""Letters of a tag or a label."""

_SUFFIXES = {
    kinds.JPEG: ".jpg", kinds.PNG: ".png", kinds.GIF: ".gif", kinds.WEBP: ".webp", kinds.AVIF: ".avif",
    kinds.BMP: ".bmp", kinds.TIFF: ".tif", kinds.HEIC: ".heic", kinds.JPEG_2000: ".jp2", kinds.JPEG_XL: ".jxl",
}  # fmt: skip

_VALUES: dict[str, Any] = {
    TAG: {"type": ["string", "null"], "minLength": 1, "maxLength": LETTERS},
    LABEL: {"type": ["string", "null"], "minLength": 1, "maxLength": LETTERS},
    HIDDEN: {"type": "boolean"},
}


def _body(
    properties: dict[str, Any], media: str = "application/json", required: tuple[str, ...] = ()
) -> dict[str, Any]:
    least = {"minProperties": 1 + len(required), "additionalProperties": False}
    schema = {"type": "object", "properties": properties, "required": list(required), **least}
    return {"requestBody": {"required": True, "content": {media: {"schema": schema}}}}


class WriteRoutes:
    """Args: service: whose."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def add_to(self, app: FastAPI) -> None:
        """Enter them."""
        ids = {"ids": {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": MOST_IDS}}
        files = {**FILES, "parameters": [FOREIGN]}
        one, many = _body(_VALUES), _body({**ids, **_VALUES}, required=("ids",))
        add: Any = app.add_api_route
        added, changed = answers(schemas.ADDED, 201), {"tags": ["write"], "responses": answers(schemas.CHANGED)}
        add("/items", self.add, methods=["POST"], openapi_extra=files, tags=["write"], responses=added, status_code=201)
        add("/items", self.change_many, methods=["PATCH"], openapi_extra=many, **changed)
        add("/items/{id}", self.change, methods=["PATCH"], openapi_extra=one, **changed)
        add("/items/{id}", self.remove, methods=["DELETE"], tags=["write"], responses=answers(schemas.REMOVED))

    async def change(self, request: Request, id: Id, index: Index = None) -> Response:
        """Set the tag or the corrected label of a picture, or hide it; null takes a value away."""
        require_writer(request)
        return await self._change(request, [id], _values(read_json(await request.body())))

    async def change_many(self, request: Request, index: Index = None) -> Response:
        """The same for many at once: all or none."""
        require_writer(request)
        given = read_json(await request.body())
        ids = given.pop("ids", None)
        if not isinstance(ids, list) or not 0 < len(ids) <= MOST_IDS or not all(type(one) is int for one in ids):
            raise Problem(400, f"ids is no list of 1 to {MOST_IDS:,} ids of pictures.", "refused")
        return await self._change(request, ids, _values(given))

    async def _change(self, request: Request, ids: list[int], values: Mapping[str, Value | None]) -> Response:
        def attach(index: Opened) -> int:
            try:
                index.items(ids)
            except RetrievalError as error:
                raise Problem(404, str(error), "no-such-item") from None
            index.attach(dict.fromkeys(ids, values))
            return index.generation

        generation = await self._service.writer.change(self._service.collection(request), attach)
        return as_json({"changed": len(ids), "generation": generation})

    async def remove(self, request: Request, id: Id, index: Index = None) -> Response:
        """Take a picture out of the index; its file stays."""
        require_writer(request)

        def remove(index: Opened) -> dict[str, Any]:
            try:
                (item,) = index.items([id])
            except RetrievalError as error:
                raise Problem(404, str(error), "no-such-item") from None
            index.remove([id])
            return {
                "removed": {"id": id, "path": item.path},
                "generation": index.generation,
                "warning": "Its file stays, so that a sync brings it back; set hidden = true to leave it out for good.",
            }

        return as_json(await self._service.writer.change(self._service.collection(request), remove))

    async def add(self, request: Request, index: Index = None) -> Response:
        """Put pictures into the folder of uploads, and into the index."""
        require_writer(request)
        folder = self._service.settings.uploads
        if folder is None:
            raise Problem(403, "This service takes in no pictures; start it with --uploads FOLDER.", "no-uploads")
        uploads, _ = await read_form(request, self._service)
        for upload in uploads:
            await self._service.asker.beside(lambda upload=upload: _check(upload))  # type: ignore[misc]
        collection = self._service.collection(request)
        added = await self._service.writer.run(collection, lambda: _add(collection.place, folder, uploads))
        return as_json({"added": added}, 201)


def _values(given: Mapping[str, Any]) -> dict[str, Value | None]:
    """What is to be written.

    Raises:
        Problem: nothing, something unknown, or of another kind.
    """
    found: dict[str, Value | None] = {}
    for name, value in given.items():
        if name == HIDDEN and isinstance(value, bool):
            found[name] = 1 if value else None
        elif name in (TAG, LABEL) and (value is None or (isinstance(value, str) and 0 < len(value.strip()) <= LETTERS)):
            found[name] = value if value is None else value.strip()
        else:
            raise Problem(
                400,
                f"{name[:60]!r} cannot be {str(value)[:60]!r}; give {TAG} or {LABEL} as a text of at most {LETTERS} "
                f"letters or null, or {HIDDEN} as true or false.",
                "refused",
            )
    if not found:
        raise Problem(400, f"There is nothing to change; give {TAG}, {LABEL} or {HIDDEN}.", "refused")
    return found


def _check(upload: Upload) -> None:
    """See that it is a picture that can be read to its end.

    Raises:
        UnreadableImage: it is none.
    """
    decode(io.BytesIO(upload.data), upload.name, Wanted(64, max_pixels=limits.PIXELS), lambda picture: picture.size)


def _add(index: Path | str, folder: Path, uploads: list[Upload]) -> list[dict[str, Any]]:
    """Write files that are named after their content, so that nothing is ever overwritten, and index them."""
    from retrieval.ingest import add_pictures

    files = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RetrievalError(f"The folder of uploads cannot be made ({error.strerror or error}).") from None
    for upload in uploads:
        kind = kinds.kind_of(upload.data[: kinds.HEAD])
        file = folder.resolve() / f"{upload.sha256[:32]}{'.raw' if kind is None else _SUFFIXES.get(kind, '.raw')}"
        if not file.exists():
            write_durably(file, upload.data)
        files.append(file)
    add_pictures(index, files, threads=1)
    with open_index(index) as opened:
        return [
            {
                "name": upload.name,
                "sha256": upload.sha256,
                "ids": [item.id for item in opened.find_sha256(upload.sha256)],
            }
            for upload in uploads
        ]
