"""What the measures take: arrays that are checked once, where they come in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retrieval.errors import RetrievalError

UNLABELLED = -1

Vectors = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


def vectors(given: npt.ArrayLike, what: str) -> Vectors:
    """Float32 (n, d), n ≥ 1, finite.

    Args:
        given: floating-point numbers, one vector a row.
        what: how to call them in a message.
    """
    array = np.asarray(given)
    if array.ndim != 2 or not array.size or not np.issubdtype(array.dtype, np.floating):
        raise RetrievalError(
            f"{what} are an array of shape {array.shape} and type {array.dtype}: give floating-point vectors, one a row"
        )
    array = array.astype(np.float32, copy=False)
    wrong = int((~np.isfinite(array).all(axis=1)).sum())
    if wrong:
        raise RetrievalError(f"{wrong} of {len(array)} {what} hold infinite values or no numbers: encode them again")
    return array


def pair(queries: npt.ArrayLike, gallery: npt.ArrayLike) -> tuple[Vectors, Vectors]:
    """Queries and gallery as :func:`vectors`, of one dimension, and so short that no score overflows."""
    asked, shelf = vectors(queries, "queries"), vectors(gallery, "gallery")
    if asked.shape[1] != shelf.shape[1]:
        raise RetrievalError(
            f"queries have {asked.shape[1]} dimensions and the gallery {shelf.shape[1]}: encode both with one model"
        )
    longest = [float(np.abs(side).max()) * side.shape[1] ** 0.5 for side in (asked, shelf)]
    if longest[0] * longest[1] > float(np.finfo(np.float32).max):
        raise RetrievalError(
            f"queries and gallery are up to {longest[0]:.2g} and {longest[1]:.2g} long, so that their products "
            "overflow: scale them to unit length"
        )
    return asked, shelf


def codes(given: npt.ArrayLike, what: str) -> npt.NDArray[np.uint8]:
    """uint8 (n, bits/8), n ≥ 1."""
    array = np.asarray(given)
    if array.ndim != 2 or not array.size or array.dtype != np.uint8:
        raise RetrievalError(
            f"{what} are an array of shape {array.shape} and type {array.dtype}: give binary codes, uint8, eight bits "
            "a byte, one code a row"
        )
    return array


def labels(given: npt.ArrayLike, n: int, what: str) -> Ints:
    """int64 (n,), −1 where there is none.

    Args:
        given: integers (n,).
        n: how many there must be.
        what: how to call what is labelled.
    """
    array = np.asarray(given)
    if array.shape != (n,):
        raise RetrievalError(f"{n} {what} come with labels of shape {array.shape}: give one label for each")
    if not np.issubdtype(array.dtype, np.integer):  # float32 merges ids above 2²⁴
        raise RetrievalError(f"labels of the {what} are {array.dtype}: give integers, −1 for none")
    if array.size and (array.min() < UNLABELLED or array.max() > np.iinfo(np.int64).max):
        raise RetrievalError(f"labels of the {what} reach from {array.min()} to {array.max()}: give int64, −1 for none")
    return array.astype(np.int64)


def label_sets(given: npt.ArrayLike, n: int, what: str) -> npt.NDArray[np.bool_]:
    """bool (n, classes): which classes each item shows."""
    array = np.asarray(given)
    if array.ndim != 2 or len(array) != n or array.dtype != np.bool_:
        raise RetrievalError(
            f"{n} {what} come with labels of shape {array.shape} and type {array.dtype}: give integers, one label for "
            "each, or booleans, one row for each and one column a class"
        )
    return array


def require_sides(gallery: object, gallery_labels: object, own: object) -> None:
    """Refuse a gallery without labels, and labels and own positions without a gallery."""
    if gallery is None and (gallery_labels is not None or own is not None):
        raise RetrievalError("without a gallery the queries are the gallery: give no gallery labels and no own")
    if gallery is not None and gallery_labels is None:
        raise RetrievalError("the gallery has no labels: give gallery_labels, one integer for each item")


def own_positions(given: npt.ArrayLike | None, queries: int, gallery: int) -> Ints:
    """int64 (queries,): where each query itself stands in the gallery, −1 where it does not."""
    if given is None:
        return np.full(queries, -1)
    own = labels(given, queries, "queries' own positions")
    if own.size and own.max() >= gallery:
        raise RetrievalError(
            f"a query is said to stand at position {own.max()} of a gallery of {gallery}: count from 0"
        )
    return own


def groups(rows: npt.NDArray[np.generic]) -> Ints:
    """Equal numbers for equal rows, in an order that depends on the rows alone."""
    if not len(rows):
        return np.zeros(0, np.int64)
    if rows.dtype != np.uint8:
        rows = rows.view(np.float32)
    numbers: Ints
    if rows[0].nbytes < 8:
        numbers = np.unique(_bytes(rows), return_inverse=True)[1]
        return numbers
    # Most rows differ in their first bytes, which sort as one number in a hundredth of the time; the others are few,
    # and they alone are copied.
    first = _bytes(rows[:, : 8 // rows.itemsize]).view(">u8").astype(np.uint64)
    _, numbers, counts = np.unique(first, return_inverse=True, return_counts=True)
    tied = np.flatnonzero(counts[numbers] > 1)
    if tied.size:
        within = np.zeros(len(rows), np.int64)
        within[tied] = np.unique(_bytes(rows[tied]), return_inverse=True)[1]
        numbers = np.unique(numbers * len(rows) + within, return_inverse=True)[1]
    return numbers


def _bytes(rows: npt.NDArray[np.generic]) -> npt.NDArray[np.void]:
    """Each row (n, d) as one value (n,): the same for −0 and 0, whose bytes differ."""
    if rows.dtype != np.uint8:
        rows = np.add(rows, np.float32(0), dtype=np.float32)
    return np.ascontiguousarray(rows).view(np.dtype((np.void, rows.shape[1] * rows.itemsize))).ravel()


@dataclass(frozen=True)
class Lists:
    """A list of positions for each query, in one array.

    Attributes:
        start: int64 (nq + 1,), where each query's list begins in `items`.
        items: int64, the lists one after the other.
    """

    start: Ints
    items: Ints

    def __getitem__(self, query: int) -> Ints:
        return self.items[self.start[query] : self.start[query + 1]]

    @classmethod
    def of(cls, queries: Ints, items: Ints, count: int) -> Lists:
        """Of pairs (query, item); each list ascends, and a pair given twice is there once."""
        if items.size:
            both = np.unique(np.stack([queries, items]), axis=1)
            queries, items = both
        return cls(np.searchsorted(queries, np.arange(count + 1)), items)


def hidden(own: Ints, ignore: Sequence[npt.ArrayLike] | None, place: Ints) -> Lists:
    """What each query is not to be ranked against, as positions in the order that `place` gives.

    Args:
        own: int64 (nq,), as from :func:`own_positions`.
        ignore: for each query the gallery positions of what is to be left out, too; None: nothing.
        place: int64 (n,), where each item of the gallery stands now, −1 where it is left out for everybody.
    """
    queries, items = np.flatnonzero(own >= 0), own[own >= 0]
    if ignore is not None:
        asking, ignored = _pairs(ignore, len(own), len(place), "ignore")
        queries, items = np.concatenate([queries, asking]), np.concatenate([items, ignored])
    return _placed(queries, items, place, len(own))


def listed(relevant: Sequence[npt.ArrayLike], count: int, place: Ints) -> Lists:
    """What is relevant to each of `count` queries, given as positions in the gallery; placed as by :func:`hidden`."""
    return _placed(*_pairs(relevant, count, len(place), "find"), place, count)


def _placed(queries: Ints, items: Ints, place: Ints, count: int) -> Lists:
    placed = place[items]
    return Lists.of(queries[placed >= 0], placed[placed >= 0], count)


def _pairs(lists: Sequence[npt.ArrayLike], count: int, gallery: int, verb: str) -> tuple[Ints, Ints]:
    """Query and gallery position of all that lists name."""
    if len(lists) != count:
        raise RetrievalError(f"{count} queries come with {len(lists)} lists to {verb}: give one for each")
    queries, items = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for query, given in enumerate(lists):
        positions = np.asarray(given)
        if not positions.size:
            continue
        whole = positions.ndim == 1 and np.issubdtype(positions.dtype, np.integer)
        if not whole or positions.min() < 0 or positions.max() >= gallery:
            raise RetrievalError(
                f"query {query} is to {verb} {given!r:.60}: give positions in the gallery, 0 to {gallery - 1}"
            )
        queries.append(np.full(len(positions), query))
        items.append(positions.astype(np.int64))
    return np.concatenate(queries), np.concatenate(items)
