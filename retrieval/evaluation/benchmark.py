"""From one of the field's benchmarks, and a model or vectors of its pictures, to a report by the official protocol."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from retrieval import measures, protocols, traps
from retrieval.base import progress
from retrieval.base.text import printable
from retrieval.errors import RetrievalError
from retrieval.evaluation import figures, trap_search
from retrieval.evaluation.by_name import evaluate_one_shot
from retrieval.evaluation.distractors import DistractorFile
from retrieval.evaluation.labelled_vectors import encode
from retrieval.evaluation.one_shot import OneShot
from retrieval.evaluation.options import DEFAULT, EvaluationOptions
from retrieval.evaluation.prepared import Asked, Prepared, prepare
from retrieval.evaluation.report import Measure, Report
from retrieval.evaluation.run import CONFIDENCE, Evaluation
from retrieval.measures.one_ranking import best_pairs, one_ranking
from retrieval.measures.streaming import MEMORY
from retrieval.protocols import Protocol, Setting

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
) -> Report | OneShot:
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
    if protocols.named(name).trials:
        return _trials(str(folder), model, options)
    if distractors is None and memory is not None:
        raise RetrievalError("--memory is for the scores of distractors: give --distractors, too, or leave it out")
    if distractors is not None and protocols.named(name).pairs is not None:
        raise RetrievalError(f"{name} ranks all pairs of its pictures: leave --distractors out")
    far = None if distractors is None else DistractorFile(Path(distractors))
    ready = prepare(name, Path(folder), model, vectors, options)
    run = ready.run
    if far is not None:
        run.notes.append(
            f"{far.shape[0]:,} distractors of {printable(Path(distractors or ''))} are ranked with the gallery, scaled "
            "to unit length."
        )
    run.traps(lambda: _traps(ready))
    return reported(ready, [judged(ready, asked, far, memory or MEMORY) for asked in ready.asked()])


def _trials(data: str, model: str | None, options: EvaluationOptions) -> OneShot:
    """One-shot trials, as `retrieval evaluate --oneshot` has them."""
    if model is None:
        raise RetrievalError("one-shot trials are drawings that a model looks at: give --model")
    if replace(options, seed=0) != EvaluationOptions():
        raise RetrievalError("one-shot trials take --seed alone: leave the other options out")
    return evaluate_one_shot(model, data, seed=options.seed)


@dataclass(frozen=True)
class Judged:
    """What one setting came to.

    Attributes:
        rows: int64 (m,), places among the queries of those that count in it. rankings: of them.
        unanswered: int64, places of those that ask in it and have no right answer.
    """

    setting: Setting
    rows: Ints
    rankings: measures.Rankings
    unanswered: Ints

    def called(self, name: str) -> str:
        return f"{self.setting.name} {name}".strip()

    def counted(self, zero: bool) -> Ints:
        """int64, the queries that a measure is of; `zero`: one for which those without a right answer count 0."""
        return np.concatenate([self.rows, self.unanswered]) if zero else self.rows

    def values(self, name: str, zero: bool) -> Doubles:
        """What a measure is for each of these."""
        found = self.rankings.values[name]
        return np.concatenate([found, np.zeros(len(self.unanswered))]) if zero else found

    def chance(self, name: str, zero: bool) -> float:
        found = self.rankings.chance[name]
        return found * len(self.rows) / len(self.counted(zero))


def judged(ready: Prepared, asked: Asked, distractors: DistractorFile | None = None, memory: int = MEMORY) -> Judged:
    """The rankings of one setting."""
    queries, label, own = ready.queries, asked.relevant is None, ready.own[asked.rows]
    gallery, relevant, ignored = ready.gallery, asked.relevant, asked.ignored
    if asked.among is not None:
        gallery = gallery.select(asked.among)
        place = np.full(len(ready.gallery), -1)
        place[asked.among] = np.arange(len(asked.among))
        own = np.where(own >= 0, place[own], -1)
        relevant, ignored = _moved(relevant, place), _moved(ignored, place)
    what = f"ranking {asked.setting.name}".strip()
    with ready.run.timed(what), progress.bar(len(asked.rows), what.capitalize(), "queries") as bar:
        rankings = measures.rank(
            queries.vectors[asked.rows],
            queries.truth[asked.rows] if label else None,
            gallery.vectors,
            gallery.truth if label else None,
            own=own,
            ignore=ignored,
            relevant=relevant,
            distractors=distractors,
            memory=memory,
            measures=ready.protocol.measures,
            neighbours=None,
            duplicate_score=ready.run.options.duplicate_score,
            advance=bar.update,
        )
    return Judged(asked.setting, asked.rows[rankings.queries], rankings, np.delete(asked.rows, rankings.queries))


def _moved(lists: list[Ints] | None, place: Ints) -> list[Ints] | None:
    """Lists of places in another gallery, without what is not in it."""
    if lists is None:
        return None
    placed = [place[one] for one in lists]
    return [one[one >= 0] for one in placed]


def reported(ready: Prepared, settings: list[Judged]) -> Report:
    """What the settings came to, as a report."""
    run, protocol = ready.run, ready.protocol
    answered = np.unique(np.concatenate([one.rows for one in settings]))
    rows = np.unique(np.concatenate([one.counted(bool(protocol.zeros)) for one in settings]))
    labels = ready.queries.labels
    over = run.over == "classes" and bool((labels[rows] >= 0).all())
    run.over = "classes" if over else "queries"
    figures_: list[Measure] = []
    columns: dict[str, Doubles] = {}
    with run.timed("intervals"):
        for one in settings:
            columns |= {one.called(name): np.full(len(rows), np.nan) for name in protocol.measures}
            found: dict[str, measures.Interval] = {}
            for zero in {name in protocol.zeros for name in protocol.measures}:
                names = [name for name in protocol.measures if (name in protocol.zeros) == zero]
                counted = one.counted(zero)
                table = np.stack([one.values(name, zero) for name in names], axis=1)
                of = labels[counted] if over else None
                intervals = measures.mean_intervals(table, over=of, limits=protocol.limits, confidence=CONFIDENCE)
                found |= dict(zip(names, intervals, strict=True))
                for name, values in zip(names, table.T, strict=True):
                    columns[one.called(name)][np.searchsorted(rows, counted)] = values
            for name in protocol.measures:
                figures_.append(Measure.of(one.called(name), found[name], one.chance(name, name in protocol.zeros)))
    if protocol.clusters or run.options.clustering:
        if (labels < 0).all():
            raise RetrievalError(
                f"the pictures of {protocol.title} have no classes to compare with: leave --clustering out"
            )
        with run.timed("clustering"):
            figures_ += figures.clustering(ready.queries, seed=run.options.seed)
    if protocol.pairs is not None:
        with run.timed("all pairs"):
            figures_ += _of_pairs(ready, protocol.pairs)
    _explain(run, protocol, settings)
    relevant = np.zeros(len(rows), np.int64)
    for one in reversed(settings):
        relevant[np.searchsorted(rows, one.rows)] = one.rankings.relevant
    asked = ready.queries
    return Report(
        subject=run.subject,
        data=run.data,
        protocol=protocol.asked.format(queries=f"{len(answered):,}", gallery=f"{settings[0].rankings.gallery:,}"),
        measures=tuple(figures_),
        counts={
            "queries": len(answered),
            "gallery": settings[0].rankings.gallery,
            "classes": len(np.unique(labels[answered][labels[answered] >= 0])),
            "queries_without_label": max(one.rankings.unlabelled_queries for one in settings),
            "queries_without_relevant": len(asked) - len(answered),
            "gallery_without_label": settings[0].rankings.unlabelled_gallery,
            "near_duplicates": sum(one.rankings.near_duplicates_in_all for one in settings),
            "unreadable": run.unreadable,
            "without_direction": run.without_direction,
        },
        tied=float(np.mean(np.concatenate([one.rankings.tied for one in settings]))),
        notes=tuple(run.notes),
        seconds=run.seconds,
        seed=run.options.seed,
        over=run.over,
        confidence=CONFIDENCE,
        per_query={
            "name": asked.names[rows],
            "label": labels[rows],
            "class": np.array([asked.shown(row) for row in rows], dtype=np.str_),
            "relevant": relevant,
            **columns,
        },
        findings=run.findings,
    )


def _of_pairs(ready: Prepared, count: int) -> list[Measure]:
    """What the best pairs of all queries, also of those that nothing answers, are worth in one ranking."""
    (asked,) = ready.asked()
    found = best_pairs(ready.queries.numbers, ready.gallery.numbers, count)
    width = len(ready.gallery)
    lists = asked.relevant or []
    truth = np.concatenate([row * width + its for row, its in zip(asked.rows.tolist(), lists, strict=True)])
    positives = np.zeros(len(ready.queries), np.int64)
    positives[asked.rows] = [len(its) for its in lists]
    measured = one_ranking(
        found,
        np.isin(found.queries * width + found.items, truth),
        positives,
        ks=ready.protocol.found_at,
        confidence=CONFIDENCE,
        seed=ready.run.options.seed,
    )
    ready.run.notes.append(
        f"Of all pairs the best {len(found.scores):,} are one ranking, of {len(ready.queries):,} queries, "
        f"{int((positives > 0).sum()):,} of which are copies; its intervals are drawn over queries."
    )
    return [
        Measure.of("µAP", measured.average_precision),
        Measure.of("µAP, wrong first", measured.wrong_first),
        Measure.of("recall at 90 % precision", measured.recall),
        *(Measure.of(f"recall@{k} of the best pairs", interval) for k, interval in measured.found.items()),
    ]


def _explain(run: Evaluation, protocol: Protocol, settings: list[Judged]) -> None:
    """What a reader of the figures should know."""
    if len(settings) > 1:
        counts = ", ".join(f"{one.setting.name} {len(one.rows):,}" for one in settings)
        run.notes.append(f"Queries with a right answer: {counts}.")
    ignored = [one for one in settings if one.setting.ignored is not None]
    if ignored:
        run.notes.append("What the protocol ignores is neither right nor wrong and takes no place in a ranking.")
    if protocol.differs:
        run.notes.append(protocol.differs)
    for one in protocol.published:
        shown = ", ".join(f"{name} {value:.4f}" for name, value in one.figures.items())
        run.notes.append(f"Published: {one.what}: {shown} ({one.source}).")


def _never_seen(ready: Prepared) -> list[Ints]:
    """For each query what is ignored in every setting in which it asks: copies of it there do not answer it."""
    found: dict[int, Ints] = {}
    for asked in ready.asked():
        for place, row in enumerate(asked.rows.tolist()):
            its = np.zeros(0, np.int64) if asked.ignored is None else asked.ignored[place]
            found[row] = np.intersect1d(found[row], its) if row in found else its
    return [found.get(row, np.zeros(0, np.int64)) for row in range(len(ready.queries))]


def _traps(ready: Prepared) -> tuple[traps.Finding, ...]:
    """Near-duplicates of queries in the gallery and in the training, and what else `evaluate --traps` looks for.

    Where the vectors are somebody else's, there are none of the training pictures, which are then compared by their
    perceptual hashes alone.
    """
    pictures, seed = ready.pictures, ready.run.options.seed
    asking, shelf = pictures.select(ready.official.asks), pictures.select(ready.ranked)
    queries, gallery = ready.queries.at(ready.asking), ready.gallery.at(ready.answering)
    if (ready.own >= 0).any():
        found = trap_search.look(gallery, None, shelf, seed=seed)
    else:
        found = trap_search.look(queries, gallery, asking, shelf, ignored=_never_seen(ready), seed=seed)
    taught = pictures.select(pictures.splits != "test")
    if len(taught):
        learned = None if ready.encoder is None else encode(ready.encoder, taught, "training pictures")
        if learned is None or len(learned):
            found = (*found, trap_search.look_in_training(queries, learned, asking, taught))
    return traps.worst_first(found)
