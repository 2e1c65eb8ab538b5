"""What a worker of a cluster does that maps the vectors of an index with a head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from retrieval.base.text import printable
from retrieval.cluster.refusal import Refusal, answered, require_folder, require_releases
from retrieval.encoder import Encoder
from retrieval.errors import RetrievalError
from retrieval.index.folder import ENCODER
from retrieval.index.gathering import MappedSegment
from retrieval.index.records import SegmentRecord
from retrieval.ingest.map_index import mapped_by


@dataclass(frozen=True)
class MapJob:
    """What such a worker is to know.

    Attributes:
        folder: of the new index, with the head as its encoder.
        threads: cores that the worker may use.
        versions: of the libraries that decide what a vector is, where the work was asked for.
    """

    folder: Path
    threads: int
    versions: Mapping[str, str]


class Mapper:
    """One process of a cluster, as :class:`retrieval.cluster.worker.Worker` is one.

    Args:
        job: what it is to know.
    """

    def __init__(self, job: MapJob) -> None:
        self._job = job

    def ready(self) -> bool | Refusal:
        """Load the head."""
        return answered(self._begin)

    def work(self, segment: MappedSegment) -> SegmentRecord | Refusal:
        """Map one segment."""
        return answered(lambda: segment.write(self._make, self._job.threads))

    def _begin(self) -> bool:
        require_releases(self._job.versions)
        require_folder(self._job.folder)
        found = Encoder.load(self._job.folder / ENCODER, threads=1).head()
        if found is None:
            raise RetrievalError(f"{printable(self._job.folder)!r} has no head; build it anew.")
        self._make = mapped_by(found[1])
        return True
