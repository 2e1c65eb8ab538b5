"""Questions answered: pictures decoded side by side, then encoded and searched in the one lane, many together."""

from __future__ import annotations

import asyncio
import io
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped,unused-ignore]

from retrieval import images
from retrieval.base.machine import cores
from retrieval.base.text import printable
from retrieval.errors import RetrievalError
from retrieval.images.decoding import Wanted, decode
from retrieval.images.reading import recorded_decoder
from retrieval.index import Item, filters
from retrieval.search import rerank
from retrieval.search.answer import Answer, Hit
from retrieval.search.arrangement import FIRST, PLAIN, Arrangement
from retrieval.search.combining import combined
from retrieval.search.learned import FromMarks
from retrieval.search.marks import Asked as MarkedQuery
from retrieval.search.marks import Mark
from retrieval.search.parts import Part, spelled
from retrieval.search.query import Question, unit_rows
from retrieval.search.search import Search
from retrieval.service import limits
from retrieval.service.batching import Lane
from retrieval.service.metrics import Metrics
from retrieval.service.problems import Problem, busy
from retrieval.service.questions import Asked, Piece
from retrieval.service.uploads import Uploads

_Done = TypeVar("_Done")


@dataclass(frozen=True)
class Found:
    """An answer, and what belongs to it.

    Attributes:
        answer: with the pictures of the collection that the question is, first.
        ids: of the parts of the question, in their order; None of one that the collection does not have.
        copies: of each part the ids of it and of its exact copies.
        same: all ids of theirs, and of exact copies. items: of the hits, by id, and of others. attributes: likewise.
        generation: of the index.
    """

    answer: Answer
    ids: tuple[int | None, ...]
    copies: tuple[tuple[int, ...], ...]
    same: frozenset[int]
    items: dict[int, Item]
    attributes: dict[int, dict[str, Any]]
    generation: int


Known = tuple[Question, NDArray[Any]]
"""A part of a question by itself, and its vector."""


@dataclass(frozen=True)
class _Ready:
    """A question whose pictures are vectors by now.

    Attributes:
        pieces: what it is made of. known: for each, what is known already.
    """

    pieces: tuple[Piece, ...]
    known: tuple[Known | None, ...]

    @property
    def alone(self) -> bool:
        """Whether it is one whole thing, so that the collection may have it, too."""
        return len(self.pieces) == 1 and self.pieces[0].plain


