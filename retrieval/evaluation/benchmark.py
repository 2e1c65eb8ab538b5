"""From one of the field's benchmarks, and a model or vectors of its pictures, to a report by the official protocol."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from retrieval import measures, protocols, traps
from retrieval.base import progress
from retrieval.base.given import seeded
from retrieval.base.text import printable
from retrieval.datasets import PictureSet
from retrieval.datasets.official import as_pictures
from retrieval.encoder import Encoder
from retrieval.errors import RetrievalError
from retrieval.evaluation import figures, trap_search
from retrieval.evaluation.distractors import DistractorFile
from retrieval.evaluation.labelled_vectors import Labelled, drawn
from retrieval.evaluation.options import DEFAULT, EvaluationOptions
from retrieval.evaluation.report import Measure, Report
from retrieval.evaluation.run import A_SAMPLE, CONFIDENCE, Evaluation
from retrieval.evaluation.vector_files import read_in_order
from retrieval.images.box import Box
from retrieval.measures.streaming import MEMORY
from retrieval.protocols import OfficialSet, Protocol, Setting

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]


def benchmark(
    name: str,
    folder: str | Path,
    *,
    model: str | None = None,
    vectors: str | Path | None = None,
    distractors: str | Path | None = None,
    memory: int | None = None,
    options: EvaluationOptions = DEFAULT,
) -> Report:
    """Measure a model, or vectors that any program made, on a benchmark by its official protocol.

    Args:
        name: of the benchmark (:data:`retrieval.protocols.PROTOCOLS`).
        folder: with the set as its authors lay it out.
        model: what makes the vectors, as :meth:`retrieval.encoder.Encoder.load` takes it.
        vectors: in its place a file of them, ``.npy`` or HDF5: a row for each query in the official order, and behind
            them one for each picture of the gallery that is no query; or in any order, if the file has ``names``. They
            are scaled to unit length.
        distractors: a file of vectors of pictures that are in the gallery, too, and right for nobody, such as the
            million of Revisited Oxford; they stay on the disk.
        memory: bytes that their scores may take; :data:`retrieval.measures.streaming.MEMORY` if None.
        options: what to measure besides, and how. The gallery stays whole whatever their limit.

    Raises:
        RetrievalError: there is no such benchmark, the folder does not hold it, a list or a file of vectors cannot be
            read, not exactly one of model and vectors is given, or an option says nothing about benchmarks.
    """
    protocol = protocols.named(name)
    if (model is None) == (vectors is None):
        raise RetrievalError("a benchmark measures a model, or vectors of its pictures: give one of --model, --vectors")
    subject = options.subject or (model if model is not None else printable(Path(vectors or "")))
    options.check("benchmark", subject)
    if options.codes and vectors is None:
        raise RetrievalError(f"a model says itself what its vectors are: leave --codes out with --model {model!r}")
    official = protocol.read(Path(folder))
    pictures = as_pictures(official, protocol, Path(folder))
    run = Evaluation(subject, protocol.title, options, options.over or "queries")
    _warn_of_sizes(run, protocol, official)
    encoder = None
    if vectors is not None:
        whole = _given(run, Path(vectors), pictures.select(official.order))
    else:
        encoder = Encoder.load(model or "", threads=1)
        encoder.optimise()
        whole = run.encode(encoder, pictures.select(official.order), "pictures", boxes=_boxes(official))
        _warn_of_classes(run, encoder, whole, protocol)
    sides = _Sides.of(official, whole, drawn(len(official.asks), options.limit, seeded(options.seed)))
    if options.limit is not None:
        run.notes.append(f"At most {options.limit:,} queries were drawn; the gallery stays whole.")
    far = None if distractors is None else DistractorFile(Path(distractors))
    if far is None and memory is not None:
        raise RetrievalError("--memory is for the scores of distractors: give --distractors, too, or leave it out")
    if far is not None:
        run.notes.append(
            f"{far.shape[0]:,} distractors of {printable(Path(distractors or ''))} are ranked with the gallery, scaled "
            "to unit length."
        )
    run.traps(lambda: _traps(run, encoder, pictures, official, sides))
    return _report(run, protocol, sides, _judged(run, protocol, official, sides, far, memory or MEMORY))


@dataclass(frozen=True)
class _Sides:
    """Who asks and who is ranked, without what could not be read.

    Attributes:
        queries, gallery: those that are there.
        asking: int64, the official place of each of `queries`. answering: that of each of `gallery`.
        own: int64, where each query itself stands in the gallery, −1 where it does not or is not left out.
        place: int64 (official gallery,), where each of it stands in `gallery`, −1 where it is missing.
    """

    queries: Labelled
    gallery: Labelled
    asking: Ints
    own: Ints
    place: Ints

    @classmethod
    def of(cls, official: OfficialSet, whole: Labelled, limited: Ints) -> _Sides:
        """From the vectors of what can be read, in :attr:`.OfficialSet.order`, and which queries may ask."""
        order = official.order
        there = np.full(len(order), -1)
        there[whole.rows] = np.arange(len(whole))
        ranked = official.asks if official.ranked is None else official.ranked
        spot = np.full(int(order.max()) + 1, -1)
        spot[order] = there
        asking = limited[there[limited] >= 0]
        answering = np.flatnonzero(spot[ranked] >= 0)
        place = np.full(len(ranked), -1)
        place[answering] = np.arange(len(answering))
        own = np.full(len(asking), -1)
        if official.ranked is None:
            own = place[asking]
        elif official.own is not None:
            stands = official.own[asking]
            own = np.where(stands >= 0, place[stands], -1)
        for side, what in ((asking, "queries"), (answering, "pictures of the gallery")):
            if not side.size:
                raise RetrievalError(f"none of the {what} can be read: give a folder that holds their files")
        return cls(whole.select(there[asking]), whole.select(spot[ranked[answering]]), asking, own, place)

    def present(self, lists: tuple[Ints, ...] | None, kept: Ints) -> list[Ints] | None:
        """Some of the lists of official gallery positions as positions in the gallery that is there."""
        if lists is None:
            return None
        placed = [self.place[lists[row]] for row in kept]
        return [one[one >= 0] for one in placed]


@dataclass(frozen=True)
class _Judged:
    """What one setting came to.

    Attributes:
        rows: int64 (m,), places among the queries of those that count in it. rankings: of them.
    """

    setting: Setting
    rows: Ints
    rankings: measures.Rankings

    def values(self, name: str) -> Doubles:
        return self.rankings.values[name]

    def called(self, name: str) -> str:
        return f"{self.setting.name} {name}".strip()


def _judged(
    run: Evaluation,
    protocol: Protocol,
    official: OfficialSet,
    sides: _Sides,
    distractors: DistractorFile | None,
    memory: int,
) -> list[_Judged]:
    """Every setting's rankings; those in which no query can be answered are left out."""
    found = []
    turn = np.full(len(official.asks), -1)
    turn[sides.asking] = np.arange(len(sides.asking))
    for setting in official.settings:
        asks = np.arange(len(official.asks)) if setting.asks is None else setting.asks
        kept = np.flatnonzero(turn[asks] >= 0)
        rows = turn[asks[kept]]
        if not rows.size:
            continue
        label = setting.relevant is None
        relevant, ignored = (sides.present(lists, kept) for lists in (setting.relevant, setting.ignored))
        if relevant is not None and not any(one.size for one in relevant):
            continue
        what = f"ranking {setting.name}".strip()
        with run.timed(what), progress.bar(len(rows), what.capitalize(), "queries") as bar:
            rankings = measures.rank(
                sides.queries.vectors[rows],
                sides.queries.labels[rows] if label else None,
                sides.gallery.vectors,
                sides.gallery.labels if label else None,
                own=sides.own[rows],
                ignore=ignored,
                relevant=relevant,
                distractors=distractors,
                memory=memory,
                measures=protocol.measures,
                neighbours=None,
                duplicate_score=run.options.duplicate_score,
                advance=bar.update,
            )
        found.append(_Judged(setting, rows[rankings.queries], rankings))
    if not found:
        raise RetrievalError(
            f"none of the {len(sides.queries):,} queries has a right answer among the pictures that are there: give a "
            "folder that holds all of the set"
        )
    return found


