"""The encoder of an index in an engine, as files: fetched once, checked, and kept in this user's cache folder."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from retrieval.base import cache
from retrieval.base.files import written_folder
from retrieval.base.text import printable
from retrieval.engines.engine import Engine
from retrieval.errors import RetrievalError
from retrieval.index import folder as folders

CACHE = 2**33
"""Bytes that encoders of such indexes may take in the user's cache folder; the one used longest ago makes room."""


def kept_encoder(engine: Engine, name: str) -> Path:
    """A folder with the engine's encoder, from the user's cache or fetched; checked as it is written."""
    files: Mapping[str, str] = engine.meta().get("encoder") or {}
    digest = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:32]
    folder = cache.cache_folder("engines") / digest
    try:
        cache.make_private(folder.parent)
        if cache.private(folder):
            return folder
        with written_folder(folder, lambda _: True) as temporary:
            temporary.chmod(0o700)
            _fetch(engine, files, temporary, name)
        cache.make_room(folder.parent, CACHE)
    except OSError as error:
        raise RetrievalError(
            f"The encoder of {name!r} cannot be kept in {printable(folder.parent)!r} ({error.strerror or error}); make "
            "room there, or set XDG_CACHE_HOME."
        ) from error
    return folder


def _fetch(engine: Engine, files: Mapping[str, str], folder: Path, name: str) -> None:
    """Write an encoder's files.

    Raises:
        RetrievalError: one is not what was exported.
    """
    with contextlib.ExitStack() as opened:
        digests: dict[str, Any] = {}
        streams: dict[str, Any] = {}
        for file, part in engine.encoder():
            if file not in streams:
                place = PurePosixPath(file)
                if file not in files or place.is_absolute() or ".." in place.parts:
                    raise RetrievalError(
                        f"The encoder of {name!r} has a file {printable(file)!r} which nobody exported."
                    )
                (folder / folders.ENCODER / place).parent.mkdir(parents=True, exist_ok=True)
                streams[file] = opened.enter_context((folder / folders.ENCODER / place).open("xb"))
                digests[file] = hashlib.sha256()
            streams[file].write(part)
            digests[file].update(part)
    for file, expected in files.items():
        if file not in digests or digests[file].hexdigest() != expected:
            raise RetrievalError(
                f"The encoder of {name!r} is damaged ({printable(file)!r} is not what was exported); export it again."
            )


def parts_of_encoder(folder: Path, size: int = 1 << 22) -> Iterator[tuple[str, Iterator[bytes]]]:
    """The files of an encoder's folder, by name, each in parts."""

    def parts(file: Path) -> Iterator[bytes]:
        with file.open("rb") as opened:
            while part := opened.read(size):
                yield part

    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        yield file.relative_to(folder).as_posix(), parts(file)
