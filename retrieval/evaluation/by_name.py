"""Whatever a person names: a model, an index, or a file of vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval import datasets
from retrieval.encoder import Encoder
from retrieval.errors import RetrievalError
from retrieval.evaluation import vector_files
from retrieval.evaluation.of_encoder import evaluate_encoder
from retrieval.evaluation.of_index import evaluate_index
from retrieval.evaluation.of_vectors import evaluate_vectors
from retrieval.evaluation.report import Report
from retrieval.index import Index
from retrieval.index.folder import is_index

if TYPE_CHECKING:
    from retrieval.evaluation.one_shot import Contestant, OneShot
    from retrieval.evaluation.reranking import Gain

_OF_MODELS = ("data", "within", "classifier")
_OF_VECTORS = ("labels", "query_labels", "codes", "graded")


def evaluate(
    subject: str,
    *,
    data: str | None = None,
    queries: str | None = None,
    over: Any = None,
    **options: Any,
) -> Report:
    """Measure what a name stands for.

    Args:
        subject: a folder with an index; a file of vectors (``.npy``, ``.h5``); or a model, as
            :meth:`retrieval.encoder.Encoder.load` takes it.
        data: labelled pictures, for a model. queries: who asks.
        over: what intervals are drawn over; None: as suits the subject.
        options: those of :func:`retrieval.evaluation.evaluate_encoder`, :func:`retrieval.evaluation.evaluate_index` and
            :func:`retrieval.evaluation.evaluate_vectors`, by name; those of the others have to be empty.

    Raises:
        RetrievalError: an option says nothing about such a subject, or what these functions raise.
    """
    given = {"data": data} | options
    shared = {name: value for name, value in options.items() if name not in _OF_MODELS + _OF_VECTORS}
    shared["subject"] = subject
    if Path(subject).suffix in vector_files.SUFFIXES and not Path(subject).is_dir():
        _refuse(subject, "vectors, measured by their labels", given, _OF_MODELS)
        own = {name: options[name] for name in _OF_VECTORS if name in options}
        return evaluate_vectors(subject, queries=queries, over=over or "queries", **own, **shared)
    if is_index(subject):
        _refuse(subject, "an index and measured by its own pictures", given, _OF_MODELS + _OF_VECTORS)
        asking = None if queries is None else datasets.load(queries)
        encoder = None if asking is None else Encoder.load(subject, threads=1 if asking.files else None)
        with Index.open(subject) as index:
            return evaluate_index(index, queries=asking, encoder=encoder, over=over or "queries", **shared)
    _refuse(subject, "a model, measured on pictures", given, _OF_VECTORS)
    if data is None:
        raise RetrievalError(f"{subject!r} is no index, so it needs labelled pictures: name them after it")
    pictures = datasets.load(data)
    asking = None if queries is None else datasets.load(queries)
    from_files = pictures.files is not None or (asking is not None and asking.files is not None)
    encoder = Encoder.load(subject, threads=1 if from_files else None)
    encoder.optimise()
    own = {name: options[name] for name in ("within", "classifier") if name in options}
    return evaluate_encoder(encoder, pictures, queries=asking, over=over, **own, **shared)


def evaluate_gain(
    subject: str,
    rerank_by: str,
    *,
    top: int | None = None,
    queries: str | None = None,
    limit: int | None = None,
    over: str | None = None,
    seed: int = 0,
) -> Gain:
    """Measure what a re-ranker gains on an index.

    Args:
        subject: a folder with an index.
        rerank_by: as :func:`retrieval.search.rerank.load` takes it. top: how many hits it looks at.
        queries: who asks; None: the index's own pictures.
        limit, over, seed: as for :func:`retrieval.evaluation.reranking.evaluate_reranked`.

    Raises:
        RetrievalError: it is no index, or what these functions raise.
    """
    from retrieval.evaluation.reranking import evaluate_reranked
    from retrieval.search import rerank  # here, as most evaluations have none

    reranker = rerank.load(rerank_by, rerank.TOP if top is None else top)
    if not is_index(subject):
        raise RetrievalError(f"{subject!r} is no index, and --rerank orders what an index finds: give an index")
    asking = None if queries is None else datasets.load(queries)
    encoder = None if asking is None else Encoder.load(subject, threads=1 if asking.files else None)
    with Index.open(subject) as index:
        return evaluate_reranked(
            index,
            reranker,
            queries=asking,
            encoder=encoder,
            limit=limit,
            over=over or "queries",
            seed=seed,
            subject=subject,
        )


def evaluate_one_shot(
    subject: str,
    data: str | None,
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


def _refuse(subject: str, what: str, given: dict[str, Any], names: tuple[str, ...]) -> None:
    for name in names:
        value = given.get(name)
        if value not in (None, False):
            said = f"--{name.replace('_', '-')}" if name != "data" else name
            said = said if value is True else f"{said} {value!r}"
            raise RetrievalError(
                f"{subject!r} is {what}, so {said} says nothing: leave it out, or give who asks with --queries"
            )
