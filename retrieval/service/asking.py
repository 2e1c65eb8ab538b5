"""Questions answered: pictures decoded side by side, then encoded and searched in the one lane, many together."""

from __future__ import annotations

import asyncio
import io
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from retrieval import images
from retrieval.base.machine import cores
from retrieval.errors import RetrievalError
from retrieval.images.decoding import Wanted, decode
from retrieval.images.reading import recorded_decoder
from retrieval.index import Item, filters
from retrieval.search.answer import Answer, hits_of
from retrieval.search.calibration.record import match_threshold
from retrieval.search.query import Question, unit_rows
from retrieval.search.search import Search
from retrieval.service import limits
from retrieval.service.batching import Lane
from retrieval.service.metrics import Metrics
from retrieval.service.problems import Problem, busy
from retrieval.service.questions import Asked, Part
from retrieval.service.uploads import Upload, Uploads

_Done = TypeVar("_Done")


@dataclass(frozen=True)
class Found:
    """An answer, and what belongs to it.

    Attributes:
        answer: with the pictures of the collection that the question is, first.
        same: their ids. items: of the hits, by id. attributes: likewise.
        generation: of the index.
    """

    answer: Answer
    same: frozenset[int]
    items: dict[int, Item]
    attributes: dict[int, dict[str, Any]]
    generation: int


@dataclass(frozen=True)
class _Ready:
    """A question whose picture is a vector by now."""

    part: Part
    upload: Upload | None = None
    vector: NDArray[np.float32] | None = None


class Asker:
    """Answers questions.

    Args:
        uploads: pictures that were sent. metrics: is told how long it takes.
    """

    def __init__(self, uploads: Uploads, metrics: Metrics) -> None:
        self._uploads = uploads
        self._metrics = metrics
        self.lane = Lane(metrics.batch)
        metrics.queue(lambda: len(self.lane))
        # One core is left to the lane, as far as there are several.
        self._pool = ThreadPoolExecutor(max(1, cores() - 1), "pictures")
        self._decoding = 0
        self._counting = threading.Lock()

    def close(self) -> None:
        """Finish what was begun."""
        self._pool.shutdown(wait=True)
        self.lane.close()

    async def beside(self, work: Callable[[], _Done]) -> _Done:
        """Do something with a picture, beside the lane.

        Raises:
            Problem: too many others wait.
        """
        with self._counting:
            if self._decoding >= limits.WAITING:
                raise busy("Too many pictures wait to be read")
            self._decoding += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            with self._counting:
                self._decoding -= 1

    async def ask(self, search: Search, asked: Asked) -> Found:
        """The answer to a question.

        Args:
            search: is open until this ends.

        Raises:
            Problem, RetrievalError: it cannot be answered.
        """
        if len(asked.parts) != 1:
            raise Problem(400, "Give one picture, id, path, text or vector to look for.", "refused")
        part = asked.parts[0]
        upload = self._uploads.get(str(part.value)) if part.kind == "upload" else None
        vector = None if upload is None else await self._vector(search, upload)
        above = match_threshold(search.index, search.calibration) if asked.above == "matches" else asked.above
        asked = replace(asked, where=visible(search, asked.where, hidden=asked.hidden))
        kind = (search, asked.k, asked.where, above, asked.same, asked.details, part.kind in ("id", "path"))
        together = partial(_answers, search, asked, above)
        found: Found = await _waited(self.lane.submit(kind, _Ready(part, upload, vector), together))
        return found

    async def _vector(self, search: Search, upload: Upload) -> NDArray[np.float32]:
        """What the index's network makes of a picture; made once."""
        key = (search.index.encoder_hash, search.index.decoder)
        if key not in upload.vectors:
            began = time.perf_counter()
            encoder = await self._encoder(search)
            p = encoder.config.preprocessing
            wanted = Wanted(p.size, p.mode, recorded_decoder(search.index.decoder), limits.PIXELS)
            pixels = await self.beside(
                lambda: decode(io.BytesIO(upload.data), upload.name, wanted, partial(images.prepare, p=p)).made
            )
            self._metrics.stage("decode", time.perf_counter() - began)
            upload.vectors[key] = await _waited(
                self.lane.submit(
                    (search.index.encoder_hash, "encode"), pixels, lambda some: list(encoder.encode(np.stack(some))),
                    limits.PICTURES_TOGETHER,
                )
            )  # fmt: skip
        return upload.vectors[key]

    async def _encoder(self, search: Search) -> Any:
        if "encoder" in search.__dict__:
            return search.encoder
        return await _waited(self.lane.submit((search, "encoder"), None, lambda some: [search.encoder] * len(some)))


