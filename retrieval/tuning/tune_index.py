"""From an index and what is wanted of it to the structure that does it best here."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval.base.files import checksum
from retrieval.base.given import whole
from retrieval.base.text import numbered
from retrieval.engines.by_place import or_place
from retrieval.engines.engine_index import EngineIndex
from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.index.records import StructureRecord
from retrieval.measures import Comparison
from retrieval.tuning import plot
from retrieval.tuning.candidates import candidates
from retrieval.tuning.choice import Point, Wishes, choose, why_none
from retrieval.tuning.exploration import Budget, Trying, bytes_of
from retrieval.tuning.label_loss import losses
from retrieval.tuning.report import TuningReport

RECALL = 0.99
"""What is wanted where neither a recall nor a latency is given."""

MINUTES = 5.0
"""How long a tuning takes at most, about."""


@or_place(write=True)
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
        index: open for writing; or its folder.
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
    k = whole(k, "k")
    if k < 1:
        raise RetrievalError(f"k is {k}; ask for at least one neighbour.")
    if not minutes > 0:
        raise RetrievalError(f"A tuning cannot be done in {minutes:g} minutes; give it more than 0.")
    if not len(index):
        raise RetrievalError(f"The index {index.name!r} is empty; add something to it first.")
    index.must_write()  # said now, not in the end
    if isinstance(index, EngineIndex):
        raise RetrievalError(f"{index.name!r} is searched by its database, which has its own structure; tune a folder.")
    budget = Budget(minutes, strict=True)
    drop_unusable(index)
    mapped = memory is not None and memory < bytes_of(index)
    trying = Trying(index, wishes, k, budget, queries=queries, mapped=mapped, seed=seed)
    measuring = trying.measuring
    if index.storage != "binary":
        from retrieval.index.nearest import kinds  # which brings FAISS

        usable = [found for found in candidates(len(trying.trial), index.dim) if kinds.available(found.factory)]
        trying.everything(usable, index.dim)
    trying.finals()
    points = trying.table()
    chosen = choose([p for p in points if p.in_turns], wishes) or choose(points, wishes)
    lost = _losses(index, trying, chosen)
    if chosen is not None:
        budget.strict = False  # what was measured is built, however long it takes
        trying.take(index, chosen)
    report = TuningReport(
        index=str(index.folder),
        items=len(index),
        dim=index.dim,
        storage=index.storage,
        k=measuring.k,
        wishes=wishes,
        queries=len(measuring.queries),
        held_out=len(trying.held_out) > 0,
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


def drop_unusable(index: Index) -> None:
    """Have an index do without a structure that is damaged, or that needs a library which is not installed here."""
    from retrieval.index.nearest import kinds

    record = index.structure
    if record is not None and not (kinds.available(record.factory) and _is_whole(index, record)):
        index.set_structure(None)


def _is_whole(index: Index, record: StructureRecord) -> bool:
    path = index.folder / record.file
    try:
        return path.stat().st_size == record.size and checksum(path) == record.checksum
    except OSError:
        return False


def _wishes(recall: float | None, memory: int | None, latency: float | None) -> Wishes:
    if recall is not None and not 0 < recall <= 1:
        raise RetrievalError(f"A recall of {recall:g} cannot be reached; give one above 0 and up to 1, such as 0.95.")
    if memory is not None and memory < 1:
        raise RetrievalError(f"Nothing fits into {memory} bytes of memory; give more.")
    if latency is not None and not latency > 0:
        raise RetrievalError(f"No query takes {latency:g} seconds; give a longer latency.")
    return Wishes(RECALL if recall is None and latency is None else recall, memory, latency)


def _losses(index: Index, trying: Trying, chosen: Point | None) -> dict[str, Comparison]:
    if not len(trying.held_out) or chosen is None or chosen.factory not in trying.kept:
        return {}
    labels = numbered(index.labels())[1]
    out = np.isin(index.ids(), trying.held_out)
    trial, measuring = trying.trial, trying.measuring
    search = trial.search(trying.kept[chosen.factory], chosen.parameters)
    return losses(trial.exact, search, measuring.queries, labels[out], labels[~out], measuring.k)
