"""Marks: what somebody said of hits, and the file that keeps it.

A file of marks is UTF-8 text with a JSON object on each line, one mark each:

    {"query": "holiday.jpg", "item": "2019/IMG_42.jpg", "sha256": "9f86d0…", "right": true}

==============  =====================================================================================================
``query``       what was asked: a part as :mod:`retrieval.search.parts` reads it, or of a question of many parts
                ``{"like": [PART, …], "unlike": [PART, …]}``
``item``        the hit's path in the index
``right``       whether it was a right answer, true or false
``sha256``      of the hit's file; may be missing. With it, another picture that lies under this path by now is not
                taken for the one that was marked
``query_sha256``  of the query's file, where it is one picture; may be missing. With it, the query is known by its
                bytes wherever they lie, and another picture under its name is another query
==============  =====================================================================================================

Other names are left alone. Lines are only ever added: of several marks of one item for one query the last one counts. A
mark says whether an *answer* was good, and so belongs to its query alone; what is asked is a matter of the query.
"""

from __future__ import annotations

import codecs
import dataclasses
import errno
import fcntl
import json
import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from retrieval.base.files import sync_folder
from retrieval.base.table import LINES, Table, short
from retrieval.base.text import printable
from retrieval.errors import RetrievalError
from retrieval.index import Index, Item
from retrieval.search.parts import Part
from retrieval.search.query import Question, place_of

MOST = 1_000_000
"""Lines of a file of marks."""

_ROW = re.compile(r"(.+)\[([0-9]{1,18})\]", re.DOTALL)
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Asked:
    """What was asked, as it is spelled.

    The order of the parts, and the weight of one that is alone, mean nothing: they are sorted, and the weight is 1.

    Attributes:
        like: what hits are to be like. unlike: what they are not to be like.

    Raises:
        RetrievalError: there is no part, or one lies in memory and so has no spelling.
    """

    like: tuple[Part, ...]
    unlike: tuple[Part, ...] = ()

    def __post_init__(self) -> None:
        if not self.like and not self.unlike:
            raise RetrievalError("Nothing was asked; give a part, as a.jpg, id:17 or text:a red dog.")
        for part in (*self.like, *self.unlike):
            if part.kind == "memory" or isinstance(part.value, tuple):
                raise RetrievalError(f"{part.named!r} lies in no file, so that no mark can name it; save it as a file.")
        for side in ("like", "unlike"):
            object.__setattr__(self, side, tuple(sorted(getattr(self, side), key=str)))
        if self.alone is not None:
            object.__setattr__(self, "like", (dataclasses.replace(self.like[0], weight=1.0),))

    @property
    def alone(self) -> Part | None:
        """The only part, where there is one only."""
        return self.like[0] if len(self.like) == 1 and not self.unlike else None

    @classmethod
    def of(cls, value: object) -> Self:
        """What JSON says: a part as a text, or ``{"like": […], "unlike": […]}``.

        Raises:
            RetrievalError: it is something else, or a part is wrong.
        """
        if isinstance(value, str):
            return cls((_part(value),))
        if isinstance(value, Mapping) and value and set(value) <= {"like", "unlike"}:
            sides = [value.get(side, ()) for side in ("like", "unlike")]
            if all(isinstance(side, list | tuple) and all(isinstance(one, str) for one in side) for side in sides):
                like, unlike = (tuple(map(_part, side)) for side in sides)
                return cls(like, unlike)
        raise RetrievalError(f'The query is {short(value)}; give a text, or {{"like": [texts], "unlike": [texts]}}.')

    def known_by(self, index: Index, sha256: str | None = None) -> frozenset[str]:
        """Names of it, of which :func:`known_by` gives one at least for the same question.

        Args:
            index: that is asked. sha256: of the picture's file, where it is one picture and that was written down.
        """
        part = self.alone
        if part is None or part.kind in ("text", "vector"):
            return frozenset([_name(self, index)])
        box = "" if part.box is None else f"#{part.box}"
        if sha256 is not None:
            return frozenset([f"sha256:{sha256}{box}"])
        item = _item(part, index)
        found = {_name(self, index)}
        if part.kind == "file":
            found.add(f"file:{_place(part.value)}{box}")
        if item is not None and item.sha256:
            found.add(f"sha256:{item.sha256}{box}")
        return frozenset(found)

    def to_json(self) -> str | dict[str, list[str]]:
        """As :meth:`of` takes it."""
        if self.alone is not None:
            return str(self.alone)
        sides = {"like": self.like, "unlike": self.unlike}
        return {name: [str(part) for part in side] for name, side in sides.items() if side}


