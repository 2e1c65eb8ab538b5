"""A labelled set, encoded by the workers of a cluster: what each task gives is a file, until all are there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from retrieval.base.machine import cores
from retrieval.base.npy import mapped
from retrieval.base.progress import bar
from retrieval.base.text import printable
from retrieval.cluster.cluster_encoding import PICTURES
from retrieval.cluster.connection import Seats
from retrieval.cluster.crew import Crew
from retrieval.cluster.refusal import releases
from retrieval.cluster.set_worker import SetJob, SetWorker, Some
from retrieval.datasets import PictureSet
from retrieval.encoder import Encoder
from retrieval.encoder.file_encoding import files_a_batch, read_a_batch
from retrieval.errors import RetrievalError
from retrieval.index.folder import ENCODER

TASKS = 256
"""Tasks into which few pictures are cut, at the most: whatever the cluster, so that another one can go on."""


def encode_on(
    seats: Seats, pictures: PictureSet, encoder: Encoder, folder: Path
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Encode a labelled set on a cluster, in the batches that this machine would make of it.

    Args:
        seats: how many workers, with what.
        pictures: the set.
        encoder: what makes the vectors, ready for many pictures.
        folder: for the encoder and the vectors of each task. What lies there of the same set and encoder is not
            encoded again; it is left there.

    Returns:
        What :func:`retrieval.encoder.file_encoding.encode_set` does.

    Raises:
        RetrievalError: no worker can do it.
    """
    folder, count = folder.absolute(), len(pictures)
    p = encoder.config.preprocessing
    batch = read_a_batch(p) if pictures.files is None else files_a_batch(p, count, cores())
    step = batch * max(1, min(PICTURES // batch, -(-count // (batch * TASKS))))
    parts = {start: f"{start}-{min(start + step, count)}-{batch}.npy" for start in range(0, count, step)}

    def task(start: int) -> Some:
        if pictures.files is None:
            assert pictures.pixels is not None
            return Some(parts[start], pictures.pixels[start : start + step])
        files = [file.absolute() for file in pictures.files[start : start + step]]
        return Some(parts[start], files, [file.exists() for file in files])

    job = SetJob(folder, encoder.hash, None if pictures.files is None else batch, seats.cores, releases())
    crew = Crew(SetWorker, job, seats, _named)
    try:
        encoder.save(folder / ENCODER)
        wanting = [s for s in parts if not _is_whole(folder / parts[s], min(step, count - s), encoder.dim)]
        with bar(count, "Encoding pictures", "pictures") as progress:
            progress.update(count - sum(min(step, count - start) for start in wanting))
            if wanting:
                crew.begin()
            for some, _ in crew.in_order(task(start) for start in wanting):
                progress.update(len(some.pictures))
    finally:
        crew.end()
    rows = np.concatenate([mapped(folder / part) for part in parts.values()])
    there = ~np.isnan(rows[:, 0])
    return rows[there], there


def _is_whole(part: Path, count: int, dim: int) -> bool:
    try:
        found = mapped(part)
    except RetrievalError:
        return False
    return bool(found.shape == (count, dim) and found.dtype == np.float32)


def _named(some: Some) -> str:
    said = f"{len(some.pictures):,} pictures"
    if isinstance(some.pictures, np.ndarray):
        return said
    return f"{said}, from {printable(some.pictures[0])!r} to {printable(some.pictures[-1])!r},"
