"""A new ranking from marks: what was right and wrong among the hits says where else to look.

A logistic regression over the vectors is fitted to the query and the hits marked right against the hits marked wrong
and, lightly, against items at random, which are mostly no matches. Its direction is then looked for instead of the
query. docs/marks.md has the figures that this way, and the weights below, were chosen by.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.base.given import seeded
from retrieval.images import Skipped
from retrieval.index import Index
from retrieval.index.vectors import as_numbers
from retrieval.search.answer import Answer
from retrieval.search.marks import Mark
from retrieval.search.rerank.query_expansion import first_scores
from retrieval.search.rerank.reranker import FirstRanking, Heeded, Reranked, reordered, unchanged

OTHERS = 100
"""Items at random that count as wrong ..."""

OTHERS_WEIGHT = 3.0
"""... and how much all of them count together, where a mark counts 1."""

RIDGE = 3.0
"""How much the squared length of the regression's weights costs, halved."""

CONSTANT = 10.0
"""The coordinate that stands for the intercept: so large that the intercept costs next to nothing."""

NEWEST = 1000
"""Marks of a query that are learned from; those before them are left out."""

CANDIDATES = 10_000
"""Binary codes, nearest to the code of the direction, that are ordered by the direction itself."""

_STEPS = 100
_CLOSE = 1e-10

Doubles = NDArray[np.float64]
Ids = NDArray[np.int64]


def direction(
    query: Doubles,
    right: Doubles,
    wrong: Doubles,
    others: Doubles,
    *,
    weight: float = OTHERS_WEIGHT,
    ridge: float = RIDGE,
) -> Doubles:
    """Where to look instead of at the query: the weights of a ridge logistic regression, scaled to unit length.

    It minimises ``Σ cᵢ log(1 + exp(−yᵢ (w·xᵢ + b))) + ridge/2 (|w|² + (b / CONSTANT)²)`` by Newton's method, where y is
    1 for the query and what is right and −1 for the rest, and c is 1, but for all of `others` together `weight`.

    Args:
        query: float64 (d,), of unit length. right, wrong, others: float64 (n, d) each, likewise; any may be empty.
        weight: of all `others` together. ridge: above 0.

    Returns:
        float64 (d,), of unit length; the query itself where the weights are zero.
    """
    rows = np.concatenate([query[None], right, wrong, others])
    y = np.repeat([1.0, -1.0], [1 + len(right), len(wrong) + len(others)])
    c = np.ones(len(rows))
    c[len(rows) - len(others) :] = weight / max(len(others), 1)
    # the weights lie in the span of the rows: few numbers, however long the vectors are
    basis = np.linalg.qr(rows.T)[0] if len(rows) < rows.shape[1] else np.eye(rows.shape[1])
    inside = np.column_stack([rows @ basis, np.full(len(rows), CONSTANT)])
    found = basis @ _regression(inside, y, c, ridge)[:-1]
    length = np.linalg.norm(found)
    return query if length == 0 else np.asarray(found / length)


def _regression(x: Doubles, y: Doubles, c: Doubles, ridge: float) -> Doubles:
    """Newton's method with steps that are halved until they lead down."""
    w = np.zeros(x.shape[1])

    def cost(at: Doubles) -> float:
        return float(c @ np.logaddexp(0, -y * (x @ at)) + ridge / 2 * (at @ at))

    now = cost(w)
    for _ in range(_STEPS):
        doubt = 1 / (1 + np.exp(y * (x @ w)))
        slope = ridge * w - x.T @ (c * y * doubt)
        curve = (x.T * (c * doubt * (1 - doubt))) @ x + ridge * np.eye(len(w))
        step = np.linalg.solve(curve, slope)
        if slope @ step < _CLOSE**2:
            break
        size = 1.0
        while (new := cost(w - size * step)) > now and size > _CLOSE:
            size /= 2
        w, now = w - size * step, new
    return w


@dataclass(frozen=True)
class _Chosen:
    """The marks by the names of their queries, and the items at random, for one generation of an index."""

    index: Index
    generation: int
    places: dict[str, list[int]]
    others: Ids
    vectors: Doubles


