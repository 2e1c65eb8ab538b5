"""A folder that a ``config.json`` describes: written whole or not at all, believed only after its checksums agree."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from retrieval.base.files import digest, written_folder
from retrieval.base.placed_files import NotOpenedError, open_file
from retrieval.errors import RetrievalError

CONFIG = "config.json"
WEIGHTS = "weights.safetensors"
CARD = "card.md"

TEXT_BYTES, FILE_BYTES = 2**24, 2**33
"""Bytes above which a configuration or a card, and any other file, is refused unread."""

_UNCHECKED = {CONFIG, CARD}  # the one holds the checksums, the other is for people, who may well edit it


@dataclass(frozen=True)
class Kind:
    """What a folder holds.

    Attributes:
        format: how its configuration calls it.
        version: the highest that this program reads, and the one that it writes.
        what: how people call it, with an article ("an encoder").
        advice: what to give if there is none; the end of a sentence.
    """

    format: str
    version: int
    what: str
    advice: str

    @property
    def noun(self) -> str:
        return self.what.partition(" ")[2]


@dataclass(frozen=True)
class CheckedFolder:
    """A folder whose configuration was read; the other files are checked as they are used.

    Attributes:
        folder: where it lies.
        files: relative path → SHA-256 of its content.
    """

    folder: Path
    files: Mapping[str, str]

    def read(self, name: str) -> bytes:
        """A file's content, checked before anybody parses it.

        Raises:
            RetrievalError: the file is missing, or is not the one that was saved.
        """
        path = self.folder / name
        try:
            content = _content(path, FILE_BYTES)
        except (OSError, NotOpenedError, MemoryError) as error:
            raise damaged(path, f"it cannot be read: {_reason(error)}") from None
        self.check(name, hashlib.sha256(content).hexdigest())
        return content

    def check(self, name: str, found: str) -> None:
        """Compare a file's SHA-256 with the saved one.

        Raises:
            RetrievalError: they differ, or the file was not saved.
        """
        expected = self.files.get(name)
        if expected is None:
            raise damaged(self.folder / name, f"{CONFIG} does not list it")
        if found != expected:
            raise damaged(self.folder / name, f"SHA-256 {found[:12]}… instead of the saved {expected[:12]}…")

    def card(self) -> str | None:
        """The card, if there is one."""
        try:
            return _content(self.folder / CARD, TEXT_BYTES).decode("utf-8", errors="replace")
        except (OSError, NotOpenedError):
            return None


def read_config(folder: Path, kind: Kind) -> Any:
    """The content of a folder's configuration, whatever it is.

    Raises:
        RetrievalError: there is none, or it is no JSON.
    """
    path = folder / CONFIG
    try:
        return json.loads(_content(path, TEXT_BYTES).decode("utf-8"))
    except FileNotFoundError:
        raise RetrievalError(f"There is no {kind.noun} in {str(folder)!r}; {kind.advice}.") from None
    except (OSError, NotOpenedError) as error:
        raise RetrievalError(
            f"{str(path)!r} cannot be read ({_reason(error)}); check the path and its permissions."
        ) from None
    except (ValueError, RecursionError):
        raise damaged(path, "it is not JSON") from None


def _content(path: Path, most: int) -> bytes:
    with open_file(path, most) as file:
        return file.readall()


def _reason(error: OSError | NotOpenedError | MemoryError) -> str:
    if isinstance(error, MemoryError):
        return "it takes more memory than there is"
    return error.reason if isinstance(error, NotOpenedError) else error.strerror or str(error)


def check_format(values: Any, folder: Path, kind: Kind, advice: str = "give a folder that it wrote") -> dict[str, Any]:
    """The configuration, if it is one of this kind that this program understands.

    Raises:
        RetrievalError: it is something else's, or a newer version wrote it.
    """
    path = folder / CONFIG
    if not isinstance(values, dict) or values.get("format") != kind.format:
        raise RetrievalError(f"{str(path)!r} does not describe {kind.what} of this program; {advice}.")
    version = values.get("version")
    if not isinstance(version, int) or version < 1:
        raise damaged(path, f"its version is {version!r}")
    if version > kind.version:
        raise RetrievalError(
            f"The {kind.noun} in {str(folder)!r} has format {version}, and this program reads up to "
            f"{kind.version}; update it (pip install -U retrieval)."
        )
    return values


def write(folder: Path, kind: Kind, values: Mapping[str, Any], fill: Callable[[Path], None]) -> None:
    """Save a folder: whoever looks sees the old one or the new one, complete.

    Args:
        folder: where to; one of this kind that is there already is replaced, but for what somebody else put into it.
        values: the configuration, without format, version and checksums.
        fill: writes all other files into the folder that it is given.

    Raises:
        RetrievalError: the folder cannot be written, or holds something else.
    """
    empty = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    old = None if empty else _names(folder, kind)
    if not empty and old is None:
        raise RetrievalError(
            f"{str(folder)!r} holds something that is no {kind.noun}; choose another folder or empty it."
        )
    try:
        with written_folder(folder, (old or set()).__contains__) as temporary:
            fill(temporary)
            written = sorted(path for path in temporary.rglob("*") if path.is_file())
            names = {path: path.relative_to(temporary).as_posix() for path in written}
            files = {name: digest(path) for path, name in names.items() if name not in _UNCHECKED}
            described = {"format": kind.format, "version": kind.version, **values, "files": files}
            (temporary / CONFIG).write_text(json.dumps(described, indent=2, ensure_ascii=False) + "\n", "utf-8")
    except OSError as error:
        raise RetrievalError(
            f"The {kind.noun} cannot be written to {str(folder)!r} ({error.strerror or error}); choose another folder."
        ) from None


def holds(folder: Path, kind: Kind) -> Callable[[str], bool]:
    """Which names in a folder are of what was saved there, by what it says: files, and folders that these lie in."""
    return (_names(folder, kind) or set()).__contains__


def _names(folder: Path, kind: Kind) -> set[str] | None:
    """These names; None if no such thing was saved there."""
    try:
        values = read_config(folder, kind)
    except RetrievalError:
        return None
    if not isinstance(values, dict) or values.get("format") != kind.format:
        return None
    files = values.get("files")
    found = {CONFIG, CARD, *(files if isinstance(files, dict) else ())}
    return found | {parent.as_posix() for name in found for parent in PurePosixPath(name).parents}


def damaged(path: Path, why: str) -> RetrievalError:
    """The error about a file that is not as it was saved."""
    return RetrievalError(
        f"{str(path)!r} is damaged or foreign ({why}); copy the folder again, or train or build it anew."
    )
