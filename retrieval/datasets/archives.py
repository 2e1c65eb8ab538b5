"""Reading files out of archives that may be hostile.

Nothing is ever unpacked to disk, so no member's name can lead anywhere; and no more is decompressed than was
agreed on, whatever the archive claims.
"""

from __future__ import annotations

import gzip
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from retrieval.base.text import printable
from retrieval.errors import RetrievalError
from retrieval.images import MAX_BYTES

MAX_MEMBER = 256 * 2**20
"""Bytes, decompressed, above which one member is refused."""


def is_tar(path: Path) -> bool:
    """Whether the name is that of a tar archive."""
    return path.name.lower().endswith((".tar", ".tar.gz", ".tgz"))


def collect(source: Path, wanted: Collection[str], inside: Sequence[str] = ()) -> dict[str, bytes]:
    """The contents of some files of a folder or a tar archive.

    Args:
        source: a folder or an archive.
        wanted: base names.
        inside: folders in `source` to look in too, where `source` is a folder.

    Returns:
        What was found, by base name.

    Raises:
        RetrievalError: for an archive that is damaged or too large, and a file that may not be read.
    """
    with _understood(source):
        if source.is_dir():
            paths = [source / folder / name for folder in (*inside, "") for name in wanted]
            return {path.name: _bounded(path) for path in paths if path.is_file()}
        contents: dict[str, bytes] = {}
        with tarfile.open(source) as archive:
            for member in archive:
                if member.offset_data + member.size > MAX_BYTES:
                    raise RetrievalError(f"The archive {printable(source)!r} unpacks to over 2 GiB; it is refused.")
                name = member.name.rpartition("/")[2]
                if name in wanted and name not in contents and member.isreg() and member.size <= MAX_MEMBER:
                    file = archive.extractfile(member)
                    contents[name] = b"" if file is None else file.read()
        return contents


def gunzipped(path: Path, limit: int) -> bytes:
    """A file's contents, unzipped if its first bytes say gzip.

    Args:
        path: the file.
        limit: bytes after which no more is read.
    """
    with _understood(path), path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not zipped:
            return file.read(limit)
        with gzip.GzipFile(fileobj=file) as unzipped:
            return unzipped.read(limit)


@contextmanager
def opened_zip(path: Path) -> Iterator[tuple[list[str], Callable[[str], bytes]]]:
    """A zip archive's file names, sorted, and a function that reads one of them.

    Hidden files, and what macOS adds, are left out, and a ``\\``, as programs of Windows write it, counts as ``/``. The
    function gives at most :data:`MAX_MEMBER` bytes.
    """

    def read(name: str) -> bytes:
        with archive.open(members[name]) as member:
            return member.read(MAX_MEMBER)

    with _understood(path), zipfile.ZipFile(path) as archive:
        infos = [info for info in archive.infolist() if not info.is_dir()]
        if any(info.flag_bits & 1 for info in infos):
            raise RetrievalError(f"The archive {printable(path)!r} is encrypted; unpack it and give the folder.")
        members = {info.filename.replace("\\", "/"): info for info in infos}
        yield [name for name in sorted(members) if not _is_hidden(name)], read


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") or part in ("", "__MACOSX") for part in name.split("/"))


def _bounded(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_MEMBER)


@contextmanager
def _understood(path: Path) -> Iterator[None]:
    """Turn what the libraries raise on a damaged archive into one sentence."""
    try:
        yield
    except PermissionError as error:
        raise RetrievalError(f"There is no permission to read {printable(path)!r}; change its mode.") from error
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        OSError,
        ValueError,
        NotImplementedError,
    ) as error:
        raise RetrievalError(
            f"The file {printable(path)!r} is damaged or incomplete ({str(error) or 'it ends early'}); "
            "get it once more."
        ) from error
