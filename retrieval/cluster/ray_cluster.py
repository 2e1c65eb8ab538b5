"""Which Ray cluster encodes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from retrieval.base.placed_files import Root
from retrieval.cluster.cluster_encoding import ClusterEncoding
from retrieval.cluster.connection import AUTO, Seats, connect, nodes, share_out
from retrieval.cluster.crew import Crew
from retrieval.cluster.mapper import MapJob, Mapper
from retrieval.cluster.refusal import releases
from retrieval.cluster.set_encoding import encode_on
from retrieval.datasets import PictureSet
from retrieval.encoder import Encoder
from retrieval.engines.engine_index import EngineIndex
from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.index.gathering import MappedSegment
from retrieval.index.records import SegmentRecord
from retrieval.ingest.update import Means


@dataclass(frozen=True)
class RayCluster:
    """A Ray cluster on which pictures are encoded.

    Every node sees the pictures and the index's folder by the same paths as this machine, and has the same release of
    this package, with its extra ``ray``.

    Attributes:
        address: "HOST:PORT" of its head, or "auto" for the cluster that this machine belongs to.
        workers: how many processes encode; by default as many as there are nodes, or as there are GPUs for.
        gpus_per_worker: GPUs that each of them has; several may share one (0.5).
    """

    address: str = AUTO
    workers: int | None = None
    gpus_per_worker: float = 0.0

    def reach(self) -> None:
        """Connect to it, once in a process.

        Raises:
            RetrievalError: Ray is not installed, nobody answers there, the cluster has another release of Ray or of
                Python, or a number is impossible.
        """
        if self.workers is not None and self.workers < 1:
            raise RetrievalError(f"workers is {self.workers}; give a whole number from 1 upwards.")
        if not 0 <= self.gpus_per_worker <= 64 or (self.gpus_per_worker > 1 and self.gpus_per_worker % 1):
            raise RetrievalError(
                f"gpus_per_worker is {self.gpus_per_worker:g}; give a share of one GPU, or a whole number of them."
            )
        connect(self.address)

    def encoding(self, index: Index, root: Root, means: Means) -> ClusterEncoding:
        """Have its workers ready to encode for an index.

        Args:
            index: open for writing.
            root: what the pictures' paths are relative to.
            means: what each worker may use.

        Raises:
            RetrievalError: the index is in a database, there is no room, or the workers cannot encode for it.
        """
        if isinstance(index, EngineIndex):
            raise RetrievalError(
                f"The index {index.name!r} is in a database, and a cluster writes folders; leave --ray out, or build a "
                "folder and `retrieval export` it."
            )
        return ClusterEncoding(self._seats(means.threads), index, root, means)

    def mapped(self, folder: Path, segments: Sequence[MappedSegment]) -> Iterator[SegmentRecord]:
        """Have segments written with the head that lies in an index's folder.

        Args:
            folder: of that index, which is being made.
            segments: what is to be written.

        Yields:
            The parts, in the order of the segments.

        Raises:
            RetrievalError: there is no room, no worker can do it, or a segment is damaged.
        """
        seats = self._seats(None)
        crew = Crew(Mapper, MapJob(folder.absolute(), seats.cores, releases()), seats, lambda one: one.record.file)
        try:
            crew.begin()
            for _, part in crew.in_order(segments):
                yield part
        finally:
            crew.end()

    def encoded(
        self, pictures: PictureSet, encoder: Encoder, folder: Path
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Have a labelled set encoded.

        Args:
            pictures: the set.
            encoder: what makes the vectors, ready for many pictures.
            folder: that all nodes see, for what is needed and made on the way; whoever calls again goes on from there.

        Returns:
            float32 (m, dim), the vectors of those that can be read, and bool (n,), which these are.

        Raises:
            RetrievalError: there is no room, or no worker can do it.
        """
        return encode_on(self._seats(None), pictures, encoder, folder)

    def _seats(self, threads: int | None) -> Seats:
        self.reach()
        return share_out(nodes(), self.workers, self.gpus_per_worker, threads)
