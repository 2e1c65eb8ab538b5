"""From pairs of near-duplicates to groups of which one picture could stay.

Joining whatever is like something that is like it (connected components) would chain pictures that have nothing in
common. Components are therefore taken apart: the best picture takes what lies within the threshold of itself, the best
of what is left does the same, and so on.

What is compared are pictures; what stays or goes are photographs, which may be several files. One may go only if

- each of its pictures has the same bytes as one of what is kept, or is like it to every look that is to be had: to
  both perceptual hashes, and to the vectors where there are any;
- each of its other files (a RAW, a film), and each RAW that was read as a picture, is there byte for byte;
- it is a file of its own: no link leads to it, and it is not only reached by one.

Whatever else looks alike is shown, with the reason why it stays.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from retrieval import images
from retrieval.base.files import digest
from retrieval.base.placed_files import Root
from retrieval.images.perceptual import Hashes
from retrieval.images.reading import ReadPicture
from retrieval.traps.duplicates.photographs import Beside, OneFile, Seen, has_original, photographs
from retrieval.traps.duplicates.report import LARGEST, OLDEST, Copy, Duplicates, Group, Kind
from retrieval.traps.near_duplicates import SCORE, SPARE, hash_distance, near_duplicates

Ints = npt.NDArray[np.int64]

_NOTHING, _SHOWN, _ALIKE, _EXACT = range(4)
"""How alike two pictures are: not; to one look, while another says no; to all that are to be had; byte for byte."""


@dataclass(frozen=True)
class Known:
    """What is known of the n pictures that can be read.

    Attributes:
        root: where relative paths start from, free of links. allowed: what may be opened by a path in it.
        files: each picture's file. pictures: what was read of it. hashes: of all.
        vectors: float32 (n, d), rows of NaN where there is none; None if there are none at all.
        neighbours: int64 (n, k), rows, −1 for none. scores: float32 (n, k), theirs.
        new: how many rows, the first ones, are asked about; the others belong to a reference that stays as it is, and
            `neighbours` has a row for each of the first and numbers of the others, from 0. None if all are compared
            with each other.
    """

    root: Path
    allowed: Root
    files: list[OneFile]
    pictures: list[ReadPicture]
    hashes: Hashes
    vectors: npt.NDArray[np.float32] | None = None
    neighbours: Ints | None = None
    scores: npt.NDArray[np.float32] | None = None
    new: int | None = None

    @cached_property
    def paths(self) -> list[str]:
        """Of each picture, relative to `root` or absolute."""
        return [file.path for file in self.files]


@dataclass(frozen=True, eq=False)
class Photograph:
    """One photograph: the rows of its pictures, the best first, and what lies beside them."""

    rows: tuple[int, ...]
    beside: Beside
    reference: bool = False


@dataclass(frozen=True)
class _Match:
    """How a photograph is like another: the level of its least alike picture, its kind, score and bits; what forbids
    that it goes."""

    level: int
    kind: Kind
    score: float | None
    bits: int | None
    stays: str | None


@dataclass
class _Grouping:
    """The photographs, the thresholds, and the rule for which to keep."""

    known: Known
    score: float
    bits: int
    crowded: bool
    keep: str
    folder: PurePosixPath | None
    ranks: Mapping[str, int]
    photographs: list[Photograph] = field(init=False)
    contents: Ints = field(init=False)
    digests: dict[str, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known, new = self.known, self.known.new
        self.contents = np.unique([picture.sha256 for picture in known.pictures], return_inverse=True)[1]
        self.photographs = []
        for rows, beside in photographs(known.root, known.paths):
            best_first = tuple(sorted(rows, key=self._pixels_first))
            self.photographs.append(Photograph(best_first, beside, new is not None and rows[0] >= new))

    def _pixels_first(self, row: int) -> tuple[int, int, str]:
        picture = self.known.pictures[row]
        return -picture.width * picture.height, -picture.size, self.known.paths[row]

    def rank(self, one: Photograph) -> tuple[object, ...]:
        """What is kept of a group comes first: real files, those of the folder that is preferred, camera originals."""
        row = one.rows[0]
        file = self.known.files[row]
        names = [PurePosixPath(name) for name in (file.path, *file.names)]
        elsewhere = self.folder is not None and not any(self.folder in name.parents for name in names)
        developed = not has_original(self._all_paths(one))
        time = self.known.pictures[row].mtime_ns if self.folder is None and self.keep == OLDEST else 0
        said = min(self.ranks.get(str(name), 0) for name in names)
        return file.linked or _hidden(file.path), said, elsewhere, developed, time, *self._pixels_first(row)

    def _all_paths(self, one: Photograph) -> list[str]:
        return [*(self.known.paths[row] for row in one.rows), *(file.path for file in one.beside.files)]

    def groups(self, members: list[Photograph]) -> list[Group]:
        """Take a component apart.

        First by what may go; then what stays, but looks alike, joins if it is in no group yet.
        """
        ordered = sorted(members, key=self.rank)
        keepers = [one for one in ordered if one.reference or self.known.new is None]
        taken: set[Photograph] = set()
        copies: dict[Photograph, list[tuple[Photograph, _Match]]] = {}
        for least in (_EXACT, _ALIKE, _SHOWN) if self.known.new is not None else (_ALIKE, _SHOWN):
            for place, kept in enumerate(keepers):
                if kept in taken:
                    continue
                after = ordered if self.known.new is not None else ordered[place + 1 :]
                others = [one for one in after if not (one.reference or one in taken or one in copies)]
                found = [(one, match) for one, match in self.matches(kept, others) if match.level >= least]
                if found:
                    copies.setdefault(kept, []).extend(found)
                    taken.update(one for one, _ in found)
        return [self._group(kept, copies[kept]) for kept in keepers if kept in copies]

    def matches(self, kept: Photograph, others: list[Photograph]) -> list[tuple[Photograph, _Match]]:
        """Those of others that are like the one that is kept to at least one look."""
        rows = np.array([row for one in others for row in one.rows], np.int64)
        levels, apart, cosines = self._compared(kept, rows)
        found, start = [], 0
        for one in others:
            part = slice(start, start + len(one.rows))
            start = part.stop
            if levels[part].max() > _NOTHING:
                found.append((one, self._match(kept, one, levels[part], apart[part], cosines[part])))
        return found

    def _compared(self, kept: Photograph, rows: Ints) -> tuple[Ints, Ints, npt.NDArray[np.float64]]:
        """The level, distance and cosine of each row with that picture of the one that is kept that is most like it."""
        known = self.known
        levels, apart = np.zeros(len(rows), np.int64), np.full(len(rows), 65)
        cosines = np.full(len(rows), np.nan)
        for row in kept.rows:
            distance = hash_distance(known.hashes, known.hashes, np.full(len(rows), row), rows)
            cosine = np.full(len(rows), np.nan)
            if known.vectors is not None:
                exact = known.vectors[rows].astype(np.float64) @ known.vectors[row].astype(np.float64)
                cosine = np.clip(exact, -1, 1)
            by_hash, by_score = distance <= self.bits, cosine.astype(np.float32) >= self.score
            if self.crowded:
                by_score &= distance <= self.bits + SPARE
            # A picture with next to no detail cannot be judged, however well its vector fits another such.
            shown = (by_hash | by_score) & (distance <= 64)
            level = np.where(shown, np.where(by_hash & (by_score | np.isnan(cosine)), _ALIKE, _SHOWN), _NOTHING)
            level[self.contents[rows] == self.contents[row]] = _EXACT
            better = (level > levels) | ((level == levels) & (distance < apart))
            levels[better], apart[better], cosines[better] = level[better], distance[better], cosine[better]
        return levels, apart, cosines

    def _match(
        self, kept: Photograph, one: Photograph, levels: Ints, apart: Ints, cosines: npt.NDArray[np.float64]
    ) -> _Match:
        # The picture that is least alike says how alike the photographs are; one that is not at all only bars the way.
        worst = int(np.lexsort((-apart, np.where(levels > _NOTHING, levels, _EXACT + 1)))[0])
        level, distance = int(levels[worst]), int(apart[worst])
        by_hash = distance <= self.bits
        kind: Kind = "exact" if level == _EXACT else "hash" if by_hash else "embedding"
        cosine = float(cosines[worst])
        stays = self._barred(kept, one)
        if stays is None and levels.min() == _NOTHING:
            stays = "only some of its files are alike"
        if stays is None and level == _SHOWN:
            stays = f"its score is below {self.score:g}" if by_hash else f"its hashes are over {self.bits} bits apart"
        level = level if stays is None else _SHOWN
        return _Match(level, kind, None if np.isnan(cosine) else cosine, distance if distance <= 64 else None, stays)

    def _barred(self, kept: Photograph, one: Photograph) -> str | None:
        """What forbids that a photograph goes, however alike it is; None if nothing does."""
        files = [self.known.files[row] for row in one.rows]
        path = PurePosixPath(files[0].path)
        if any(file.linked for file in files):
            return "it is only reached by a link"
        stand_in = self.known.files[kept.rows[0]]
        if stand_in.linked or _hidden(stand_in.path):
            return f"what it is a copy of is {'only reached by a link' if stand_in.linked else 'hidden'}"
        if path.is_absolute() or ".." in path.parts:
            return "it lies outside of the folder"
        if _hidden(files[0].path):
            return "it is hidden"
        if any(file.names for file in files):
            return "it has other names"
        for seen, sha256 in self._unlike_any(one):
            if not self._has(kept, seen, sha256):
                return f"{os.path.basename(seen.path)!r} is not there a second time"  # noqa: PTH119
        return None

    def _unlike_any(self, one: Photograph) -> list[tuple[Seen, str | None]]:
        """The files of a photograph that only the same bytes can stand for, with these where they are known."""
        raw = [(self.known.files[row].seen, self.known.pictures[row].sha256) for row in one.rows]
        read = [(seen, sha256) for seen, sha256 in raw if seen is not None and has_original([seen.path])]
        return [*read, *((seen, None) for seen in one.beside.files)]

    def _has(self, kept: Photograph, wanted: Seen, sha256: str | None) -> bool:
        if any(self.known.pictures[row].sha256 == sha256 for row in kept.rows):
            return True
        same_size = [seen for seen in kept.beside.files if seen.size == wanted.size]
        rows = [row for row in kept.rows if self.known.pictures[row].size == wanted.size]
        if not same_size and not rows:
            return False
        content = self._digest(wanted)
        there = [self.known.pictures[row].sha256 for row in rows] + [self._digest(seen) for seen in same_size]
        return content is not None and content in there

    def _digest(self, seen: Seen) -> str | None:
        if seen.path not in self.digests:
            try:
                self.digests[seen.path] = digest(self.known.root / seen.path)
            except OSError:
                self.digests[seen.path] = None
        return self.digests[seen.path]

    def _group(self, kept: Photograph, found: list[tuple[Photograph, _Match]]) -> Group:
        def order(one: tuple[Photograph, _Match]) -> tuple[object, ...]:
            match = one[1]
            by_bits = match.bits if match.bits is not None and match.kind != "embedding" else 64
            return match.kind != "exact", by_bits, -(match.score or 0.0), self.known.paths[one[0].rows[0]]

        first = self._copy(kept, None)
        first_of = {self.known.pictures[row].sha256: self.known.paths[row] for row in reversed(kept.rows)}
        copies = []
        for one, match in sorted(found, key=order):
            same_as = None
            if match.kind == "exact" or len(self._all_paths(one)) == 1:
                same_as = first_of.get(self.known.pictures[one.rows[0]].sha256)
            copy = self._copy(one, match, same_as)
            first_of.setdefault(copy.sha256, copy.path)
            copies.append(copy)
        return Group(first, tuple(copies))

    def _copy(self, one: Photograph, match: _Match | None, same_as: str | None = None) -> Copy:
        row = one.rows[0]
        picture = self.known.pictures[row]
        files = [self.known.files[row] for row in one.rows]
        pictures = [file.seen for file in files if file.seen is not None]
        seen = [*pictures, *one.beside.files, *one.beside.sidecars]
        exactly: tuple[Seen, ...] = ()
        if match is not None:
            by_bytes = [file for file, _ in self._unlike_any(one)]
            exactly = (*pictures, *one.beside.files) if match.kind == "exact" else tuple(by_bytes)
        return Copy(
            files[0].path,
            picture.size,
            picture.width,
            picture.height,
            None if match is None else match.kind,
            None if match is None else match.score,
            None if match is None else match.bits,
            names=tuple(name for file in files for name in file.names),
            files=tuple(sorted(file.path for file in seen if file.path != files[0].path)),
            same_as=same_as,
            stays=None if match is None else match.stays,
            frees=sum(file.size for file in seen if file.links == 1),
            seen=tuple(seen),
            exactly=exactly,
            sha256=picture.sha256,
        )


def grouped(
    known: Known,
    skipped: tuple[images.Skipped, ...],
    notes: list[str],
    score: float | None,
    bits: int,
    *,
    keep: str = LARGEST,
    folder: PurePosixPath | None = None,
    against: Path | None = None,
    ranks: Mapping[str, int] | None = None,
) -> Duplicates:
    """Group what is known to be alike.

    Args:
        known: all that was found out about the pictures.
        skipped: what could not be read.
        notes: sentences that come before those from here.
        score: the least score that counts; see :func:`retrieval.traps.near_duplicates.near_duplicates`.
        bits: the greatest distance of each hash.
        keep: the rule by which one of each group is kept, as it is shown.
        folder: the folder whose pictures are preferred, relative to the root, if that is the rule.
        against: where the reference lies, if there is one.
        ranks: of paths, where somebody has said what is to stay; see :func:`.find.duplicates_of`.
    """
    n, new = len(known.files), known.new
    if new is None:
        pairs = near_duplicates(known.neighbours, known.scores, known.hashes, score=score, bits=bits)
        second = pairs.second
    else:
        ours, theirs = known.hashes.take(np.arange(new)), known.hashes.take(np.arange(new, n))
        pairs = near_duplicates(known.neighbours, known.scores, ours, theirs, within=False, score=score, bits=bits)
        second = pairs.second + new
    work = _Grouping(known, SCORE if score is None else score, bits, pairs.crowded, keep, folder, ranks or {})
    unit = np.zeros(n, np.int64)
    for number, one in enumerate(work.photographs):
        unit[list(one.rows)] = number
    _, first_of = np.unique(work.contents, return_index=True)
    components = _components(
        len(work.photographs),
        unit[np.concatenate([pairs.first, first_of[work.contents]])],
        unit[np.concatenate([second, np.arange(n)])],
    )
    groups = [group for some in components for group in work.groups([work.photographs[one] for one in some])]
    groups.sort(key=lambda group: (-len(group.copies), group.kept.path))
    asked = n if new is None else new
    notes = [*notes, *_notes(work, known, asked)]
    if skipped:
        notes.append(f"{len(skipped):,} files could not be read and are in no group.")
    least = None if known.vectors is None else work.score
    return Duplicates(known.root, asked, tuple(groups), skipped, tuple(notes), least, bits, against, keep)


def _notes(work: _Grouping, known: Known, asked: int) -> list[str]:
    notes = []
    if work.crowded:
        notes.append(
            f"Scores from {work.score:g} are so common that they tell classes, not copies; what is alike by score "
            f"alone is shown only where the hashes are within {work.bits + SPARE} bits (--score takes them at their "
            "word)."
        )

    def count(test: Callable[[int], bool]) -> int:
        return sum(test(row) for row in range(asked))

    names = sum(len(file.names) for file in known.files[:asked])
    links = count(lambda row: known.files[row].linked)
    several = sum(not one.reference and len(one.rows) + len(one.beside.files) > 1 for one in work.photographs)
    blank = count(lambda row: not known.hashes.telling[row])
    for number, words in (
        (names, "names are other names (links) of a file that was looked at, and no copies."),
        (links, "pictures are reached only by links; none of them is offered to go."),
        (several, "photographs are several files (RAW, HEIC, JPEG, film), which stay or go together."),
        (blank, "pictures have too little detail to be judged; only the same bytes make them copies."),
    ):
        if number:
            notes.append(f"{number:,} {words}")
    return notes


def _hidden(path: str) -> bool:
    """Whether a path relative to the folder leads through something hidden."""
    return not path.startswith("/") and any(part.startswith(".") for part in PurePosixPath(path).parts)


def _components(n: int, first: Ints, second: Ints) -> list[list[int]]:
    """The connected components of more than one of n nodes, by the edges between them."""
    parent = list(range(n))

    def head(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        parent[head(b)] = head(a)
    components: dict[int, list[int]] = {}
    for node in np.union1d(first[first != second], second[first != second]).tolist():
        components.setdefault(head(node), []).append(node)
    return list(components.values())
