"""The address of an index that a database holds: ``postgresql://HOST:PORT/DATABASE/NAME``, ``milvus:http://HOST:PORT/NAME``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from retrieval.base.text import printable
from retrieval.errors import RetrievalError

_SECRET = re.compile(r"(?i)(password|sslpassword)=")
_RESERVED = re.compile(r"pg_|(public|information_schema)$", re.IGNORECASE)

ENGINES = {
    "postgresql": ("postgresql", "PostgreSQL"),
    "postgres": ("postgresql", "PostgreSQL"),
    "milvus": ("milvus", "Milvus"),
}
"""By the scheme of their addresses: the module of this room, imported when it is first asked for, and the class."""

_FORMS = {
    "postgresql": (("",), (2,), "postgresql://localhost:5432/DATABASE/photos"),
    "milvus": (("", "http:", "https:"), (1, 2), "milvus:http://localhost:19530/photos"),
}
"""By engine: what may stand before the slashes, how many parts a path may have, and an example."""

LONGEST = 48
"""Bytes of an index's name: a database's names have 63, and a version in the making has a word behind it."""


@dataclass(frozen=True)
class Address:
    """Where an index is.

    Attributes:
        scheme: which engine ("postgresql").
        database: the address of its database, with whatever was given to log in.
        name: the index's own.
        shown: the whole address without a password, as messages have it.
    """

    scheme: str
    database: str
    name: str
    shown: str

    @classmethod
    def of(cls, text: str) -> Address:
        """Take one apart.

        Raises:
            RetrievalError: it is none.
        """
        scheme, _, rest = text.partition(":")
        transport, there, rest = rest.partition("//")
        rest, asked, options = rest.partition("?")
        hosts, *path = rest.split("/")
        user, at, place = hosts.rpartition("@")
        kept = "&".join(option for option in options.split("&") if not _SECRET.match(option))
        whole = "/".join([user.partition(":")[0] + at + place, *path])
        shown = printable(f"{scheme}:{transport}{there}{whole}{'?' + kept if kept else ''}")
        if scheme == "milvus" and not there:
            raise RetrievalError(
                f"{shown!r} names a file, which Milvus Lite would search without the structures that it says it has; "
                "give the address of a server, such as milvus:http://localhost:19530/photos."
            )
        transports, lengths, example = _FORMS[ENGINES[scheme][0]]
        if transport not in transports or len(path) not in lengths or not all([hosts or scheme != "milvus", *path]):
            raise RetrievalError(f"{shown!r} is no address of an index; give one such as {example}.")
        name = unquote(path[-1])
        if (
            not name.isprintable()
            or not name.strip(".")
            or {*"%/"} & {*name}
            or len(name.encode(errors="replace")) > LONGEST
            or _RESERVED.match(name)
        ):
            raise RetrievalError(
                f"An index cannot be called {printable(name)!r} in a database; give a name of at most {LONGEST} bytes "
                "without % and /, that does not begin with pg_ and is not public."
            )
        database = "/".join([f"{transport or scheme + ':'}//{hosts}", *path[:-1]]) + asked + options
        return cls(scheme, database, name, shown)


def is_address(place: object) -> bool:
    """Whether a text is the address of an index in an engine, and no folder."""
    return (
        isinstance(place, str)
        and ("://" in place or place.startswith("milvus:"))  # after which a file of Milvus Lite may stand
        and place.partition(":")[0] in ENGINES
    )


def shown(place: str | Path) -> Path | str:
    """Where an index is, as reports have it: its folder, or its address without a password."""
    return Address.of(str(place)).shown if is_address(place) else Path(place)
