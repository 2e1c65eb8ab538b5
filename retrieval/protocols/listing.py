"""Lists and folders as they come with the sets, read as files that nobody vouches for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from retrieval.base.placed_files import NotOpenedError, open_file
from retrieval.base.text import printable
from retrieval.errors import RetrievalError

MOST = 1 << 28
"""Bytes of a list."""

LONGEST = 10_000
"""Letters of a line that names a picture."""

PICTURES = (".jpg", ".jpeg", ".png")
"""What the pictures of the sets are called, in any letters."""


def home(folder: Path, *needed: str, inside: Sequence[str] = ()) -> Path | None:
    """Where in a folder all files and folders lie that a set needs: in itself or one of `inside`; None if nowhere."""
    places = (folder, *(folder / name for name in inside))
    return next((place for place in places if all((place / name).exists() for name in needed)), None)


def required(place: Path | None, folder: Path, title: str, layout: str) -> Path:
    """The place, if there is one.

    Raises:
        RetrievalError: there is none; with what a folder of this set holds.
    """
    if place is None:
        raise RetrievalError(f"{printable(folder)!r} is no folder of {title}, which holds {layout}; give that one.")
    return place


class Listing:
    """A text file of lines, with its place for messages."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def refuse(self, number: int, trouble: str) -> NoReturn:
        """Raise the error that says what is wrong with a line, in words that follow its number."""
        raise RetrievalError(f"Line {number} of {printable(self.path)!r} {trouble}; get the file once more.")

    def lines(self) -> Iterator[tuple[int, str]]:
        """Number and text of each line that is not empty, without blanks and carriage returns around it.

        Raises:
            RetrievalError: it cannot be read, is no UTF-8, or has a line longer than any of these lists has.
        """
        try:
            with open_file(self.path, MOST) as file:
                content = file.readall()
        except (OSError, NotOpenedError) as error:
            reason = getattr(error, "strerror", None) or error
            raise RetrievalError(
                f"{printable(self.path)!r} cannot be read ({reason}); get the set once more."
            ) from None
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise RetrievalError(
                f"{printable(self.path)!r} is no text (byte {error.start} is not UTF-8); get the file once more."
            ) from None
        for number, line in enumerate(text.split("\n"), 1):
            if len(line) > LONGEST or "\0" in line:
                self.refuse(number, "is too long, or holds a zero byte")
            if line.strip():
                yield number, line.strip()

    def rows(self, columns: int, *, names_last: bool) -> Iterator[tuple[int, list[str]]]:
        """Number and cells of each line. One cell, the last or the first, is a name that may hold blanks."""
        for number, line in self.lines():
            cells = line.split(None, columns - 1) if names_last else line.rsplit(None, columns - 1)
            if len(cells) != columns:
                self.refuse(number, f"has {len(cells)} columns instead of {columns}: {printable(line)[:60]!r}")
            yield number, cells

    def whole(self, number: int, cell: str, least: int = 0) -> int:
        """A cell as a whole number."""
        digits = cell.removeprefix("-")
        if not (digits.isascii() and digits.isdecimal() and len(digits) < 19) or int(cell) < least:
            self.refuse(number, f"has {printable(cell)[:60]!r} where a whole number from {least} on stands")
        return int(cell)

    def picture(self, number: int, name: str) -> str:
        """A cell as the name of a picture below the set's folder."""
        parts = name.split("/")
        if name.startswith("/") or ".." in parts or "\\" in name:
            self.refuse(number, f"names {printable(name)[:60]!r}, which leads out of the folder")
        return name


def once(names: Sequence[str], path: Path) -> tuple[str, ...]:
    """The names, if none stands there twice.

    Raises:
        RetrievalError: one does.
    """
    name, times = Counter(names).most_common(1)[0] if names else ("", 1)
    if times > 1:
        raise RetrievalError(f"{printable(path)!r} lists {printable(name)!r} {times} times; get the file once more.")
    if not names:
        raise RetrievalError(f"{printable(path)!r} lists no picture; get the set once more.")
    return tuple(names)


def pictures(folder: Path) -> list[str]:
    """The names of the pictures in a folder, sorted; not what systems leave there (``._1.jpg``, ``Thumbs.db``).

    Raises:
        RetrievalError: the folder cannot be read.
    """
    try:
        found = [entry.name for entry in folder.iterdir()]
    except OSError as error:
        raise RetrievalError(
            f"{printable(folder)!r} cannot be read ({error.strerror or error}); get the set once more."
        ) from None
    return sorted(name for name in found if not name.startswith(".") and name.lower().endswith(PICTURES))
