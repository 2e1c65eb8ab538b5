"""Files into an index: encoded where nobody has yet, and committed bit by bit."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from retrieval import images
from retrieval.base import progress
from retrieval.base.placed_files import Root
from retrieval.base.text import printable
from retrieval.encoder import Encoder
from retrieval.encoder.file_encoding import encode_files
from retrieval.errors import RetrievalError
from retrieval.images.exif import PLACE
from retrieval.images.reading import Contents, ReadPicture, recorded_decoder
from retrieval.index import Index, NewItem
from retrieval.index.records import Facts
from retrieval.index.vectors import signs
from retrieval.ingest.known_contents import KnownContents
from retrieval.ingest.label_rule import LabelRule
from retrieval.ingest.memory_limits import Limits

COMMIT_SECONDS = 20.0
"""Seconds after which what was encoded is committed anyway: about what a killed build has to do again."""

TakeOver = Callable[[str, ReadPicture], bool]


class Batch(NamedTuple):
    """What became of some files.

    Attributes:
        pictures: one a file, in order: what is known of it, or why it was left out.
        rows: one a file: its vector, in whatever form :meth:`Encoding.put` takes it; None where it was not encoded, as
            its bytes have a vector or are about to get one.
    """

    pictures: Sequence[ReadPicture | images.Skipped]
    rows: Sequence[Any]


class Encoding(Protocol):
    """What encodes files for an index and puts their vectors into it: this process (:class:`Here`), or others."""

    @property
    def runtime(self) -> str:
        """What ran the network."""

    @property
    def commit(self) -> int:
        """Pictures that wait until they are committed."""

    def batches(self, paths: Sequence[str], contents: Contents) -> Iterator[Batch]:
        """Read and encode files; what comes of them, in their order."""

    def stored(self, ids: Sequence[int]) -> Sequence[Any]:
        """The rows of items of the index, so that others of the same bytes can have them."""

    def put(self, rows: Sequence[Any], items: Sequence[NewItem], facts: Sequence[Facts]) -> None:
        """Commit items with their rows, all or none; those whose path is there are replaced."""

    def close(self) -> None:
        """Let go of whatever it holds."""


class Here:
    """Encoding by the threads of this process.

    Args:
        index: where to.
        root: what paths are relative to.
        encoder: the index's own.
        limits: how much may be under way at a time.
    """

    def __init__(self, index: Index, root: Root, encoder: Encoder, limits: Limits) -> None:
        self._index = index
        self._root = root
        self._encoder = encoder
        self._limits = limits
        self.runtime = encoder.runtime
        self.commit = limits.commit

    def batches(self, paths: Sequence[str], contents: Contents) -> Iterator[Batch]:
        """See :class:`Encoding`."""
        for batch in encode_files(
            paths,
            self._encoder,
            recorded_decoder(self._index.decoder),
            threads=self._limits.threads,
            batch=self._limits.batch,
            root=self._root,
            contents=contents,
            room=self._limits.room,
        ):
            vectors = iter(batch.vectors)
            encoded = [isinstance(one, ReadPicture) and one.pixels is not None for one in batch.pictures]
            yield Batch(batch.pictures, [next(vectors) if one else None for one in encoded])

    def stored(self, ids: Sequence[int]) -> Sequence[npt.NDArray[np.float32]]:
        """See :class:`Encoding`; float32 (dim,) each."""
        vectors = self._index.vectors(ids)
        # Of codes, numbers of which they are made again.
        return list(signs(vectors) if self._index.storage == "binary" else vectors)

    def put(self, rows: Sequence[Any], items: Sequence[NewItem], facts: Sequence[Facts]) -> None:
        """See :class:`Encoding`."""
        self._index.upsert(np.stack(rows), items, facts)

    def close(self) -> None:
        """See :class:`Encoding`."""


@dataclass
class Ingested:
    """What became of some files.

    Attributes:
        committed: how many are in the index now.
        copied: how many of those were not encoded, since a picture of the same bytes was.
        skipped: what was left out, and why; printable paths.
        unreadable: the same paths as they are.
        seconds: how long it took.
    """

    committed: int = 0
    copied: int = 0
    skipped: list[images.Skipped] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    seconds: float = 0.0


class _Waiting(NamedTuple):
    """A file that is to be committed: with its row, or without where a file of the same bytes has one."""

    item: NewItem
    row: Any
    facts: Facts


class Ingest:
    """Reads files, encodes those whose content is new, and commits all in the order of their paths.

    Args:
        index: where to.
        rule: where labels come from.
        closed: why nothing may be encoded for the index; None if it may.
    """

    def __init__(self, index: Index, rule: LabelRule, closed: str | None = None) -> None:
        self._index = index
        self._rule = rule
        self._places = bool(index.details.get("gps"))
        self._contents = KnownContents(index, closed)
        self._waiting: list[_Waiting] = []
        self._committed = 0.0

    def run(self, paths: Sequence[str], encoding: Encoding, take_over: TakeOver | None = None) -> Ingested:
        """Put files into the index; those whose path is in it are replaced. What was done before a Ctrl-C stays.

        Args:
            paths: of the files, in the order in which they get their ids.
            encoding: what makes their vectors.
            take_over: is offered each file whose content is known, with its path; where it accepts, nothing more
                happens to the file.
        """
        done = Ingested()
        began = time.perf_counter()
        self._committed = time.monotonic()
        passed = 0
        try:
            with progress.bar(len(paths), "Indexing", "pictures") as bar:
                for batch in encoding.batches(paths, self._contents):
                    self._take(paths[passed : passed + len(batch.pictures)], batch, done, take_over)
                    waited = time.monotonic() - self._committed
                    if len(self._waiting) >= encoding.commit or waited >= COMMIT_SECONDS:
                        self._commit(encoding, done)
                    passed += len(batch.pictures)
                    bar.update(len(batch.pictures))
            self._commit(encoding, done)
        except KeyboardInterrupt:
            with contextlib.suppress(RetrievalError):  # it may have come in the middle of a commit
                self._commit(encoding, done)
            raise
        done.seconds = time.perf_counter() - began
        return done

    def _take(self, paths: Sequence[str], batch: Batch, done: Ingested, take_over: TakeOver | None) -> None:
        for path, picture, row in zip(paths, batch.pictures, batch.rows, strict=True):
            if isinstance(picture, images.Skipped):
                _skip(done, path, picture.reason)
                continue
            if row is None and take_over is not None and take_over(path, picture):
                continue
            told = tuple((name, value) for name, value in picture.facts.items() if self._places or name not in PLACE)
            item = NewItem(path, None, picture.width, picture.height, picture.size, picture.mtime_ns, picture.sha256)
            self._waiting.append(_Waiting(item, row, told))

    def _commit(self, encoding: Encoding, done: Ingested) -> None:
        """Commit what waits, up to the first file whose vector somebody is still about to make."""
        self._committed = time.monotonic()
        with self._contents.lock:
            sources = {one.item.sha256: one for one in self._waiting if one.row is not None}
            there = self._contents.items({one.item.sha256 for one in self._waiting} - sources.keys())
            stored = encoding.stored([known.id for known in there.values()]) if there else ()
            for (sha256, known), row in zip(there.items(), stored, strict=True):
                same = NewItem(known.path, width=known.width, height=known.height)
                sources[sha256] = _Waiting(same, row, self._index.facts(known.id))
            items: list[NewItem] = []
            rows: list[Any] = []
            facts: list[Facts] = []
            passed = copied = 0
            for one in self._waiting:
                item = one.item
                source = sources.get(item.sha256)
                if source is None:
                    reason = self._contents.reason(item.sha256)
                    if reason is None and self._contents.is_claimed(item.sha256):
                        break
                    _skip(done, item.path, reason or "changed while it was read")
                else:
                    label = self._label(item.path)
                    items.append(replace(item, label=label, width=source.item.width, height=source.item.height))
                    rows.append(source.row if one.row is None else one.row)
                    facts.append(source.facts if one.row is None else one.facts)
                    copied += one.row is None
                passed += 1
            if items:
                mark_incomplete(self._index)
                encoding.put(rows, items, facts)
                self._contents.committed(item.sha256 for item in items)
            del self._waiting[:passed]
        done.committed += len(items)
        done.copied += copied

    def _label(self, path: str) -> str | None:
        before = self._index.find(path) if self._rule.keeps else None
        return self._rule(path, None if before is None else before.label)


def mark_incomplete(index: Index) -> None:
    """Note that a build is under way, before it changes anything."""
    if index.details.get("complete"):
        index.record_details({**index.details, "complete": False})


def _skip(done: Ingested, path: str, reason: str) -> None:
    done.skipped.append(images.Skipped(printable(path), reason))
    done.unreadable.append(path)
