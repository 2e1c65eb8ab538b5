"""What looking for duplicates found, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, Literal

from retrieval import images
from retrieval.base.files import write_durably
from retrieval.base.found import Found
from retrieval.base.placed_files import Placed, Root
from retrieval.base.table import csv_text
from retrieval.base.text import aligned, plain, printable
from retrieval.base.units import show_bytes
from retrieval.errors import RetrievalError
from retrieval.places.folder import Folder
from retrieval.traps.duplicates.photographs import Seen

Kind = Literal["exact", "hash", "embedding"]

LARGEST, OLDEST = "largest", "oldest"
"""Rules for which picture of a group is kept; a folder is the third."""

SHOWN = 10
"""Pictures that could go which a table names."""

LIST = (
    *("group", "path", "size", "width", "height", "kind", "score", "bits", "keep", "same_as", "stays"),
    *("names", "files"),
)
"""Columns of the list."""


@dataclass(frozen=True)
class Copy:
    """One picture of a group.

    Attributes:
        path: of the file, relative to the folder.
        size: of the file, bytes.
        width: of the picture as it is shown, pixels.
        height: likewise.
        kind: what makes it a duplicate of the one that is kept: "exact" for the same bytes, "hash" for perceptual
            hashes (and its vector, where there is one), "embedding" for its vector alone; None for what is kept.
        score: the cosine with that one's vector; None where there are no vectors.
        bits: the greater distance of their two hashes; None where a picture has too little detail.
        names: other names of the same file, relative to the folder: links of any kind. They take no room.
        files: what belongs to the same photograph: a RAW, a film, sidecars.
        same_as: an earlier picture of the group with the same bytes, whatever `kind` says; None if there is none.
        stays: why it is only shown, and not offered to go; None if it may go.
        frees: bytes that come free if it goes, with its files.
        seen: it and its files as they were looked at, the picture first; what :mod:`.move` goes by.
        exactly: those of them that the same bytes must stand for, and nothing less.
        sha256: of the picture, in hexadecimal.
    """

    path: str
    size: int
    width: int
    height: int
    kind: Kind | None = None
    score: float | None = None
    bits: int | None = None
    names: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    same_as: str | None = None
    stays: str | None = None
    frees: int = 0
    seen: tuple[Seen, ...] = field(default=(), repr=False)
    exactly: tuple[Seen, ...] = field(default=(), repr=False)
    sha256: str = field(default="", repr=False)

    @property
    def keep(self) -> bool:
        """Whether it is to stay where it is."""
        return self.kind is None or self.stays is not None

    @property
    def how(self) -> str | None:
        """As which it is counted: "exact" where another picture of the group has its bytes, else its kind."""
        return "exact" if self.same_as is not None else self.kind

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {name: plain(value) for name, value in vars(self).items() if name not in ("seen", "exactly", "sha256")}


@dataclass(frozen=True)
class Group:
    """Pictures that show the same.

    Attributes:
        kept: the one that could stay.
        copies: each within the threshold of `kept`: exact ones first, then by hash, then by score. Those that `stays`
            says nothing of could go.
    """

    kept: Copy
    copies: tuple[Copy, ...]


@dataclass(frozen=True)
class Duplicates(Found):
    """What :func:`find_duplicates` found.

    Attributes:
        root: the pictures' folder.
        pictures: how many were compared.
        groups: the largest first.
        against: what they were compared with, whose pictures all stay; None for each other.
        keep: the rule by which one of each group was chosen.
        skipped: files that could not be read, and are in no group.
        notes: what a reader should know, a sentence each.
        score: the least score that counted; None where there were no vectors.
        bits: the greatest distance of hashes that counted.
        places: what may be opened in `root`, and in `against`.
    """

    root: Path
    pictures: int
    groups: tuple[Group, ...]
    skipped: tuple[images.Skipped, ...]
    notes: tuple[str, ...]
    score: float | None
    bits: int
    against: Path | None = None
    keep: str = LARGEST
    places: tuple[Root, ...] = field(default=(), repr=False)

    def placed(self, path: str) -> Placed:
        """The file of a picture, to be opened as those were that were compared."""
        ours, *theirs = self.places or (Folder(self.root),)
        if not (theirs and PurePath(path).is_absolute()):
            return ours / path
        return theirs[0] / path.removeprefix(f"{theirs[0].name}/")

    @property
    def could_go(self) -> tuple[Copy, ...]:
        """Every picture that has a better one, and no reason to stay."""
        return tuple(copy for group in self.groups for copy in group.copies if not copy.keep)

    @property
    def shown_only(self) -> int:
        """How many are like a better one, and are not offered to go."""
        return sum(len(group.copies) for group in self.groups) - len(self.could_go)

    @property
    def headline(self) -> str:
        """What was found, in a sentence or two."""
        against = "" if self.against is None else f" of {printable(self.against)!r}"
        alike = len(self.groups) + sum(len(group.copies) for group in self.groups)
        return (
            f"{self.pictures:,} pictures, {len(self.groups):,} groups of near-duplicates{against} with {alike:,} "
            "pictures."
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "root": printable(self.root),
            "against": plain(self.against),
            "keep": self.keep,
            "pictures": self.pictures,
            "in_groups": sum(1 + len(group.copies) for group in self.groups),
            "could_go": len(self.could_go),
            "could_go_bytes": sum(copy.frees for copy in self.could_go),
            "could_go_by_kind": {kind: len(self._counted(kind)) for kind in ("exact", "hash")},
            "shown_only": self.shown_only,
            "score": self.score,
            "bits": self.bits,
            "groups": [{"keep": plain(group.kept), "copies": plain(group.copies)} for group in self.groups],
            "skipped": plain(self.skipped),
            "notes": list(self.notes),
        }

    def _counted(self, kind: str) -> list[Copy]:
        return [copy for copy in self.could_go if copy.how == kind]

    def table(self) -> str:
        """For people: what there is of each kind, some of what would stay and go, and what a reader should know."""
        both = "" if self.score is None else f" and score from {self.score:g}"
        rows = [("", "pictures that could go", "")]
        for kind, words in (("exact", "same bytes"), ("hash", f"hashes within {self.bits} bits{both}")):
            some = self._counted(kind)
            rows.append((f"{kind} ({words})", f"{len(some):,}", show_bytes(sum(copy.frees for copy in some))))
        total = self.could_go
        rows.append(("all", f"{len(total):,}", show_bytes(sum(copy.frees for copy in total))))
        lines = aligned(rows)
        going = [(group.kept, copy) for group in self.groups for copy in group.copies if not copy.keep]
        if going:
            lines += ["", *(f"  {copy.path!r} could go, {kept.path!r} stays" for kept, copy in going[:SHOWN])]
        if len(going) > SHOWN:
            lines.append(f"  and {len(going) - SHOWN:,} more (--list, --page and --json name all)")
        if self.shown_only:
            more = f"{self.shown_only:,} more look alike and are not offered to go; --list and --page say why."
            lines += ["", more]
        head = f"{self.headline} Nothing was changed."
        return "\n".join([head, "", *lines, *(["", *self.notes] if self.notes else [])])

    def write_list(self, path: str | Path) -> None:
        """Write a list to act on: CSV, one picture a line, with its group, what it is, and whether to keep it.

        Raises:
            RetrievalError: the name does not end in .csv, or it cannot be written.
        """
        file = output(path, ".csv")
        rows: list[Sequence[object]] = [LIST]
        for number, group in enumerate(self.groups, 1):
            for one in (group.kept, *group.copies):
                score = "" if one.score is None else round(one.score, 6)
                row = [number, one.path, one.size, one.width, one.height, one.kind or "", score]
                row += ["" if one.bits is None else one.bits, "yes" if one.keep else "no", one.same_as or ""]
                several = [json.dumps(some, ensure_ascii=False) if some else "" for some in (one.names, one.files)]
                rows.append([*row, one.stays or "", *several])
        write_durably(file, csv_text(rows).encode(errors="backslashreplace"))


def output(path: str | Path, *endings: str) -> Path:
    """A file that may be written: its name must end as it should, so that no picture is ever written over.

    Raises:
        RetrievalError: it does not, or its folder is not there.
    """
    file = Path(path)
    if file.suffix.lower() not in endings:
        raise RetrievalError(f"{printable(file)!r} was to be written; give a name that ends in {endings[0]}.")
    if not file.resolve().parent.is_dir():
        raise RetrievalError(f"{printable(file)!r} lies in a folder that is not there; make it, or name another.")
    return file