def _report(run: Evaluation, protocol: Protocol, sides: _Sides, judged: list[_Judged]) -> Report:
    rows = np.unique(np.concatenate([one.rows for one in judged]))
    labels = sides.queries.labels
    over = run.over == "classes" and bool((labels[rows] >= 0).all())
    run.over = "classes" if over else "queries"
    figures_: list[Measure] = []
    columns: dict[str, Doubles] = {}
    with run.timed("intervals"):
        for one in judged:
            table = np.stack([one.values(name) for name in protocol.measures], axis=1)
            intervals = measures.bootstrap(
                table, over=labels[one.rows] if over else None, confidence=CONFIDENCE, seed=run.options.seed
            )
            for column, (name, interval) in enumerate(zip(protocol.measures, intervals, strict=True)):
                figures_.append(Measure.of(one.called(name), interval, one.rankings.chance[name]))
                values = np.full(len(rows), np.nan)
                values[np.searchsorted(rows, one.rows)] = table[:, column]
                columns[one.called(name)] = values
    if protocol.clusters or run.options.clustering:
        if (labels < 0).all():
            raise RetrievalError(
                f"the pictures of {protocol.title} have no classes to compare with: leave --clustering out"
            )
        with run.timed("clustering"):
            figures_ += figures.clustering(sides.queries, seed=run.options.seed)
    _explain(run, protocol, judged)
    relevant = np.zeros(len(rows), np.int64)
    for one in reversed(judged):
        relevant[np.searchsorted(rows, one.rows)] = one.rankings.relevant
    asked = sides.queries
    return Report(
        subject=run.subject,
        data=run.data,
        protocol=protocol.asked.format(queries=f"{len(rows):,}", gallery=f"{judged[0].rankings.gallery:,}"),
        measures=tuple(figures_),
        counts={
            "queries": len(rows),
            "gallery": judged[0].rankings.gallery,
            "classes": len(np.unique(labels[rows][labels[rows] >= 0])),
            "queries_without_label": max(one.rankings.unlabelled_queries for one in judged),
            "queries_without_relevant": len(asked) - len(rows),
            "gallery_without_label": judged[0].rankings.unlabelled_gallery,
            "near_duplicates": sum(one.rankings.near_duplicates_in_all for one in judged),
            "unreadable": run.unreadable,
            "without_direction": run.without_direction,
        },
        tied=float(np.mean(np.concatenate([one.rankings.tied for one in judged]))),
        notes=tuple(run.notes),
        seconds=run.seconds,
        seed=run.options.seed,
        over=run.over,
        confidence=CONFIDENCE,
        resamples=measures.RESAMPLES,
        per_query={
            "name": asked.names[rows],
            "label": labels[rows],
            "class": np.array([asked.shown(row) for row in rows], dtype=np.str_),
            "relevant": relevant,
            **columns,
        },
        findings=run.findings,
    )


