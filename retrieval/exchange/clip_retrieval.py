"""The folder of clip-retrieval: ``img_emb/img_emb_0.npy`` and ``metadata/metadata_0.parquet``, in numbered parts.

Row i of a part's vectors belongs to row i of its metadata, in which ``image_path`` is the picture and every other
column says something about it. Vectors of captions (``text_emb/``) are no pictures and are passed over.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from retrieval.base.progress import bar
from retrieval.base.text import printable
from retrieval.errors import RetrievalError
from retrieval.exchange import lists, numpy_file
from retrieval.exchange.export_rows import Contents
from retrieval.exchange.import_rows import Part, Source
from retrieval.exchange.lists import Value

VECTORS, METADATA = "img_emb", "metadata"

PART = 1_000_000
"""Vectors in a part, as many as clip-retrieval writes."""


def write(contents: Contents, folder: Path) -> None:
    """Write all vectors of an index; the caller gives the folder a temporary name.

    Raises:
        RetrievalError: pyarrow is missing.
        OSError: the disk is full, or the folder cannot be written.
    """
    for name in (VECTORS, METADATA):
        (folder / name).mkdir(parents=True)
    starts = range(0, len(contents), PART) or range(1)  # an empty index has one empty part
    digits = len(str(len(starts) - 1))
    kinds = {"image_path" if name == "path" else name: kind for name, kind in contents.kinds.items()}
    with bar(len(contents), "Exporting", "vectors") as progress:
        for number, start in enumerate(starts):
            part = Contents(contents.index, contents.ids[start : start + PART])
            vectors = folder / VECTORS / f"{VECTORS}_{number:0{digits}}.npy"
            metadata = folder / METADATA / f"{METADATA}_{number:0{digits}}.parquet"
            with vectors.open("wb") as file, lists.writer(metadata, metadata.suffix, kinds) as record:
                numpy_file.write_header(file, len(part), part)
                for ids, rows in part.blocks():
                    file.write(rows.data)
                    record(_renamed(part.records(ids)))
                    progress.update(len(rows))


def _renamed(records: list[dict[str, Value]]) -> Iterator[dict[str, Value]]:
    for record in records:
        yield {"image_path" if name == "path" else name: value for name, value in record.items()}


def read(folder: Path) -> Source:
    """The parts of a folder, in the order of their numbers.

    Raises:
        RetrievalError: there is no part; one is missing, of which other folders tell or the numbers beside it; one has
            no metadata; or they differ in width.
    """
    name = printable(folder)
    try:
        found = _numbered(folder / VECTORS, ".npy")
    except OSError as error:
        raise RetrievalError(
            f"{name!r} has no {VECTORS} that can be read ({error.strerror}); give the folder that clip-retrieval wrote."
        ) from None
    if not found:
        raise RetrievalError(f"{name!r} has no {VECTORS}/{VECTORS}_0.npy; give the folder that clip-retrieval wrote.")
    told = {*range(max(found)), *found}
    for other, ending in ((METADATA, ".parquet"), ("text_emb", ".npy")):
        with contextlib.suppress(OSError):  # metadata is missed below
            told |= _numbered(folder / other, ending).keys()
    if missing := sorted(told - found.keys()):
        raise RetrievalError(
            f"{name!r} lacks {len(missing):,} of its {len(told):,} parts, the first {VECTORS}/{VECTORS}_{missing[0]}"
            ".npy; copy the whole folder."
        )
    parts = []
    for _, path in sorted(found.items()):
        (part,) = numpy_file.read(path).parts
        metadata = folder / METADATA / f"{METADATA}_{path.stem.rpartition('_')[2]}.parquet"
        if not metadata.is_file():
            raise RetrievalError(f"{printable(path)!r} has no {METADATA}/{metadata.name}; copy the whole folder.")
        parts.append(Part(part.name, part.vectors, None, str(metadata), partial(lists.read, metadata)))
    for part in parts:
        if part.vectors.shape[1] != parts[0].vectors.shape[1] or part.vectors.dtype != parts[0].vectors.dtype:
            raise RetrievalError(
                f"{printable(part.name)!r} has {part.vectors.shape[1]:,} numbers a vector, {part.vectors.dtype}, and "
                f"{printable(parts[0].name)!r} {parts[0].vectors.shape[1]:,}, {parts[0].vectors.dtype}; "
                "keep parts of one model in a folder."
            )
    return Source(parts)


def _numbered(folder: Path, ending: str) -> dict[int, Path]:
    """The parts in a folder by their numbers, which may begin with zeros.

    Raises:
        OSError: the folder cannot be read.
    """
    matches = ((re.fullmatch(rf"{folder.name}_([0-9]{{1,9}}){ending}", path.name), path) for path in folder.iterdir())
    return {int(match[1]): path for match, path in matches if match}


def is_layout(folder: Path) -> bool:
    """Whether a folder looks like one of clip-retrieval."""
    return (folder / VECTORS).is_dir()


def is_part(name: str) -> bool:
    """Whether something in such a folder has a name that :func:`write` gives."""
    return bool(
        re.fullmatch(rf"{VECTORS}(/{VECTORS}_[0-9]+\.npy)?|{METADATA}(/{METADATA}_[0-9]+\.parquet)?", name, re.ASCII)
    )
