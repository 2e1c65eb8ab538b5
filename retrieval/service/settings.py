"""How a service was asked to run, and who may do what there."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from retrieval.base.text import printable
from retrieval.errors import RetrievalError

SHORTEST = 16
"""Letters that a token has at least: whoever can reach the service can try some."""

_LEVELS = ("read", "write")


@dataclass(frozen=True)
class Settings:
    """What :func:`retrieval.service.serve` was asked for.

    Attributes:
        host: the address that it listens on. port: likewise; 0 for any that is free.
        host_names: names besides its own that requests may call it by.
        root_path: what stands before every path, as a proxy in front of it has it ("/pictures"); "" for nothing.
        readers, writers: the tokens with which one may read, and also write. Without any, everybody who can reach it
            may read.
        write: whether who needs no token may write.
        uploads: the folder that takes in new pictures; None: they are refused.
        move_to: the folder that takes in duplicates that somebody moves out of the pictures'; None: none are moved.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    host_names: tuple[str, ...] = ()
    root_path: str = ""
    readers: frozenset[str] = frozenset()
    writers: frozenset[str] = frozenset()
    write: bool = False
    uploads: Path | None = None
    move_to: Path | None = None

    def __post_init__(self) -> None:
        if self.root_path and (not self.root_path.startswith("/") or self.root_path.endswith("/")):
            raise RetrievalError(f"The root path is {self.root_path!r}; give one such as /pictures.")
        if not 0 <= self.port < 2**16:
            raise RetrievalError(f"The port is {self.port}; give one from 0 to 65535.")
        if not self.tokens and not is_loopback(self.host):
            raise RetrievalError(
                f"Whoever reaches {self.host!r} could see the pictures; give --token-file, or listen on 127.0.0.1."
            )
        if self.write and self.readers and not self.writers:
            raise RetrievalError(
                "--write says nothing beside tokens that may only read; add a line `write TOKEN` to the token file."
            )
        if self.uploads is not None and not (self.write or self.writers):
            raise RetrievalError("--uploads needs somebody who may write; give --write or a `write` token.")
        if self.move_to is not None and not (self.write or self.writers):
            raise RetrievalError("--move-to needs somebody who may write; give --write or a `write` token.")

    @property
    def tokens(self) -> bool:
        """Whether one needs a token."""
        return bool(self.readers or self.writers)

    @property
    def origin(self) -> str:
        """What names the service to people, without the port."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}"


@lru_cache(1024)  # every request asks
def is_loopback(host: str) -> bool:
    """Whether an address is one that only this machine reaches."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_tokens(file: str | Path) -> tuple[frozenset[str], frozenset[str]]:
    """The tokens that may read, and those that may also write, from a file.

    Args:
        file: lines `read TOKEN` and `write TOKEN`; empty ones, and those that begin with #, mean nothing.

    Raises:
        RetrievalError: it cannot be read, is readable for others, has another line, or a token is short.
    """
    path = Path(file)
    name = printable(path)
    try:
        open_to_others = path.stat().st_mode & 0o077
        lines = path.read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise RetrievalError(f"The token file {name!r} cannot be read ({reason}).") from None
    if open_to_others:
        raise RetrievalError(f"The token file {name!r} can be read by others; run `chmod 600` on it.")
    found: dict[str, set[str]] = {level: set() for level in _LEVELS}
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) != 2 or words[0] not in _LEVELS:
            raise RetrievalError(f"Line {number} of the token file {name!r} is neither `read TOKEN` nor `write TOKEN`.")
        if len(words[1]) < SHORTEST or not words[1].isascii():
            raise RetrievalError(
                f"The token in line {number} of {name!r} is too easy to guess; give at least {SHORTEST} ASCII letters, "
                "such as `openssl rand -hex 16` makes."
            )
        found[words[0]].add(words[1])
    if not any(found.values()):
        raise RetrievalError(f"The token file {name!r} has no token; write a line `read TOKEN` or `write TOKEN`.")
    return frozenset(found["read"]), frozenset(found["write"])
