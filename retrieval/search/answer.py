"""What a query finds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from retrieval.base.notebook import SIDE, Tile, tiles
from retrieval.base.text import printable
from retrieval.errors import RetrievalError

if TYPE_CHECKING:
    import pandas as pd

    from retrieval.base.placed_files import Placed, Root
    from retrieval.images import Box, Skipped
    from retrieval.index import Item
    from retrieval.search.arrangement import Arranged
    from retrieval.search.calibration.reading import Reading
    from retrieval.search.facets import Facet
    from retrieval.search.parts import Part
    from retrieval.search.rerank import Heeded


SHOWN = 30
"""Hits that a notebook shows."""


@dataclass(frozen=True)
class Hit:
    """One picture of the index, as an answer.

    Attributes:
        rank: 1 for the first of the answer; on a later page it goes on from the page before.
        id: the picture's id in the index.
        path: where it lies, relative to the index's root, with ``/`` between the parts.
        label: its label, or None.
        score: inner product of the two unit vectors, in [−1, 1], whatever ordered the hits.
        relevant: whether its label is the query's; None where either has none.
        probability: that it is a match, by its score and what surrounds it; None where that was not calibrated. It need
            not fall from one hit to the next.
        evidence: what made that probability, by "score", "labels", "gap", "cohort" and "usual", which is what holds of
            any hit: log-odds that sum to its own; None where its score alone did.
        copy: the probability that it is the picture which the query is an altered copy of; None where that was not
            calibrated.
        reranked: the re-ranker's own score, higher is more alike; None where there is none, or it did not look at this
            hit, which then stands behind those that it did.
        group: the name of its group, where the answer has groups; None also for those that belong in none.
        marked: whether it was marked as right for this query; None where it was not marked.
    """

    rank: int
    id: int
    path: str
    label: str | None
    score: float
    relevant: bool | None
    probability: float | None = None
    reranked: float | None = None
    group: str | None = None
    marked: bool | None = None
    copy: float | None = None
    evidence: Mapping[str, float] | None = None


@dataclass(frozen=True)
class AskedPart:
    """One part of a question of several, and what became of it.

    Attributes:
        part: as it was asked; its vector, with its weight, is in the sum that was looked for.
        sign: 1 where hits were to be like it, −1 where they were not.
        picture: its file; None where it has none.
        left_out: ids of the item that it is, or is a part of, and of that one's exact copies, ascending, which the hits
            leave out for its sake.
    """

    part: Part
    sign: int
    picture: Path | Placed | None = None
    left_out: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "part": printable(str(self.part)),
            "sign": self.sign,
            "weight": self.part.weight,
            "left_out": list(self.left_out),
        }


@dataclass(frozen=True)
class Answer:
    """What was found for one query: a sequence of hits, the best first.

    It can be iterated, indexed and sliced; a slice is the same answer with those hits. A notebook shows the pictures.

    Attributes:
        query: the query as it was asked: a file's path, `id 7`, `vectors.npy[3]`, or a text.
        label: the query's label where it is known, or None.
        id: the query's id where it is itself in the index, or None.
        hits: the best first.
        picture: the query's file; None for a text or a vector.
        left_out: ids of the query itself, and of its exact copies, ascending, which the hits leave out.
        no_match: whether the index has no match, whatever hits were filtered by; None where that was not calibrated.
        no_copy: whether it has no picture that the query is an altered copy of; None where that was not calibrated.
        fold: how many of the hits to keep, from the first on, so that the number of matches among them, less that of
            others, is the greatest that can be expected; None where that was not calibrated.
        unread: hits that the re-ranker could not look at, since their files cannot be read.
        marks: the marks that the ranking was learned from; None where the query has none.
        root: what opens the files of the hits by their paths (``answer.root / hit.path``).
        matches: how many pictures are within the cut-off, however few are shown; None where that was not counted.
        facets: how many of the matches have each label, folder and attribute; None where that was not asked for.
        next: the cursor of the next page; None where there is none.
        box: the part of the picture that was the query; None for all of it.
        parts: what the question was made of, where it was asked in parts.
        calibrated: whether the query is such that what was calibrated with whole pictures holds for its scores: a whole
            picture or a vector, not words, a part of a picture, or several things at once.
    """

    query: str
    label: str | None
    id: int | None
    hits: tuple[Hit, ...]
    picture: Path | Placed | None = None
    left_out: tuple[int, ...] = ()
    no_match: bool | None = None
    unread: tuple[Skipped, ...] = ()
    marks: Heeded | None = None
    root: Root | None = None
    fold: int | None = None
    no_copy: bool | None = None
    matches: int | None = None
    facets: tuple[Facet, ...] | None = None
    next: str | None = field(default_factory=type(None))  # without a value of the class's own, which would be found
    box: Box | None = None
    parts: tuple[AskedPart, ...] = ()
    calibrated: bool = True

    @classmethod
    def of(cls, attributes: dict[str, Any], later: dict[str, Callable[[], Any]]) -> Answer:
        """An answer, parts of which are made when somebody asks for them.

        Args:
            attributes: those without a default, and any others.
            later: what makes `hits` and `next`, if they are not among these. It needs nothing but what it holds.
        """
        answer = object.__new__(cls)
        object.__setattr__(answer, "__dict__", {**attributes, "_later": later})
        return answer

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            make = self.__dict__.get("_later", {}).get(name)
            if make is None:
                raise AttributeError(f"an answer has no attribute {name!r}")
            made = self.__dict__[name] = make()
            return made

    def __len__(self) -> int:
        """How many hits there are."""
        return len(self.hits)

    def __bool__(self) -> bool:
        """An answer is one even if nothing was found."""
        return True

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    @overload
    def __getitem__(self, which: int) -> Hit: ...

    @overload
    def __getitem__(self, which: slice) -> Answer: ...

    def __getitem__(self, which: int | slice) -> Hit | Answer:
        if isinstance(which, slice):
            hits, fold = self.hits[which], self.fold
            if fold is not None:  # what lay before it still does
                fold = len(self.hits[:fold][which]) if (which.step or 1) > 0 else None
            return dataclasses.replace(self, hits=hits, fold=fold)
        return self.hits[which]

    def to_list(self) -> list[dict[str, Any]]:
        """The hits as dictionaries, with the attributes of :class:`Hit` for keys."""
        return [dataclasses.asdict(hit) for hit in self.hits]

    def to_pandas(self) -> pd.DataFrame:
        """The hits as a table of pandas, a row each, with the attributes of :class:`Hit` for columns.

        Raises:
            RetrievalError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise RetrievalError("A table of pandas needs pandas; install it (`pip install pandas`).") from None
        return pd.DataFrame(self.to_list(), columns=[field.name for field in dataclasses.fields(Hit)])

    def _repr_html_(self) -> str:
        from retrieval.images.embedded import embedded  # here, as it brings Pillow

        def tile(
            file: Path | Placed | None,
            alt: str,
            lines: Sequence[str],
            right: bool | None = None,
            box: Box | None = None,
        ) -> Tile:
            return Tile(None if file is None else embedded(file, SIDE, box), alt, lines, right)

        shown_tiles = [
            tile(one.picture, "query", ["like" if one.sign > 0 else "unlike", str(one.part)], box=one.part.box)
            for one in self.parts
        ] or [tile(self.picture, "query", ["query", self.label or ""], box=self.box)]
        for hit in self.hits[:SHOWN]:
            likely = "" if hit.probability is None else f" · P {shown(hit.probability, 2)}"
            file = None if self.root is None else self.root / hit.path
            lines = [f"{hit.rank}: {hit.score:.3f}{likely}", hit.group or hit.label or hit.path]
            shown_tiles.append(tile(file, hit.path, lines, hit.relevant))
        more = len(self.hits) - SHOWN
        note = "nothing found" if not self.hits else f"and {more:,} more" if more > 0 else ""
        note += "; no match in this index" * bool(self.no_match)
        return tiles(self.query, shown_tiles, note.removeprefix("; "))


