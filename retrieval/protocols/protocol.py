"""What a protocol says: what is read of a set, who asks, who answers, what is ignored, and which measures are taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from retrieval.images.box import Box
from retrieval.measures import Ranking

Ints = npt.NDArray[np.int64]
Measures = Mapping[str, Callable[[Ranking], float]]


@dataclass(frozen=True)
class Setting:
    """One way to ask: which of the queries do, and what is right for them. A set may have several, such as "easy".

    Attributes:
        name: put before each measure's; "" where there is one way alone.
        asks: int64 (m,), places among the queries; None: all ask.
        among: int64, places of the gallery that are looked through; None: all are.
        relevant: for each query that asks the gallery positions of what is right, int64 each; None: what has its label.
        ignored: for each such query the gallery positions of what is neither right nor wrong and takes no place in the
            ranking; None: nothing is.
    """

    name: str = ""
    asks: Ints | None = None
    among: Ints | None = None
    relevant: tuple[Ints, ...] | None = None
    ignored: tuple[Ints, ...] | None = None


@dataclass(frozen=True)
class OfficialSet:
    """A set as its authors lay it out.

    Attributes:
        names: one a picture, relative to the set's folder, unique.
        files: one a picture; some may be missing.
        labels: the class of each, None where it has none.
        splits: of each, "train", "val" or "test".
        asks: int64 (nq,), which pictures are the queries, in the official order.
        ranked: int64 (n,), which are the gallery, in the official order; None: the queries, each among all others.
        own: int64 (nq,), where each query itself stands in `ranked` and is left out, −1 where it does not; None: it is
            not left out.
        boxes: one for each query, the part of the picture that asks; None: the whole pictures do.
        sets: bool (n, classes), which classes each picture shows, where it may be several; then none has a label.
        settings: the ways to ask.
        note: what a reader of the figures should know of this folder.
    """

    names: tuple[str, ...]
    files: tuple[Path, ...]
    labels: tuple[str | None, ...]
    splits: tuple[str, ...]
    asks: Ints
    ranked: Ints | None = None
    own: Ints | None = None
    boxes: tuple[Box | None, ...] | None = None
    sets: npt.NDArray[np.bool_] | None = None
    settings: tuple[Setting, ...] = (Setting(),)
    note: str = ""

    @property
    def order(self) -> Ints:
        """int64, the pictures that a table of vectors has a row of, in its order: the queries, and behind them those of
        the gallery that are no queries."""
        if self.ranked is None:
            return self.asks
        return np.concatenate([self.asks, self.ranked[~np.isin(self.ranked, self.asks)]])


@dataclass(frozen=True)
class Published:
    """Figures that somebody published.

    Attributes:
        what: was measured. figures: by the measures' names. source: that was read.
    """

    what: str
    figures: Mapping[str, float]
    source: str


@dataclass(frozen=True)
class Protocol:
    """A benchmark.

    Attributes:
        name: as `retrieval benchmark` takes it. title: of the set.
        layout: what is read, in words.
        marks: files that no other set has: a folder with one of them that is not recognised lacks something.
        recognises: whether a folder holds the set.
        read: the set in a folder; None: `retrieval data` reads it.
        divides: of a set that `retrieval data` reads, who asks whom, by names, labels and splits; files, labels and
            splits are left empty.
        trials: it is one-shot trials, and has no ranking.
        asked: what is asked of what, with places for {queries} and {gallery}.
        measures: by the field's names, of each query's ranking.
        zeros: those of them for which a query without a right answer counts 0; for all others it does not count.
        limits: between which the measures lie.
        sizes: pictures of the official set that train, ask and are ranked; None where releases differ.
        codes: it is of binary codes; numbers are made such by their signs.
        clusters: NMI and AMI are part of the protocol.
        pairs: so many of the best pairs of all queries and pictures are measured as one ranking, too; None: none are.
        found_at: the ks of the recall@k that is measured among these pairs.
        differs: a sentence on figures that programs count in another way than their names say, and so stand here twice.
        sources: what the protocol was read from.
        published: figures to set beside.
    """

    name: str
    title: str
    layout: str
    recognises: Callable[[Path], bool]
    asked: str
    measures: Measures
    marks: tuple[str, ...] = ()
    zeros: frozenset[str] = frozenset()
    read: Callable[[Path], OfficialSet] | None = None
    divides: Callable[[tuple[str, ...], Ints, npt.NDArray[np.str_]], OfficialSet] | None = None
    trials: bool = False
    codes: bool = False
    sizes: tuple[int, int, int] | None = None
    limits: tuple[float, float] = (0.0, 1.0)
    clusters: bool = False
    pairs: int | None = None
    found_at: tuple[int, ...] = ()
    differs: str = ""
    sources: tuple[str, ...] = ()
    published: tuple[Published, ...] = ()


def recalls(*ks: int) -> Measures:
    """R@k as metric learning has it: the share of queries with a right answer among their first k."""
    return {f"R@{k}": partial(Ranking.hit_rate, k=k) for k in ks}


MAP_AT_R: Measures = {"MAP@R": lambda ranking: ranking.average_precision(ranking.total)}

AVERAGE_PRECISION: Measures = {"mAP": Ranking.average_precision, "mAP by trapezoids": Ranking.trapezoids}
"""Exact, and as the programs of Holidays, Revisited Oxford and Market-1501 count it."""


CLUSTERED = (
    "R@k and MAP@R are counted alike everywhere. NMI hangs on the clustering: here it is k-means of scikit-learn with "
    "one start, divided by the arithmetic mean of the entropies; older programs divide by their geometric mean."
)


def halves(classes: npt.ArrayLike, of: int) -> tuple[str, ...]:
    """The split of each picture by its class number, counted from 1: the first half of the classes trains.

    Args:
        classes: of each picture.
        of: how many the set has. Where all that are there would train, the first half of these does.
    """
    numbers = np.asarray(classes, np.int64)
    most = numbers.max(initial=0)
    taught = of // 2 if most > of // 2 else most // 2
    return tuple(np.where(numbers <= taught, "train", "test").tolist())


def among_themselves(folder: Path, names: Sequence[str], labels: Sequence[str], splits: Sequence[str]) -> OfficialSet:
    """A set below a folder whose test pictures ask, each among all others of them."""
    return OfficialSet(
        names=tuple(names),
        files=tuple(folder / name for name in names),
        labels=tuple(labels),
        splits=tuple(splits),
        asks=np.flatnonzero(np.array(splits) == "test"),
    )
