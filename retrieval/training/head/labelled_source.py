"""Labelled vectors to learn a head from: those that an index has, or pictures encoded once and kept beside the run."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval.base.files import write_durably
from retrieval.base.given import seeded
from retrieval.base.npy import mapped
from retrieval.base.text import printable
from retrieval.datasets import PictureSet, load
from retrieval.encoder import Encoder
from retrieval.encoder.file_encoding import encode_set
from retrieval.encoder.head_map import unit
from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.index.folder import is_index
from retrieval.index.records import NO_ENCODER
from retrieval.ingest.update import Workers
from retrieval.training.head.discriminant import Floats, Ints
from retrieval.training.training_set import fingerprint

MOST = 200_000
"""Items of an index that a head learns from, at most: more hardly change it."""

VECTORS, ABOUT = "vectors.npy", "vectors.json"
"""In a run's folder: the vectors of its pictures, and of which pictures by which encoder."""

PARTS = "parts"
"""In a run's folder, until the vectors are there: what workers elsewhere need and have encoded so far."""


@dataclass(frozen=True)
class LabelledVectors:
    """Vectors of one encoder with their labels.

    Attributes:
        name: what they are of.
        encoder: what made them.
        vectors: float32 (n, d), unit rows.
        labels: int64 (n,), an index into `classes`, −1 where there is none.
        classes: their names.
        asking: bool (n,), those that are there to watch a training: its validation pictures.
        fingerprint: the same for the same pictures and labels.
    """

    name: str
    encoder: Encoder
    vectors: Floats
    labels: Ints
    classes: tuple[str, ...]
    asking: np.ndarray[tuple[int], np.dtype[np.bool_]]
    fingerprint: str


def labelled(
    source: str | Path | PictureSet | Index, on: str | None, out: Path, seed: int, workers: Workers | None = None
) -> LabelledVectors:
    """What a head learns from.

    Args:
        source: an index, open or its folder; or a labelled set, or what :func:`retrieval.datasets.load` takes.
        on: the encoder; None: the index's own, for pictures the one for photographs.
        out: the run's folder; vectors of pictures are kept there.
        seed: of the draw, where an index has more than :data:`MOST` labelled items.
        workers: who encodes pictures; this process by default.

    Raises:
        RetrievalError: the index has no encoder, keeps codes, or was made by another one; a set cannot be read; or the
            workers cannot encode it.
    """
    if isinstance(source, Index):
        return _of_index(source, on, seed)
    if not isinstance(source, PictureSet) and is_index(source):
        with Index.open(source) as index:
            return _of_index(index, on, seed)
    pictures = source if isinstance(source, PictureSet) else load(source)
    return _of_pictures(pictures, on, out, workers)


def own_encoder(index: Index, on: str | None) -> Encoder:
    """The encoder that made an index's vectors.

    Args:
        on: where else it lies.

    Raises:
        RetrievalError: it has none, keeps codes, or was made by another one.
    """
    name = printable(index.folder.name)
    if index.encoder_hash.startswith(NO_ENCODER):
        raise RetrievalError(
            f"The index {name!r} was imported without a model to lay a head over; import it with --model."
        )
    if index.storage == "binary":
        raise RetrievalError(
            f"The index {name!r} keeps codes, and a head needs numbers; give an index of float vectors."
        )
    encoder = Encoder.load(index.folder if on is None else on)
    if encoder.hash != index.encoder_hash:
        raise RetrievalError(
            f"The vectors of {name!r} are another encoder's ({index.encoder_hash[:12]}) than those of "
            f"{str(on or index.folder)!r} ({encoder.hash[:12]}); leave --on out."
        )
    return encoder