def known_by(question: Question, index: Index) -> frozenset[str]:
    """The names by which marks know a question: as an item of the index, by its file's place and content, or as it is
    spelled. None of a question of something that lies in memory alone."""
    if question.asked is not None:
        return question.asked
    box = "" if question.box is None else f"#{question.box}"
    found = set()
    if question.item is not None:
        found.add(f"id:{question.item.id}{box}")
    if isinstance(question.picture, Path):
        found.add(f"file:{_place(question.picture)}{box}")
    if question.sha256:
        found.add(f"sha256:{question.sha256}{box}")
    return frozenset(found)


def _name(asked: Asked, index: Index) -> str:
    """One name of a question, whichever way its pictures are named."""
    like, unlike = (sorted(_part_name(part, index) for part in side) for side in (asked.like, asked.unlike))
    return like[0] if asked.alone is not None else json.dumps([like, unlike])


def _part_name(part: Part, index: Index) -> str:
    item = _item(part, index)
    if item is not None:
        return str(dataclasses.replace(part, kind="id", value=item.id))
    if part.kind == "vector":
        named = _ROW.fullmatch(str(part.value))
        file, row = (str(part.value), 0) if named is None else (named[1], int(named[2]))
        return str(dataclasses.replace(part, value=f"{_place(file)}[{row}]"))
    return str(dataclasses.replace(part, value=_place(part.value)) if part.kind == "file" else part)


def _place(file: object) -> str:
    """Where a file lies, absolute; as it is written where that is no possible name."""
    try:
        return place_of(str(file))
    except (OSError, ValueError, RuntimeError):  # RuntimeError: links in a circle
        return str(file)


def _item(part: Part, index: Index) -> Item | None:
    """The item of the index that a part names, by its id, its path or its file."""
    try:
        if part.kind == "id":
            return index.items([int(str(part.value))])[0]
        if part.kind == "path":
            return index.find(str(part.value))
        if part.kind == "file":
            return index.find(index.pictures.path_of(_place(part.value)) or "")
    except (RetrievalError, ValueError):  # there is none, or it lies elsewhere
        return None
    return None


@dataclass(frozen=True)
class Mark:
    """What somebody said of one hit.

    Attributes:
        query: what was asked.
        item: the hit's path in the index.
        right: whether it was a right answer.
        sha256: of the hit's file, hexadecimal; None where nobody wrote it down.
        query_sha256: of the query's file; None where it has none, or nobody wrote it down.

    Raises:
        RetrievalError: a path is empty or no Unicode, or a SHA-256 is none.
    """

    query: Asked
    item: str
    right: bool
    sha256: str | None = None
    query_sha256: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.item, str) or not self.item or not _is_unicode(self.item):
            raise RetrievalError(f"The item is {short(self.item)}; give its path in the index.")
        if not isinstance(self.right, bool):
            raise RetrievalError(f'"right" is {short(self.right)}; give true or false.')
        for name in ("sha256", "query_sha256"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, str) and _SHA256.fullmatch(value)):
                raise RetrievalError(f'"{name}" is {short(value)}; give 64 hexadecimal digits in small letters.')

    def to_json(self) -> dict[str, Any]:
        """As a line of a file has it."""
        found = {"query": self.query.to_json(), "item": self.item, "sha256": self.sha256, "right": self.right}
        return {**found, **({} if self.query_sha256 is None else {"query_sha256": self.query_sha256})}


