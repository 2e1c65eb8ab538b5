"""The collection in two dimensions: what looks alike lies together.

Some pictures, the anchors, are laid out by t-SNE (van der Maaten and Hinton 2008; scikit-learn's, after Barnes and Hut)
on their principal components; every other one is put among the anchors that are nearest to it, so that a million takes
little longer than some thousand.
"""

from __future__ import annotations

import base64
import heapq
import io
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from retrieval.base.progress import bar
from retrieval.index.vectors import as_numbers
from retrieval.search.columns import Different
from retrieval.search.grouping import day
from retrieval.search.search import Search
from retrieval.service.kept import Work

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

ANCHORS = 5_000
"""Pictures that are laid out by themselves: with these it takes about half a minute of one core."""

COMPONENTS = 50
"""Principal components of the vectors that the layout goes by."""

ROUNDS = 500
"""Steps of the layout."""

PERPLEXITY = 30.0
"""About how many neighbours each anchor is to keep."""

NEAREST = 4
"""Anchors that another picture is put among."""

COLOURS = 12
"""Values that are told apart by colour; the others share the last one."""

BINS = 8
"""Ranges that numbers are told apart by."""

NONE = 255
"""The code of a picture without a value."""

_VERSION = 1
_BLOCK = 4_096
_SHARP = 0.05
"""How much nearer an anchor must be, in half the square of the distance, to count e times as much as another."""


class Layout(NamedTuple):
    """Where the pictures are: int64 (n,) ids, ascending, and float32 (n, 2) places from 0 to 1."""

    ids: Ints
    places: Floats


def laid_out(rows: Floats, anchors: int = ANCHORS) -> Floats:
    """Places of pictures.

    Args:
        rows: float32 (n, d), their vectors, of unit length.
        anchors: how many are laid out by themselves.

    Returns:
        float32 (n, 2), from 0 to 1 along the longer side.
    """
    n = len(rows)
    if n < 4:
        across = np.linspace(0, 1, n) if n > 1 else np.full(n, 0.5)
        return np.stack([across, np.full(n, 0.5)], axis=1).astype(np.float32)
    chosen = np.sort(np.random.default_rng(0).choice(n, min(anchors, n), replace=False))
    some = rows[chosen]
    mean = some.mean(axis=0)
    _, axes = np.linalg.eigh((some - mean).T @ (some - mean))
    axes = np.ascontiguousarray(axes[:, ::-1][:, :COMPONENTS])  # those along which they differ most
    components = (some - mean) @ axes
    laid = _embedded(components)
    places = np.empty((n, 2), np.float32)
    if len(chosen) == n:
        places[chosen] = laid
    else:
        with bar(n, "Placing", "pictures") as shown:
            for start in range(0, n, _BLOCK):
                block = slice(start, start + _BLOCK)
                places[block] = _among((rows[block] - mean) @ axes, components, laid)
                shown.update(len(places[block]))
    places -= places.min(axis=0)
    return (places / max(float(places.max()), 1e-12)).astype(np.float32)


def _embedded(components: Floats) -> Floats:
    from sklearn.manifold import TSNE  # it takes a second to import

    start = components[:, :2] if components.shape[1] > 1 else np.repeat(components, 2, axis=1)
    spread = float(np.std(start[:, 0])) or 1.0
    noise = np.random.default_rng(0).normal(0, 1e-6, start.shape)  # equal pictures would never part
    with bar(None, "Laying out", "pictures"):
        layout = TSNE(
            init=(start / spread * 1e-4 + noise).astype(np.float32),
            perplexity=min(PERPLEXITY, (len(components) - 1) / 3),
            max_iter=ROUNDS,
            random_state=0,
            n_jobs=1,
        ).fit_transform(components)
    return np.asarray(layout, np.float32)


def _among(rows: Floats, anchors: Floats, laid: Floats) -> Floats:
    """Places of rows among the anchors: where the nearest is, drawn towards the next ones."""
    k = min(NEAREST, len(anchors))
    scores = rows @ anchors.T - 0.5 * np.vecdot(anchors, anchors)  # half the square of the distance, but for |row|²
    nearest = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    found = np.take_along_axis(scores, nearest, axis=1)
    weights = np.exp((found - found.max(axis=1, keepdims=True)) / _SHARP)
    weights /= weights.sum(axis=1, keepdims=True)
    places: Floats = np.einsum("nk,nkd->nd", weights, laid[nearest]).astype(np.float32)
    return places


def _make(search: Search) -> Layout:
    index = search.index
    ids, rows = index.all_vectors()
    return Layout(ids, laid_out(as_numbers(rows, index.storage)))


def _packed(layout: Layout) -> bytes:
    content = io.BytesIO()
    np.savez(content, ids=layout.ids, places=layout.places)
    return content.getvalue()


def _unpacked(data: bytes) -> Layout:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as found:
            ids, places = found["ids"], found["places"]
    except (OSError, EOFError) as error:
        raise ValueError(str(error)) from None
    if ids.dtype != np.int64 or places.dtype != np.float32 or places.shape != (len(ids), 2):
        raise ValueError("no layout")
    return Layout(ids, places)


MAP: Work[Layout] = Work(f"map {_VERSION}", _make, _packed, _unpacked)
"""The making of it."""


def coloured(different: Different, codes: npt.NDArray[np.int32]) -> dict[str, Any]:
    """Values as colours.

    Args:
        different: each value once. codes: int32 (n,), of each picture the place of its value; -1 where it has none.

    Returns:
        "values", what the colours 0, 1, … say and how often, the most frequent first, or ranges of numbers in their
        order; "none", how many have no value; "codes", a byte a picture in base 64, :data:`NONE` for no value.
    """
    values: Sequence[Any] = different.values
    there = np.bincount(codes[codes >= 0], minlength=len(values)) > 0
    dates = different.are_dates(there)
    if dates:
        moments = np.unique(different.moments[there & different.dated])
        ranks = np.where(there & different.dated, np.searchsorted(moments, different.moments), -1)
        codes, values = np.append(ranks, -1)[codes], moments.tolist()
    has = codes >= 0
    times = np.bincount(codes[has], minlength=len(values))
    present = np.flatnonzero(times).tolist()
    ordered = len(present) > COLOURS and (dates or present[-1] < different.numbers)
    told = np.full(len(codes), NONE, np.uint8)

    def shown(value: float) -> str:
        return day(int(value)) if dates else f"{value:g}"

    if ordered:
        known = np.array(values[: present[-1] + 1], np.float64)[codes[has]]
        edges = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)))
        told[has] = np.clip(np.searchsorted(edges, known, side="right") - 1, 0, len(edges) - 2)
        legend: list[dict[str, Any]] = [
            {"value": f"{shown(low)} – {shown(high)}", "count": int((told == place).sum())}
            for place, (low, high) in enumerate(pairwise(edges))
        ]
    else:
        first = heapq.nsmallest(COLOURS + 1, present, key=lambda place: (-times[place], str(values[place])))
        named = first if len(first) <= COLOURS else first[: COLOURS - 1]
        colour_of = np.full(len(values) + 1, COLOURS - 1, np.uint8)
        colour_of[named], colour_of[-1] = np.arange(len(named)), NONE
        told = colour_of[codes]
        legend = [{"value": shown(values[one]) if dates else values[one], "count": int(times[one])} for one in named]
        if len(named) < len(present):
            legend.append({"value": None, "count": int(times.sum() - times[named].sum())})
    return {
        "values": legend,
        "none": int(len(codes) - np.count_nonzero(has)),
        "ordered": ordered,
        "codes": base64.b64encode(told.tobytes()).decode(),
    }
