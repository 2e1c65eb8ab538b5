"""A benchmark made ready: its set read, its pictures as vectors, and who then asks, is ranked, right and ignored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from retrieval import datasets, protocols
from retrieval.base.given import seeded
from retrieval.base.text import printable
from retrieval.datasets import PictureSet
from retrieval.datasets.official import as_pictures
from retrieval.encoder import Encoder
from retrieval.errors import RetrievalError
from retrieval.evaluation.labelled_vectors import Labelled, drawn
from retrieval.evaluation.options import EvaluationOptions
from retrieval.evaluation.run import Evaluation
from retrieval.evaluation.vector_files import read_in_order
from retrieval.images.box import Box
from retrieval.index.vectors import packed
from retrieval.measures.intervals import A_SAMPLE
from retrieval.protocols import OfficialSet, Protocol, Setting

Ints = npt.NDArray[np.int64]


class Asked(NamedTuple):
    """One setting, of what is there.

    Attributes:
        setting: which.
        rows: int64 (m,), places among the queries of those that ask.
        among: int64, places of the gallery that are looked through; None: all are.
        relevant: for each of them the gallery places of what is right; None: what has its label.
        ignored: likewise of what is ignored; None: nothing is.
    """

    setting: Setting
    rows: Ints
    among: Ints | None
    relevant: list[Ints] | None
    ignored: list[Ints] | None


@dataclass(frozen=True)
class Prepared:
    """A benchmark, without what could not be read.

    Attributes:
        run: collects what a report needs.
        protocol, official: what is measured, and the set. pictures: the set's.
        encoder: what made the vectors; None: somebody else.
        queries, gallery: those that are there.
        asking: int64, the official place of each of `queries`.
        own: int64, where each query itself stands in the gallery, −1 where it does not or is not left out.
        place: int64 (official gallery,), where each of it stands in `gallery`, −1 where it is missing.
    """

    run: Evaluation
    protocol: Protocol
    official: OfficialSet
    pictures: PictureSet
    encoder: Encoder | None
    queries: Labelled
    gallery: Labelled
    asking: Ints
    own: Ints
    place: Ints

    @property
    def ranked(self) -> Ints:
        """int64, which pictures are the official gallery."""
        return self.official.asks if self.official.ranked is None else self.official.ranked

    @property
    def answering(self) -> Ints:
        """int64, the official place of each of `gallery`."""
        return np.flatnonzero(self.place >= 0)

    def asked(self) -> Iterator[Asked]:
        """The settings in which somebody can be answered.

        Raises:
            RetrievalError: there is none.
        """
        count = len(self.official.asks)
        turn = np.full(count, -1)
        turn[self.asking] = np.arange(len(self.asking))
        found = 0
        for setting in self.official.settings:
            asks = np.arange(count) if setting.asks is None else setting.asks
            kept = np.flatnonzero(turn[asks] >= 0)
            rows = turn[asks[kept]]
            relevant, ignored = (self._present(lists, kept) for lists in (setting.relevant, setting.ignored))
            if rows.size and (relevant is None or any(one.size for one in relevant)):
                found += 1
                yield Asked(setting, rows, self._places(setting.among), relevant, ignored)
        if not found:
            raise RetrievalError(
                f"none of the {len(self.queries):,} queries has a right answer among the pictures that are there: give "
                "a folder that holds all of the set"
            )

    def _places(self, official: Ints | None) -> Ints | None:
        """Official gallery positions as positions in the gallery that is there."""
        if official is None:
            return None
        placed = self.place[official]
        return placed[placed >= 0]

    def _present(self, lists: tuple[Ints, ...] | None, kept: Ints) -> list[Ints] | None:
        """Some of the lists of official gallery positions as positions in the gallery that is there."""
        if lists is None:
            return None
        placed = [self.place[lists[row]] for row in kept]
        return [one[one >= 0] for one in placed]


def prepare(
    name: str, folder: Path, model: str | None, vectors: str | Path | None, options: EvaluationOptions
) -> Prepared:
    """Read a benchmark's set, and get its vectors, from a model or from a file.

    Raises:
        RetrievalError: as :func:`retrieval.evaluation.benchmark.benchmark`.
    """
    protocol = protocols.named(name)
    if (model is None) == (vectors is None):
        raise RetrievalError("a benchmark measures a model, or vectors of its pictures: give one of --model, --vectors")
    subject = options.subject or (model if model is not None else printable(Path(vectors or "")))
    options.check("benchmark", subject)
    if options.codes and vectors is None:
        raise RetrievalError(f"a model says itself what its vectors are: leave --codes out with --model {model!r}")
    official, pictures = _read(protocol, folder)
    run = Evaluation(subject, protocol.title, options, options.over or "queries")
    if official.note:
        run.notes.append(official.note)
    encoder = None
    if vectors is not None:
        whole = _given(run, Path(vectors), pictures.select(official.order))
    else:
        encoder = Encoder.load(model or "", threads=1)
        encoder.optimise()
        whole = run.encode(encoder, pictures.select(official.order), "pictures", boxes=_boxes(official))
        _warn_of_classes(run, encoder, whole, protocol)
    if official.sets is not None:
        shown = official.sets[official.order][whole.rows]
        # an item that shows none of the classes is wrong for everybody, as if it showed one that nobody asks for
        nothing = ~shown.any(axis=1) & (whole.rows >= len(official.asks))
        shown = np.column_stack([shown, nothing])
        classes = tuple(str(column) for column in range(shown.shape[1]))
        whole = replace(whole, sets=shown, classes=classes)
    if protocol.codes and whole.vectors.dtype != np.uint8:
        if whole.vectors.shape[1] % 8:
            width = whole.vectors.shape[1]
            raise RetrievalError(
                f"{protocol.title} is asked by binary codes, and {width} numbers make none: give a multiple of 8"
            )
        whole = replace(whole, vectors=packed(whole.vectors))
        run.notes.append("The vectors were made codes by their signs: a bit is 1 where a number is above 0.")
    limited = drawn(len(official.asks), options.limit, seeded(options.seed))
    if options.limit is not None:
        run.notes.append(f"At most {options.limit:,} queries were drawn; the gallery stays whole.")
    order = official.order
    there = np.full(len(order), -1)
    there[whole.rows] = np.arange(len(whole))
    _warn_of_sizes(run, protocol, official, there >= 0)
    spot = np.full(int(order.max()) + 1, -1)
    spot[order] = there
    ranked = official.asks if official.ranked is None else official.ranked
    asking = limited[there[limited] >= 0]
    answering = np.flatnonzero(spot[ranked] >= 0)
    for side, what in ((asking, "queries"), (answering, "pictures of the gallery")):
        if not side.size:
            raise RetrievalError(f"none of the {what} can be read: give a folder that holds their files")
    place = np.full(len(ranked), -1)
    place[answering] = np.arange(len(answering))
    own = np.full(len(asking), -1)
    if official.ranked is None:
        own = place[asking]
    elif official.own is not None:
        stands = official.own[asking]
        own = np.where(stands >= 0, place[stands], -1)
    queries, gallery = whole.select(there[asking]), whole.select(spot[ranked[answering]])
    return Prepared(run, protocol, official, pictures, encoder, queries, gallery, asking, own, place)


def _read(protocol: Protocol, folder: Path) -> tuple[OfficialSet, PictureSet]:
    """Who asks whom, and the pictures."""
    if protocol.read is not None:
        official = protocol.read(folder)
        return official, as_pictures(official, protocol, folder)
    assert protocol.divides is not None
    pictures = datasets.load(folder)
    return protocol.divides(tuple(pictures.names), pictures.labels, pictures.splits), pictures


def _warn_of_sizes(run: Evaluation, protocol: Protocol, official: OfficialSet, there: npt.NDArray[np.bool_]) -> None:
    """Say where the numbers of pictures are not the official ones; `there` says which of `official.order` are read."""
    if protocol.sizes is None:
        return
    training, asking, ranked = protocol.sizes
    train = sum(split != "test" for split in official.splits)
    read = official.order[there]
    answering = official.asks if official.ranked is None else official.ranked
    here = (train, np.isin(official.asks, read).sum(), np.isin(answering, read).sum())
    if here[1:] != (asking, ranked) or (train and train != training):
        run.notes.append(
            f"This is not the official set: {here[0]:,} pictures train, {here[1]:,} ask and {here[2]:,} are ranked, "
            f"where it has {training:,}, {asking:,} and {ranked:,}; its figures cannot stand beside published ones."
        )


def _warn_of_classes(run: Evaluation, encoder: Encoder, whole: Labelled, protocol: Protocol) -> None:
    """Look whether the model knows the classes, and draw the intervals over classes where these are a sample."""
    shown = {whole.classes[label] for label in np.unique(whole.labels) if label >= 0}
    known = shown & set(encoder.config.classes)
    if known and encoder.config.trained_on == protocol.name:
        run.notes.append(
            f"The model was trained on {len(known):,} of the {len(shown):,} classes that are asked, which the protocol "
            "forbids."
        )
    new = bool(encoder.config.classes) and not known
    if run.options.over is None and new and len(shown) >= A_SAMPLE:
        run.over = "classes"
    run.notes += encoder.config.gain


def _boxes(official: OfficialSet) -> tuple[Box | None, ...] | None:
    if official.boxes is None:
        return None
    return (*official.boxes, *[None] * (len(official.order) - len(official.asks)))


def _given(run: Evaluation, path: Path, pictures: PictureSet) -> Labelled:
    """The vectors of a file as those of the pictures."""
    given = read_in_order(path, pictures.names, codes=run.options.codes)
    run.notes += given.notes
    run.without_direction = len(pictures) - len(given.rows)
    return Labelled(
        names=np.asarray(pictures.names, dtype=np.str_)[given.rows],
        classes=pictures.classes,
        labels=pictures.labels[given.rows],
        vectors=given.vectors,
        rows=given.rows,
    )
