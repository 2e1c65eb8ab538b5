"""One run over an index: what is new is encoded, what was renamed is renamed, what is gone is taken out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from retrieval import images
from retrieval.base import progress
from retrieval.base.machine import cores
from retrieval.base.placed_files import Root, Stamp, is_temporary
from retrieval.base.text import printable
from retrieval.datasets import PictureSet
from retrieval.encoder import Encoder
from retrieval.engines.engine_index import EngineIndex
from retrieval.errors import RetrievalError
from retrieval.images.reading import ReadPicture, hash_files, is_outdated
from retrieval.index import Index, Item, NewItem
from retrieval.index.folder import ENCODER
from retrieval.index.gathering import MappedSegment
from retrieval.index.records import CSV, SegmentRecord
from retrieval.ingest.build_report import BuildReport, nothing_readable
from retrieval.ingest.changes import Changes, is_as_it_was
from retrieval.ingest.encode_new import Encoding, Here, Ingest, Ingested, mark_incomplete
from retrieval.ingest.index_folder import write_skipped
from retrieval.ingest.known_contents import Displaced
from retrieval.ingest.label_rule import LabelRule
from retrieval.ingest.left_out import remember
from retrieval.ingest.memory_limits import limits, resident

OUTDATED = "the index was built with an older decoder"
"""Why a picture is left out of an index whose vectors are of other pixels than would be made now."""

FEW_NUMBERS = 1 << 20
"""Numbers in all vectors of an index up to which exact search takes a millisecond, wherever it runs."""

UPDATE_ITEMS = 1 << 16
"""Items that are given another path, time or label in one transaction."""


class Workers(Protocol):
    """Processes elsewhere that encode, as :class:`retrieval.cluster.RayCluster` has them."""

    def reach(self) -> None:
        """See that they can be had.

        Raises:
            RetrievalError: they cannot.
        """

    def encoding(self, index: Index, root: Root, means: Means) -> Encoding:
        """Have them ready for an index.

        Raises:
            RetrievalError: they cannot be had, or cannot encode for it.
        """

    def mapped(self, folder: Path, segments: Sequence[MappedSegment]) -> Iterator[SegmentRecord]:
        """Have segments written with the head that lies in an index's folder; the parts, in their order.

        Raises:
            RetrievalError: they cannot be had, or a segment is damaged.
        """

    def encoded(
        self, pictures: PictureSet, encoder: Encoder, folder: Path
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Have a labelled set encoded, with a folder for what is made on the way; whoever calls again goes on there.

        Returns:
            float32 (m, dim), the vectors of those that can be read, and bool (n,), which these are.

        Raises:
            RetrievalError: they cannot be had, or cannot do it.
        """


class Means(NamedTuple):
    """What a run may use.

    Attributes:
        threads: cores; None for all.
        batch: pictures that a thread reads before it encodes them; None for what is fast.
        memory: bytes that the process may take; None for what it takes.
        on: who encodes, each with the means above; None for this process.
    """

    threads: int | None = None
    batch: int | None = None
    memory: int | None = None
    on: Workers | None = None

    def check(self) -> None:
        """See that all of them are possible.

        Raises:
            RetrievalError: one is not.
        """
        for name, value in (("threads", self.threads), ("batch", self.batch), ("memory", self.memory)):
            if value is not None and value < 1:
                raise RetrievalError(f"{name} is {value}; give a whole number from 1 upwards.")
        if self.on is not None:
            self.on.reach()


class _Place(NamedTuple):
    """Where an item's file lies now."""

    path: str
    stamp: Stamp


