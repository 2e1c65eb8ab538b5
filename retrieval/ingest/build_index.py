"""Filling an index from a folder of pictures, and bringing it up to date with that folder."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from retrieval import images
from retrieval.base.placed_files import LINKED, Root
from retrieval.base.text import printable
from retrieval.encoder import Encoder
from retrieval.errors import RetrievalError
from retrieval.images.reading import choose_decoder, recorded_decoder
from retrieval.index import Index
from retrieval.index.folder import ENCODER
from retrieval.index.records import AUTO
from retrieval.ingest.build_report import BuildReport, nothing_readable
from retrieval.ingest.changes import in_folder
from retrieval.ingest.index_folder import Place
from retrieval.ingest.label_rule import LabelRule, label_rule, recorded_labels
from retrieval.ingest.left_out import NOTHING, pictures_at, recall_at
from retrieval.ingest.update import Means, Update, Workers
from retrieval.places.roots import root_at, root_of


def build(
    pictures: str | Path,
    out: str | Path,
    *,
    model: str | Path | None = None,
    labels: str | Path = AUTO,
    decoder: str = "auto",
    threads: int | None = None,
    batch: int | None = None,
    vectors: str | None = None,
    checksum: bool = False,
    memory: int | None = None,
    on: Workers | None = None,
    hidden: bool = False,
    outside: bool = False,
    gps: bool = False,
    overwrite: bool = False,
) -> BuildReport:
    """Index all pictures in a folder and the folders below it, on the disk or in an object store.

    Where the index exists, only what has changed is done: new files are added, changed ones replaced, renamed ones
    renamed, and those that are gone taken out. So a build that was stopped goes on where it was. Work is committed
    every few thousand pictures; a process that is killed loses what it did since.

    A file is looked into if its size or time of change is not what it was, and then compared by its content: no
    content is encoded twice, however many files have it, and whatever they are called.

    Files that cannot be read never stop it: they are listed, with the reason, in the report, in the index and in its
    ``skipped.csv``, and tried again by the next build.

    Args:
        pictures: the folder, or its address in an object store (``s3://BUCKET/FOLDER``).
        out: the index's folder: new, empty or an index.
        model: what :meth:`retrieval.encoder.Encoder.load` takes; by default the index's own where it exists, and
            otherwise the one for photographs.
        labels: "folders", "none", a CSV file's path, or "auto"; see :func:`retrieval.ingest.label_rule.label_rule`.
        decoder: what decodes JPEGs, "pillow" or "simplejpeg"; "auto" is the index's own where it exists, otherwise
            simplejpeg where it is installed, otherwise Pillow.
        threads: how many cores to use; all by default.
        batch: pictures that a thread reads before it encodes them; by default what is fast and takes little memory.
        vectors: what they are kept as, "float32", "float16" or "binary" (the sign of each number, of which there must
            be a multiple of 8); by default the index's own, and float32 for a new one.
        checksum: look into every file, whatever its size and time say.
        memory: bytes that the process may take, at the least what the program and the encoder need; pictures too
            large for it are left out.
        on: who encodes, such as a :class:`retrieval.RayCluster`, each worker with the means above; this process by
            default.
        hidden: take in hidden files, recycle bins, caches of thumbnails and the like; the index remembers it.
        outside: take in what links in the folder lead to outside of it, too, and show it; the index remembers it.
        gps: tell where pictures were taken, if their files say so; the index remembers it.
        overwrite: build anew beside an index that exists, and take its place at the end; with its model unless
            another is given.

    Raises:
        RetrievalError: no picture in the folder can be read; `out` is something else than an index; the index was
            built from another folder, with another model, decoder, kind of vectors or of labels; or it cannot be
            written.
    """
    began = time.perf_counter()
    means = Means(threads, batch, memory, on)
    means.check()
    root = root_at(pictures)
    with Place(Path(out), overwrite) as place:
        recalled, pictures_known = NOTHING, None
        if place.exists:
            recalled = recall_at(place.folder)
            pictures_known = None if checksum else functools.partial(pictures_at, place.folder)
        hidden = hidden or recalled.hidden
        found = images.find(root, hidden=hidden, strangers=recalled.strangers, pictures=pictures_known)
        if not found.paths:
            raise nothing_readable(f"in {printable(root.address)!r}", found.skipped)
        asked = _Asked(model, str(labels), decoder, vectors)
        index, rule, created = _open(place, root, found.paths, asked)
        try:
            options = ("hidden", hidden), ("gps", gps), (LINKED, outside)
            asked_for = {name: True for name, wanted in options if wanted}
            if not asked_for.items() <= index.details.items():
                index.record_details({**index.details, **asked_for})
            root = root.allowing(index.details)
            changes = in_folder(index, root, found.paths, checksum=checksum, unreadable=recalled.unreadable)
            report = Update(index, root, rule, changes, means).run(Path(out), found.skipped, began, found)
        except RetrievalError:
            if created and not len(index):
                place.discard(index)
            raise
        finally:
            index.close()
        place.take()
    return report


class _Asked(NamedTuple):
    """What an index is to be made with; None and "auto" where anything that is there will do."""

    model: str | Path | None
    labels: str
    decoder: str
    vectors: str | None


def _open(place: Place, root: Root, paths: Sequence[str], asked: _Asked) -> tuple[Index, LabelRule, bool]:
    """The index to write to, continued or made; the label rule; and whether it was made now."""
    model = place.out / ENCODER if asked.model is None and place.overwrite else asked.model
    encoder = Encoder.load(model, threads=1) if model is not None or not place.exists else None
    index = _existing(place)
    if index is not None:
        try:
            rule = label_rule(asked.labels, root.address, paths, recorded_labels(index.details))
            problem = _difference(index, root, encoder, asked, rule)
            if problem is None:
                choose_decoder(recorded_decoder(index.decoder))  # it may be missing on this machine
                return index, rule, False
        except BaseException:
            index.close()
            raise
        moved = index.root != root.address and not root_of(index.root, {}).is_there()
        index.close()
        if not place.overwrite:
            raise RetrievalError(
                f"The index {place.name!r} was built {problem}; "
                + ("if that was moved here, use `retrieval sync`; otherwise " if moved else "")
                + "name another one with --out, or build it anew with --overwrite."
            )
    encoder = encoder or Encoder.load(model, threads=1)
    rule = label_rule(asked.labels, root.address, paths)

    def make(folder: Path) -> None:
        encoder.save(folder / ENCODER)
        # The catalog comes last: a folder that has one is an index.
        Index.create(
            folder,
            encoder.dim,
            root=root.address,
            encoder_hash=encoder.hash,
            details={"labels": rule.name, "complete": False},
            decoder=choose_decoder(asked.decoder),
            storage=asked.vectors or "float32",
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


def _difference(index: Index, root: Root, encoder: Encoder | None, asked: _Asked, rule: LabelRule) -> str | None:
    """How an index was built otherwise than is asked for now, in words that follow "was built"."""
    if index.root != root.address:
        return f"from the folder {printable(index.root)!r}, not {printable(root.address)!r}"
    if encoder is not None and encoder.hash != index.encoder_hash:
        return f"with another model ({index.encoder_hash[:12]}) than {str(asked.model)!r} ({encoder.hash[:12]})"
    before = recorded_decoder(index.decoder)
    if asked.decoder not in ("auto", before):
        return f"with the decoder {before}, not {asked.decoder}"
    if asked.vectors not in (None, index.storage):
        return f"with vectors as {index.storage}, not {asked.vectors}"
    return other_labels(index, rule)


def other_labels(index: Index, rule: LabelRule) -> str | None:
    """How an index gets its labels otherwise than by a rule, in words that follow "was built"."""
    recorded = LabelRule(recorded_labels(index.details)).kind
    return f"with other labels ({recorded}) than these ({rule.kind})" if recorded != rule.kind else None
