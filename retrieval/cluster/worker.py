"""What one worker of a cluster does: it holds the encoder, and writes the vectors of the files that it is given."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from retrieval import images
from retrieval.base.text import printable
from retrieval.cluster.refusal import Refusal, UnfitError, answered, require_folder, require_releases, where
from retrieval.encoder.file_encoding import encode_files, pictures_a_batch
from retrieval.images.reading import ReadPicture, recorded_decoder
from retrieval.index.folder import ENCODER
from retrieval.index.gathering import Gathering
from retrieval.index.records import SegmentRecord
from retrieval.index.segments import columns, write_segment
from retrieval.index.vectors import checked
from retrieval.ingest.memory_limits import Limits, limits
from retrieval.ingest.update import own_encoder
from retrieval.places.folder import Folder
from retrieval.places.roots import root_of

Digests = npt.NDArray[np.bytes_]


@dataclass(frozen=True)
class Job:
    """What a worker is to know. It is plain values, so that it can be sent to another machine.

    Attributes:
        folder: of the index.
        name: what the index is called in messages.
        encoder_hash, dim, storage, decoder: the index's.
        root: what paths are relative to.
        allowed: of the index's details, those that say where its pictures may lie.
        threads: cores that the worker may use.
        batch, memory: as for a build, of each worker.
        versions: of the libraries that decide what a vector is, where the work was asked for.
    """

    folder: Path
    name: str
    encoder_hash: str
    dim: int
    storage: str
    decoder: str | None
    root: str
    allowed: Mapping[str, bool]
    threads: int
    batch: int | None
    memory: int | None
    versions: Mapping[str, str]


class Ready(NamedTuple):
    """A worker that can begin.

    Attributes:
        runtime: what runs the network.
        pictures: how many it had better be given at a time.
        commit: how many may wait for their commit.
    """

    runtime: str
    pictures: int
    commit: int


class Made(NamedTuple):
    """What became of some files.

    Attributes:
        pictures: one a file, without its pixels.
        rows: one a file: the row of its vector in the part; None where it has none.
        part: what was written; None if nothing was.
    """

    pictures: list[ReadPicture | images.Skipped]
    rows: list[int | None]
    part: SegmentRecord | None


class Worker:
    """One process of a cluster. Whatever it makes is a file of the index's folder with a name of its own, of which only
    the one who asked makes more; so it can be killed at any moment, and somebody else asked.

    Args:
        job: what it is to know.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._root = root_of(job.root, job.allowed).patient()

    def ready(self) -> Ready | Refusal:
        """Load the encoder."""
        return answered(self._begin)

    def work(self, paths: Sequence[str], known: Digests | None) -> Made | Refusal:
        """Read and encode files.

        Args:
            paths: some of them, in order.
            known: the contents that need no vector, as :meth:`retrieval.index.Index.contents` gives them.
        """
        return answered(lambda: self._encode(paths, _Contents(known)))

    def gather(self, gathering: Gathering) -> SegmentRecord | Refusal:
        """Put a segment together."""
        return answered(gathering.write)

    def _begin(self) -> Ready:
        job = self._job
        require_releases(job.versions)
        require_folder(job.folder)
        self._require_pictures()
        self._encoder = own_encoder(job.folder / ENCODER, job.name, job.encoder_hash)
        self._limits: Limits = limits(self._encoder, job.threads, job.batch, job.memory)
        a_batch = self._limits.batch or pictures_a_batch(self._encoder.config.preprocessing)
        return Ready(self._encoder.runtime, a_batch, self._limits.commit)

    def _require_pictures(self) -> None:
        """See that the folder of pictures is there: one that is not would have every picture of it missing."""
        if not isinstance(self._root, Folder):
            return  # a store says by itself that it cannot be reached, or that there is no such bucket
        folder = self._root.path
        try:
            there = next(os.scandir(folder), None) is not None
        except OSError:
            there = False
        if not there:
            raise UnfitError(
                f"The folder {printable(folder)!r} of the pictures is not there on the node {where()}, or empty; "
                "a cluster needs one that all its nodes see by the same path."
            )

    def _encode(self, paths: Sequence[str], contents: _Contents) -> Made:
        job = self._job
        self._require_pictures()
        pictures: list[ReadPicture | images.Skipped] = []
        rows: list[int | None] = []
        parts: list[npt.NDArray[Any]] = []
        count = 0
        for batch in encode_files(
            paths,
            self._encoder,
            recorded_decoder(job.decoder),
            threads=self._limits.threads,
            batch=self._limits.batch,
            root=self._root,
            contents=contents,
            room=self._limits.room,
        ):
            for picture in batch.pictures:
                encoded = isinstance(picture, ReadPicture) and picture.pixels is not None
                rows.append(count if encoded else None)
                pictures.append(dataclasses.replace(picture, pixels=None) if encoded else picture)  # type: ignore[type-var]
                count += encoded
            if len(batch.vectors):
                parts.append(checked(batch.vectors, job.dim, job.storage, "vectors"))
        for place, (path, picture) in enumerate(zip(paths, pictures, strict=True)):
            if rows[place] is None and isinstance(picture, ReadPicture) and picture.sha256 in contents.spoilt:
                pictures[place] = images.Skipped(printable(path), contents.spoilt[picture.sha256])
        return Made(pictures, rows, self._write(parts, count) if count else None)

    def _write(self, parts: list[npt.NDArray[Any]], count: int) -> SegmentRecord:
        ends = np.cumsum([len(part) for part in parts])
        blocks = ((np.arange(end - len(part), end), part) for end, part in zip(ends, parts, strict=True))
        job = self._job
        return write_segment(job.folder, None, blocks, count, columns(job.dim, job.storage), job.storage)


class _Contents:
    """What need not be encoded: what the index had when the run began, and what was met among the same files.

    Args:
        known: ascending.
    """

    def __init__(self, known: Digests | None) -> None:
        self._known = known
        self._met: set[str] = set()
        self._lock = threading.Lock()
        self.spoilt: dict[str, str] = {}

    def claim(self, sha256: str) -> bool:
        """See :class:`retrieval.images.reading.Contents`."""
        if self._known is not None and len(self._known):
            half = np.array([bytes.fromhex(sha256[:32])], self._known.dtype)[0]
            at = int(np.searchsorted(self._known, half))
            if at < len(self._known) and self._known[at] == half:
                return False
        with self._lock:
            first = sha256 not in self._met
            self._met.add(sha256)
        return first

    def spoil(self, sha256: str, reason: str) -> None:
        """See :class:`retrieval.images.reading.Contents`."""
        self.spoilt[sha256] = reason
