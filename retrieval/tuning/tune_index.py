"""From an index and what is wanted of it to the structure that does it best here."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval.base.text import numbered
from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.measures import Comparison
from retrieval.tuning import plot
from retrieval.tuning.candidates import candidates
from retrieval.tuning.choice import EXACT, Point, Wishes, choose, why_none
from retrieval.tuning.exploration import Budget, Trying
from retrieval.tuning.held_out import Trial
from retrieval.tuning.label_loss import losses
from retrieval.tuning.present_structure import drop_unusable
from retrieval.tuning.queries import draw
from retrieval.tuning.report import TuningReport
from retrieval.tuning.timing import Measuring

RECALL = 0.99
"""What is wanted where neither a recall nor a latency is given."""

MINUTES = 5.0
"""How long a tuning takes at most, about."""


def tune(
    index: Index,
    *,
    recall: float | None = None,
    memory: int | None = None,
    latency: float | None = None,
    k: int = 10,
    queries: npt.NDArray[Any] | None = None,
    minutes: float = MINUTES,
    seed: int = 0,
) -> TuningReport:
    """Measure what suits an index, and make the best its structure.

    See docs/tuning.md for how it is measured and chosen. The table (as JSON) and its picture are kept with the index.

    Args:
        index: open for writing.
        recall: least mean recall@k; 0.99 if no latency is given either.
        memory: most bytes, of the structure and the stored vectors. Where they alone are more than that they are taken
            to be read from the disk, and the structure alone counts.
        latency: most seconds for a single query. Within it the highest recall is chosen, not the highest speed.
        k: neighbours that a query asks for.
        queries: float32 (nq, dim), unit rows, that are not in the index; vectors of the index are held out if None.
        minutes: how long it may take, about; what there is no time for is left out and named.
        seed: of everything that is drawn.

    Returns:
        The report. If nothing does what is asked, nothing is chosen, the index searches as before, and ``problem`` says
        why.

    Raises:
        RetrievalError: an argument makes no sense, or the index is empty, damaged or open for reading.
    """
    wishes = _wishes(recall, memory, latency)
    if k < 1:
        raise RetrievalError(f"k is {k}; ask for at least one neighbour.")
    if not minutes > 0:
        raise RetrievalError(f"A tuning cannot be done in {minutes:g} minutes; give it more than 0.")
    if not len(index):
        raise RetrievalError(f"The index {str(index.folder)!r} is empty; add something to it first.")
    index.must_write()  # said now, not in the end
    budget = Budget(minutes)
    drop_unusable(index)
    held_out, asked = draw(index, queries, np.random.default_rng(seed))
    trial = Trial(index, held_out)
    measuring = Measuring(trial, asked, k)
    vectors = len(index) * index.dim * 4 if index.storage != "binary" else len(index) * index.dim // 8
    mapped = memory is not None and memory < vectors
    trying = Trying(
        trial,
        measuring,
        wishes,
        budget,
        items=len(index),
        stored=0 if mapped else vectors,
        exact_memory=vectors,
        rebuilt=len(held_out) > 0,
        seed=seed,
    )
    if index.storage != "binary":
        from retrieval.index.nearest import kinds  # which brings FAISS

        usable = [found for found in candidates(len(trial), index.dim) if kinds.available(found.factory)]
        trying.everything(usable, index.dim)
    trying.finals()
    points = trying.table()
    chosen = choose([p for p in points if p.in_turns], wishes) or choose(points, wishes)
    lost = _losses(index, trial, trying, measuring, held_out, chosen, seed)
    if chosen is not None:
        _set(index, chosen, trying, measuring, rebuilt=len(held_out) > 0, seed=seed)
    report = TuningReport(
        index=str(index.folder),
        items=len(index),
        dim=index.dim,
        storage=index.storage,
        k=measuring.k,
        wishes=wishes,
        queries=len(asked),
        held_out=len(held_out) > 0,
        mapped=mapped,
        points=points,
        left_out=trying.left_out,
        chosen=chosen,
        problem=None if chosen is not None else why_none(points, wishes, measuring.k),
        losses=lost,
        minutes=minutes,
        seconds=budget.spent(),
        seed=seed,
    )
    plot.draw(report, index.folder / plot.FILE)
    index.record_tuning(report.to_json())
    return report


def measured(point: Point, k: int, queries: int) -> dict[str, Any]:
    """What is kept with a structure: how well it did when it was chosen."""
    speeds = {"single": point.single, "latency": point.latency, "batched": point.batched}
    interval = {"low": point.low, "high": point.high} if point.low == point.low else {}
    return {"k": k, "queries": queries, "recall": point.recall} | interval | speeds


def _wishes(recall: float | None, memory: int | None, latency: float | None) -> Wishes:
    if recall is not None and not 0 < recall <= 1:
        raise RetrievalError(f"A recall of {recall:g} cannot be reached; give one above 0 and up to 1, such as 0.95.")
    if memory is not None and memory < 1:
        raise RetrievalError(f"Nothing fits into {memory} bytes of memory; give more.")
    if latency is not None and not latency > 0:
        raise RetrievalError(f"No query takes {latency:g} seconds; give a longer latency.")
    return Wishes(RECALL if recall is None and latency is None else recall, memory, latency)


def _losses(
    index: Index,
    trial: Trial,
    trying: Trying,
    measuring: Measuring,
    held_out: npt.NDArray[np.int64],
    chosen: Point | None,
    seed: int,
) -> dict[str, Comparison]:
    if not len(held_out) or chosen is None or chosen.factory not in trying.kept:
        return {}
    labels = numbered(index.labels())[1]
    out = np.isin(index.ids(), held_out)
    search = trial.search(trying.kept[chosen.factory], chosen.parameters)
    return losses(trial.exact, search, measuring.queries, labels[out], labels[~out], measuring.k, seed=seed)


def _set(index: Index, chosen: Point, trying: Trying, measuring: Measuring, *, rebuilt: bool, seed: int) -> None:
    from retrieval.index.nearest import kinds

    if chosen.factory == EXACT:
        index.set_structure(None)
        return
    structure = None if rebuilt else trying.kept.get(chosen.factory)
    if structure is None:
        structure = kinds.build(chosen.factory, index.all_vectors()[1], seed=seed)
    about = measured(chosen, measuring.k, len(measuring.queries))
    index.set_structure(structure, chosen.parameters, measured=about)
