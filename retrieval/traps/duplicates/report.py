"""What looking for duplicates found, for people and for programs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from retrieval import images
from retrieval.base.files import write_durably
from retrieval.base.found import Found
from retrieval.base.table import csv_text
from retrieval.base.text import aligned, printable
from retrieval.base.units import show_bytes
from retrieval.errors import RetrievalError

Kind = Literal["exact", "hash", "embedding"]


@dataclass(frozen=True)
class Copy:
    """One picture of a group.

    Attributes:
        path: of the file, relative to the folder.
        size: of the file, bytes.
        width: of the picture as it is shown, pixels.
        height: likewise.
        kind: what makes it a duplicate of the one that is kept: "exact" for the same bytes, "hash" for perceptual
            hashes, "embedding" for its vector; None for the one that is kept.
        score: the cosine with that one's vector; None where there are no vectors.
        bits: the greater distance of their two hashes; None where a picture has too little detail.
    """

    path: str
    size: int
    width: int
    height: int
    kind: Kind | None = None
    score: float | None = None
    bits: int | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return dict(vars(self))


@dataclass(frozen=True)
class Group:
    """Pictures that show the same.

    Attributes:
        kept: the one that could stay: of the most pixels, of those the largest file, of those the first by path.
        copies: those that could go, each within the threshold of `kept`; exact ones first, then by hash, then by score.
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
        skipped: files that could not be read, and are in no group.
        notes: what a reader should know, a sentence each.
        score: the least score that counted; None where there were no vectors.
        bits: the greatest distance of hashes that counted.
    """

    root: Path
    pictures: int
    groups: tuple[Group, ...]
    skipped: tuple[images.Skipped, ...]
    notes: tuple[str, ...]
    score: float | None
    bits: int

    @property
    def could_go(self) -> tuple[Copy, ...]:
        """Every picture that has a better one."""
        return tuple(copy for group in self.groups for copy in group.copies)

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "root": printable(self.root),
            "pictures": self.pictures,
            "in_groups": len(self.groups) + len(self.could_go),
            "could_go": len(self.could_go),
            "could_go_bytes": sum(copy.size for copy in self.could_go),
            "score": self.score,
            "bits": self.bits,
            "groups": [
                {"keep": group.kept.to_json(), "copies": [copy.to_json() for copy in group.copies]}
                for group in self.groups
            ],
            "skipped": [one._asdict() for one in self.skipped],
            "notes": list(self.notes),
        }

    def table(self) -> str:
        """For people: what there is of each kind, and what a reader should know."""
        kinds = {
            "exact": "same bytes",
            "hash": f"hashes within {self.bits} bits",
            "embedding": f"score from {self.score:g}" if self.score is not None else "",
        }
        rows = [("", "pictures that could go", "")]
        for kind, words in kinds.items():
            some = [copy.size for copy in self.could_go if copy.kind == kind]
            if words:
                rows.append((f"{kind} ({words})", f"{len(some):,}", show_bytes(sum(some))))
        total = self.could_go
        rows.append(("all", f"{len(total):,}", show_bytes(sum(copy.size for copy in total))))
        head = (
            f"{self.pictures:,} pictures, {len(self.groups):,} groups of near-duplicates with "
            f"{len(self.groups) + len(total):,} pictures. Nothing was changed."
        )
        return "\n".join([head, "", *aligned(rows), *(["", *self.notes] if self.notes else [])])

    def write_list(self, path: str | Path) -> None:
        """Write a list to act on: CSV, one picture a line, with its group, what it is, and whether to keep it.

        Raises:
            RetrievalError: the name does not end in .csv, or it cannot be written.
        """
        file = output(path, ".csv")
        rows: list[tuple[object, ...]] = [
            ("group", "path", "size", "width", "height", "kind", "score", "bits", "keep"),
        ]
        for number, group in enumerate(self.groups, 1):
            for one in (group.kept, *group.copies):
                score = "" if one.score is None else f"{one.score:.6f}"
                keep = "yes" if one is group.kept else "no"
                rows.append((number, one.path, one.size, one.width, one.height, one.kind, score, one.bits, keep))
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
