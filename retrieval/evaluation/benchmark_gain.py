"""What a re-ranker gains on a benchmark: the protocol's measures of the first ranking and of the new one."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from retrieval.base import progress
from retrieval.base.machine import machine
from retrieval.evaluation.benchmark import judged, reported
from retrieval.evaluation.options import DEFAULT, EvaluationOptions
from retrieval.evaluation.paired_comparison import compare_kept
from retrieval.evaluation.prepared import Asked, Prepared, prepare
from retrieval.evaluation.reranking import Gain
from retrieval.images import UnreadableImage
from retrieval.index import Index, NewItem
from retrieval.index.vectors import as_numbers
from retrieval.measures import Ranking
from retrieval.search.rerank import TOP, FirstRanking, Reranked, Reranker, load

Floats = npt.NDArray[np.floating]

ABOVE = 2.0
"""No inner product of unit vectors is as high: what a re-ranker looked at stands above everything else."""


def benchmark_gain(
    name: str,
    folder: str | Path,
    *,
    rerank: str,
    rerank_top: int | None = None,
    model: str | None = None,
    vectors: str | Path | None = None,
    options: EvaluationOptions = DEFAULT,
) -> Gain:
    """Measure what a re-ranker gains on a benchmark, by its official protocol.

    Whoever re-ranks does not know what the protocol ignores: that is left out of both rankings afterwards. What the
    re-ranker did not look at keeps its order behind what it did.

    Args:
        name, folder, model, vectors: as for :func:`retrieval.evaluation.benchmark.benchmark`.
        rerank: as :func:`retrieval.search.rerank.load` takes it. rerank_top: how many hits it looks at.
        options: its limit, its seed, and what the intervals are drawn over.

    Raises:
        RetrievalError: as that function and :func:`retrieval.search.rerank.load`.
    """
    reranker = load(rerank, TOP if rerank_top is None else rerank_top)
    ready = prepare(name, Path(folder), model, vectors, options)
    asked = list(ready.asked())
    first = reported(ready, [judged(ready, one) for one in asked]).kept()
    with _indexed(ready, Path(folder)) as index:
        found, seconds = _reranked(ready, index, reranker)
    kept = np.array([found[row] is not None for row in _rows(ready, first.names)])
    columns = _measured(ready, asked, found, first.names)
    old = {name: column[kept] for name, column in first.measures.items()}
    about = {"names": first.names[kept], "classes": first.classes[kept], "relevant": first.relevant[kept]}
    return Gain(
        method=reranker.name,
        top=reranker.top,
        protocol=f"{ready.protocol.title}: {first.protocol}; the first {reranker.top:,} hits looked at.",
        differences=compare_kept(
            replace(first, **about, measures=old),
            replace(
                first,
                **about,
                subject=f"{first.subject}, re-ranked by {reranker.name}",
                measures={name: column[kept] for name, column in columns.items()},
            ),
            seed=options.seed,
        ),
        seconds=seconds,
        unread=sum(len(one.unread) for one in found if one is not None),
        unreadable=int((~kept).sum()),
        machine=machine(),
    )


@contextmanager
def _indexed(ready: Prepared, folder: Path) -> Iterator[Index]:
    """The gallery as an index, for as long as it is needed; ids are the gallery's places."""
    gallery, files = ready.gallery, ready.pictures.files or ()
    codes = gallery.vectors.dtype == np.uint8
    width = gallery.vectors.shape[1]
    with tempfile.TemporaryDirectory(prefix="retrieval-") as place:
        index = Index.create(
            Path(place) / "gallery",
            8 * width if codes else width,
            root=str(folder.absolute()),
            encoder_hash="" if ready.encoder is None else ready.encoder.hash,
            details={},
            storage="binary" if codes else "float32",
        )
        with index:
            rows = ready.ranked[ready.answering].tolist()
            names = ready.pictures.names
            paths = [files[row].relative_to(folder).as_posix() if files else names[row] for row in rows]
            index.add(gallery.vectors, [NewItem(path) for path in paths])
            yield index


