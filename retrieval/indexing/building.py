"""Filling an index from a folder of pictures, and bringing it up to date with that folder."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval import images, progress
from retrieval.encoder import Encoder
from retrieval.errors import RetrievalError
from retrieval.index import Index, NewItem
from retrieval.indexing.labels import AUTO, LabelRule, label_rule
from retrieval.indexing.place import ENCODER, Place, write_skipped
from retrieval.machine import cores
from retrieval.reading import ReadPicture, choose_decoder, encode_files, recorded_decoder

COMMIT_PICTURES = 4096
"""Pictures after which what was encoded is committed."""

COMMIT_SECONDS = 20.0
"""Seconds after which it is committed anyway: about what a killed build has to do again."""

PICTURES_ON_GPU = 128
"""Pictures that a thread reads before a GPU encodes them: fewer would leave most of it idle."""


@dataclass(frozen=True)
class BuildReport:
    """What a build did.

    Attributes:
        index: the index's folder.
        total: pictures in the index now.
        added: pictures that were new.
        replaced: pictures whose file had changed.
        removed: pictures whose file is gone, or has changed and can no longer be read.
        kept: pictures that were there already, unchanged.
        skipped: files that were left out, and why; paths relative to the folder of pictures.
        labels: where labels come from: "folders", "none" or "csv".
        classes: how many different labels there are.
        runtime: what ran the network ("onnx", "torch", ...); None if nothing had to be encoded.
        encode_seconds: spent on reading, decoding, encoding and committing.
        seconds: spent in all.
    """

    index: Path
    total: int
    added: int
    replaced: int
    removed: int
    kept: int
    skipped: tuple[images.Skipped, ...]
    labels: str
    classes: int
    runtime: str | None
    encode_seconds: float
    seconds: float

    @property
    def changed(self) -> bool:
        """Whether the index holds anything else than before."""
        return bool(self.added or self.replaced or self.removed)

    @property
    def pictures_per_second(self) -> float | None:
        """Pictures encoded in a second; None if there were none."""
        encoded = self.added + self.replaced
        return encoded / self.encode_seconds if encoded else None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            **{name: getattr(self, name) for name in self.__dataclass_fields__},
            "index": images.printable(self.index),
            "skipped": [skipped._asdict() for skipped in self.skipped],
            "pictures_per_second": self.pictures_per_second,
        }


def build(
    pictures: str | Path,
    out: str | Path,
    *,
    model: str | Path | None = None,
    labels: str | Path = AUTO,
    decoder: str = "auto",
    threads: int | None = None,
    batch: int | None = None,
    overwrite: bool = False,
) -> BuildReport:
    """Index all pictures in a folder and the folders below it.

    Where the index exists, only what has changed is done: new files are added, changed ones (another size or time of
    change) replaced, and those that are gone taken out. So a build that was stopped goes on where it was. Work is
    committed every few thousand pictures; a process that is killed loses what it did since.

    Files that cannot be read never stop it: they are listed, with the reason, in the report, in the index and in its
    ``skipped.csv``, and tried again by the next build.

    Args:
        pictures: the folder.
        out: the index's folder: new, empty or an index.
        model: what :meth:`retrieval.encoder.Encoder.load` takes; by default the index's own where it exists, and
            otherwise the one for photographs.
        labels: "folders", "none", a CSV file's path, or "auto"; see :func:`retrieval.indexing.labels.label_rule`.
        decoder: what decodes JPEGs, "pillow" or "simplejpeg"; "auto" is the index's own where it exists, otherwise
            simplejpeg where it is installed, otherwise Pillow.
        threads: how many cores to use; all by default.
        batch: pictures that a thread reads before it encodes them; by default what is fast and takes little memory.
        overwrite: build anew beside an index that exists, and take its place at the end; with its model unless
            another is given.

    Raises:
        RetrievalError: no picture in the folder can be read; `out` is something else than an index; the index was
            built from another folder, with another model, decoder or labels; or it cannot be written.
    """
    began = time.perf_counter()
    for name, value in (("threads", threads), ("batch", batch)):
        if value is not None and value < 1:
            raise RetrievalError(f"{name} is {value}; give a whole number from 1 upwards.")
    found = images.find(pictures)
    root = Path(pictures).resolve()
    if not found.paths:
        raise _nothing_readable(root, found.skipped)
    with Place(Path(out), overwrite) as place:
        index, rule, created = _open(place, root, found.paths, model, str(labels), decoder)
        try:
            plan = _Plan.of(index.known(), root, found.paths)
            job = _Job(index, root, rule, plan)
            runtime = None
            if plan.todo:
                encoder = Encoder.load(index.folder / ENCODER, threads=1)  # what is used is what was saved
                if encoder.hash != index.encoder_hash:
                    raise RetrievalError(
                        f"The encoder in the index {place.name!r} is not the one that it was built with "
                        f"({encoder.hash[:12]}, not {index.encoder_hash[:12]}); build the index anew with --overwrite."
                    )
                encoder.optimise()
                runtime = encoder.runtime
                on_gpu = runtime.startswith("torch on")
                job.encode(encoder, threads or cores(), batch or (PICTURES_ON_GPU if on_gpu else None))
            if not plan.kept and not job.readable:
                raise _nothing_readable(root, (*found.skipped, *job.skipped))
            removed = job.finish(found.skipped)
            total, labelled = len(index), index.labels()
        except RetrievalError:
            if created and not len(index):
                place.discard(index)
            raise
        finally:
            index.close()
        place.take()
    return BuildReport(
        index=Path(out),
        total=total,
        added=job.readable - job.replaced,
        replaced=job.replaced,
        removed=removed,
        kept=plan.kept,
        skipped=tuple(sorted((*found.skipped, *job.skipped))),
        labels=rule.name.partition(" ")[0],
        classes=len({label for label in labelled if label is not None}),
        runtime=runtime,
        encode_seconds=job.seconds,
        seconds=time.perf_counter() - began,
    )


def _open(
    place: Place,
    root: Path,
    paths: Sequence[str],
    model: str | Path | None,
    labels: str,
    decoder: str,
) -> tuple[Index, LabelRule, bool]:
    """The index to write to, continued or made; the label rule; and whether it was made now."""
    if model is None and place.overwrite:
        model = place.out / ENCODER
    encoder = Encoder.load(model, threads=1) if model is not None or not place.exists else None
    index = _existing(place)
    if index is not None:
        try:
            rule = label_rule(labels, root, paths, index.details.get("labels"))
            problem = _difference(index, root, encoder, model, decoder, rule)
            if problem is None:
                choose_decoder(recorded_decoder(index.decoder))  # it may be missing on this machine
                return index, rule, False
        except BaseException:
            index.close()
            raise
        index.close()
        if not place.overwrite:
            raise RetrievalError(
                f"The index {place.name!r} was built {problem}; "
                "name another one with --out, or build it anew with --overwrite."
            )
    encoder = encoder or Encoder.load(model, threads=1)
    rule = label_rule(labels, root, paths)

    def make(folder: Path) -> None:
        encoder.save(folder / ENCODER)
        # The catalog comes last: a folder that has one is an index.
        Index.create(
            folder,
            encoder.dim,
            root=str(root),
            encoder_hash=encoder.hash,
            details={"labels": rule.name, "complete": False},
            decoder=choose_decoder(decoder),
        ).close()

    place.make(make)
    return Index.open(place.folder, write=True), rule, True


def _existing(place: Place) -> Index | None:
    """The index that is there, to be continued."""
    if not place.exists:
        return None
    try:
        return Index.open(place.folder, write=True)
    except RetrievalError:
        if not place.overwrite:
            raise
        place.clear()  # what an earlier --overwrite left can be made again, unless somebody is making it
        return None


def _difference(
    index: Index,
    root: Path,
    encoder: Encoder | None,
    model: str | Path | None,
    decoder: str,
    rule: LabelRule,
) -> str | None:
    """How an index was built otherwise than is asked for now, in words that follow "was built"."""
    if index.root != str(root):
        return f"from the folder {images.printable(index.root)!r}, not {images.printable(root)!r}"
    if encoder is not None and encoder.hash != index.encoder_hash:
        return f"with another model ({index.encoder_hash[:12]}) than {str(model)!r} ({encoder.hash[:12]})"
    before = recorded_decoder(index.decoder)
    if decoder not in ("auto", before):
        return f"with the decoder {before}, not {decoder}"
    recorded = index.details.get("labels")
    if recorded != rule.name:
        return f"with other labels ({str(recorded)[:12]}) than these ({rule.name[:12]})"
    return None


@dataclass(frozen=True)
class _Plan:
    """What has to be done; paths are relative to the folder of pictures."""

    todo: tuple[str, ...]
    changed: frozenset[str]
    gone: tuple[str, ...]
    kept: int

    @classmethod
    def of(cls, known: Mapping[str, tuple[int, int]], root: Path, paths: Sequence[str]) -> _Plan:
        todo = tuple(path for path in paths if path not in known or known[path] != _stamp(root / path))
        there = frozenset(paths)
        return cls(
            todo=todo,
            changed=frozenset(path for path in todo if path in known),
            gone=tuple(path for path in known if path not in there),
            kept=len(paths) - len(todo),
        )


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except OSError:  # the reading will say why
        return None
    return status.st_size, status.st_mtime_ns


class _Job:
    """One build at work: encodes what is to do, and commits it bit by bit."""

    def __init__(self, index: Index, root: Path, rule: LabelRule, plan: _Plan) -> None:
        self._index = index
        self._root = root
        self._rule = rule
        self._plan = plan
        self._vectors: list[NDArray[np.float32]] = []
        self._items: list[NewItem] = []
        self._committed = time.monotonic()
        self._unreadable: list[str] = []
        self.skipped: list[images.Skipped] = []
        self.readable = 0
        self.replaced = 0
        self.seconds = 0.0

    def encode(self, encoder: Encoder, threads: int, batch: int | None) -> None:
        """Encode all that is to do. What was done before a Ctrl-C is committed."""
        began = time.perf_counter()
        todo = self._plan.todo
        files = [self._root / path for path in todo]
        batches = encode_files(files, encoder, recorded_decoder(self._index.decoder), threads=threads, batch=batch)
        try:
            with progress.bar(len(todo), "Indexing", "pictures") as bar:
                for done in batches:
                    self._take(todo[done.start : done.start + len(done.pictures)], done.pictures, done.vectors)
                    waited = time.monotonic() - self._committed
                    if len(self._items) >= COMMIT_PICTURES or waited >= COMMIT_SECONDS:
                        self._commit()
                    bar.update(len(done.pictures))
            self._commit()
        except KeyboardInterrupt:
            with contextlib.suppress(RetrievalError):  # it may have come in the middle of a commit
                self._commit()
            raise
        self.seconds = time.perf_counter() - began

    def finish(self, unfit: Sequence[images.Skipped]) -> int:
        """Take out what is gone, list what was left out, and make the index fast to search.

        Args:
            unfit: what was left out before anything was read.

        Returns:
            How many items were taken out.
        """
        gone = [*self._plan.gone, *(path for path in self._unreadable if path in self._plan.changed)]
        self._remove(gone)
        skipped = sorted((*unfit, *self.skipped))
        if skipped != self._index.skipped():
            self._index.record_skipped(skipped)
        write_skipped(self._index.folder, skipped)
        complete = not (gone or self.readable) and self._index.details.get("complete")
        if not complete or self._index.info()["structure"] is not None:  # which may be damaged
            self._index.build_structure()
        if not complete:
            self._index.record_details({**self._index.details, "complete": True})
        return len(gone)

    def _take(
        self,
        paths: Sequence[str],
        pictures: Sequence[ReadPicture | images.Skipped],
        vectors: NDArray[np.float32],
    ) -> None:
        for path, picture in zip(paths, pictures, strict=True):
            if isinstance(picture, images.Skipped):
                self.skipped.append(images.Skipped(images.printable(path), picture.reason))
                self._unreadable.append(path)
                continue
            self._items.append(
                NewItem(
                    path=path,
                    label=self._rule(path),
                    width=picture.width,
                    height=picture.height,
                    size=picture.size,
                    mtime_ns=picture.mtime_ns,
                    sha256=picture.sha256,
                )
            )
        self._vectors.append(vectors)

    def _commit(self) -> None:
        self._committed = time.monotonic()
        if not self._items:
            return
        if self._index.details.get("complete"):
            self._index.record_details({**self._index.details, "complete": False})
        replaced = [item.path for item in self._items if item.path in self._plan.changed]
        self._remove(replaced)
        self._index.add(np.concatenate(self._vectors), self._items)
        self.replaced += len(replaced)
        self.readable += len(self._items)
        self._items, self._vectors = [], []

    def _remove(self, paths: Sequence[str]) -> None:
        items = (self._index.find(path) for path in paths)
        self._index.remove([item.id for item in items if item is not None])


def _nothing_readable(root: Path, skipped: Sequence[images.Skipped]) -> RetrievalError:
    if not skipped:
        return RetrievalError(
            f"There is no picture in {images.printable(root)!r}; give a folder with files such as .jpg or .png."
        )
    first = sorted(skipped)[0]
    return RetrievalError(
        f"None of the {len(skipped):,} pictures in {images.printable(root)!r} can be read (the first, {first.path!r}: "
        f"{first.reason}); give a folder with at least one that can."
    )
