"""What a worker of a cluster does that encodes a labelled set: it holds the encoder, and writes vectors into files."""

from __future__ import annotations

import io
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from retrieval import images
from retrieval.base.files import write_durably
from retrieval.base.text import printable
from retrieval.cluster.refusal import Refusal, UnfitError, answered, require_folder, require_releases, where
from retrieval.encoder import Encoder
from retrieval.encoder.file_encoding import encode_files
from retrieval.errors import RetrievalError
from retrieval.images.reading import ReadPicture
from retrieval.index.folder import ENCODER


@dataclass(frozen=True)
class SetJob:
    """What such a worker is to know.

    Attributes:
        folder: where the encoder lies, and where the vectors go.
        encoder_hash: the encoder's.
        batch: files that a thread reads before it encodes them; None for a set in memory.
        threads: cores that the worker may use.
        versions: of the libraries that decide what a vector is, where the work was asked for.
    """

    folder: Path
    encoder_hash: str
    batch: int | None
    threads: int
    versions: Mapping[str, str]


class Some(NamedTuple):
    """Some pictures of a set, one behind the other.

    Attributes:
        part: the file in the job's folder that their vectors go into.
        pictures: their files, or their pixels as the set has them.
        seen: of files, whether the machine that asks sees each.
    """

    part: str
    pictures: Sequence[Path] | images.Pixels
    seen: Sequence[bool] = ()


class SetWorker:
    """One process of a cluster, as :class:`retrieval.cluster.worker.Worker` is one.

    Args:
        job: what it is to know.
    """

    def __init__(self, job: SetJob) -> None:
        self._job = job

    def ready(self) -> bool | Refusal:
        """Load the encoder."""
        return answered(self._begin)

    def work(self, some: Some) -> bool | Refusal:
        """Write the vectors of some pictures: float32 (n, dim), a row a picture, of unit length, or no numbers where it
        cannot be read. Whoever else writes that file writes the same."""
        return answered(lambda: self._write(some))

    def _begin(self) -> bool:
        job = self._job
        require_releases(job.versions)
        require_folder(job.folder)
        self._encoder = Encoder.load(job.folder / ENCODER, threads=job.threads if job.batch is None else 1)
        if self._encoder.hash != job.encoder_hash:
            raise RetrievalError(
                f"The encoder in {printable(job.folder)!r} is another one on the node {where()} "
                f"({self._encoder.hash[:12]}, not {job.encoder_hash[:12]}); run it again."
            )
        self._encoder.optimise()
        return True

    def _write(self, some: Some) -> bool:
        if isinstance(some.pictures, np.ndarray):
            rows = self._encoder.encode(images.fit_array(some.pictures, self._encoder.config.preprocessing))
        else:
            rows = self._encoded(some.pictures, some.seen)
        content = io.BytesIO()
        np.save(content, rows, allow_pickle=False)
        own = self._job.folder / f"{some.part}.{secrets.token_hex(8)}"
        write_durably(own, content.getbuffer())
        own.replace(self._job.folder / some.part)
        return True

    def _encoded(self, files: Sequence[Path], seen: Sequence[bool]) -> npt.NDArray[np.float32]:
        job = self._job
        rows = np.full((len(files), self._encoder.dim), np.nan, np.float32)
        for batch in encode_files(files, self._encoder, "pillow", threads=job.threads, batch=job.batch):
            readable = [isinstance(picture, ReadPicture) for picture in batch.pictures]
            rows[batch.start + np.flatnonzero(readable)] = batch.vectors
        for place in np.flatnonzero(np.isnan(rows[:, 0])).tolist():
            if seen[place] and not files[place].exists():
                raise UnfitError(
                    f"The picture {printable(files[place])!r} is not there on the node {where()}; a cluster needs "
                    "pictures that all its nodes see by the same path."
                )
        return rows