def _reranked(ready: Prepared, index: Index, reranker: Reranker) -> tuple[list[Reranked | None], dict[str, float]]:
    """Each query's hits in their new order, None where its file cannot be read; and a query's mean times."""
    count, spent = len(ready.queries), np.zeros(2)
    # no re-ranker looks at a part of a picture
    whole = ready.encoder is not None and ready.official.boxes is None and ready.pictures.files is not None
    found: list[Reranked | None] = []
    with progress.bar(count, "Ranking anew", "queries") as bar:
        for row, own in enumerate(ready.own.tolist()):
            bar.update(1)
            itself = (own,) if own >= 0 else ()
            picture = (ready.pictures.files or ())[ready.official.asks[ready.asking[row]]] if whole else None
            began = time.perf_counter()
            vector = as_numbers(ready.queries.vectors[row])
            scores, ids = (
                one[0] for one in index.search(vector[None], reranker.top, exclude=[itself] if itself else None)
            )
            there = ids >= 0
            first = FirstRanking(vector, ids[there], scores[there], itself, wanted=reranker.top, picture=picture)
            searched = time.perf_counter()
            try:
                found.append(reranker(index, first))
            except UnreadableImage:
                found.append(None)
            spent += searched - began, time.perf_counter() - searched
    return found, dict(zip(("search", "rerank"), (spent / count).tolist(), strict=True))


def _measured(
    ready: Prepared, asked: list[Asked], found: list[Reranked | None], names: npt.NDArray[np.str_]
) -> dict[str, npt.NDArray[np.float64]]:
    """Each measure of the new rankings, in the order of the queries that count; NaN where one is not asked."""
    turn = np.full(len(ready.queries), -1)
    turn[_rows(ready, names)] = np.arange(len(names))
    shelf = as_numbers(ready.gallery.vectors)
    everything = np.arange(len(shelf))
    columns: dict[str, npt.NDArray[np.float64]] = {}
    sets = ready.gallery.sets
    known = np.asarray(ready.gallery.labels >= 0 if sets is None else sets.any(axis=1))
    for one in asked:
        for place, row in enumerate(one.rows.tolist()):
            anew = found[row]
            if anew is None or turn[row] < 0:
                continue
            if one.relevant is None:
                right, seen = _right(ready, row), known.copy()
            else:
                right, seen = np.isin(everything, one.relevant[place]), np.ones(len(shelf), bool)
            if one.among is not None:
                seen &= np.isin(everything, one.among)
            if one.ignored is not None:
                seen[one.ignored[place]] = False
            if ready.own[row] >= 0:
                seen[ready.own[row]] = False
            protocol = ready.protocol
            if (right & seen).any():
                scores = np.vecdot(shelf, as_numbers(ready.queries.vectors[row])).astype(np.float64)
                scores[anew.ids] = ABOVE + _levels(anew)
                ranking = Ranking.of(scores[seen], right[seen])
                values = {name: measure(ranking) for name, measure in protocol.measures.items()}
            else:
                values = dict.fromkeys(protocol.zeros, 0.0)
            for name, value in values.items():
                column = columns.setdefault(f"{one.setting.name} {name}".strip(), np.full(len(names), np.nan))
                column[turn[row]] = value
    return columns


def _right(ready: Prepared, row: int) -> npt.NDArray[np.bool_]:
    """bool (n,), which of the gallery have the query's label, or share one with it."""
    if ready.gallery.sets is None or ready.queries.sets is None:
        return np.asarray(ready.gallery.labels == ready.queries.labels[row])
    return np.asarray((ready.gallery.sets & ready.queries.sets[row]).any(axis=1))


def _levels(anew: Reranked) -> Floats:
    """A number for each hit, higher is better; hits that both scores leave equal share one."""
    second = np.where(np.isnan(anew.reranked), -np.inf, anew.reranked)
    order = np.stack([second, anew.scores.astype(np.float64)])
    return np.unique(order, axis=1, return_inverse=True)[1].ravel().astype(np.float64)


def _rows(ready: Prepared, names: npt.NDArray[np.str_]) -> npt.NDArray[np.int64]:
    """Where the queries of these names stand."""
    place = {name: row for row, name in enumerate(ready.queries.names.tolist())}
    return np.array([place[name] for name in names.tolist()])