def hits_of(
    items: Sequence[Item],
    label: str | None,
    match: Reading | None,
    copy: Reading | None,
    shown: Arranged,
) -> tuple[Hit, ...]:
    """What is shown of what was found as hits of a query, in its order.

    Args:
        items: that were found. label: the query's.
        match, copy: what the index's calibrations say of them.
        shown: their scores, groups, the marks that they were learned from, and the re-ranker's scores, NaN where there
            is none.
    """
    marks = shown.hits.heeded
    said = {} if marks is None else {**dict.fromkeys(marks.right, True), **dict.fromkeys(marks.wrong, False)}
    nothing = [None] * len(items)
    return tuple(
        [
            _hit(
                {
                    "rank": rank,
                    "id": item.id,
                    "path": item.path,
                    "label": item.label,
                    "score": score,
                    "relevant": None if label is None or item.label is None else item.label == label,
                    "probability": chance,
                    "reranked": None if math.isnan(second) else second,
                    "group": group,
                    "marked": said.get(item.id),
                    "copy": copied,
                    "evidence": why,
                }
            )
            for rank, (item, score, second, group, chance, why, copied) in enumerate(
                zip(
                    items,
                    shown.hits.scores.tolist(),
                    shown.hits.reranked.tolist(),
                    shown.groups or nothing,
                    nothing if match is None else match.chances.tolist(),
                    nothing if match is None else match.evidence,
                    nothing if copy is None else copy.chances.tolist(),
                    strict=True,
                ),
                shown.before + 1,
            )
        ]
    )


def _hit(attributes: dict[str, Any]) -> Hit:
    """A hit of all its attributes. Setting those of a frozen class one by one takes thrice as long, for every hit of
    every answer."""
    hit = object.__new__(Hit)
    object.__setattr__(hit, "__dict__", attributes)
    return hit


def shown(probability: float, digits: int) -> str:
    """A probability for people, rounded, but never to 0 or 1: nothing that was measured is certain."""
    least = 10**-digits
    if probability < least / 2:
        return f"<{least:.{digits}f}"
    return f">{1 - least:.{digits}f}" if probability >= 1 - least / 2 else f"{probability:.{digits}f}"


def spoken(evidence: Mapping[str, float]) -> str:
    """The part of the evidence that speaks most for or against a match, against what holds of any hit, for people."""
    word = max((word for word in evidence if word != "usual"), key=lambda word: abs(evidence[word]))
    return f"{word} {evidence[word]:+.1f}"