def _explain(run: Evaluation, protocol: Protocol, judged: list[_Judged]) -> None:
    """What a reader of the figures should know."""
    if len(judged) > 1:
        counts = ", ".join(f"{one.setting.name} {len(one.rows):,}" for one in judged)
        run.notes.append(f"Queries with a right answer: {counts}.")
    ignored = [one for one in judged if one.setting.ignored is not None]
    if ignored:
        run.notes.append("What the protocol ignores is neither right nor wrong and takes no place in a ranking.")
    if protocol.differs:
        run.notes.append(protocol.differs)
    for one in protocol.published:
        shown = ", ".join(f"{name} {value:.4f}" for name, value in one.figures.items())
        run.notes.append(f"Published: {one.what}: {shown} ({one.source}).")


def _warn_of_sizes(run: Evaluation, protocol: Protocol, official: OfficialSet) -> None:
    if protocol.sizes is None:
        return
    training, asking, ranked = protocol.sizes
    train = sum(split != "test" for split in official.splits)
    here = (train, len(official.asks), len(official.asks if official.ranked is None else official.ranked))
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


def _traps(
    run: Evaluation, encoder: Encoder | None, pictures: PictureSet, official: OfficialSet, sides: _Sides
) -> tuple[traps.Finding, ...]:
    """Near-duplicates of queries in the gallery and in the training, and what else `evaluate --traps` looks for."""
    seed = run.options.seed
    asking = pictures.select(official.asks)
    ranked = official.asks if official.ranked is None else official.ranked
    queries, gallery = sides.queries.at(sides.asking), sides.gallery.at(np.flatnonzero(sides.place >= 0))
    files = encoder is not None
    if (sides.own >= 0).any():
        found = trap_search.look(gallery, None, pictures.select(ranked) if files else None, seed=seed)
    else:
        shelf = pictures.select(ranked) if files else None
        found = trap_search.look(queries, gallery, asking if files else None, shelf, seed=seed)
    taught = pictures.select(pictures.splits != "test")
    if encoder is not None and len(taught):
        learned = run.encode(encoder, taught, "training pictures")
        found = (*found, trap_search.look_in_training(queries, learned, asking, taught))
    return traps.worst_first(found)
