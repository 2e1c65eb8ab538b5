"""Where the labels of indexed pictures come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from retrieval.base.files import digest
from retrieval.base.object_address import is_object
from retrieval.base.picture_names import PictureNames
from retrieval.base.table import Table, short
from retrieval.base.text import printable
from retrieval.errors import RetrievalError
from retrieval.index.records import AUTO, CSV, FOLDERS, NONE

SHOWN = 3
"""Names that a note gives as examples, at most."""


@dataclass(frozen=True)
class LabelRule:
    """How a picture's path gives its label.

    Attributes:
        name: what an index records: "none", "folders", with how many folders deep the classes are unless every folder
            is one, or "csv" and the list's SHA-256. Rules of the same name give the same labels, but for plain "csv":
            from a list that is not at hand.
        listed: path → label, where the labels come from a list.
        notes: what a person should know, a sentence each: which pictures and names it leaves out.
    """

    name: str
    listed: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

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
        if self.kind == FOLDERS:
            folders = path.split("/")[:-1]
            depth = int(self.name.partition(" ")[2] or len(folders))
            return (
                None
                if path.startswith("/") or is_object(path) or len(folders) < depth
                else "/".join(folders[:depth]) or None
            )
        return self.listed.get(path)


def recorded_labels(details: Mapping[str, object]) -> str:
    """The name of the rule by which an index was begun; "csv" where nobody says, since its labels came with it."""
    name = str(details.get("labels"))
    return name if name.partition(" ")[0] in (FOLDERS, NONE, CSV) else CSV


def recorded_rule(recorded: str) -> LabelRule:
    """The rule of that name, as far as the name tells; of a list that is not at hand, one that keeps what there is."""
    return LabelRule(recorded if recorded.startswith(FOLDERS) else recorded.partition(" ")[0])


def label_rule(choice: str, root: str | Path, paths: Sequence[str], recorded: str | None = None) -> LabelRule:
    """Decide where labels come from.

    Args:
        choice: "folders": a picture's label is its folder's path below `root`; "none"; the path of a table with
            the columns ``path`` (below `root`, or as seen from the list) and ``label``; or "auto": what `recorded`
            says (where that is a list, pictures keep their labels), and otherwise folders where they look like classes:
            there are at least two, and most pictures lie equally deep. Those that lie deeper are of the class folder
            that they are in, and those that lie less deep of none.
        root: the folder of pictures, or its address.
        paths: the pictures in it, relative, with ``/``.
        recorded: the rule by which an index was begun (:func:`recorded_labels`), if it exists.

    Raises:
        RetrievalError: the list cannot be read, names none of the pictures, or gives one two labels.
    """
    if choice == AUTO and recorded is not None:
        rule = recorded_rule(recorded)
        if rule.kind != FOLDERS or rule.name == FOLDERS or len({rule(path) for path in paths} - {None}) > 1:
            return rule
        again = _class_folders(paths)  # they were put into another folder, or out of one
        return again if again.kind == FOLDERS else rule
    if choice == AUTO:
        return _class_folders(paths)
    if choice in (FOLDERS, NONE):
        return LabelRule(choice)
    return _listed(Path(choice), root, frozenset(paths))


def _class_folders(paths: Sequence[str]) -> LabelRule:
    """By folders where they look like classes, and otherwise none."""
    by_depth: dict[int, list[str]] = {}
    for path in paths:
        by_depth.setdefault(path.count("/"), []).append(path)
    depth = max(by_depth, key=lambda deep: len(by_depth[deep]), default=0)
    if 2 * len(by_depth.get(depth, ())) <= len(paths):
        deep = f"{min(by_depth)} to {max(by_depth)}" if by_depth else "0"
        note = f"no labels: the pictures lie {deep} folders deep; --labels folders takes every folder for a class"
        return LabelRule(NONE, notes=(note,) if max(by_depth, default=0) else ())
    if depth == 0 or len({path.rpartition("/")[0] for path in by_depth[depth]}) < 2:
        return LabelRule(NONE)
    less = [path for path in paths if path.count("/") < depth]
    more = [path for path in paths if path.count("/") > depth]
    notes = []
    if less:
        notes.append(f"{len(less):,} pictures lie in no class folder and have no label: {_some(less)}")
    if more:
        notes.append(f"{len(more):,} pictures lie deeper than the class folders, whose labels they have: {_some(more)}")
    return LabelRule(f"{FOLDERS} {depth}", notes=tuple(notes))


def _listed(file: Path, root: str | Path, paths: frozenset[str]) -> LabelRule:
    if not file.is_file():
        raise RetrievalError(
            f"The labels {printable(file)!r} cannot be read (no such file, or no regular one); give auto, folders, "
            "none, or a table with the columns path and label."
        )
    table = Table(file, "The labels", ("path", "label"))
    if table.columns is not None and not {"path", "label"} <= set(table.columns):
        raise RetrievalError(
            f"The labels {printable(file)!r} have the columns {', '.join(sorted(table.columns)) or '(none)'}; "
            "two must be called path and label."
        )
    names = PictureNames(paths.__contains__, lambda: paths, str(root), file.parent)
    listed: dict[str, str] = {}
    numbers: dict[str, int] = {}
    unknown: list[str] = []
    for row in table.rows():
        number, name, label = row.number, table.text(row, "path"), table.text(row, "label")
        if not name or not label:
            continue
        path = names.find(name)
        if path is None:
            unknown.append(name)
        elif listed.setdefault(path, label) != label:
            table.refuse(
                number,
                f"gives {short(path)} the label {short(label)}, and {table.unit} {numbers[path]} {short(listed[path])};"
                " take one of them out",
            )
        else:
            numbers.setdefault(path, number)
    if not listed:
        raise RetrievalError(
            f"The labels {printable(file)!r} name none of the {len(paths):,} pictures in {printable(root)!r}; "
            "their paths must be relative to that folder or to the list's own."
        )
    notes = []
    if unknown:
        notes.append(f"{len(unknown):,} names in the list are of no picture, or may be of several: {_some(unknown)}")
    if rest := sorted(paths - listed.keys()):
        notes.append(f"{len(rest):,} pictures have no label in the list: {_some(rest)}")
    return LabelRule(f"{CSV} {digest(file)}", listed, tuple(notes))


def _some(names: Sequence[str]) -> str:
    """The first few of some names."""
    return ", ".join(short(printable(name)) for name in names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
