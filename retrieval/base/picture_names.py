"""Pictures by the names that a table has for them: in an index, and on the disk."""

from __future__ import annotations

import os
import posixpath
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from retrieval.base.object_address import is_object


class PictureNames:
    """Finds the picture that somebody means.

    A name is one that the picture is known by, or its place, absolute or as seen from the table's folder; with ``./``
    and ``..`` in it or not, and with ``\\`` for ``/``. If there is no such picture, it is one whose name is the same in
    another Unicode form (an accent may be a letter's own or stand behind it, as in the archives of macOS), or else in
    other capitals, provided that there is one such picture alone.

    Args:
        there: whether a path is known.
        paths: gives all that are; asked for when a name is not among them.
        root: the folder that they are relative to, or its address in an object store.
        folder: that of the table.
    """

    def __init__(
        self, there: Callable[[str], bool], paths: Callable[[], Iterable[str]], root: str, folder: Path
    ) -> None:
        self._there = there
        self._paths = paths
        self._address = root if is_object(root) else None
        self._root = os.path.realpath(root) if root not in ("", ".") and self._address is None else ""
        self._folder = os.path.realpath(folder)
        self._alike: list[tuple[Callable[[str], str], dict[str, list[str]]]] = []

    def find(self, name: str) -> str | None:
        """The path that is meant; None if it is none, or might be several."""
        found = next(filter(self._there, self._candidates(name)), None)
        if found is not None:
            return found
        candidates = list(self._candidates(name))
        if not self._alike:
            paths = list(self._paths())
            self._alike = [(form, _by_form(paths, form)) for form in (composed, folded)]
        for form, paths_by_form in self._alike:
            for candidate in candidates:
                paths = paths_by_form.get(form(candidate), [])
                if len(paths) == 1:
                    return paths[0]
        return None

    def _candidates(self, name: str) -> Iterator[str]:
        """The paths that a name may stand for."""
        for written in (name, name.strip(), name.replace("\\", "/")):
            yield written
            if self._address is not None and written.startswith(self._address + "/"):
                yield written[len(self._address) + 1 :]
            yield posixpath.normpath(written)
            place = posixpath.normpath(posixpath.join(self._folder, written))
            yield place
            if self._root:
                for one in (place, os.path.realpath(posixpath.dirname(place)) + "/" + posixpath.basename(place)):
                    if one.startswith(self._root + "/"):
                        yield one[len(self._root) + 1 :]
            if written == name == name.strip() and "\\" not in name:
                return


def composed(name: str) -> str:
    """A name in the one Unicode form that all its forms have in common."""
    return unicodedata.normalize("NFC", name)


def folded(name: str) -> str:
    """The same without capitals."""
    return composed(composed(name.strip()).casefold())


def _by_form(paths: Iterable[str], form: Callable[[str], str]) -> dict[str, list[str]]:
    found = defaultdict(list)
    for path in paths:
        found[form(path)].append(path)
    return dict(found)


class DiskNames:
    """Finds files on the disk that are there in another Unicode form or in other capitals; each folder is read once."""

    def __init__(self) -> None:
        self._listed: dict[str, tuple[set[str], list[dict[str, list[str]]]]] = {}

    def find(self, file: Path) -> Path:
        """The file as the disk spells it; as it was given where there is none, or might be several."""
        if file.parent == file:
            return file
        names, alike = self._names(file.parent)
        if file.name in names:
            return file
        folder = file.parent if names else self.find(file.parent)
        if folder != file.parent:
            return self.find(folder / file.name)
        for form, by_form in zip((composed, folded), alike, strict=True):
            same = by_form.get(form(file.name), [])
            if len(same) == 1:
                return folder / same[0]
        return file

    def _names(self, folder: Path) -> tuple[set[str], list[dict[str, list[str]]]]:
        key = str(folder)
        if key not in self._listed:
            try:
                names = [entry.name for entry in folder.iterdir()]
            except OSError:
                names = []
            self._listed[key] = set(names), [_by_form(names, form) for form in (composed, folded)]
        return self._listed[key]