class FromMarks:
    """Orders the hits of a query by what its marks teach. A query without marks keeps its ranking.

    All items are looked at, as in any search: the learned direction is asked of the index, filter and all, so that hits
    come in that the query alone did not have. (Of more than :data:`CANDIDATES` binary codes, those nearest to the code
    of the direction.) Where the least score is given, only what reaches it is ordered, and of that the best `top` or as
    many as were asked for. Hits marked wrong stand behind all others; those marked right stand where they belong.

    Args:
        marks: of this query and of others, older ones first.
        seed: of the items at random.

    Attributes:
        name: as `--rerank` would have it. top: how many hits of the query alone it looks at, where the least score is
            given.
    """

    name = "marks"
    top = 1000

    def __init__(self, marks: Sequence[Mark], seed: int = 0) -> None:
        self.marks = tuple(marks)
        self._seed = seed
        self._last: _Chosen | None = None
        self._choosing = threading.Lock()

    def __call__(self, index: Index, first: FirstRanking) -> Reranked:
        """Learn, and ask again; the score is the inner product with what was learned."""
        chosen = self._chosen(index)
        places = sorted({place for name in first.known_by for place in chosen.places.get(name, ())})
        if not places:
            return unchanged(first.ids, first.scores)
        marked, left_out = self._items(index, places)
        ids = {said: np.array([id_ for id_ in marked if marked[id_] is said], np.int64) for said in (True, False)}
        heeded = Heeded(tuple(ids[True].tolist()), tuple(ids[False].tolist()), tuple(left_out), frozenset(places))
        if not marked:
            return unchanged(first.ids, first.scores)._replace(heeded=heeded)
        query = as_numbers(first.vector, index.storage, np.float64)
        right, wrong = (as_numbers(index.vectors(ids[said]), dtype=np.float64) for said in (True, False))
        unknown = ~np.isin(chosen.others, [*marked, *first.excluded])
        towards = direction(query, right, wrong, chosen.vectors[unknown])
        found = self._found(index, first, query, towards, len(ids[False]))
        last = np.isin(found.ids, ids[False])
        order = np.concatenate([np.flatnonzero(~last), np.flatnonzero(last)])
        wanted = order if first.wanted is None else order[: max(first.wanted, 1)]
        return Reranked(found.ids[wanted], found.scores[wanted], found.reranked[wanted], heeded=heeded)

    def others(self, answers: Sequence[Answer]) -> int:
        """How many of its marks belong to no query of these answers."""
        own = {place for answer in answers if answer.marks is not None for place in answer.marks.places}
        return len(self.marks) - len(own)

    def _found(self, index: Index, first: FirstRanking, query: Doubles, towards: Doubles, more: int) -> Reranked:
        """What may be found, by the learned direction; as many more than wanted as will go to the end."""
        if first.wanted is None:
            vectors = as_numbers(index.vectors(first.ids), dtype=np.float64)
            return reordered(first, len(first.ids), vectors @ towards)
        wanted = max(first.wanted, 1) + more
        codes = index.storage == "binary"
        scores, ids = (
            row[0]
            for row in index.search(
                towards.astype(np.float32)[None],
                max(wanted, CANDIDATES) if codes else wanted,
                exclude=[first.excluded] if first.excluded else None,
                where=first.where,
            )
        )
        scores, ids = scores[ids >= 0].astype(np.float64), ids[ids >= 0]
        if codes:
            scores = as_numbers(index.vectors(ids), dtype=np.float64) @ towards
            order = np.lexsort([ids, -scores])[:wanted]
            scores, ids = scores[order], ids[order]
        return Reranked(ids, first_scores(index, first, query, ids), scores)

    def _items(self, index: Index, places: Sequence[int]) -> tuple[dict[int, bool], list[Skipped]]:
        """What was said of each item, by its id, the newest last; and the marks that nothing can be learned from."""
        said: dict[int, bool] = {}
        left_out = []
        for place in places:
            mark = self.marks[place]
            item = index.find(mark.item)
            if item is None:
                left_out.append(Skipped(mark.item, "not in the index any more"))
            elif mark.sha256 is not None and item.sha256 and item.sha256 != mark.sha256:
                left_out.append(Skipped(mark.item, "another picture since it was marked"))
            else:
                said.pop(item.id, None)
                said[item.id] = mark.right
        for id_ in list(said)[:-NEWEST]:
            left_out.append(Skipped(index.items([id_])[0].path, f"older than {NEWEST:,} other marks"))
            del said[id_]
        return said, left_out

    def _chosen(self, index: Index) -> _Chosen:
        with self._choosing:
            last = self._last
            if last is None or (last.index, last.generation) != (index, index.generation):
                places: dict[str, list[int]] = {}
                names: dict[tuple[object, str | None], frozenset[str]] = {}
                for place, mark in enumerate(self.marks):
                    key = (mark.query, mark.query_sha256)
                    if key not in names:
                        names[key] = mark.query.known_by(index, mark.query_sha256)
                    for name in names[key]:
                        places.setdefault(name, []).append(place)
                every = index.ids()
                drawn = seeded(self._seed).choice(len(every), min(OTHERS, len(every)), replace=False)
                others = np.sort(every[drawn])
                vectors = as_numbers(index.vectors(others), dtype=np.float64)
                last = self._last = _Chosen(index, index.generation, places, others, vectors)
            return last
