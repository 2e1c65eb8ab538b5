"""Vectors from elsewhere as an index."""

from __future__ import annotations

import hashlib
import itertools
import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from retrieval.base import moments
from retrieval.base.progress import bar
from retrieval.base.text import printable
from retrieval.errors import RetrievalError
from retrieval.exchange import lists
from retrieval.exchange.formats import CLIP, READERS, format_of
from retrieval.exchange.import_rows import Part, Source, blocks, unit
from retrieval.exchange.lists import SOURCE_ID, Record, Value, below, to_item, to_value
from retrieval.index import Index, NewItem
from retrieval.index.folder import ENCODER, is_index
from retrieval.index.records import NO_ENCODER
from retrieval.ingest.index_folder import Place
from retrieval.places.roots import root_at

if TYPE_CHECKING:
    from retrieval.encoder import Encoder


@dataclass(frozen=True)
class ImportReport:
    """What an import did.

    Attributes:
        index: the index's folder.
        format: one of :data:`retrieval.exchange.FORMATS`.
        items: in the index.
        dim: numbers in a vector, or bits in a code.
        storage: what the index keeps them as.
        scaled: vectors that were not of unit length and were scaled.
        left_out: vectors that are zero or not finite, and so have no direction: path and reason.
        listed: whether there was a list; without one, paths were made up.
        attributes: names, ascending.
        encoder_hash: of the model, or "imported:" and a checksum of the vectors.
        notes: what a person should know, a sentence each.
        seconds: spent.
    """

    index: str
    format: str
    items: int
    dim: int
    storage: str
    scaled: int
    left_out: tuple[tuple[str, str], ...]
    listed: bool
    attributes: tuple[str, ...]
    encoder_hash: str
    notes: tuple[str, ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def import_index(
    source: str | Path,
    out: str | Path,
    *,
    format: str | None = None,
    list_file: str | Path | None = None,
    root: str | Path | None = None,
    model: str | Path | None = None,
    storage: str | None = None,
    normalise: bool = False,
    overwrite: bool = False,
) -> ImportReport:
    """Make an index of vectors from elsewhere. It is there whole, or not at all.

    When it is there it gets what makes it fast to search, as far as that takes no more than
    :data:`retrieval.tuning.default.MINUTES`. Until then, and if that is interrupted, search is exact; the next `add`,
    `sync` or `tune` makes it.

    Vectors are scaled to unit length where they are not, since an index compares by the angle. Vectors that have no
    direction are left out, and listed.

    Args:
        source: the file, or clip-retrieval's folder. Nothing in it is trusted.
        out: the index's folder.
        format: one of :data:`retrieval.exchange.FORMATS`; by default what the name says.
        list_file: what the vectors belong to, an item for each in their order; by default the file beside `source`
            that is called like it and ends in .jsonl, .json, .csv or .parquet. Without one, paths are made up.
        root: the folder that the paths are relative to; by default the list's, or the source's.
        model: what made the vectors, as :meth:`retrieval.encoder.Encoder.load` takes it; a copy goes into the index, so
            that it can be asked with pictures. That it is the one cannot be checked.
        storage: what the index keeps: "float32" (the default), "float16", or "binary" (the default for FAISS's codes).
        normalise: scale also vectors that are meant to be compared otherwise than by their angle.
        overwrite: replace an index that is there.

    Raises:
        RetrievalError: the source or the list cannot be read or do not fit together, the model does not fit, `out` is
            there, or the disk is full.
    """
    from retrieval.tuning.default import default_structure  # here, as it brings FAISS

    began = time.perf_counter()
    kind = format_of(source, format)
    path = Path(source)
    found = READERS[kind](path)
    if kind == CLIP and list_file is not None:
        raise RetrievalError("The folder of clip-retrieval has its own lists; leave --list out.")
    if kind != CLIP:
        found = _with_list(found, Path(list_file) if list_file is not None else lists.beside(path))
    if root is None:
        root = path if kind == CLIP else Path(found.parts[0].list_name or path).parent
    found, storage = _stored(found, storage, path)
    encoder = _encoder(model, found)
    with Place(Path(out), overwrite) as place:
        if is_index(place.out) and not overwrite:
            raise RetrievalError(
                f"{place.name!r} is an index already; name another one, or replace it with --overwrite."
            )
        job = _Job(found, root_at(root).address, storage, encoder, normalise)
        job.check()
        details = {"imported": {"from": printable(path.name), "format": kind}}
        place.make(partial(job.fill, details=details))
        place.take()
    with Index.open(place.out, write=True) as index:  # which has its name by now, so that whatever comes, it is there
        late = default_structure(index)
    if late is not None:
        job.notes.append(late)
    return ImportReport(
        index=printable(Path(out)),
        format=kind,
        items=job.items,
        dim=found.dim,
        storage=storage,
        scaled=job.scaled,
        left_out=tuple(job.left_out),
        listed=found.parts[0].records is not None,
        attributes=tuple(sorted(job.attributes)),
        encoder_hash=job.encoder_hash,
        notes=tuple(job.notes),
        seconds=time.perf_counter() - began,
    )


def _with_list(source: Source, path: Path | None) -> Source:
    """A source of one part, with the records of a list."""
    if path is None:
        return source
    (part,) = source.parts
    return replace(source, parts=[replace(part, list_name=str(path), records=partial(lists.read, path))])


def _stored(source: Source, storage: str | None, path: Path) -> tuple[Source, str]:
    """The source read as the storage wants it, and what the storage is."""
    if source.binary and storage not in (None, "binary"):
        raise RetrievalError(
            f"{printable(path)!r} holds binary codes, which cannot be kept as {storage}; leave --storage out."
        )
    if storage == "binary" and source.parts[0].vectors.dtype == np.uint8:
        source = replace(source, binary=True)
    if storage == "binary" and source.dim % 8:
        raise RetrievalError(
            f"{printable(path)!r} has {source.dim:,} numbers a vector, and binary codes take a multiple of 8; "
            "choose another --storage."
        )
    return source, storage or ("binary" if source.binary else "float32")


def _encoder(model: str | Path | None, source: Source) -> Encoder | None:
    if model is None:
        return None
    from retrieval.encoder import Encoder

    encoder = Encoder.load(model, threads=1)
    if encoder.dim != source.dim:
        raise RetrievalError(
            f"The model {str(model)!r} makes vectors of {encoder.dim:,} numbers, and these have {source.dim:,}; "
            "give the model that made them, or none."
        )
    return encoder


class _Job:
    """One import at work: looks at all vectors, and then adds them."""

    def __init__(self, source: Source, root: str, storage: str, encoder: Encoder | None, normalise: bool) -> None:
        self._source = source
        self._root = root
        self._storage = storage
        self._encoder = encoder
        self._normalise = normalise
        self._relative = below(root)
        self.encoder_hash = "" if encoder is None else encoder.hash
        self.items = 0
        self.scaled = 0
        self.left_out: list[tuple[str, str]] = []
        self.attributes: set[str] = set()
        self._infinite: Counter[str] = Counter()
        self._dates = moments.Doubts()
        self.notes: list[str] = [] if source.note is None else [source.note]

    def check(self) -> None:
        """Look at every vector, before anything is made.

        Raises:
            RetrievalError: none can be used, or their order would be another one.
        """
        checksum = hashlib.sha256()
        usable = 0
        with bar(len(self._source), "Checking", "vectors") as progress:
            for part in self._source.parts:
                for some in blocks(*part.vectors.shape):
                    rows, kept, scaled = self._rows(part, some)
                    checksum.update(np.ascontiguousarray(rows[kept]).data)
                    usable += int(np.count_nonzero(kept))
                    self.scaled += scaled
                    progress.update(len(rows))
        name = printable(self._source.parts[0].name)
        if not usable and len(self._source):
            raise RetrievalError(f"All vectors of {name!r} are zero or not finite, and so have no direction.")
        self._compare(name)
        self.encoder_hash = self.encoder_hash or NO_ENCODER + checksum.hexdigest()

    def _compare(self, name: str) -> None:
        """Refuse, or note, that an index ranks otherwise than the source does."""
        distance = self._source.distance
        if distance in (None, "angular") or self._normalise:
            return
        if distance == "inner product":
            if self.scaled:
                self.notes.append(
                    "it compares by the inner product, in which longer vectors come first, and an index by the angle "
                    "alone: neighbours may be others"
                )
        elif distance != "euclidean":
            raise RetrievalError(
                f"{name!r} compares by {distance}, and an index by the angle, so it would rank otherwise; say "
                "--normalise to have them compared by the angle."
            )
        elif self.scaled:
            raise RetrievalError(
                f"{name!r} compares by {distance} distance and {self.scaled:,} of its vectors are not of "
                "unit length, so an index would rank otherwise; say --normalise to have them compared by the angle."
            )

    def fill(self, folder: Path, details: Mapping[str, object]) -> None:
        """Make the index in a folder that does not exist.

        Raises:
            RetrievalError: a list does not fit its vectors, or the disk is full.
        """
        if self._encoder is not None:
            self._encoder.save(folder / ENCODER)
        with Index.create(
            folder,
            self._source.dim,
            root=self._root,
            encoder_hash=self.encoder_hash,
            details=details,
            storage=self._storage,
        ) as index:
            with bar(len(self._source), "Adding", "vectors") as progress:
                place = 0
                for part in self._source.parts:
                    records = None if part.records is None else part.records()
                    for some in blocks(*part.vectors.shape):
                        self._add(index, part, some, place, records)
                        place += some.stop - some.start
                        progress.update(some.stop - some.start)
                    if records is not None and next(records, None) is not None:
                        raise RetrievalError(
                            f"The list {printable(part.list_name or '')!r} has more items than the "
                            f"{len(part.vectors):,} vectors; give the list that belongs to them."
                        )
            if self.left_out:
                index.record_skipped(self.left_out)
            self.items = len(index)
        for name, count in sorted(self._infinite.items()):
            self.notes.append(f"{count:,} values of {name!r} are infinite, which an attribute cannot be: left out")
        self.notes.extend(self._dates.notes())

    def _rows(self, part: Part, some: slice) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_], int]:
        """Some rows as the index takes them, which of them it can take, and how many were scaled."""
        rows = np.asarray(part.vectors[some])
        if self._source.binary:
            return rows, np.ones(len(rows), bool), 0
        return unit(rows)

    def _add(self, index: Index, part: Part, some: slice, place: int, records: Iterator[Record] | None) -> None:
        """Add some rows of a part; `place` is the first one's among all."""
        rows, usable, _ = self._rows(part, some)
        known: list[Record] = [{}] * len(rows)
        if records is not None:
            known = list(itertools.islice(records, len(rows)))
            if len(known) < len(rows):
                raise RetrievalError(
                    f"The list {printable(part.list_name or '')!r} has {some.start + len(known):,} items for "
                    f"{len(part.vectors):,} vectors; give the list that belongs to them."
                )
        items: list[NewItem] = []
        attributes: list[dict[str, Value]] = []
        first, good = index.next_id, usable.tolist()
        for row, record in enumerate(known):
            own = self._own_id(part, some.start + row, record)
            made_up = f"item/{place + row if own is None else own:08}"
            try:
                item, values = to_item(record, made_up, self._relative)
            except (ValueError, RecursionError) as error:
                raise RetrievalError(
                    f"Item {some.start + row + 1:,} of the list {printable(part.list_name or '')!r} {error}; mend it."
                ) from None
            if not good[row]:
                finite = np.isfinite(part.vectors[some.start + row]).all()
                self.left_out.append((printable(item.path), "vector of no length" if finite else "vector not finite"))
                continue
            for name, value in record.items():
                if isinstance(value, float) and math.isinf(value):
                    self._infinite[name] += 1
            for name, said in values.items():
                self._dates.see(name, said)
            if own is not None:
                values[SOURCE_ID] = own
                if own == first + len(items):  # it is what it was
                    del values[SOURCE_ID]
            items.append(item)
            attributes.append(values)
            self.attributes |= values.keys()
        index.add(np.ascontiguousarray(rows[usable]), items, attributes)

    @staticmethod
    def _own_id(part: Part, row: int, record: Record) -> Value | None:
        """The id that an item had where it comes from, if it had one."""
        said = to_value(record.get("id"))
        if part.ids is None:
            return said
        own = int(part.ids[row])
        if said is not None and said != own:
            raise RetrievalError(
                f"Item {row + 1:,} of the list {printable(part.list_name or '')!r} has the id {said!r} where the "
                f"vectors have {own}; sort the list as they are."
            )
        return own
