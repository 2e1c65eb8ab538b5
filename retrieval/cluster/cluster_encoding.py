"""Files encoded by the workers of a cluster, and committed here, in their order."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence

from retrieval.base.placed_files import LINKED, NAMED, Root
from retrieval.base.text import printable
from retrieval.cluster.connection import Seats, imported
from retrieval.cluster.crew import Crew
from retrieval.cluster.refusal import releases
from retrieval.cluster.worker import Job, Made, Ready, Worker
from retrieval.images.reading import Contents, ReadPicture
from retrieval.index import Index, NewItem
from retrieval.index.folder import remove_parts
from retrieval.index.gathering import StoredRow
from retrieval.index.records import Facts
from retrieval.ingest.encode_new import Batch
from retrieval.ingest.update import Means

PICTURES = 512
"""Pictures of one task, about: what is done again when a worker is lost."""

SHARES = 4
"""Tasks for each core of the cluster, at the least, into which few pictures are cut, so that all end together."""


class ClusterEncoding:
    """Encoding on a cluster, as a build's :class:`retrieval.ingest.encode_new.Encoding`.

    A worker writes the vectors of a task into a part, a file of the index's folder. Which rows of the parts become
    items is decided here, in the order of the paths; then a worker copies them into a segment, and this process, which
    has read no vector, commits that.

    Args:
        seats: how many workers, with what.
        index: where to.
        root: what paths are relative to.
        means: what each worker may use.

    Raises:
        RetrievalError: no worker can encode for the index.
    """

    def __init__(self, seats: Seats, index: Index, root: Root, means: Means) -> None:
        self._index = index
        job = Job(
            folder=index.folder.absolute(),
            name=printable(index.name),
            encoder_hash=index.encoder_hash,
            dim=index.dim,
            storage=index.storage,
            decoder=index.decoder,
            root=root.address,
            allowed={name: bool(index.details.get(name)) for name in (NAMED, LINKED)},
            threads=seats.cores,
            batch=means.batch,
            memory=means.memory,
            versions=releases(),
        )
        self._cores = seats.workers * seats.cores
        self._crew = Crew(Worker, job, seats, _named)
        self._wanted: Counter[str] = Counter()
        """Rows of each part that are still to be committed."""
        try:
            ready: Ready = self._crew.begin()
        except BaseException:
            self._crew.end()
            raise
        self.runtime = ready.runtime
        self.commit = ready.commit
        self._a_batch = ready.pictures

    def batches(self, paths: Sequence[str], contents: Contents) -> Iterator[Batch]:
        """See :class:`retrieval.ingest.encode_new.Encoding`.

        What the index had before is not encoded. Files of the same bytes that come to different workers are, and the
        first of them gives all their vector.
        """
        known = self._index.contents()
        shared = imported().put(known) if len(known) else None
        step = self._step(len(paths))
        tasks = (paths[start : start + step] for start in range(0, len(paths), step))
        for _, made in self._crew.in_order(tasks, shared):
            yield self._taken(made, contents)

    def stored(self, ids: Sequence[int]) -> list[StoredRow]:
        """See :class:`retrieval.ingest.encode_new.Encoding`."""
        return self._index.stored(ids)

    def put(self, rows: Sequence[StoredRow], items: Sequence[NewItem], facts: Sequence[Facts]) -> None:
        """See :class:`retrieval.ingest.encode_new.Encoding`."""
        self._index.upsert_stored(rows, items, facts, self._crew.do)
        for file, _ in {(one.record.file, one.row) for one in rows}:
            if file in self._wanted:
                self._wanted[file] -= 1
                self._forget(file)

    def close(self) -> None:
        """Let the workers go, and delete the parts that nobody will commit, also those of workers that were lost."""
        self._crew.end()
        self._wanted.clear()
        remove_parts(self._index.folder)

    def _step(self, pictures: int) -> int:
        """How many pictures are one task: whole batches, so that they are those that one machine would make."""
        most = max(1, min(PICTURES, self.commit) // self._a_batch)
        return self._a_batch * max(1, min(most, -(-pictures // (self._a_batch * self._cores * SHARES))))

    def _taken(self, made: Made, contents: Contents) -> Batch:
        rows: list[StoredRow | None] = []
        for picture, row in zip(made.pictures, made.rows, strict=True):
            first = row is not None and isinstance(picture, ReadPicture) and contents.claim(picture.sha256)
            rows.append(StoredRow(made.part, row) if first and made.part and row is not None else None)
        if made.part is not None:
            self._wanted[made.part.file] = sum(row is not None for row in rows)
            self._forget(made.part.file)
        return Batch(made.pictures, rows)

    def _forget(self, file: str) -> None:
        """Delete a part of which nothing is to be committed any more."""
        if self._wanted[file] <= 0:
            del self._wanted[file]
            with contextlib.suppress(OSError):  # the next writer does
                (self._index.folder / file).unlink(missing_ok=True)


def _named(paths: Sequence[str]) -> str:
    return f"{len(paths):,} pictures, from {printable(paths[0])!r} to {printable(paths[-1])!r},"