class Update:
    """Brings an index up to date with some files. Each can be killed at any moment, and run again.

    An item goes with its content: it is given the path of a file that has the same bytes, if its own path is gone or
    holds something else. So files that are renamed, or change places, keep their ids and their vectors.

    Before that, what is new is encoded and committed bit by bit; after it, what has changed under its old path. Those
    were looked into before anything else, since until then nobody knows which items other files may need.

    Args:
        index: open for writing.
        root: where the pictures lie, with what the index's owner allows.
        rule: where labels come from.
        changes: what there is to look into.
        means: what may be used.
    """

    def __init__(self, index: Index, root: Root, rule: LabelRule, changes: Changes, means: Means) -> None:
        self._index = index
        self._root = root
        self._rule = rule
        self._changes = changes
        self._means = means
        self._outdated = is_outdated(index.decoder)
        self._ingest = Ingest(index, rule, OUTDATED if self._outdated else None)
        self._encoding: Encoding | None = None
        self._changed: list[str] = []  # paths whose content is another one
        self._moved: dict[int, _Place] = {}
        self._skipped: list[images.Skipped] = []
        self._unreadable: list[str] = []
        self._kept = changes.kept
        self._touched = 0

    def run(
        self, out: Path | str, unfit: Sequence[images.Skipped], began: float, found: images.Found | None = None
    ) -> BuildReport:
        """Do it.

        Where an index has vectors of older pixels, nothing is encoded for it: that is said, and new pictures are left
        out, while those that have changed keep the vector that they had.

        Args:
            out: what the report calls the index.
            unfit: files that were left out before anything was read.
            began: when the work began, by `time.perf_counter`.
            found: the walk of the whole folder, if the changes are those of all of it, so that what is missing from it
                can go.

        Raises:
            RetrievalError: nothing can be read, or the index cannot be written.
        """
        began_ns = time.time_ns()
        whole = found is not None
        if self._outdated:
            progress.note(
                f"The index {printable(out)!r} was built with an older decoder ({self._index.decoder}), which made "
                "other pixels of some files: it answers as before, and nothing is encoded for it any more. Build it "
                "anew with --overwrite."
            )
        self._note_other_labels()
        displaced = self._look_into_doubtful()
        try:
            new = self._put(self._changes.new, displaced)
            self._rename()
            changed = Ingested() if self._outdated else self._put(self._changed)
        finally:
            if self._encoding is not None:
                self._encoding.close()
        if self._outdated:
            self._kept += len(self._changed)
            self._skipped += [images.Skipped(printable(path), OUTDATED) for path in self._changed]
        # What is not given today stays as it was, and is looked into again by the next run.
        lost = [
            path for path, why in zip(changed.unreadable, changed.skipped, strict=True) if not is_temporary(why.reason)
        ]
        self._kept += len(changed.unreadable) - len(lost)
        as_before = [images.Skipped(path, reason) for path, (_, reason) in self._changes.unreadable.items()]
        skipped = sorted((*unfit, *as_before, *self._skipped, *new.skipped, *changed.skipped))
        renamed = len(self._moved)
        if self._kept - self._changes.outside + self._touched + renamed + new.committed + changed.committed == 0:
            raise nothing_readable(f"in {printable(self._root.address)!r}" if whole else "given", skipped)
        removed = 0
        if found is not None:
            removed = self._remove(self._changes.gone, [*self._unreadable, *lost])
            if skipped != self._index.skipped():
                self._index.record_skipped(skipped)
            if not isinstance(self._index, EngineIndex):
                write_skipped(self._index.folder, skipped)
            in_vain = [
                (path, why.reason)
                for part in (new, changed)
                for path, why in zip(part.unreadable, part.skipped, strict=True)
            ]
            remember(self._index, self._root, in_vain, self._changes.unreadable, found.strangers, began_ns)
        relabelled = self._relabel()
        self._complete()
        return BuildReport(
            index=out,
            total=len(self._index),
            added=new.committed,
            replaced=changed.committed,
            renamed=renamed,
            touched=self._touched,
            kept=self._kept,
            removed=removed,
            copied=new.copied + changed.copied,
            relabelled=relabelled,
            skipped=tuple(skipped),
            passed={} if found is None else found.passed,
            labels=self._rule.kind,
            classes=self._index.info()["labels"],
            runtime=None if self._encoding is None else self._encoding.runtime,
            encode_seconds=new.seconds + changed.seconds,
            seconds=time.perf_counter() - began,
            notes=self._rule.notes,
        )

    def _note_other_labels(self) -> None:
        """Note that not all labels are those of one list, for as long as that is so."""
        before = self._index.details
        other = self._rule.kind == CSV and before.get("labels") not in (CSV, self._rule.name)
        if other and (self._changes.new or not self._rule.keeps):
            self._index.record_details({**before, "labels": CSV, "complete": False})

    def _look_into_doubtful(self) -> Displaced:
        """Tell files that were only touched from those that have another content.

        Returns:
            The items that other files may take over.
        """
        displaced = Displaced()
        for path in self._changes.gone:
            item = self._index.find(path)
            if item is not None:
                displaced.add(item)
        paths = self._changes.doubtful
        touched: dict[int, NewItem] = {}
        changed: list[tuple[str, Stamp, str]] = []
        hashes = hash_files(paths, threads=self._means.threads or cores(), root=self._root)
        with progress.bar(len(paths), "Comparing", "pictures") as bar:
            for path, found in zip(paths, hashes, strict=True):
                bar.update()
                item = self._index.find(path)
                if item is None:  # nobody else writes, so that this cannot be
                    continue
                before = (item.size, item.mtime_ns)
                if isinstance(found, images.Skipped):
                    self._skipped.append(images.Skipped(printable(path), found.reason))
                    if is_temporary(found.reason) or is_as_it_was(self._root, path, before):
                        self._kept += 1  # it cannot be compared, and nothing says that it is no such picture any more
                    else:
                        self._unreadable.append(path)
                        displaced.add(item)
                elif found.sha256 != item.sha256:
                    changed.append((path, found[:2], found.sha256))
                    displaced.add(item)
                elif found[:2] == before:
                    self._kept += 1
                else:
                    self._touched += 1
                    touched[item.id] = _as_new(item, size=found.size, mtime_ns=found.mtime_ns)
                    if len(touched) == UPDATE_ITEMS:
                        self._update(touched)
                        touched = {}
        self._update(touched)
        for path, stamp, sha256 in changed:
            taken = displaced.take(sha256)
            if taken is None:
                self._changed.append(path)
            else:
                self._moved[taken] = _Place(path, stamp)
        return displaced

    def _put(self, paths: Sequence[str], displaced: Displaced | None = None) -> Ingested:
        """Put files into the index, but for those whose content an item has that can be renamed."""
        if not paths:
            return Ingested()
        if self._encoding is None:
            self._encoding = self._make_ready()

        def take_over(path: str, picture: ReadPicture) -> bool:
            taken = displaced.take(picture.sha256) if displaced is not None else None
            if taken is not None:
                self._moved[taken] = _Place(path, (picture.size, picture.mtime_ns))
            return taken is not None

        return self._ingest.run(paths, self._encoding, take_over)

    def _make_ready(self) -> Encoding:
        """What encodes. Where nothing may be encoded any more, files are only looked into, which is done here."""
        means = self._means
        if means.on is not None and not self._outdated:
            return means.on.encoding(self._index, self._root, means)
        folder = self._index.folder / ENCODER
        encoder = own_encoder(folder, printable(self._index.name), self._index.encoder_hash)
        ready = limits(encoder, means.threads, means.batch, means.memory)
        return Here(self._index, self._root, encoder, ready)

    def _rename(self) -> None:
        """Give items the paths that their files have now: all at once, unless they are very many.

        Those may go bit by bit whose path is free. What is left changes places, and can only do so at once.
        """
        if not self._moved:
            return
        mark_incomplete(self._index)
        waiting = dict(self._moved)
        while len(waiting) > UPDATE_ITEMS:
            free = (id_ for id_, place in waiting.items() if self._index.find(place.path) is None)
            some = {id_: waiting[id_] for id_ in islice(free, UPDATE_ITEMS)}
            if not some:
                break
            self._update(self._renamed(some))
            for id_ in some:
                del waiting[id_]
        there = (self._index.find(place.path) for place in waiting.values())
        self._index.remove(item.id for item in there if item is not None and item.id not in waiting)
        self._update(self._renamed(waiting))

    def _renamed(self, places: Mapping[int, _Place]) -> dict[int, NewItem]:
        """What items belong to at their new places."""
        renamed = {}
        for item in self._index.items(list(places)):
            path, (size, mtime_ns) = places[item.id]
            label = self._rule(path, item.label)
            renamed[item.id] = _as_new(item, path=path, label=label, size=size, mtime_ns=mtime_ns)
        return renamed

    def _remove(self, gone: Sequence[str], unreadable: Sequence[str]) -> int:
        items = [item for path in (*gone, *unreadable) if (item := self._index.find(path)) is not None]
        if items:
            mark_incomplete(self._index)
            self._index.remove(item.id for item in items)
        return len(items)

    def _relabel(self) -> int:
        """Give pictures their labels from another list than before."""
        if self._rule.keeps or self._rule.name == self._index.details.get("labels"):
            return 0
        count = 0
        changed: dict[int, NewItem] = {}
        for path in self._index.known():
            item = self._index.find(path)
            if item is not None and item.label != self._rule(path):
                changed[item.id] = _as_new(item, label=self._rule(path))
                count += 1
                if len(changed) == UPDATE_ITEMS:
                    self._update(changed)
                    changed = {}
        self._update(changed)
        return count

    def _complete(self) -> None:
        """Make the index fast to search, and note that nothing is left to do."""
        before = self._index.details
        fast = True
        if not before.get("complete") or self._index.structure is not None:  # which may be damaged
            fast = see_to_structure(self._index, self._means.memory)
        labels = before.get("labels") if self._rule.keeps else self._rule.name
        after = {**before, "labels": labels, "complete": fast}
        if after != before:
            self._index.record_details(after)

    def _update(self, items: dict[int, NewItem]) -> None:
        if items:
            self._index.update(items)


