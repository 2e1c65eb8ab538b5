"""Whatever a person names: a model, an index, or a file of vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from retrieval import datasets
from retrieval.datasets import PictureSet
from retrieval.encoder import Encoder
from retrieval.engines.opening import is_index, open_index
from retrieval.errors import RetrievalError
from retrieval.evaluation import vector_files
from retrieval.evaluation.of_encoder import evaluate_encoder
from retrieval.evaluation.of_index import evaluate_index
from retrieval.evaluation.of_vectors import evaluate_vectors
from retrieval.evaluation.options import DEFAULT, EvaluationOptions
from retrieval.evaluation.report import Report
from retrieval.index import Index

if TYPE_CHECKING:
    from retrieval.evaluation.one_shot import Contestant, OneShot
    from retrieval.evaluation.reranking import Gain


def evaluate(
    subject: str,
    *,
    data: str | None = None,
    queries: str | None = None,
    labels: str | None = None,
    query_labels: str | None = None,
    options: EvaluationOptions = DEFAULT,
) -> Report:
    """Measure what a name stands for.

    Args:
        subject: a folder with an index, or its address; a file of vectors (``.npy``, ``.h5``); or a model, as
            :meth:`retrieval.encoder.Encoder.load` takes it.
        data: labelled pictures, for a model. queries: who asks.
        labels, query_labels: files of labels, for vectors.
        options: what to measure, and how.

    Raises:
        RetrievalError: something says nothing about such a subject, or what :func:`.evaluate_encoder`,
            :func:`.evaluate_index` and :func:`.evaluate_vectors` raise.
    """
    options = replace(options, subject=options.subject or subject)
    inputs = {"data": data, "labels": labels, "query_labels": query_labels}
    if Path(subject).suffix in vector_files.SUFFIXES and not Path(subject).is_dir():
        options.check("vectors", subject, **inputs)
        return evaluate_vectors(subject, labels, queries=queries, query_labels=query_labels, options=options)
    if is_index(subject):
        options.check("index", subject, **inputs)
        with open_index(subject) as index:
            asking, encoder = _asking(index, queries)
            options = replace(options, subject=index.name if options.subject == subject else options.subject)
            return evaluate_index(index, queries=asking, encoder=encoder, options=options)
    options.check("model", subject, **inputs)
    if data is None:
        raise RetrievalError(f"{subject!r} is no index, so it needs labelled pictures: name them after it")
    pictures = datasets.load(data)
    asking = None if queries is None else datasets.load(queries)
    from_files = pictures.files is not None or (asking is not None and asking.files is not None)
    encoder = Encoder.load(subject, threads=1 if from_files else None)
    encoder.optimise()
    return evaluate_encoder(encoder, pictures, queries=asking, options=options)


def evaluate_gain(
    subject: str,
    *,
    rerank: str,
    rerank_top: int | None = None,
    queries: str | None = None,
    limit: int | None = None,
    over: str | None = None,
    seed: int = 0,
) -> Gain:
    """Measure what a re-ranker gains on an index.

    Args:
        subject: a folder with an index, or its address.
        rerank: as :func:`retrieval.search.rerank.load` takes it. rerank_top: how many hits it looks at.
        queries: who asks; None: the index's own pictures.
        limit, over, seed: as for :func:`retrieval.evaluation.reranking.evaluate_reranked`.

    Raises:
        RetrievalError: it is no index, or what these functions raise.
    """
    from retrieval.evaluation.reranking import evaluate_reranked
    from retrieval.search.rerank import TOP, load  # here, as most evaluations have none

    reranker = load(rerank, TOP if rerank_top is None else rerank_top)
    if not is_index(subject):
        raise RetrievalError(f"{subject!r} is no index, and --rerank orders what an index finds: give an index")
    with open_index(subject) as index:
        asking, encoder = _asking(index, queries)
        return evaluate_reranked(
            index,
            reranker,
            queries=asking,
            encoder=encoder,
            limit=limit,
            over=over or "queries",
            seed=seed,
            subject=index.name,
        )


def evaluate_one_shot(
    subject: str,
    data: str | None = None,
    *,
    ways: Sequence[int] | None = None,
    shots: Sequence[int] | None = None,
    trials: int | None = None,
    within_groups: bool = False,
    average: int = 1,
    seed: int = 0,
) -> OneShot:
    """Measure a model by one-shot and few-shot trials.

    Args:
        subject: a model, as :meth:`retrieval.encoder.Encoder.load` takes it, or a pair network's run.
        data: Lake's ``all_runs.zip``, or labelled pictures.
        ways, shots, trials, within_groups: as for :func:`retrieval.evaluation.one_shot.evaluate_trials`; the runs of an
            archive say these themselves.
        average, seed: as for both.

    Raises:
        RetrievalError: there is no data, an option says nothing about it, or what these functions raise.
    """
    from retrieval.datasets import lake_runs  # here, as most evaluations have no trials
    from retrieval.evaluation import one_shot

    if data is None:
        raise RetrievalError("trials need labelled pictures, or Lake's all_runs.zip: name them after the model")
    file = Path(data)
    if lake_runs.recognises(file):
        given = {"--ways": ways, "--shots": shots, "--trials": trials, "--within-groups": within_groups or None}
        for name, value in given.items():
            if value is not None:
                raise RetrievalError(f"{data!r} holds runs that are given, so {name} says nothing: leave it out")
        contestant = _contestant(subject, average, seed)
        return one_shot.evaluate_runs(contestant, lake_runs.load(file), seed=seed)
    contestant = _contestant(subject, average, seed)
    return one_shot.evaluate_trials(
        contestant,
        datasets.load(data),
        ways=one_shot.WAYS if ways is None else ways,
        shots=one_shot.SHOTS if shots is None else shots,
        trials=one_shot.TRIALS if trials is None else trials,
        within_groups=within_groups,
        seed=seed,
    )


def _contestant(subject: str, average: int, seed: int) -> Contestant:
    """A model that answers trials: an encoder, or a pair network."""
    from retrieval.evaluation import one_shot

    if not (Path(subject) / "pair").is_dir():
        encoder = Encoder.load(subject)
        contestant = one_shot.by_vectors(encoder, average=average, seed=seed, name=subject)
        encoder.optimise()
        return contestant
    from retrieval.encoder.pair_scorer import PairScorer

    if average != 1:
        raise RetrievalError(f"{subject!r} is a pair network, without vectors to average: leave --average out")
    return one_shot.by_pairs(PairScorer.load(subject), subject)


def _asking(index: Index, queries: str | None) -> tuple[PictureSet | None, Encoder | None]:
    """The pictures that ask an index, and its encoder; None where it asks itself."""
    if queries is None:
        return None, None
    asking = datasets.load(queries)
    return asking, Encoder.load(index.folder, threads=1 if asking.files else None)
