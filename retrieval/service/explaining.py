"""Why a hit is one: the pictures of a question and of its hits once more, and what the network says of each pair."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import partial

from retrieval import images
from retrieval.base.text import printable
from retrieval.images.decoding import Wanted, decode
from retrieval.images.reading import read_picture, recorded_decoder
from retrieval.search.explain import Explanation, explain
from retrieval.search.parts import Part
from retrieval.search.search import Search
from retrieval.service import limits
from retrieval.service.asking import Asker, item_of_part
from retrieval.service.problems import Problem
from retrieval.service.questions import Piece
from retrieval.service.uploads import Uploads


class Explainer:
    """Explains hits.

    Args:
        asker: whose lane and pool do it. uploads: pictures that were sent.
    """

    def __init__(self, asker: Asker, uploads: Uploads) -> None:
        self._asker = asker
        self._uploads = uploads

    async def hit(self, search: Search, question: Piece, id_: int) -> Explanation:
        """Why an item is a hit.

        Raises:
            Problem: the question is no picture, or a picture is gone.
            UnreadableImage: one cannot be read, or has changed since it was indexed.
        """
        return await self._explained(search, await self._pixels(search, question), id_)

    async def hits(self, search: Search, question: Piece, ids: Sequence[int]) -> list[Explanation | None]:
        """The same of several; None for those whose files cannot be read, or have changed."""
        asked = await self._pixels(search, question)
        found: list[Explanation | None] = []
        for id_ in ids:  # one by one, so that other questions have their turn in between
            try:
                found.append(await self._explained(search, asked, id_))
            except images.UnreadableImage:
                found.append(None)
        return found

    async def _explained(self, search: Search, asked: images.Pixels, id_: int) -> Explanation:
        encoder = await self._asker.encoder(search)
        both = asked, await self._pixels(search, Piece(Part("id", id_)))
        return await self._asker.lane.do(
            (search, "explain"), both, lambda some: [explain(encoder, *one) for one in some], 1
        )

    async def _pixels(self, search: Search, piece: Piece) -> images.Pixels:
        if piece.part.kind not in ("id", "path", "file"):
            raise Problem(
                400, "Only a picture has parts to explain a hit by; ask with id:, path: or upload:.", "refused"
            )
        await self._asker.encoder(search)  # in the lane, where nobody has loaded it yet
        return await self._asker.beside(lambda: self._read(search, piece))

    def _read(self, search: Search, piece: Piece) -> images.Pixels:
        """What the network sees of a picture."""
        p, box = search.encoder.config.preprocessing, piece.part.box
        decoder = recorded_decoder(search.index.decoder)
        if piece.upload is not None:
            upload = self._uploads.get(piece.upload)
            wanted = Wanted(p.size if box is None else None, p.mode, decoder, limits.PIXELS, box=box)
            return decode(io.BytesIO(upload.data), upload.name, wanted, partial(images.prepare, p=p)).made
        item = item_of_part(search, piece.part)
        try:
            found = read_picture(search.pictures / item.path, p, decoder, box=box)
        except images.UnreadableImage as problem:  # which names the file as this machine has it
            raise images.UnreadableImage(printable(item.path), problem.reason) from None
        if item.sha256 and found.sha256 != item.sha256:
            raise images.UnreadableImage(printable(item.path), "changed since it was indexed")
        assert found.pixels is not None  # as no content counts as known
        return found.pixels