def _part(text: str) -> Part:
    return Part.parse(text, files=False)  # a line means the same wherever it is read, whatever lies there


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_marks(file: str | Path) -> tuple[Mark, ...]:
    """The marks in a file; of several of one item for one query the last.

    Raises:
        RetrievalError: it cannot be read, or a line is no mark: the sentence has its number.
    """
    table = Table(Path(file), "The list of marks")
    if table.form != LINES and table.columns != ():
        table.refuse(0, f"is not JSON lines but {table.form}; give a mark on each line")
    found: dict[tuple[Asked, str | None, str], Mark] = {}
    for count, (number, cells) in enumerate(table.rows()):
        if count >= MOST:
            table.refuse(number, f"is beyond {MOST:,} marks; leave out what is old")
        missing = next((name for name in ("query", "item", "right") if name not in cells), None)
        if missing is not None:
            table.refuse(number, f'has no "{missing}"; give query, item and right')
        try:
            query = Asked.of(cells["query"])
            mark = Mark(query, cells["item"], cells["right"], cells.get("sha256"), cells.get("query_sha256"))
        except RetrievalError as error:
            table.refuse(number, f"is no mark: {str(error)[:1].lower()}{str(error)[1:].rstrip('.')}")
        key = (mark.query, mark.query_sha256, mark.item)
        found.pop(key, None)  # so that what is said last stands last
        found[key] = mark
    return tuple(found.values())


def append_marks(file: str | Path, marks: Iterable[Mark]) -> None:
    """Add marks to a file, which is made where there is none.

    They are on the disk, all of them, when this returns; none is where it raises. Any number of processes may add to
    one file at the same time. A last line that a crash left unfinished is taken away.

    Raises:
        RetrievalError: the file cannot be written, is a link, or holds something else than marks.
    """
    path, name = Path(file), printable(file)
    lines = "".join(json.dumps(mark.to_json(), ensure_ascii=False) + "\n" for mark in marks).encode()
    if not lines:
        return
    try:
        # Without waiting, as a pipe would do for somebody who reads it, and through no link to another's file.
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
        descriptor = os.open(path, flags, 0o666)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise RetrievalError(f"The list of marks {name!r} is not a regular file; give the name of one.")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            _add(descriptor, lines, name)
            sync_folder(path.absolute().parent)
        finally:
            os.close(descriptor)
    except OSError as error:
        reason = "it is a link" if error.errno == errno.ELOOP else error.strerror or str(error)
        raise RetrievalError(
            f"The list of marks {name!r} cannot be written ({reason}); make room, allow writing there, or give "
            "the name of a file."
        ) from error


_BEGIN = b'{"query":'
"""How a line begins that :func:`append_marks` writes."""


def _add(descriptor: int, lines: bytes, name: str) -> None:
    """Write lines behind those of a locked file; if that fails, the file is as it was."""
    size = os.fstat(descriptor).st_size
    first = os.pread(descriptor, 1024, 0).removeprefix(codecs.BOM_UTF8).lstrip()
    if first and not first.startswith(b"{"):
        raise RetrievalError(f"{name!r} is no list of marks, and so none is added to it; give another name.")
    last = _unfinished(descriptor, size)
    end = size - len(last)
    if last:
        if _is_json(last):  # a person's editor has left the end of the line out
            end, lines = size, b"\n" + lines
        elif not (last.startswith(_BEGIN) or _BEGIN.startswith(last)):
            raise RetrievalError(f"The list of marks {name!r} ends in the middle of a line; finish or remove it.")
    try:
        os.ftruncate(descriptor, end)
        written = 0
        while written < len(lines):
            written += os.pwrite(descriptor, lines[written:], end + written)
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, end)
        raise


def _unfinished(descriptor: int, size: int) -> bytes:
    """What comes behind the last end of a line."""
    tail, start = b"", size
    while start and b"\n" not in tail:
        step = min(start, 1 << 16)
        start -= step
        tail = os.pread(descriptor, step, start) + tail
    return tail.rpartition(b"\n")[2]


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True
