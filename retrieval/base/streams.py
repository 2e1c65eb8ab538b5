"""Standard output and standard error, as a program that prints names from strangers and may not break off needs them.

What is printed comes partly from files: labels, paths, what a library says. A terminal takes some letters for orders
(colours, the title, what the clipboard holds), so these are spelt out, in one place. And a stream can be closed, full,
or a pipe that nobody reads: what is lost on standard output is said, and what is lost on standard error is progress,
which no work stops for.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
from collections.abc import Iterator
from typing import Any, Literal, TextIO

from retrieval.base.text import printable

_STEERS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters but for tab and newline
    "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"  # what turns the direction of writing, or breaks a line
    "\ud800-\udfff]"  # bytes of names that are not UTF-8
)


class OutputLostError(Exception):
    """Standard output takes no more.

    Attributes:
        reason: in the system's words; None where nobody reads a pipe any more, which is nothing to complain about.
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.reason = None if isinstance(error, BrokenPipeError) else error.strerror or str(error)


def spelt_out(text: str, *, json: bool = False) -> str:
    """A text without what would steer a terminal; lines and tabs stay, and JSON stays the same JSON."""

    def escape(match: re.Match[str]) -> str:
        letter = match[0]
        if json:
            return f"\\u{ord(letter):04x}"
        return f"\\x{ord(letter) - 0xDC00:02x}" if "\udc80" <= letter <= "\udcff" else ascii(letter)[1:-1]

    return _STEERS.sub(escape, text)


class _Stream:
    """A text stream in place of another, which it writes to."""

    def __init__(self, stream: TextIO | None, descriptor: int) -> None:
        self._stream = stream
        self._descriptor = descriptor

    def write(self, text: str) -> int:
        """Write a text; how many letters it had."""
        with self._kept():
            if self._stream is None:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            self._stream.write(self._safe(text))
        return len(text)

    def flush(self) -> None:
        """Write what waits."""
        with self._kept():
            if self._stream is not None:
                self._stream.flush()

    def isatty(self) -> bool:
        """Whether a person looks at it."""
        return self._stream is not None and self._stream.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _safe(self, text: str) -> str:
        return spelt_out(text)

    @contextlib.contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._silence()
            self._lost(error)

    def _lost(self, error: OSError) -> None:
        raise OutputLostError(error) from error

    def _silence(self) -> None:
        """Lead the stream to where everything has room, or Python stumbles over what waits in it when it ends."""
        with contextlib.suppress(OSError, AttributeError, ValueError):
            if self._stream is not None and self._stream.fileno() == self._descriptor:
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._descriptor)
                os.close(nowhere)


class Output(_Stream):
    """Standard output.

    Attributes:
        form: what is printed: "text"; "json", in which letters are spelt out as JSON does it; "data", which stays as it
            is, unless a person looks at it.
    """

    form: Literal["text", "json", "data"] = "text"

    def write_bytes(self, content: bytes) -> None:
        """Write bytes as they are."""
        self.flush()
        with self._kept():
            if self._stream is None:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            self._stream.buffer.write(content)
            self._stream.buffer.flush()

    def _safe(self, text: str) -> str:
        if self.form == "data" and not self.isatty():
            return printable(text)
        return spelt_out(text, json=self.form == "json")


class Messages(_Stream):
    """Standard error: nothing stops because a message cannot be written.

    Attributes:
        bars: the same stream for progress bars, which go back to the start of their line.
    """

    @property
    def bars(self) -> Messages:
        return _Bars(self._stream, self._descriptor)

    def _lost(self, error: OSError) -> None:
        self._stream = None

    def write(self, text: str) -> int:
        return len(text) if self._stream is None else super().write(text)


class _Bars(Messages):
    def _safe(self, text: str) -> str:
        parts = re.split("(\r|\x1b\\[A)", text)  # back to the start of the line, and up
        return "".join(part if number % 2 else spelt_out(part) for number, part in enumerate(parts))


def write_bytes(content: bytes) -> None:
    """Write to standard output as it is: names of files for programs, or colours, which whoever calls vouches for."""
    if isinstance(sys.stdout, Output):
        sys.stdout.write_bytes(content)
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(content)


@contextlib.contextmanager
def guarded() -> Iterator[Output]:
    """Standard output and standard error as they are described above, until the block ends.

    Raises:
        OutputLostError: while something is printed, or at the end, when what waits is written.
    """
    _fill_holes()
    before = sys.stdout, sys.stderr
    output = Output(sys.stdout, 1)
    sys.stdout, sys.stderr = output, Messages(sys.stderr, 2)
    try:
        yield output
    finally:
        sys.stdout, sys.stderr = before


def _fill_holes() -> None:
    """See to it that no file of an index gets the number of a stream that was closed: libraries print to numbers."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
