"""Why a process of a cluster does not do something, and whether it can do anything where it runs."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

from retrieval.base.machine import versions
from retrieval.base.text import printable
from retrieval.errors import RetrievalError

DECIDING = ("torch", "onnxruntime", "numpy", "pillow", "simplejpeg", "pi-heif")
"""Libraries of which another release may give other pixels or other vectors."""

_Answer = TypeVar("_Answer")


class Refusal(NamedTuple):
    """Why a worker does not do something.

    Attributes:
        reason: a sentence.
        here: it is because of where the worker runs; another may do it.
    """

    reason: str
    here: bool


class UnfitError(RetrievalError):
    """It cannot be done where this process runs."""


def answered(work: Callable[[], _Answer]) -> _Answer | Refusal:
    """What work gives; what is wrong comes back as a value, since an exception's class may not survive the way."""
    try:
        return work()
    except UnfitError as error:
        return Refusal(str(error), here=True)
    except RetrievalError as error:
        return Refusal(str(error), here=False)


def where() -> str:
    """What this machine is called."""
    return socket.gethostname()


def releases() -> dict[str, str]:
    """The versions here of what decides what a vector is."""
    return versions(DECIDING)


def require_releases(asked: Mapping[str, str]) -> None:
    """See that they are those of the machine that asks.

    Raises:
        UnfitError: they are not.
    """
    own = releases()
    for library in dict.fromkeys((*asked, *own)):
        here, there = (_release(of.get(library)) for of in (own, asked))
        if here != there:
            raise UnfitError(
                f"The node {where()} has {library} {here}, and the machine that asks {there}; install the same "
                "releases on all of them."
            )


def require_folder(folder: Path) -> None:
    """See that the folder of an index is there.

    Raises:
        UnfitError: it is not.
    """
    if not folder.is_dir():
        raise UnfitError(
            f"The folder {printable(folder)!r} is not there on the node {where()}; a cluster needs one that all its "
            "nodes see by the same path."
        )


def _release(version: str | None) -> str:
    """A version without what it was compiled for, which a node with a GPU and one without it do not share."""
    return "none" if version is None else version.partition("+")[0]
