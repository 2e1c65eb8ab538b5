"""Where the labels of indexed pictures come from."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from retrieval.errors import RetrievalError

AUTO, FOLDERS, NONE = "auto", "folders", "none"


@dataclass(frozen=True)
class LabelRule:
    """How a picture's path gives its label.

    Attributes:
        name: what an index records: "folders", "none", or "csv" and the list's SHA-256. Rules of the same name give
            the same labels.
        listed: path → label, where the labels come from a list.
    """

    name: str
    listed: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, path: str) -> str | None:
        """The label of one picture.

        Args:
            path: relative to the folder of pictures, with ``/`` between the parts.
        """
        if self.name == FOLDERS:
            folder = str(PurePosixPath(path).parent)
            return None if folder == "." else folder
        return self.listed.get(path)


def label_rule(choice: str, root: Path, paths: Sequence[str], recorded: str | None = None) -> LabelRule:
    """Decide where labels come from.

    Args:
        choice: "folders": a picture's label is its folder's path below `root`; "none"; the path of a CSV file with
            the columns ``path`` (below `root`, or as seen from the list) and ``label``; or "auto": what `recorded`
            says, and otherwise folders where they look like classes: there are at least two, every picture lies in
            one, and all at the same depth.
        root: the folder of pictures.
        paths: the pictures in it, relative, with ``/``.
        recorded: the rule by which an index was begun.

    Raises:
        RetrievalError: the list cannot be read, or names none of the pictures.
    """
    if choice == AUTO and recorded in (FOLDERS, NONE):
        return LabelRule(recorded)
    if choice == AUTO:
        folders = {PurePosixPath(path).parent for path in paths}
        depths = {len(folder.parts) for folder in folders}
        return LabelRule(FOLDERS if len(folders) >= 2 and len(depths) == 1 else NONE)
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
    return LabelRule(f"csv {hashlib.sha256(content).hexdigest()}", listed)


def _seen_from(root: Path, file: Path) -> str | None:
    try:
        return file.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        return None