class Asker:
    """Answers questions.

    Args:
        uploads: pictures that were sent. metrics: is told how long it takes.
    """

    def __init__(self, uploads: Uploads, metrics: Metrics) -> None:
        self._uploads = uploads
        self._metrics = metrics
        self.lane = Lane(metrics.batch)
        self.lane.submit("threads", None, _leave_a_core)
        metrics.queue(lambda: len(self.lane))
        # One core is left to the lane, as far as there are several; and one by the lane.
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
            search: is open until this ends. asked: with a filter that says what is hidden, too.

        Raises:
            Problem, RetrievalError: it cannot be answered.
        """
        if not asked.pieces:
            raise Problem(
                400, "There is nothing to look for; give a picture, an id, a path, a text or a vector.", "refused"
            )
        ready = _Ready(asked.pieces, tuple([await self._sent(search, piece) for piece in asked.pieces]))
        if asked.marks:
            search = search.ordered_by(FromMarks(_marks(search, asked.marks)))
        elif asked.rerank is not None:
            search = search.ordered_by(rerank.load(asked.rerank))
        coded = ready.alone and ready.pieces[0].part.kind in ("id", "path")  # of binary codes, no floats
        kind = (search, asked.k, asked.where, asked.above, asked.same, asked.details, asked.arrange, coded)
        together = partial(_answers, search, asked)
        most = 1 if asked.arrange.cursor else limits.TOGETHER  # a cursor goes on with one question
        return await self.lane.do(kind, ready, together, most)

    async def _sent(self, search: Search, piece: Piece) -> Known | None:
        """A picture that was sent, or the part of it that is meant, and its vector, which is made once."""
        if piece.upload is None:
            return None
        upload, box = self._uploads.get(piece.upload), piece.part.box
        key = (search.index.encoder_hash, search.index.decoder, str(box))
        if key not in upload.vectors:
            began = time.perf_counter()
            encoder = await self.encoder(search)
            p = encoder.config.preprocessing
            side = p.size if box is None else None
            wanted = Wanted(side, p.mode, recorded_decoder(search.index.decoder), limits.PIXELS, box=box)
            pixels = await self.beside(
                lambda: decode(io.BytesIO(upload.data), upload.name, wanted, partial(images.prepare, p=p)).made
            )
            self._metrics.stage("decode", time.perf_counter() - began)
            upload.vectors[key] = await self.lane.do(
                (search.index.encoder_hash, "encode"), pixels, lambda some: list(encoder.encode(np.stack(some))),
                limits.PICTURES_TOGETHER,
            )  # fmt: skip
        question = Question(upload.name, sha256=upload.sha256)
        if box is not None:
            question = question._replace(query=f"{upload.name}#{box}", calibrated=False, box=box)
        return question, upload.vectors[key]

    async def encoder(self, search: Search) -> Any:
        """The network of an index, loaded in the lane where nobody has yet."""
        if "encoder" in search.__dict__:
            return search.encoder
        return await self.lane.do((search, "encoder"), None, lambda some: [search.encoder] * len(some))


def _leave_a_core(some: Sequence[None]) -> Sequence[None]:
    """Have FAISS use all cores but one when this thread asks it.

    Its threads wait for one another in a loop, many times in a search. If one of them has no core, as it is the event
    loop's just then, the others take theirs from everybody meanwhile, and a search takes five times as long.
    """
    from retrieval.index import approximate  # noqa: F401  (loads FAISS, which has a library of threads of its own)

    for library in ThreadpoolController().select(user_api="openmp").lib_controllers:
        library.set_num_threads(min(library.get_num_threads(), max(1, cores() - 1)))
    return some


def item_of(search: Search, id_: int) -> Item:
    """An item by its id.

    Raises:
        Problem: there is none.
    """
    try:
        return search.index.items([id_])[0]
    except RetrievalError as error:
        raise Problem(404, f"There is no picture {id_} in this index.", "no-such-item") from error


def item_of_part(search: Search, part: Part) -> Item:
    """The item that a part of a question names.

    Raises:
        Problem: there is none.
    """
    if part.kind == "id":
        return item_of(search, int(str(part.value)))
    item = search.index.find(str(part.value))
    if item is None:
        raise Problem(404, f"There is no picture {str(part.value)[:200]!r} in this index.", "no-such-item")
    return item


_PAGED = Arrangement(cursor=FIRST)

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
        return f"{HIDDEN} is missing"
    filters.compile(where, kinds)  # by itself, so that it cannot end a bracket, and its error says the right place
    return f"({where}) and {HIDDEN} is missing"


def _answers(search: Search, asked: Asked, some: Sequence[_Ready]) -> list[Found | Exception]:
    """Questions that differ in their pieces alone, answered together."""
    items = _items(search, some)
    resolved = [_resolved(search, one, items) for one in some]
    if asked.marks:  # they belong to this question, whatever it is called
        resolved = [one if isinstance(one, Exception) else (one[0]._replace(asked=_THIS), one[1]) for one in resolved]
    good = [one for one in resolved if not isinstance(one, Exception)]
    answers: Iterator[Answer] = iter(())
    if good:
        questions, vectors = zip(*good, strict=True)
        answers = iter(
            search.ask(
                questions,
                np.stack(vectors),
                asked.k,
                include_self=asked.same,
                where=asked.where,
                above=asked.above,
                arrange=asked.arrange,
            )
        )
    found = [
        one if isinstance(one, Exception) else _with_itself(search, asked, ready.alone, *one, next(answers))
        for ready, one in zip(some, resolved, strict=True)
    ]
    return _detailed(search, found) if asked.details else found


_KEY = "0" * 64
_THIS = frozenset({f"sha256:{_KEY}"})
"""The name of the one question that the marks of a request are about."""


def _marks(search: Search, said: Sequence[tuple[int | str, bool]]) -> list[Mark]:
    """Marks of this question; what is not in the index is left out."""
    query = MarkedQuery((Part("id", 0),))
    found = []
    for name, right in said:
        item = item_of(search, name) if isinstance(name, int) else search.index.find(name)
        path = name if item is None else item.path
        found.append(Mark(query, str(path), right, query_sha256=_KEY))
    return found


def _items(search: Search, some: Sequence[_Ready]) -> dict[int, tuple[Item, NDArray[Any]]]:
    """The pictures of the index that questions name by their ids, and their vectors, all with one look."""
    parts = [piece.part for one in some for piece in one.pieces if piece.part.kind == "id" and piece.part.box is None]
    ids = list({int(str(part.value)) for part in parts})
    if not ids:
        return {}
    try:
        items, vectors = search.index.items(ids), search.index.vectors(ids)
    except RetrievalError:
        return {}  # one is not there: each is looked up by itself, so that only who asked with that is told
    return {item.id: (item, vector) for item, vector in zip(items, vectors, strict=True)}


def _resolved(search: Search, ready: _Ready, items: Mapping[int, tuple[Item, NDArray[Any]]]) -> Known | Exception:
    """A question and its vector; or why there is none."""
    try:
        known = [
            found or _understood(search, piece, items) for piece, found in zip(ready.pieces, ready.known, strict=True)
        ]
        if ready.alone:
            return known[0]
        weights = [piece.sign * piece.part.weight for piece in ready.pieces]
        vector = combined([vector for _, vector in known], weights, search.index.storage)
        like, unlike = ([piece.part for piece in ready.pieces if piece.sign == sign] for sign in (1, -1))
        return Question(spelled(like, unlike), calibrated=False, of=tuple(one for one, _ in known)), vector
    except (RetrievalError, Problem) as error:
        return error


def _understood(search: Search, piece: Piece, items: Mapping[int, tuple[Item, NDArray[Any]]]) -> Known:
    part = piece.part
    if piece.vector is not None:
        return Question("vector 0"), unit_rows(piece.vector, search.index)[0]
    if part.kind == "id" and part.box is None and part.value in items:
        item, vector = items[int(str(part.value))]
        return search.of_item(f"id {item.id}" if piece.plain else part.named, item), vector
    if part.kind in ("id", "path"):
        item_of_part(search, part)
    try:
        question, vector = search.understood(part)
    except images.UnreadableImage as problem:  # which names the file as this machine has it
        raise images.UnreadableImage(printable(part.named), problem.reason) from None
    plain = {"id": f"id {part.value}", "path": str(part.value), "text": str(part.value)}  # as `retrieval query` says it
    return (question._replace(query=plain[part.kind]) if piece.plain else question), vector


def _with_itself(
    search: Search,
    asked: Asked,
    alone: bool,
    question: Question,
    vector: NDArray[Any],
    answer: Answer,
) -> Found:
    """An answer with the question itself first, where it is in the collection."""
    hits = list(answer.hits)
    copies = [search.copies(one) for one in question.of or (question,)]
    ids_of_parts = tuple(_id_of(one, items) for one, items in zip(question.of or (question,), copies, strict=True))
    known = {item.id: item for items in copies for item in items}
    same = frozenset(known if asked.same else ())
    if same and alone and asked.arrange in (PLAIN, _PAGED):
        missed = [known[id_] for id_ in sorted(same - {hit.id for hit in hits})]
        hits = [*(hit for hit in hits if hit.id in same), *(hit for hit in hits if hit.id not in same)]
        if asked.arrange == PLAIN and asked.where is None and search.index.storage != "binary":
            # An approximate structure may not find them.
            hits = [*_hits_of_items(search, missed, vector, asked.above, answer), *hits][
                : asked.k if asked.above is None else None
            ]
        hits = [hit if hit.rank == rank else replace(hit, rank=rank) for rank, hit in enumerate(hits, 1)]
    answer = replace(answer, hits=tuple(hits[: limits.HITS]))  # groups may have more
    of_parts = tuple(tuple(item.id for item in some) for some in copies)
    return Found(answer, ids_of_parts, of_parts, same, {}, {}, search.index.generation)


def _detailed(search: Search, found: Sequence[Found | Exception]) -> list[Found | Exception]:
    """Answers with what is known of their hits' files; all with one look."""
    ids = list({hit.id for one in found if isinstance(one, Found) for hit in one.answer.hits})
    items = {item.id: item for item in search.index.items(ids)}
    attributes = dict(zip(ids, search.index.attributes(ids), strict=True))
    return [replace(one, items=items, attributes=attributes) if isinstance(one, Found) else one for one in found]


def _hits_of_items(
    search: Search, items: Sequence[Item], vector: NDArray[Any], above: float | None, answer: Answer
) -> list[Hit]:
    """Items as hits, their ranks left open; those that score enough."""
    if not items:
        return []
    found = []
    for item, score in zip(items, (search.index.vectors([item.id for item in items]) @ vector).tolist(), strict=True):
        relevant = None if answer.label is None or item.label is None else item.label == answer.label
        if above is None or score >= above:
            found.append(Hit(0, item.id, item.path, item.label, score, relevant))
    return found


def _id_of(question: Question, copies: Sequence[Item]) -> int | None:
    item = question.item or next(iter(copies), None)
    return None if item is None else item.id
