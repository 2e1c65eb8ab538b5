"""What an index gets where nobody asked for anything: exact search as long as that is fast, then recall 0.99."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped,unused-ignore]

from retrieval.base.given import seeded
from retrieval.base.progress import DELAY, note
from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.tuning.candidates import FEWEST, PER_LIST, in_few_numbers, priced, projections
from retrieval.tuning.choice import EXACT, Wishes, choose
from retrieval.tuning.exploration import Budget, OutOfTimeError, Trying
from retrieval.tuning.held_out import Trial
from retrieval.tuning.tune_index import RECALL, drop_unusable

FAST_ENOUGH = 0.01
"""Seconds that one exact query may take on one thread, so that search stays exact."""

K = 10

STALE = 0.1
"""Share of items that came or went since a structure was built, above which it is built again."""

MINUTES = 10.0
"""How long a structure that nobody asked for may take, from the first look to the last vector."""

_TIMED = 9
"""Exact queries that are timed; their median counts."""

_MANY = 5_000_000
"""Vectors from which lists are tried before graphs, which would take hours to build."""


def default_structure(
    index: Index, *, memory: int | None = None, minutes: float = MINUTES, seed: int = 0
) -> str | None:
    """See to it that an index is fast to search, and leave it alone where it is.

    - A structure that is whole and can be used here, and of which less than a tenth has changed, stays.
    - One that a tuning chose is built again, with more effort where it has come to need that for the recall. So is
      exact search kept where a tuning chose that. Neither holds for more than twice as many items.
    - Otherwise search is exact as long as one query takes at most :data:`FAST_ENOUGH` seconds, as measured here.
    - Otherwise the first of a short list (:func:`short_list`) that reaches recall@10 of 0.99 on vectors held out is
      built over everything; exact search stays where none does, and where there is no time to build it.

    The index is whole all the while, and searched exactly until the structure is there; so this may be interrupted.

    Args:
        index: open for writing.
        memory: most bytes of the structure and the stored vectors.
        minutes: how long it may take. What would take longer, by estimate, is not begun; what does is given up.
        seed: of what is held out.

    Returns:
        None if the index is as fast as it is to be; otherwise, that there was no time for that, a sentence.

    Raises:
        RetrievalError: a segment is damaged, or the disk is full.
    """
    if not len(index) or index.storage == "binary":
        return None
    drop_unusable(index)
    if is_fresh(index):
        return None
    aim, first = _tuned(index) or (_Aim(RECALL, K), None)
    if first == EXACT or (first is None and seconds_exact(index, seed) <= FAST_ENOUGH):
        index.set_structure(None)
        return None
    wishes = Wishes(aim.recall, memory)
    budget = Budget(minutes, strict=True)
    trying = Trying(index, wishes, aim.k, budget, seed=seed)
    factories = [*([] if first is None else [first]), *short_list(len(index), index.dim)]
    late = False
    try:
        for factory in dict.fromkeys(factories):
            if not trying.fits(factory, index.dim):
                continue
            seconds = sum(2 * once for once, _ in trying.prices([priced(factory)]))  # tried without what is held out
            if seconds > budget.left():
                late = True
                continue
            if seconds > DELAY:
                note(f"Making a search structure, in at most {minutes:g} minutes; until then the index is exact.")
            try:
                trying.add(factory)
            except RetrievalError:  # what a tuning chose elsewhere may need a library that is not here
                continue
            chosen = choose(trying.table(), wishes)
            if chosen is not None and chosen.factory != EXACT:
                trying.take(index, chosen)
                return None
    except OutOfTimeError:
        late = True
    index.set_structure(None)
    if not late:
        return None
    return (
        f"search is exact: a structure for {len(index):,} vectors takes longer than {minutes:g} minutes here; "
        "`retrieval tune --minutes` gives it more"
    )


def is_fresh(index: Index) -> bool:
    """Whether most of what a structure holds is in the index, and the other way round."""
    record = index.structure
    if record is None:
        return False
    there = np.isin(index.ids(), record.ids, assume_unique=True)
    gone, came = record.items - int(there.sum()), int((~there).sum())
    return gone + came <= STALE * len(index)


def short_list(n: int, d: int) -> list[str]:
    """What is tried by default for n vectors of d numbers, the first choice first; nothing that needs a library besides
    FAISS, so that the index can be searched wherever this program is installed."""
    if n < FEWEST:
        return []
    quick = in_few_numbers(n, d)[-1:]
    graphs = [*(f"PCA{width},HNSW32_SQ8" for width in projections(n, d)[:1] if d >= 96), "HNSW32_SQ8", "HNSW32,Flat"]
    if n < _MANY:
        return [*quick, *graphs]
    lists = 2 ** int(np.log2(min(16 * n**0.5, n / PER_LIST)))
    return [*quick, f"IVF{lists},SQ8", *graphs]


def seconds_exact(index: Index, seed: int = 0) -> float:
    """How long one exact query takes on one thread: the median of a few, by vectors of the index itself."""
    trial = Trial(index, np.empty(0, np.int64))
    rows = seeded(seed).choice(len(trial), _TIMED + 1)
    times = []
    with threadpool_limits(1):
        for row in rows:
            start = time.process_time()
            trial.exact(trial.vectors[row : row + 1], K)
            times.append(time.process_time() - start)
    return float(np.median(times[1:]))  # the first one loads what the others find loaded


class _Aim(NamedTuple):
    recall: float
    k: int


def _tuned(index: Index) -> tuple[_Aim, str] | None:
    """What a tuning was for and what it chose, if there was one of about as many items."""
    tuning = index.tuning
    try:
        if tuning is None or tuning["chosen"] is None or len(index) > 2 * int(tuning["items"]):
            return None
        reached, wanted = float(tuning["chosen"]["recall"]), tuning["wishes"]["recall"]
        recall = min(RECALL, reached) if wanted is None else float(wanted)
        factory = str(tuning["chosen"]["factory"])
        # An earlier release tried NSG, whose building need not end.
        return None if factory.startswith("NSG") else (_Aim(recall, max(1, int(tuning["k"]))), factory)
    except (KeyError, TypeError, ValueError):  # not what a tuning of this release records
        return None