def see_to_structure(index: Index, memory: int | None = None) -> bool:
    """Build what makes an index fast to search, if it is worth it; False if memory or time lack.

    Args:
        index: open for writing.
        memory: bytes that the process may take.
    """
    if isinstance(index, EngineIndex):
        index.see_to_structure(FEW_NUMBERS)
        return True
    few = len(index) * index.dim <= FEW_NUMBERS
    if few and index.structure is None and index.tuning is None:
        return True  # without waiting for FAISS
    from retrieval.tuning.default import default_structure  # here, as it brings FAISS

    if memory is not None:
        memory = (memory - resident()) // 2  # it is tried on a part first, beside which it is built
        if 4 * len(index) * index.dim > memory:
            return False
    late = default_structure(index, memory=memory)
    if late is not None:
        progress.note(f"note: {late}, and so does a later build or sync where there is time")
    return late is None


def _as_new(item: Item, **changes: object) -> NewItem:
    """What an item belongs to, with some of it changed."""
    same = NewItem(item.path, item.label, item.width, item.height, item.size, item.mtime_ns, item.sha256)
    return replace(same, **changes)  # type: ignore[arg-type]


def own_encoder(folder: Path, name: str, expected: str) -> Encoder:
    """The encoder in an index, ready for many pictures; what is used is what was saved.

    Args:
        folder: of the encoder.
        name: what the index is called in messages.
        expected: the hash that the encoder must have.

    Raises:
        RetrievalError: there is none, or another one.
    """
    if not folder.exists():
        raise RetrievalError(
            f"The index {name!r} has no encoder, so that no picture can be encoded for it; import it with --model, or "
            "build it anew."
        )
    encoder = Encoder.load(folder, threads=1)
    if encoder.hash != expected:
        raise RetrievalError(
            f"The encoder in the index {name!r} is not the one that it was built with "
            f"({encoder.hash[:12]}, not {expected[:12]}); build the index anew with --overwrite."
        )
    encoder.optimise()
    return encoder