def _of_index(index: Index, on: str | None, seed: int) -> LabelledVectors:
    name, encoder = printable(index.folder.name), own_encoder(index, on)
    ids, given = index.ids(), index.labels()
    known = np.flatnonzero([label is not None for label in given])
    some = np.sort(seeded(seed).permutation(known)[:MOST])
    given = [given[row] for row in some.tolist()]
    vectors = unit(index.vectors(ids[some]))
    classes = tuple(sorted({label for label in given if label is not None}))
    number = {label: place for place, label in enumerate(classes)}
    labels = np.array([-1 if label is None else number[label] for label in given], np.int64)
    digest = hashlib.sha256(ids[some].tobytes() + json.dumps(given).encode())
    digest.update(np.ascontiguousarray(vectors).data)  # no copy, which might be a gigabyte
    return LabelledVectors(name, encoder, vectors, labels, classes, np.zeros(len(some), bool), digest.hexdigest())


def _of_pictures(pictures: PictureSet, on: str | None, out: Path, workers: Workers | None) -> LabelledVectors:
    known = pictures.select((pictures.splits != "test") & (pictures.labels >= 0))
    if not len(known):
        raise RetrievalError(
            f"{pictures.name} has no labelled training pictures; give class folders, or a CSV with a label column."
        )
    encoder = Encoder.load(on, threads=1 if known.files is not None else None)
    about = {"pictures": fingerprint(known), "encoder": encoder.hash}
    rows = _kept(out, about, (len(known), encoder.dim))
    if rows is None:
        encoder.optimise()
        if workers is None:
            vectors, there = encode_set(encoder, known, "pictures")
        else:
            vectors, there = _encoded_by(workers, known, encoder, out, about)
        rows = np.flatnonzero(there)
        _keep(out, vectors, {**about, "rows": rows.tolist()})
    vectors = np.array(mapped(out / VECTORS), np.float32)
    asking = known.splits[rows] == "val"
    return LabelledVectors(
        pictures.name, encoder, vectors, known.labels[rows], known.classes, asking, about["pictures"]
    )


def _encoded_by(
    workers: Workers, pictures: PictureSet, encoder: Encoder, out: Path, about: dict[str, str]
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Have workers encode pictures; what they did in the run's folder when it was cut off is not done again."""
    if not _are_of(about, _known(out)):
        shutil.rmtree(out / PARTS, ignore_errors=True)
        out.mkdir(parents=True, exist_ok=True)
        write_durably(out / ABOUT, json.dumps(about).encode())
    try:
        return workers.encoded(pictures, encoder, out / PARTS)
    except RetrievalError:
        if not any((out / PARTS).glob("*.npy")):  # there is nothing to go on with
            shutil.rmtree(out / PARTS, ignore_errors=True)
            for name in (VECTORS, ABOUT):
                (out / name).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # somebody put something into it
                out.rmdir()
        raise


def _keep(out: Path, vectors: Floats, about: dict[str, object]) -> None:
    """Keep the vectors in the run's folder. What they are of comes first, so that whatever a kill leaves is known for a
    training's, and never beside those of other pictures."""
    out.mkdir(parents=True, exist_ok=True)
    (out / VECTORS).unlink(missing_ok=True)
    write_durably(out / ABOUT, json.dumps(about).encode())
    content = io.BytesIO()
    np.save(content, vectors, allow_pickle=False)
    write_durably(out / VECTORS, content.getvalue())
    shutil.rmtree(out / PARTS, ignore_errors=True)


def _kept(out: Path, about: dict[str, str], shape: tuple[int, int]) -> Ints | None:
    """The places in the set of the pictures whose vectors are kept already; None if they are not, or are of others.

    Args:
        shape: of the vectors if every picture can be read.
    """
    try:
        known = _known(out)
        rows = np.array(known["rows"], np.int64)
        ours = rows.ndim == 1 and bool((np.diff(rows, prepend=-1) > 0).all()) and rows.max(initial=-1) < shape[0]
        if _are_of(about, known) and ours and mapped(out / VECTORS).shape == (len(rows), shape[1]):
            return rows
    except (OSError, ValueError, KeyError, TypeError, OverflowError, MemoryError, RetrievalError):
        pass
    return None


def _known(out: Path) -> dict[str, Any]:
    """What the run's folder says of its vectors, or of those that are being made; nothing where it says nothing."""
    try:
        known = json.loads((out / ABOUT).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _are_of(about: dict[str, str], known: dict[str, Any]) -> bool:
    return {name: known.get(name) for name in about} == about
