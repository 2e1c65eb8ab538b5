"""What each query scored, on the disk: written beside a report, and read again as a hostile file.

A NumPy archive (``.npz``) without pickle: `about`, a JSON text that says of what it is; `name`, `label`, `class` and
`relevant` of each query, and one float64 array a measure (NaN where it has none). It says everything that a comparison
needs.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from retrieval.base.files import write_durably
from retrieval.base.text import printable, texts
from retrieval.errors import RetrievalError

SUFFIX = ".queries.npz"
"""How the name of the file beside a report ends."""

ABOUT = "about"
TEXTS = ("name", "class")
NUMBERS = ("label", "relevant", "id")

MEMBERS = 200
"""Arrays that a file may hold."""

BYTES = (1 << 26, 200)
"""Bytes that its arrays may have together: so many, or so many times the file's own."""

HEADER = 4096
"""Bytes of an array's header."""


@dataclass(frozen=True)
class Kept:
    """What each query scored.

    Attributes:
        subject, data, protocol: of the report.
        over: what its intervals were drawn over, "queries" or "classes".
        counts: of the report: pictures in the gallery and the like.
        names: texts (n,), which query it is.
        classes: texts (n,), its class, or its classes.
        relevant: int64 (n,), how many items of the gallery are relevant to it.
        measures: float64 (n,) for each measure; NaN where a benchmark does not ask a query in that way.
    """

    subject: str
    data: str
    protocol: str
    over: str
    counts: Mapping[str, int]
    names: npt.NDArray[np.str_]
    classes: npt.NDArray[np.str_]
    relevant: npt.NDArray[np.int64]
    measures: Mapping[str, npt.NDArray[np.float64]] = field(repr=False)


def beside(report: Path) -> Path:
    """Where the queries of a report are kept."""
    return report.with_name(report.stem + SUFFIX)


def of_columns(about: Mapping[str, Any], columns: Mapping[str, npt.NDArray[Any]]) -> Kept:
    """From what a report says of itself, and its rows."""
    return Kept(
        subject=str(about["subject"]),
        data=str(about["data"]),
        protocol=str(about["protocol"]),
        over=str(about["over"]),
        counts={str(name): int(count) for name, count in about["counts"].items()},
        names=columns["name"],
        classes=columns["class"],
        relevant=columns["relevant"],
        measures={name: column for name, column in columns.items() if name not in (*TEXTS, *NUMBERS)},
    )


def write(path: Path, about: Mapping[str, Any], columns: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write an archive, whole or not at all."""
    content = io.BytesIO()
    text = np.array(json.dumps(about, ensure_ascii=False))
    np.savez_compressed(content, allow_pickle=False, **{ABOUT: text, **columns})
    write_durably(path, content.getvalue())


def read(path: Path) -> Kept:
    """Read what :func:`write` wrote, by the archive's name or by that of the report beside it.

    Nothing in it is trusted: nothing is unpickled, and nothing is unpacked that is larger than it may be.

    Raises:
        RetrievalError: there is no such file, or it is another one or damaged.
    """
    file = beside(path) if path.suffix == ".json" else path
    if not file.is_file():
        what = f"what its queries scored, {file.name!r}, is not there" if file != path else "there is no such file"
        raise RetrievalError(
            f"{printable(path)!r} cannot be compared, for {printable(what)}: `retrieval evaluate --save FILE.json` "
            "writes both."
        )
    try:
        with zipfile.ZipFile(file) as archive:
            return _read(archive, file.stat().st_size)
    except (
        *(OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, RecursionError, MemoryError),
        *(zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, OverflowError, SyntaxError),
    ) as error:
        reason = printable(" ".join(str(getattr(error, "strerror", None) or error).split())[:200].rstrip("."))
        raise RetrievalError(
            f"{printable(file)!r} does not hold what a report's queries scored ({reason or type(error).__name__}); "
            "measure again with --save."
        ) from None


def _read(archive: zipfile.ZipFile, size: int) -> Kept:
    members = archive.infolist()
    if len(members) > MEMBERS or len({member.filename for member in members}) < len(members):
        raise ValueError(f"it holds {len(members):,} arrays, or two of one name")
    if sum(member.file_size for member in members) > max(BYTES[0], BYTES[1] * size):
        raise ValueError("it unpacks to far more than it is")
    columns = {}
    for member in members:
        if not member.filename.endswith(".npy"):
            raise ValueError(f"{member.filename[:60]!r} is no array")
        with archive.open(member) as stream:
            columns[member.filename.removesuffix(".npy")] = _array(stream, member.file_size, member.filename[:60])
    missing = [name for name in (ABOUT, *TEXTS, "relevant") if name not in columns]
    if missing:
        raise ValueError(f"it lacks {', '.join(missing)}")
    about = json.loads(str(columns.pop(ABOUT)))
    n = columns["name"].shape
    for name, column in columns.items():
        kinds = "U" if name in TEXTS else "i" if name in NUMBERS else "f"
        if column.ndim != 1 or column.shape != n or not n[0] or column.dtype.kind not in kinds:
            raise ValueError(f"{name[:60]!r} is {column.dtype} of shape {column.shape}")
        if kinds == "f" and np.isinf(column).any():
            raise ValueError(f"{name[:60]!r} holds what is no number")
        if kinds == "U":
            texts(column)
    if len(columns) < len(TEXTS) + 2:
        raise ValueError("it holds no measure")
    return of_columns(about, columns)


def _array(stream: IO[bytes], size: int, name: str) -> npt.NDArray[Any]:
    """One array, of which no more is read than it says and may have."""
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise ValueError(f"{name!r} has the format {version}")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream, max_header_size=HEADER)
    if dtype.kind not in "Uif" or not dtype.itemsize or dtype.hasobject or fortran or len(shape) > 1:
        raise ValueError(f"{name!r} is {dtype} of shape {shape}")
    count = 1
    for length in shape:
        count *= length
    if count < 0 or count * dtype.itemsize > size:
        raise ValueError(f"{name!r} is of shape {shape} and cut off")
    content = stream.read(count * dtype.itemsize + 1)  # the one more checks the checksum
    if len(content) != count * dtype.itemsize:
        raise ValueError(f"{name!r} is of shape {shape} and has {len(content):,} bytes")
    return np.frombuffer(content, dtype).reshape(shape)
