"""Queries: from a picture, an id, a path, vectors or a text to the pictures of an index that are most like it.

Nothing here imports torch: looking something up by id needs no network at all, and a picture is encoded by the
network that lies in the index, through ONNX Runtime where the index has it in that form.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import io
import itertools
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from retrieval import images
from retrieval.base.given import whole
from retrieval.base.held_folder import HeldFolder
from retrieval.base.machine import cores
from retrieval.base.npy import mapped
from retrieval.base.object_address import is_object
from retrieval.base.placed_files import Placed, Root
from retrieval.base.text import printable
from retrieval.engines.opening import open_index
from retrieval.errors import RetrievalError
from retrieval.index import Index, Item, filters
from retrieval.index.folder import ENCODER
from retrieval.index.records import FOLDERS, NO_ENCODER
from retrieval.places.roots import picture_at
from retrieval.search import paging
from retrieval.search.answer import Answer, AskedPart, hits_of
from retrieval.search.arrangement import PLAIN, Arrangement, Digest, arranged
from retrieval.search.combining import combined
from retrieval.search.marks import Asked, known_by
from retrieval.search.parts import GivenPart, Part, parts_of, spelled
from retrieval.search.query import Boxed, InMemory, Picture, Question, lies, pictures_of, place_of, unit_rows
from retrieval.search.rerank.reranker import FirstRanking, Reranked, unchanged

if TYPE_CHECKING:
    from retrieval.encoder import Encoder
    from retrieval.search.calibration import Calibration
    from retrieval.search.calibration.reading import Reader, Reading
    from retrieval.search.rerank import Reranker


_NAMELESS: frozenset[str] = frozenset()
"""The names of what is nowhere but in memory."""

Encoded = tuple[list[Question], NDArray[np.float32]]
"""Some queries, and their vectors."""


class Search:
    """An index that is open for questions. Any number of threads may ask.

    Attributes:
        index: the index.
        reranker: what orders the hits of every query anew (:mod:`retrieval.search.rerank`); None: nothing does.

    Example:
        >>> with Search.open("indexes/photos") as search:                    # doctest: +SKIP
        ...     for hit in search.query("cat.jpg", k=5)[0].hits:
        ...         print(hit.rank, hit.score, hit.path)
    """

    def __init__(self, index: Index, model: str | Path | None, reranker: Reranker | None = None) -> None:
        """Use :meth:`open`."""
        self.index = index
        self.reranker = reranker
        self._model = model
        self._held: HeldFolder | None = None
        self._restored: tempfile.TemporaryDirectory[str] | None = None

    @classmethod
    def open(
        cls,
        folder: str | Path,
        *,
        model: str | Path | None = None,
        mapped: bool = False,
        reranker: Reranker | str | None = None,
    ) -> Self:
        """Open an index.

        Args:
            folder: the index's folder, or its address.
            model: encode queries with this model, not with the copy in the index. It must be the same.
            mapped: search the files where they lie instead of copying all vectors to memory.
            reranker: order the hits of every query anew with this, or with the one of this name: "aqe", "alpha-qe",
                "k-reciprocal", or the folder of a run that trained a pair network.

        Raises:
            RetrievalError: the folder is no index, `model` is not the one that the index was built with, or there is
                no such re-ranker.
        """
        if isinstance(reranker, str):
            from retrieval.search import rerank

            reranker = rerank.load(reranker)
        while True:
            search = cls(open_index(folder, mapped=mapped), model, reranker)
            if model is None:
                search._held = search.index.held_encoder()
            if search.index.in_place:
                break
            search.close()  # another index took its place meanwhile, and the encoder may be that one's
        if model is not None:
            try:
                search.encoder  # noqa: B018  (another model is refused now, not at the first picture)
            except BaseException:
                search.close()
                raise
        return search

    @property
    def folder(self) -> Path:
        """Where its encoder lies: its own folder, or one of this machine's if a database holds it."""
        return self.index.folder

    @property
    def name(self) -> str:
        """Where the index is: its folder, or its address."""
        return self.index.name

    @property
    def warnings(self) -> list[str]:
        """What was found wrong with the index, and could be worked around."""
        return self.index.warnings

    @property
    def calibrated(self) -> bool:
        """Whether it is known what scores say."""
        return self.calibration is not None

    def ordered_by(self, reranker: Reranker) -> Self:
        """The same index, with what orders the hits of every query anew; it is open as long as this one is."""
        search = copy.copy(self)
        search.reranker = reranker
        return search

    def renewed(self) -> Self | None:
        """The same, of what is in the index now, with the vectors and the network that this one has loaded.

        Returns:
            It, to be closed besides this one; None if another index took the place of this one.

        Raises:
            RetrievalError: what is there now is damaged.
        """
        index = self.index.renewed()
        if index is None:
            return None
        search = type(self)(index, self._model, self.reranker)
        if "encoder" in self.__dict__:
            search.__dict__["encoder"] = self.encoder
        elif self._model is None:
            search._held = index.held_encoder()
        return search

    def close(self) -> None:
        """Let go of the index. Calling it twice is harmless."""
        self.index.close()
        if self._held is not None:
            self._held.close()
        if self._restored is not None:
            self._restored.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def root(self) -> Path | Root:
        """What the paths of the hits are relative to: ``root / hit.path`` is where one lies."""
        return self.pictures if is_object(self.index.root) else Path(self.index.root)

    @cached_property
    def pictures(self) -> Root:
        """What opens the files of the hits by their paths."""
        return self.index.pictures

    @cached_property
    def _index_asked(self) -> tuple[object, ...]:
        return paging.index_asked(self.index)

    @cached_property
    def encoder(self) -> Encoder:
        """The network that the index was built with; loaded when the first picture or text is asked for."""
        from retrieval.encoder import Encoder  # here, because a query by id needs none

        if self.index.encoder_hash.startswith(NO_ENCODER):
            raise RetrievalError(
                f"The index {printable(self.name)!r} was imported without a model, so that only ids, paths "
                "and vectors can be queries; import it again with --model."
            )
        encoder = Encoder.load(self._own_encoder() if self._model is None else self._model)
        if encoder.hash != self.index.encoder_hash:
            other = "the encoder in it" if self._model is None else f"{str(self._model)!r}"
            raise RetrievalError(
                f"The index {printable(self.name)!r} was built with another model "
                f"({self.index.encoder_hash[:12]}) than {other} ({encoder.hash[:12]}); "
                "leave --model out, or build the index anew with that model."
            )
        return encoder

    def _own_encoder(self) -> Path:
        """Where the encoder lies that the index had when it was opened."""
        if self._held is None or self.index.in_place:
            return self.folder
        self._restored = tempfile.TemporaryDirectory(prefix="retrieval-")
        try:
            self._held.restore(Path(self._restored.name) / ENCODER)
        except OSError as error:
            raise RetrievalError(
                f"The index {printable(self.name)!r} was moved or replaced since it was opened, and there is "
                f"no room for its encoder in {tempfile.gettempdir()!r} ({error.strerror or error}); make room there."
            ) from error
        return Path(self._restored.name)

    @cached_property
    def _readers(self) -> dict[str, Reader]:
        if self.index.calibration is None:
            return {}
        from retrieval.search.calibration.reading import Reader  # here, because most indexes have none
        from retrieval.search.calibration.record import stored

        return {about: Reader(self.index, one) for about, one in stored(self.index).items()}

    @property
    def calibrations(self) -> dict[str, Calibration]:
        """What was calibrated for this index, by what it is about: "labels", "copies", "words". Where one cannot be
        used the index's warnings say why."""
        return {about: reader.calibration for about, reader in self._readers.items()}

    @property
    def calibration(self) -> Calibration | None:
        """What scores in this index say of labels; None where that is not known."""
        return self.calibrations.get("labels")

    @cached_property
    def _classes(self) -> frozenset[str]:
        """The names of class folders, where labels come from folders."""
        if not str(self.index.details.get("labels")).startswith(FOLDERS):
            return frozenset()
        return frozenset(label for label in self.index.labels() if label is not None)

    def query(
        self,
        pictures: Picture | Iterable[Picture],
        k: int | None = 10,
        *,
        include_self: bool = False,
        where: str | None = None,
        above: float | None = None,
        arrange: Arrangement = PLAIN,
        skipped: list[images.Skipped] | None = None,
    ) -> list[Answer]:
        """Find what looks like these pictures.

        A picture that is in the index, by its place or byte for byte, is left out of its own answer. It has the label
        that it has there; a picture from elsewhere has one if labels come from folders and it lies in a folder of
        that name.

        Args:
            pictures: one, or many: picture files; parts of them, as the text ``a.jpg#10,20,64,48``; folders, all of
                whose pictures are queries; bytes of such files; pictures of Pillow's; pixels uint8 (h, w, 3) or (h, w).
            k: how many hits an answer has, at most.
            include_self: leave nothing out.
            where: a filter that hits must match (``docs/filters.md``); if k others match, k come back.
            above: only hits of at least this score; with `k` None all of them.
            arrange: how the hits are sorted, grouped, counted, paged or chosen; see :class:`.Arrangement`.
            skipped: takes in what cannot be read; without it that is an error.

        Returns:
            One answer a picture that can be read, in order.

        Raises:
            RetrievalError: a picture cannot be read, the filter is wrong, or the index has no encoder that fits.
        """
        k = self._checked(k, where, above, arrange)
        left_out: list[images.Skipped] = []
        asked = pictures_of(pictures, left_out)
        questions: list[Question] = []
        vectors = [np.empty((0, self.index.dim), np.float32)]
        for in_files, some in itertools.groupby(asked, lambda one: isinstance(one, Path)):
            encoded = self._encode_files if in_files else self._encode_singly
            for question, rows in encoded(list(some), left_out):
                questions += question
                vectors.append(rows)
        if skipped is not None:
            skipped.extend(left_out)
        elif left_out:
            raise images.UnreadableImage(left_out[0].path, left_out[0].reason)
        return self._answers(questions, np.concatenate(vectors), k, include_self, where, above, arrange)

    def _encode_files(self, files: Sequence[Any], left_out: list[images.Skipped]) -> Iterator[Encoded]:
        from retrieval.encoder.file_encoding import encode_files
        from retrieval.images.reading import ReadPicture, recorded_decoder

        decoder = recorded_decoder(self.index.decoder)
        for batch in encode_files(files, self.encoder, decoder, threads=min(len(files), cores())):
            questions = []
            for file, picture in zip(files[batch.start :], batch.pictures, strict=False):
                if isinstance(picture, ReadPicture):
                    questions.append(self._question(file, picture.sha256))
                else:
                    left_out.append(picture)
            yield questions, batch.vectors

    def _encode_singly(self, pictures: Sequence[Any], left_out: list[images.Skipped]) -> Iterator[Encoded]:
        for one in pictures:
            try:
                question, rows = self._encoded(*(one if isinstance(one, Boxed) else (one, None)))
            except images.UnreadableImage as problem:
                left_out.append(images.Skipped(problem.path, problem.reason))
                continue
            yield [question], rows

    def _encoded(
        self, picture: Path | Placed | InMemory, box: images.Box | None, item: Item | None = None
    ) -> tuple[Question, NDArray[np.float32]]:
        """One picture, or a part of it, and its vector (1, dim).

        Args:
            picture: the whole of it. box: the part. item: whose file it is, if it is one of the index.

        Raises:
            UnreadableImage: it cannot be read, has no such part, or is not what the item was made of.
        """
        from retrieval.images.decoding import Wanted, decode
        from retrieval.images.reading import read_picture, recorded_decoder

        p, decoder = self.encoder.config.preprocessing, recorded_decoder(self.index.decoder)
        pixels: images.Pixels | None
        if isinstance(picture, InMemory):
            wanted = Wanted(p.size if box is None else None, p.mode, decoder, box=box)
            pixels = decode(io.BytesIO(picture.data), picture.name, wanted, partial(images.prepare, p=p)).made
            question = Question(picture.name, sha256=hashlib.sha256(picture.data).hexdigest() if picture.own else None)
        else:
            read = read_picture(picture, p, decoder, box=box)
            pixels = read.pixels
            if item is None:
                question = self._question(picture, read.sha256)
            elif item.sha256 in (read.sha256, None):  # an imported index need not have any
                question = self.of_item(f"id {item.id}", item)
            else:
                raise images.UnreadableImage(printable(picture), "changed since it was indexed")
        assert pixels is not None  # as no content counts as known
        if box is not None:
            question = question._replace(query=f"{question.query}#{box}", label=None, calibrated=False, box=box)
        return question, self.encoder.encode(pixels[None])

    def query_ids(
        self,
        ids: Sequence[int],
        k: int | None = 10,
        *,
        include_self: bool = False,
        where: str | None = None,
        above: float | None = None,
        arrange: Arrangement = PLAIN,
    ) -> list[Answer]:
        """Find what looks like pictures of the index; no encoder is loaded.

        Raises:
            RetrievalError: an id is not in the index, or the filter is wrong.
        """
        k = self._checked(k, where, above, arrange)
        items = self.index.items(ids)
        return self._of_items([f"id {item.id}" for item in items], items, k, include_self, where, above, arrange)

    def query_paths(
        self,
        paths: Sequence[str],
        k: int | None = 10,
        *,
        include_self: bool = False,
        where: str | None = None,
        above: float | None = None,
        arrange: Arrangement = PLAIN,
    ) -> list[Answer]:
        """The same by path in the index: relative to its root, with `/` between the parts.

        Raises:
            RetrievalError: a path is not in the index, or the filter is wrong.
        """
        k = self._checked(k, where, above, arrange)
        return self._of_items(paths, [self._found(path) for path in paths], k, include_self, where, above, arrange)

    def query_vectors(
        self,
        vectors: NDArray[Any],
        k: int | None = 10,
        *,
        names: Sequence[str] | None = None,
        where: str | None = None,
        above: float | None = None,
        arrange: Arrangement = PLAIN,
    ) -> list[Answer]:
        """Find what is nearest to vectors; no encoder is loaded.

        Args:
            vectors: (n, dim) or (dim,), any real type. Rows are scaled to unit length.
            k: how many hits an answer has, at most.
            names: what to call each in its answer; `vector 0` and so on by default.
            where: a filter that hits must match.

        Raises:
            RetrievalError: another shape or type, a row is zero or not finite, or the filter is wrong.
        """
        return self._of_vectors(vectors, names, names or (), k, where, above, arrange)

    def query_file(
        self,
        file: str | Path,
        k: int | None = 10,
        *,
        where: str | None = None,
        above: float | None = None,
        arrange: Arrangement = PLAIN,
    ) -> list[Answer]:
        """:meth:`query_vectors` of a `.npy` file. One that holds Python objects is refused, not unpickled."""
        vectors = mapped(Path(file))
        rows = [f"[{row}]" for row in range(len(vectors) if vectors.ndim > 1 else 1)]
        names, files = [Path(file).name + row for row in rows], [f"{file}{row}" for row in rows]
        return self._of_vectors(vectors, names, files, k, where, above, arrange)

    def _of_vectors(
        self,
        vectors: NDArray[Any],
        names: Sequence[str] | None,
        spelled: Sequence[str],
        k: int | None,
        where: str | None,
        above: float | None,
        how: Arrangement,
    ) -> list[Answer]:
        k = self._checked(k, where, above, how)
        rows = unit_rows(np.asarray(vectors), self.index)
        names = names or [f"vector {row}" for row in range(len(rows))]
        asked = [self._asked([Part("vector", one)]) for one in spelled] or [_NAMELESS] * len(rows)
        questions = [Question(name, asked=own) for name, own in zip(names, asked, strict=True)]
        return self._answers(questions, rows, k, True, where, above, how)

    def query_texts(
        self,
        texts: Sequence[str],
        k: int | None = 10,
        *,
        where: str | None = None,
        above: float | None = None,
        arrange: Arrangement = PLAIN,
    ) -> list[Answer]:
        """Find what these words describe, in an index that was built with a CLIP-like model.

        Raises:
            RetrievalError: the index's model knows pictures only, or the filter is wrong.
        """
        k = self._checked(k, where, above, arrange)
        vectors = self.encoder.encode_text(texts)
        questions = [self._text(text) for text in texts]
        return self._answers(questions, vectors, k, True, where, above, arrange)

    def query_parts(
        self,
        like: GivenPart | Iterable[GivenPart] = (),
        unlike: GivenPart | Iterable[GivenPart] = (),
        k: int | None = 10,
        *,
        include_self: bool = False,
        where: str | None = None,
        above: float | None = None,
        arrange: Arrangement = PLAIN,
    ) -> Answer:
        """Find what looks like several things at once, and unlike others: one question of many parts.

        The vector that is looked for is the weighted sum of the parts' unit vectors, those of `unlike` taken off,
        scaled to unit length (:mod:`retrieval.search.combining`). Items of the index among the parts, and their exact
        copies, are left out of the answer, those of `unlike`, too. How likely a hit is a true match is known where the
        question is a single part to be like, and that is a whole picture or a vector: the question that it is without
        parts.

        Args:
            like: one part or many, each as :meth:`.Part.of` takes it: ``"a.jpg#10%,0%,50%,100%@0.5"``, ``"id:17"``,
                ``"path:2019/a.jpg"``, ``"text:a red dog"``, ``"vector:v.npy[3]"``, or what a program has in hand.
            unlike: the same, of what hits are to be unlike. With nothing in `like` the least alike come first.
            k: how many hits the answer has, at most.
            include_self: leave nothing out.
            where: a filter that hits must match. above: only hits of at least this score. arrange: how they stand.

        Raises:
            RetrievalError: there is no part, one is wrong or cannot be read, or nothing is left of their sum.
        """
        k = self._checked(k, where, above, arrange)
        wanted, unwanted = parts_of(like), parts_of(unlike)
        parts = [*wanted, *unwanted]
        if not parts:
            raise RetrievalError("The question has no part; say what the pictures are to be like or unlike.")
        signs = [1] * len(wanted) + [-1] * len(unwanted)
        questions, vectors = zip(*self._understood(parts), strict=True)
        weights = [sign * part.weight for sign, part in zip(signs, parts, strict=True)]
        vector = combined(vectors, weights, self.index.storage)
        mixed = Question("", calibrated=False, asked=self._asked(wanted, unwanted))
        alone = questions[0] if signs == [1] else mixed
        question = alone._replace(query=spelled(wanted, unwanted), of=questions)
        (answer,) = self._answers([question], vector[None], k, include_self, where, above, arrange)
        left_out = [() if include_self else tuple(item.id for item in self.copies(one)) for one in questions]
        asked = map(AskedPart, parts, signs, (one.picture for one in questions), left_out)
        return replace(answer, parts=tuple(asked))

    def _understood(self, parts: Sequence[Part]) -> list[tuple[Question, NDArray[Any]]]:
        """Each part by itself, and its vector (dim,) or code; all of them or none, since the answer would be to another
        question."""
        found, problems = [], []
        for part in parts:
            try:
                found.append(self.understood(part))
            except RetrievalError as problem:
                problems.append(problem)
        if len(problems) > 1:
            others = f"{len(problems) - 1} more of the {len(parts)} parts"
            raise RetrievalError(f"{str(problems[0]).rstrip('.')}; nor can {others} of the question be used.")
        if problems:
            raise problems[0]
        return found

    def _of_part(self, part: Part) -> tuple[Question, NDArray[Any]]:
        value = part.value
        if isinstance(value, InMemory):
            return self._encoded(value, part.box)
        if part.kind == "file":
            if not lies(str(value)) and not Path(str(value)).suffix and not is_object(value):
                raise RetrievalError(
                    f"There is no picture {part.named!r} here; if words are meant, write {'text:' + part.named!r}."
                )
            return self._encoded(picture_at(str(value)), part.box)
        if part.kind == "text":
            return self._text(str(value)), self.encoder.encode_text([str(value)])
        if part.kind == "vector":
            return Question(part.named, asked=self._asked([part])), unit_rows(
                part.vector(), self.index, repr(printable(part.named))
            )
        item = self.index.items([value])[0] if isinstance(value, int) else self._found(str(value))
        if part.box is not None:
            return self._encoded(self.pictures / item.path, part.box, item)
        return self.of_item(part.named, item), self.index.vectors([item.id])

    def _text(self, text: str) -> Question:
        # Words and pictures score otherwise than two pictures.
        return Question(text, calibrated=False, words=True, asked=self._asked([Part("text", text)]))

    def _found(self, path: str) -> Item:
        item = self.index.find(path)
        if item is None:
            raise RetrievalError(
                f"There is no picture {path!r} in the index {printable(self.name)!r}; "
                f"give a path relative to {printable(self.index.root)!r}."
            )
        return item

    def _of_items(
        self,
        names: Sequence[str],
        items: Sequence[Item],
        k: int | None,
        include_self: bool,
        where: str | None,
        above: float | None,
        how: Arrangement,
    ) -> list[Answer]:
        questions = [self.of_item(name, item) for name, item in zip(names, items, strict=True)]
        return self._answers(
            questions, self.index.vectors([item.id for item in items]), k, include_self, where, above, how
        )

    def of_item(self, name: str, item: Item) -> Question:
        """The question that a picture of the index is, under a name."""
        return Question(name, self.pictures / item.path, item, item.sha256, item.label)

    def _question(self, file: Path | Placed, sha256: str) -> Question:
        item = None
        with contextlib.suppress(ValueError, OSError):  # no possible place
            path = self.pictures.path_of(place_of(file))
            item = None if path is None else self.index.find(path)
        name = printable(file)
        if item is not None and item.sha256 == sha256:
            return Question(name, file, item, sha256, item.label)
        # Not in the index, or its file has changed since and is another picture now.
        return Question(name, file, None, sha256, self._folder_label(file))

    def _folder_label(self, file: Path | Placed) -> str | None:
        """The class folder that a picture from elsewhere lies in."""
        folders = PurePath(place_of(file)).parent.parts[1:]
        names = ("/".join(folders[start:]) for start in range(len(folders)))
        return next((name for name in names if name in self._classes), None)

    def _answers(
        self,
        questions: Sequence[Question],
        vectors: NDArray[np.float32],
        k: int | None,
        include_self: bool,
        where: str | None,
        above: float | None,
        how: Arrangement,
    ) -> list[Answer]:
        if not questions:
            return []
        copies = [self.copies(question) for question in questions]
        left_out = [() if include_self else tuple([item.id for item in same]) for same in copies]
        digests: Sequence[Digest | None] = [None] * len(questions)
        if self.reranker is None and how.has_pages(above):
            about = (*self._index_asked, None if above is None else float(above), how.sort, where, include_self)
            digests = [partial(paging.digest, about, vector.tobytes()) for vector in vectors]
        how.require_same(digests)
        # a re-ranker may bring up what would not be among the first k
        as_is = where is None and above is None and how.cursor is None
        first_k = how.first(k) if self.reranker is None or k is None else max(k, self.reranker.top)
        if self._readers and first_k is not None and as_is:
            first_k = max(first_k, self._looked_at(copies))
        ranked = self._ranked(vectors, first_k, left_out if any(left_out) else None, where, above, how)
        reranker = self.reranker
        ordered = [
            unchanged(ids, scores)
            if reranker is None
            else reranker(
                self.index,
                FirstRanking(
                    vector,
                    ids,
                    scores,
                    without,
                    where,
                    k if above is None else None,
                    question.whole,
                    known_by(question, self.index),
                ),
            )
            for vector, (scores, ids), without, question in zip(vectors, ranked, left_out, questions, strict=True)
        ]
        asked = (questions, vectors, copies, ranked)
        if how.matches:
            ordered = self._within_fold(
                asked, [one.first(how.first(k) if above is None else None) for one in ordered], as_is
            )
        pages = [arranged(self.index, how, one, k, above, digest) for one, digest in zip(ordered, digests, strict=True)]
        readings: list[dict[str, Reading]] = [{}] * len(pages)
        if self._readers:
            readings = self._readings(*asked, [(page.hits.scores, page.hits.ids) for page in pages], as_is=as_is)
        shown = [page.hits.ids.tolist() for page in pages]
        items = iter(self.index.items(list(itertools.chain.from_iterable(shown))))
        answers = []
        for question, same, excluded, page, ids, said in zip(
            questions, copies, left_out, pages, shown, readings, strict=True
        ):
            item = (question.item or next(iter(same), None)) if question.calibrated else None
            label = item.label if item is not None else question.label
            found = list(itertools.islice(items, len(ids)))  # read now: the index may be closed when hits are made
            marks = page.hits.heeded
            # marks say more than what is asked for P, which was measured without them
            told = {} if marks is not None else said
            match, copy = told.get("words" if question.words else "labels"), told.get("copies")
            answers.append(
                Answer.of(
                    {
                        "query": question.query,
                        "label": label,
                        "id": None if item is None else item.id,
                        "picture": question.picture,
                        "left_out": excluded,
                        "no_match": None if match is None else match.no_match,
                        "fold": match.fold if match is not None and how.as_ranked else None,
                        "no_copy": None if copy is None else copy.no_match,
                        "unread": page.hits.unread,
                        "marks": marks,
                        "root": self.pictures,
                        "matches": page.matches,
                        "facets": page.facets,
                        "box": question.box,
                        "calibrated": "words" in self._readers if question.words else question.calibrated,
                    },
                    {
                        "hits": partial(hits_of, found, label, match, copy, page._replace(next=None)),
                        "next": page.next or type(None),
                    },
                )
            )
        return answers

    def _readings(
        self,
        questions: Sequence[Question],
        vectors: NDArray[np.float32],
        copies: Sequence[Sequence[Item]],
        ranked: Sequence[tuple[NDArray[np.float32], NDArray[np.int64]]],
        hits: Sequence[tuple[NDArray[np.float32], NDArray[np.int64]]],
        *,
        as_is: bool,
    ) -> list[dict[str, Reading]]:
        """What the index's calibrations say of the hits. `as_is`: the ranking begins with the first hits of all."""
        about = [("words",) if one.words else ("labels", "copies") * one.calibrated for one in questions]
        if not any(name in self._readers for names in about for name in names):
            return [{} for _ in questions]
        from retrieval.search.calibration.reading import readings

        own = [tuple(item.id for item in same) for same in copies]
        if not as_is:
            ranked = self._ranked(vectors, self._looked_at(copies), own, None, None, PLAIN)
        return readings(self._readers, about, vectors, own, ranked, hits)

    def _within_fold(
        self,
        asked: tuple[
            Sequence[Question],
            NDArray[np.float32],
            Sequence[Sequence[Item]],
            Sequence[tuple[NDArray[np.float32], NDArray[np.int64]]],
        ],
        ordered: Sequence[Reranked],
        as_is: bool,
    ) -> list[Reranked]:
        """The hits up to where the matches end, as far as can be told.

        Raises:
            RetrievalError: nobody can tell.
        """
        for question, one in zip(asked[0], ordered, strict=True):
            if one.heeded is not None:
                raise RetrievalError(
                    "--matches is calibrated without marks, and these hits were learned from some; leave --marks out."
                )
            if not (question.calibrated or question.words):
                raise RetrievalError(
                    f"--matches is calibrated for whole pictures, and {question.query!r} scores otherwise; "
                    "leave one of them out."
                )
            self.require_calibrated("words" if question.words else "labels")
        readings = self._readings(*asked, [(one.scores, one.ids) for one in ordered], as_is=as_is)
        names = ["words" if question.words else "labels" for question in asked[0]]
        return [one.first(said[name].fold) for one, said, name in zip(ordered, readings, names, strict=True)]

    def require_calibrated(self, about: str) -> None:
        """Make sure that it can be told which hits match.

        Args:
            about: "labels", or "words".

        Raises:
            RetrievalError: nobody has calibrated that.
        """
        if about not in self.calibrations:
            words = about == "words"
            raise RetrievalError(
                f"The index {printable(self.name)!r} has no calibration that could tell "
                f"{'what words match' if words else 'matches from other hits'}; run `retrieval calibrate"
                f"{' --words' * words}` on it first."
            )

    def _looked_at(self, copies: Sequence[Sequence[Item]]) -> int:
        """How many hits a calibration looks at, the queries themselves among them."""
        from retrieval.search.calibration.surroundings import DEPTH

        return DEPTH + max(map(len, copies), default=0)

    def _ranked(
        self,
        vectors: NDArray[np.float32],
        k: int | None,
        exclude: Sequence[tuple[int, ...]] | None,
        where: str | None,
        above: float | None,
        how: Arrangement,
    ) -> list[tuple[NDArray[np.float32], NDArray[np.int64]]]:
        """Scores and ids of the index's own ranking for each query, best first."""
        if how.goes_on(above):  # one more, to see whether another page comes
            place = [how.place] * len(vectors)
            best = self.index.search_after(vectors, (k or 0) + 1, place, exclude=exclude, where=where)
            least = -np.inf if above is None else above
            kept = [(ids >= 0) & (scores >= least) for scores, ids in zip(*best, strict=True)]
            return [(scores[keep], ids[keep]) for scores, ids, keep in zip(*best, kept, strict=True)]
        if above is None:
            best = self.index.search(vectors, k or 0, exclude=exclude, where=where)
            return [
                both if len(both[1]) and both[1][-1] >= 0 else (both[0][both[1] >= 0], both[1][both[1] >= 0])
                for both in zip(*best, strict=True)
            ]
        limits, scores, ids = self.index.range_search(vectors, above, exclude=exclude, where=where)
        spans = [slice(*pair) for pair in itertools.pairwise(limits.tolist())]
        return [(scores[span], ids[span]) for span in spans]

    def _asked(self, like: Sequence[Part], unlike: Sequence[Part] = ()) -> frozenset[str]:
        """The names by which marks know what was asked; none of what lies in memory."""
        if self.reranker is None:
            return frozenset()  # nothing takes marks
        try:
            return Asked(tuple(like), tuple(unlike)).known_by(self.index)
        except RetrievalError:
            return frozenset()

    def ask(
        self,
        questions: Sequence[Question],
        vectors: NDArray[Any],
        k: int | None = 10,
        *,
        include_self: bool = False,
        where: str | None = None,
        above: float | None = None,
        arrange: Arrangement = PLAIN,
    ) -> list[Answer]:
        """Questions whose vectors are known, all together; an answer does not depend on what it is asked with.

        Args:
            questions: n of them. vectors: float32 (n, dim), unit rows; of binary codes also uint8 (n, dim / 8).

        Raises:
            RetrievalError: the filter is wrong.
        """
        k = self._checked(k, where, above, arrange)
        return self._answers(questions, vectors, k, include_self, where, above, arrange)

    def understood(self, part: Part) -> tuple[Question, NDArray[Any]]:
        """A part of a question by itself, and its vector (dim,) or code (dim / 8,).

        Raises:
            RetrievalError: there is no such thing, or it cannot be read.
        """
        question, rows = self._of_part(part)
        return question, rows[0]

    def copies(self, question: Question) -> list[Item]:
        """The query itself, where it is in the index, and its exact copies, by ascending id; those of all its parts."""
        if question.of:
            found = {item.id: item for one in question.of for item in self.copies(one)}
            return [found[id_] for id_ in sorted(found)]
        same = self.index.find_sha256(question.sha256) if question.sha256 else []
        if question.item is not None and question.item not in same:  # vectors that belong to no file
            return [question.item]
        return same

    def _checked(self, k: int | None, where: str | None, above: float | None, how: Arrangement) -> int | None:
        """Refuse what is wrong before anything is read or encoded for it; k, but no more than there are items."""
        if k is None and above is None:
            raise RetrievalError("Neither k nor the least score is given; say how many hits are wanted.")
        if k is not None and whole(k, "k") < 1:
            raise RetrievalError(f"k is {k}; ask for at least 1 hit.")
        if where is not None:
            filters.compile(where, self.index.attribute_kinds())
        how.check(self.index, k, above, None if self.reranker is None else self.reranker.name)
        return None if k is None else min(whole(k, "k"), max(len(self.index), 1))
