"""Pictures of an index as something to take along: a table, or an archive of their files.

An archive has only what the service would show (:func:`retrieval.service.pictures.opened`), under names that no program
unpacks outside of its folder, and each once.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator, Sequence

from retrieval.base.table import csv_text
from retrieval.base.text import printable
from retrieval.base.units import show_bytes
from retrieval.errors import RetrievalError
from retrieval.images import kinds
from retrieval.index import Item
from retrieval.search.search import Search
from retrieval.service.pictures import opened
from retrieval.service.problems import Problem

ROWS = 100_000
"""Pictures of a table, at most."""

FILES, BYTES = 10_000, 4 * 10**9
"""Files of an archive, and bytes of all of them, at most."""

LEFT_OUT = "left out.txt"
"""What an archive says of pictures that are not in it."""

_COLUMNS = ("id", "path", "label", "width", "height", "size", "sha256")
_BLOCK = 1_000
_PIECE = 1 << 18
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_UNSAFE = re.compile(r'[<>:"|?*\\]')
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


def cell(value: object) -> object:
    """A value as it can stand in a table that a spreadsheet opens: no text that it would take for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def csv_rows(search: Search, ids: Sequence[int]) -> Iterator[bytes]:
    """A table of some pictures with all their attributes, in blocks."""
    names = sorted(search.index.attribute_kinds())
    yield csv_text([[cell(name) for name in (*_COLUMNS, *names)]]).encode()
    for start in range(0, len(ids), _BLOCK):
        some = ids[start : start + _BLOCK]
        told = zip(search.index.items(some), search.index.attributes(some), strict=True)
        rows = [[getattr(item, one) for one in _COLUMNS] + [more.get(one) for one in names] for item, more in told]
        yield csv_text([[cell(value) for value in row] for row in rows]).encode(errors="backslashreplace")


def to_pack(search: Search, ids: Sequence[int]) -> list[Item]:
    """The pictures of an archive.

    Raises:
        Problem: they are too many or too large, or none of them is shown.
    """
    if len(ids) > FILES:
        raise Problem(413, f"{len(ids):,} pictures were asked for; an archive has at most {FILES:,}.", "too-large")
    items = search.index.items(ids)
    size = sum(item.size for item in items)
    if size > BYTES:
        raise Problem(
            413, f"The pictures have {show_bytes(size)}; an archive has at most {show_bytes(BYTES)}.", "too-large"
        )
    refused: Problem | None = None
    for item in items:
        try:
            opened(search, item).close()
            return items
        except Problem as problem:
            refused = refused or problem
    raise refused or Problem(400, "There is nothing to pack; give ids of pictures.", "refused")


def zip_blocks(search: Search, items: Sequence[Item]) -> Iterator[bytes]:
    """An archive of the files of some pictures, in blocks; it ends with a list of what is not in it, if that is so.

    The files are packed as they are, since pictures hardly become smaller.
    """
    sink = _Sink()
    taken: set[str] = {LEFT_OUT}
    left: list[str] = []
    packed = 0
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for item in items:
            try:
                file = opened(search, item)
            except Problem as problem:
                left.append(problem.detail)
                continue
            with file:
                head = file.read(kinds.HEAD) or b""
                if kinds.kind_of(head) is None:
                    left.append(f"The file {printable(item.path)!r} is no picture.")
                    continue
                with archive.open(zipfile.ZipInfo(safe_name(item.path, taken)), "w", force_zip64=True) as entry:
                    piece = head
                    while piece and packed <= BYTES:  # a file may have grown since it was indexed
                        entry.write(piece)
                        packed += len(piece)
                        yield sink.taken()
                        piece = file.read(_PIECE) or b""
        if left:
            archive.writestr(LEFT_OUT, "\n".join([*left, ""]))
    yield sink.taken()


def safe_name(path: str, taken: set[str]) -> str:
    """A path as an archive can have it on every system, and that it has not yet; it is added to those it has."""
    parts = []
    for part in path.replace("\\", "/").split("/"):
        plain = _UNSAFE.sub("_", "".join(letter if letter.isprintable() else "_" for letter in part)).rstrip(". ")
        plain = plain.encode("utf-8", "replace").decode()[-100:]
        if plain and part != "..":
            parts.append(f"_{plain}" if _DEVICES.fullmatch(plain) else plain)
    name = "/".join(parts) or "picture"
    stem, dot, suffix = name.rpartition(".") if "." in name.rpartition("/")[2] else (name, "", "")
    number, wanted = 2, name
    while name.casefold() in taken:
        name, number = f"{stem} ({number}){dot}{suffix}" if dot else f"{wanted} ({number})", number + 1
    taken.add(name.casefold())
    return name


class _Sink(io.RawIOBase):
    """Where an archive is written to, and taken from a block at a time; it cannot be sought in."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._at = 0

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        piece = bytes(data)  # type: ignore[call-overload]
        self._held += piece
        self._at += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self._at

    def taken(self) -> bytes:
        block, self._held = bytes(self._held), bytearray()
        return block


def ids_of(given: object, most: int) -> list[int]:
    """Ids, each once.

    Raises:
        Problem: they are none, or too many.
    """
    if not isinstance(given, list) or not 0 < len(given) <= most or not all(type(one) is int for one in given):
        raise Problem(400, f"ids is no list of 1 to {most:,} ids of pictures.", "refused")
    return list(dict.fromkeys(given))


def known(search: Search, ids: Sequence[int]) -> None:
    """See that a collection has some pictures.

    Raises:
        Problem: it lacks one.
    """
    try:
        search.index.items(ids)
    except RetrievalError as error:
        raise Problem(404, str(error), "no-such-item") from None
