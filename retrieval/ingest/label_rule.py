"""Where the labels of indexed pictures come from."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from retrieval.errors import RetrievalError
from retrieval.index.records import AUTO, CSV, FOLDERS, NONE


@dataclass(frozen=True)
class LabelRule:
    """How a picture's path gives its label.

    Attributes:
        name: what an index records: "folders", "none", or "csv" and the list's SHA-256. Rules of the same name give
            the same labels, but for plain "csv": from a list that is not at hand.
        listed: path → label, where the labels come from a list.
    """

    name: str
    listed: Mapping[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Where labels come from: "folders", "none" or "csv"."""
        return self.name.partition(" ")[0]

    @property
    def keeps(self) -> bool:
        """Whether pictures keep the labels that they have, and new ones have none, as the list is not at hand."""
        return self.name == CSV

    def __call__(self, path: str, before: str | None = None) -> str | None:
        """The label of one picture.

        Args:
            path: relative to the folder of pictures, with ``/`` between the parts; absolute if it lies outside, which
                is no class folder.
            before: the label that it had.
        """
        if self.keeps:
            return before
        if self.name == FOLDERS:
            folder = path.rpartition("/")[0]
            return None if path.startswith("/") else folder or None
        return self.listed.get(path)


def recorded_labels(details: Mapping[str, object]) -> str:
    """The name of the rule by which an index was begun; "csv" where nobody says, since its labels came with it."""
    name = str(details.get("labels"))
    return name if name.partition(" ")[0] in (FOLDERS, NONE, CSV) else CSV


def label_rule(choice: str, root: Path, paths: Sequence[str], recorded: str | None = None) -> LabelRule:
    """Decide where labels come from.

    Args:
        choice: "folders": a picture's label is its folder's path below `root`; "none"; the path of a CSV file with
            the columns ``path`` (below `root`, or as seen from the list) and ``label``; or "auto": what `recorded`
            says (where that is a list, pictures keep their labels), and otherwise folders where they look like classes:
            there are at least two, every picture lies in one, and all at the same depth.
        root: the folder of pictures.
        paths: the pictures in it, relative, with ``/``.
        recorded: the rule by which an index was begun (:func:`recorded_labels`), if it exists.

    Raises:
        RetrievalError: the list cannot be read, or names none of the pictures.
    """
    if choice == AUTO and recorded is not None:
        return LabelRule(recorded.partition(" ")[0])
    if choice == AUTO:
        folders = {path.rpartition("/")[0] for path in paths}
        depths = {folder.count("/") for folder in folders}
        return LabelRule(FOLDERS if "" not in folders and len(folders) >= 2 and len(depths) == 1 else NONE)
    if choice in (FOLDERS, NONE):
        return LabelRule(choice)
    return _listed(Path(choice), root, frozenset(paths))


def _listed(file: Path, root: Path, paths: frozenset[str]) -> LabelRule:
    try:
        content = file.read_bytes()
        rows = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""))
        columns = set(rows.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RetrievalError(
            f"The labels {str(file)!r} cannot be read ({error}); give auto, folders, none, or a CSV file in UTF-8."
        ) from None
    if not {"path", "label"} <= columns:
        raise RetrievalError(
            f"The labels {str(file)!r} have the columns {', '.join(sorted(columns)) or '(none)'}; "
            "two must be called path and label."
        )
    listed: dict[str, str] = {}
    for row in rows:
        if row["path"] and row["label"]:
            for path in (row["path"], _seen_from(root, file.parent / row["path"])):
                if path in paths:
                    listed[path] = row["label"]
    if not listed:
        raise RetrievalError(
            f"The labels {str(file)!r} name none of the {len(paths):,} pictures in {str(root)!r}; "
            "their paths must be relative to that folder or to the list's own."
        )
    return LabelRule(f"{CSV} {hashlib.sha256(content).hexdigest()}", listed)


def _seen_from(root: Path, file: Path) -> str | None:
    try:
        return file.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        return None