def item_of(search: Search, id_: int) -> Item:
    """An item by its id.

    Raises:
        Problem: there is none.
    """
    try:
        return search.index.items([id_])[0]
    except RetrievalError as error:
        raise Problem(404, f"There is no picture {id_} in this index.", "no-such-item") from error


HIDDEN = "hidden"
"""The attribute of pictures that are left out of answers."""


def visible(search: Search, where: str | None, *, hidden: bool) -> str | None:
    """A filter, and that a picture is not hidden.

    Raises:
        RetrievalError: the filter is wrong.
    """
    kinds = search.index.attribute_kinds()
    if hidden or HIDDEN not in kinds:
        return where
    if where is None:
        return f"{HIDDEN} missing"
    filters.compile(where, kinds)  # by itself, so that it cannot end a bracket, and its error says the right place
    return f"({where}) and {HIDDEN} missing"


async def _waited(future: Any) -> Any:
    return await asyncio.wrap_future(future)


def _answers(search: Search, asked: Asked, above: float | None, some: Sequence[_Ready]) -> list[Found | Exception]:
    """Questions that differ in their one part alone, answered together."""
    found: list[Found | Exception] = []
    resolved: list[tuple[Question, NDArray[np.float32]] | Exception] = [_resolved(search, one) for one in some]
    good = [one for one in resolved if not isinstance(one, Exception)]
    answers = iter(
        search.ask(
            [question for question, _ in good],
            np.stack([vector for _, vector in good]) if good else np.empty((0, search.index.dim), np.float32),
            asked.k,
            include_self=asked.same,
            where=asked.where,
            above=above,
        )
    )
    for one in resolved:
        if isinstance(one, Exception):
            found.append(one)
        else:
            found.append(_completed(search, asked, above, *one, next(answers)))
    return found


def _resolved(search: Search, one: _Ready) -> tuple[Question, NDArray[np.float32]] | Exception:
    part, index = one.part, search.index
    try:
        if part.kind in ("id", "path"):
            item = item_of(search, int(part.value)) if part.kind == "id" else index.find(str(part.value))
            if item is None:
                return Problem(404, f"There is no picture {str(part.value)[:200]!r} in this index.", "no-such-item")
            name = f"id {item.id}" if part.kind == "id" else item.path
            return Question(name, None, item, item.sha256, item.label), index.vectors([item.id])[0]
        if part.kind == "text":
            return Question(str(part.value), calibrated=False), search.encoder.encode_text([str(part.value)])[0]
        if one.upload is not None and one.vector is not None:
            return Question(one.upload.name, sha256=one.upload.sha256), one.vector
        return Question("vector 0"), unit_rows(np.asarray(part.value), index.dim, search.folder)[0]
    except (RetrievalError, Problem) as error:
        return error


def _completed(
    search: Search, asked: Asked, above: float | None, question: Question, vector: NDArray[np.float32], answer: Answer
) -> Found:
    """An answer with the question itself first, where it is in the collection, and with what belongs to the hits."""
    hits = list(answer.hits)
    same: frozenset[int] = frozenset()
    if asked.same and (question.sha256 or question.item):
        known = {item.id: item for item in search.copies(question)}
        same = frozenset(known)
        missed = [known[id_] for id_ in sorted(same - {hit.id for hit in hits})]
        first = [hit for hit in hits if hit.id in same]
        hits = first + [hit for hit in hits if hit.id not in same]
        if missed and asked.where is None and vector.dtype == np.float32 and search.index.storage != "binary":
            scores = (search.index.vectors([item.id for item in missed]) @ vector).tolist()
            reached = [pair for pair in zip(scores, missed, strict=True) if above is None or pair[0] >= above]
            calibration = search.calibration if question.calibrated else None
            hits = [*hits_of(reached, answer.label, calibration, [math.nan] * len(reached)), *hits]
        if above is None:
            hits = hits[: asked.k]
        hits = [replace(hit, rank=rank) for rank, hit in enumerate(hits, 1)]
    ids = [hit.id for hit in hits]
    items = {item.id: item for item in search.index.items(ids)} if asked.details and ids else {}
    attributes = dict(zip(ids, search.index.attributes(ids), strict=True)) if asked.details and ids else {}
    return Found(replace(answer, hits=tuple(hits)), same, items, attributes, search.index.generation)
