"""What tests of building want to know of an index, and how they stop a build in the middle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from retrieval.encoder.file_encoding import encode_files
from retrieval.index import Index
from retrieval.ingest import encode_new, memory_limits


def contents(out: Path) -> dict[str, tuple[int, str | None]]:
    """path → (id, label) of everything in an index."""
    with Index.open(out) as index:
        ids, _ = index.all_vectors()
        return {item.path: (item.id, item.label) for item in index.items(ids)}


def vectors(out: Path) -> dict[str, npt.NDArray[np.float32]]:
    """path → vector of everything in an index."""
    with Index.open(out) as index:
        ids, rows = index.all_vectors()
        return {item.path: row for item, row in zip(index.items(ids), rows, strict=True)}


def commit_every(patch: pytest.MonkeyPatch, pictures: int) -> None:
    """Commit after so many pictures."""
    patch.setattr(memory_limits, "COMMIT_PICTURES", pictures)


def stop_after(patch: pytest.MonkeyPatch, pictures: int) -> None:
    """Press Ctrl-C when so many pictures are encoded; commit after every four."""
    commit_every(patch, 4)

    def stopping(*args: object, **options: object):  # type: ignore[no-untyped-def]
        for done, batch in enumerate(encode_files(*args, **{**options, "threads": 1, "batch": 1})):  # type: ignore[arg-type]
            if done == pictures:
                raise KeyboardInterrupt
            yield batch

    patch.setattr(encode_new, "encode_files", stopping)


def watch(patch: pytest.MonkeyPatch) -> list[str]:
    """A list that takes in the SHA-256 of every file that is decoded from now on, with one thread."""
    from retrieval.encoder import file_encoding
    from retrieval.images import reading

    decoded: list[str] = []
    whole = reading.read_picture

    def watched(*args: object, **options: object) -> reading.ReadPicture:
        picture = whole(*args, **options)  # type: ignore[arg-type]
        if picture.pixels is not None:
            decoded.append(picture.sha256)
        return picture

    patch.setattr(file_encoding, "read_picture", watched)
    return decoded
