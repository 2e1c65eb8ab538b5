"""Files into an index: encoded where nobody has yet, and committed bit by bit."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

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
from retrieval.images.reading import ReadPicture, recorded_decoder
from retrieval.index import Index, NewItem
from retrieval.index.records import Facts
from retrieval.ingest.known_contents import KnownContents
from retrieval.ingest.label_rule import LabelRule
from retrieval.ingest.memory_limits import Limits

COMMIT_SECONDS = 20.0
"""Seconds after which what was encoded is committed anyway: about what a killed build has to do again."""

Floats = npt.NDArray[np.float32]
TakeOver = Callable[[str, ReadPicture], bool]


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
    """A file that is to be committed: with its vector, or without where a file of the same bytes has one."""

    item: NewItem
    vector: Floats | None
    facts: Facts


class Ingest:
    """Reads files, encodes those whose content is new, and commits all in the order of their paths.

    Args:
        index: where to.
        root: what the paths are relative to.
        rule: where labels come from.
        closed: why nothing may be encoded for the index; None if it may.
    """

    def __init__(self, index: Index, root: Root, rule: LabelRule, closed: str | None = None) -> None:
        self._index = index
        self._root = root
        self._rule = rule
        self._places = bool(index.details.get("gps"))
        self._contents = KnownContents(index, closed)
        self._waiting: list[_Waiting] = []
        self._committed = 0.0

    def run(
        self, paths: Sequence[str], encoder: Encoder, limits: Limits, take_over: TakeOver | None = None
    ) -> Ingested:
        """Put files into the index; those whose path is in it are replaced. What was done before a Ctrl-C stays.

        Args:
            paths: of the files, in the order in which they get their ids.
            encoder: the index's own.
            limits: how much may be under way at a time.
            take_over: is offered each file whose content is known, with its path; where it accepts, nothing more
                happens to the file.
        """
        done = Ingested()
        began = time.perf_counter()
        self._committed = time.monotonic()
        batches = encode_files(
            paths,
            encoder,
            recorded_decoder(self._index.decoder),
            threads=limits.threads,
            batch=limits.batch,
            root=self._root,
            contents=self._contents,
            room=limits.room,
        )
        try:
            with progress.bar(len(paths), "Indexing", "pictures") as bar:
                for batch in batches:
                    some = paths[batch.start : batch.start + len(batch.pictures)]
                    self._take(some, batch.pictures, batch.vectors, done, take_over)
                    waited = time.monotonic() - self._committed
                    if len(self._waiting) >= limits.commit or waited >= COMMIT_SECONDS:
                        self._commit(done)
                    bar.update(len(batch.pictures))
            self._commit(done)
        except KeyboardInterrupt:
            with contextlib.suppress(RetrievalError):  # it may have come in the middle of a commit
                self._commit(done)
            raise
        done.seconds = time.perf_counter() - began
        return done

    def _take(
        self,
        paths: Sequence[str],
        pictures: Sequence[ReadPicture | images.Skipped],
        vectors: Floats,
        done: Ingested,
        take_over: TakeOver | None,
    ) -> None:
        rows = iter(vectors)
        for path, picture in zip(paths, pictures, strict=True):
            if isinstance(picture, images.Skipped):
                _skip(done, path, picture.reason)
                continue
            vector = None if picture.pixels is None else next(rows)
            if vector is None and take_over is not None and take_over(path, picture):
                continue
            told = tuple((name, value) for name, value in picture.facts.items() if self._places or name not in PLACE)
            item = NewItem(path, None, picture.width, picture.height, picture.size, picture.mtime_ns, picture.sha256)
            self._waiting.append(_Waiting(item, vector, told))

    def _commit(self, done: Ingested) -> None:
        """Commit what waits, up to the first file whose vector somebody is still about to make."""
        self._committed = time.monotonic()
        with self._contents.lock:
            sources = {one.item.sha256: one for one in self._waiting if one.vector is not None}
            others = {one.item.sha256 for one in self._waiting} - sources.keys()
            for sha256, (known, vector) in self._contents.vectors(others).items():
                same = NewItem(known.path, width=known.width, height=known.height)
                sources[sha256] = _Waiting(same, vector, self._index.facts(known.id))
            items: list[NewItem] = []
            vectors: list[Floats] = []
            facts: list[Facts] = []
            passed = copied = 0
            for one in self._waiting:
                item = one.item
                source = sources.get(item.sha256)
                if source is None or source.vector is None:
                    reason = self._contents.reason(item.sha256)
                    if reason is None and self._contents.is_claimed(item.sha256):
                        break
                    _skip(done, item.path, reason or "changed while it was read")
                else:
                    label = self._label(item.path)
                    items.append(replace(item, label=label, width=source.item.width, height=source.item.height))
                    vectors.append(source.vector if one.vector is None else one.vector)
                    facts.append(source.facts if one.vector is None else one.facts)
                    copied += one.vector is None
                passed += 1
            if items:
                mark_incomplete(self._index)
                self._index.upsert(np.stack(vectors), items, facts)
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
