"""Which parts of a picture make it a hit, drawn over it."""

from __future__ import annotations

import io
from functools import partial

from PIL import Image

from retrieval import images
from retrieval.base.text import printable
from retrieval.errors import RetrievalError
from retrieval.images import Pixels
from retrieval.images.decoding import Wanted, decode
from retrieval.images.reading import read_picture, recorded_decoder
from retrieval.index import Item
from retrieval.search.explain import by_decomposition
from retrieval.search.heat_map import overlay
from retrieval.search.search import Search
from retrieval.service import limits
from retrieval.service.asking import item_of
from retrieval.service.pictures import opened
from retrieval.service.problems import Problem
from retrieval.service.questions import Piece
from retrieval.service.uploads import Uploads

SIDE = 1024
"""Pixels of the longer side of what is drawn."""


def heat(search: Search, item: Item, piece: Piece, uploads: Uploads) -> bytes:
    """The hit in grey, red where it is like the query and blue where it is unlike it.

    Args:
        search: whose network explains. item: the hit.
        piece: the query: a picture of the index, or one that was sent, or a part of it.
        uploads: those that were sent.

    Returns:
        A JPEG of the whole hit, upright.

    Raises:
        Problem: the query is no picture, a file is not shown or has changed, or the network does not decompose.
        UnreadableImage: a file cannot be read.
    """
    query = _query(search, piece, uploads)
    hit = _pixels(search, item)
    explanations = by_decomposition(search.encoder, query, hit[None])
    if explanations is None:
        raise Problem(
            404,
            "There is no heat map: the vectors of this network are no sums over the parts of a picture.",
            "not-explained",
        )

    def small(picture: Image.Image) -> Image.Image:
        picture.thumbnail((SIDE, SIDE))
        return picture

    with opened(search, item) as file:
        wanted = Wanted(SIDE, max_pixels=limits.PIXELS)
        picture = decode(io.BufferedReader(file), printable(item.path), wanted, small).made
    content = io.BytesIO()
    overlay(picture, explanations[0].hit_map).save(content, "JPEG", quality=85)
    return content.getvalue()


def _query(search: Search, piece: Piece, uploads: Uploads) -> Pixels:
    part = piece.part
    if piece.upload is not None:
        upload = uploads.get(piece.upload)
        p = search.encoder.config.preprocessing
        side = p.size if part.box is None else None
        wanted = Wanted(side, p.mode, recorded_decoder(search.index.decoder), limits.PIXELS, box=part.box)
        return decode(io.BytesIO(upload.data), upload.name, wanted, partial(images.prepare, p=p)).made
    if part.kind == "id":
        return _pixels(search, item_of(search, int(str(part.value))), part.box)
    found = search.index.find(str(part.value)) if part.kind == "path" else None
    if part.kind == "path" and found is None:
        raise Problem(404, f"There is no picture {str(part.value)[:200]!r} in this index.", "no-such-item")
    if found is None:
        raise Problem(400, f"{printable(part.named)[:60]!r} is no picture, and only one explains a hit.", "refused")
    return _pixels(search, found, part.box)


def _pixels(search: Search, item: Item, box: images.Box | None = None) -> Pixels:
    """What the network saw of a picture of the index."""
    opened(search, item).close()  # which says why it is not shown
    p = search.encoder.config.preprocessing
    try:
        picture = read_picture(search.pictures / item.path, p, recorded_decoder(search.index.decoder), box=box)
    except images.UnreadableImage as problem:  # which names the file as this machine has it
        raise images.UnreadableImage(printable(item.path), problem.reason) from None
    if item.sha256 and picture.sha256 != item.sha256:
        raise RetrievalError(f"The picture {printable(item.path)!r} has changed since it was indexed; sync the index.")
    assert picture.pixels is not None  # as no content counts as known
    return picture.pixels
