"""How Milvus is reached, how its collections are called, and what its errors say to people."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

import grpc
from pymilvus import MilvusClient, MilvusException

from retrieval.engines.address import Address
from retrieval.errors import RetrievalError

logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # what it would print, with a traceback, is told as an error

PATIENCE = 30.0
"""Seconds that an operation waits for a server to be there again, or for a change to be whole."""

TOKEN = "MILVUS_TOKEN"
"""The environment variable with "user:password", or a key, where the address has none."""

_GONE = (100, 101, 1600)
"""Codes of Milvus for a collection that is not there, or not loaded any more, and for an alias that is not there."""


class GoneError(RetrievalError):
    """A collection that was there has been exchanged for another."""


class LostError(RetrievalError):
    """The server does not answer."""


def connect(address: Address) -> MilvusClient:
    """A client.

    Raises:
        RetrievalError: the server cannot be reached.
    """
    try:
        parts = urlsplit(address.database)
        place = f"{'https' if parts.scheme == 'https' else 'http'}://{parts.hostname or ''}:{parts.port or 19530}"
    except ValueError:  # which may quote all of it, a password too
        raise RetrievalError(f"{address.shown!r} is no address that Milvus understands; correct it.") from None
    user = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else os.environ.get(TOKEN, "")
    database = unquote(parts.path.strip("/"))
    try:
        return MilvusClient(uri=place, token=user, db_name=database, timeout=10)
    except (MilvusException, grpc.RpcError) as error:
        raise RetrievalError(
            f"{address.shown!r} cannot be reached ({reason(error)}); see to the server, the address and the user."
        ) from None


def collection_name(name: str) -> str:
    """What stands for an index's name where Milvus takes letters, digits and underscores alone."""
    return "".join(
        "__" if letter == "_" else letter if _is_plain(letter, place) else _escaped(letter)
        for place, letter in enumerate(name)
    )


def _is_plain(letter: str, place: int) -> bool:
    return letter.isascii() and (letter.isalpha() or (letter.isdigit() and place > 0))


def _escaped(letter: str) -> str:
    return "".join(f"_{byte:02x}" for byte in letter.encode())


@contextlib.contextmanager
def sentences(address: Address) -> Iterator[None]:
    """What the server says, as a sentence."""
    try:
        yield
    except grpc.RpcError as error:
        raise _lost(address, error) from error
    except MilvusException as error:
        text = str(error.message)
        if error.code in _GONE or "can't find collection" in text:
            raise GoneError(
                f"The index {address.shown!r} is not there any more ({reason(error)}); export it again."
            ) from error
        if any(word in text for word in ("retry timeout", "UNAVAILABLE", "DEADLINE", "connect", "Retry run out")):
            raise _lost(address, error) from error
        if "exceeds max length" in text:
            raise RetrievalError(
                f"{address.shown!r} can neither keep nor look for what was given ({reason(error)}); change or "
                "leave out what it names."
            ) from error
        raise RetrievalError(f"{address.shown!r} cannot do it ({reason(error)}); try again.") from error


def _lost(address: Address, error: Exception) -> LostError:
    return LostError(
        f"The connection to {address.shown!r} was lost, or could not be had ({reason(error)}); what was committed is "
        "there: try again."
    )


def reason(error: Exception) -> str:
    """The first line of what a server says."""
    text = str(error.message) if isinstance(error, MilvusException) else _details(error)
    lines = text.strip().splitlines() or [type(error).__name__]
    return " ".join(lines[0].split()).rstrip(".")[:300]


def _details(error: Any) -> str:
    return str(error.details()) if isinstance(error, grpc.Call) else str(error)
