"""An index, or its structure, as files that other programs read."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.base.files import TEMPORARY, name_durably, written_folder
from retrieval.base.progress import bar
from retrieval.base.text import printable
from retrieval.engines.by_place import or_place
from retrieval.engines.engine_index import EngineIndex
from retrieval.errors import RetrievalError
from retrieval.exchange import ann_benchmarks, clip_retrieval, lists
from retrieval.exchange.export_rows import Contents
from retrieval.exchange.formats import ANN, CLIP, FAISS, FVECS, NUMPY, READERS, WRITERS, format_of
from retrieval.exchange.import_rows import unit
from retrieval.index import Index


@dataclass(frozen=True)
class ExportReport:
    """What an export wrote.

    Attributes:
        index: the index's folder.
        format: one of :data:`retrieval.exchange.FORMATS`.
        files: the file or folder, and the list beside it.
        items: vectors in it.
        queries: queries in it, for ann-benchmarks.
        structure: what the structure is ("HNSW32,Flat"), if that was exported.
        notes: what a person should know, a sentence each.
        seconds: spent.
    """

    index: str
    format: str
    files: tuple[str, ...]
    items: int
    queries: int
    structure: str | None
    notes: tuple[str, ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@or_place(mapped=True)
def export_index(
    index: Index,
    to: str | Path,
    *,
    format: str | None = None,
    list_file: str | Path | None = None,
    structure: bool = False,
    queries: str | Path | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> ExportReport:
    """Write an index for other programs. What it writes is there whole, or not at all.

    Args:
        index: open, and best ``mapped``, as it then takes no memory for the vectors; or its folder.
        to: the file, or the folder for clip-retrieval. Beside a file comes a list of what its vectors belong to.
        format: one of :data:`retrieval.exchange.FORMATS`; by default what the name says.
        list_file: the list; its name ends in .jsonl, .json, .csv or .parquet. By default `to` with .jsonl.
        structure: export the approximate structure, and not the vectors; for FAISS.
        queries: vectors for ann-benchmarks' ``test``, a .npy or .fvecs file; by default a tenth of the index's
            own, at most 10,000, is held out.
        seed: by which those are drawn.
        overwrite: replace what is there.

    Raises:
        RetrievalError: an option does not suit the format, the index cannot be written in it, the file is there, a
            library is missing, or the disk is full.
    """
    began = time.perf_counter()
    kind = format_of(to, format)
    path = Path(to)
    job = _Job(Contents.of(index), kind, structure, queries, seed)
    job.check()
    if kind == CLIP:
        if list_file is not None:
            raise RetrievalError("The folder of clip-retrieval has its own lists; leave --list out.")
        _write_folder(path, job.write, overwrite)
        files = [path]
    else:
        beside = path.with_suffix(lists.SUFFIXES[0]) if list_file is None else Path(list_file)
        _write_files(path, beside, job, overwrite)
        files = [path, beside]
    return ExportReport(
        index=printable(index.name),
        format=kind,
        files=tuple(printable(file) for file in files),
        items=len(job.contents),
        queries=len(job.queries),
        structure=index.structure.factory if structure and index.structure else None,
        notes=tuple(job.notes),
        seconds=time.perf_counter() - began,
    )


class _Job:
    """What is exported, and how."""

    def __init__(self, contents: Contents, kind: str, structure: bool, queries: str | Path | None, seed: int) -> None:
        self.contents = contents
        self.kind = kind
        self.structure = structure
        self.notes: list[str] = []
        self.queries = np.empty((0, contents.width), np.float32)
        self._given = queries
        self._seed = seed

    def check(self) -> None:
        """Refuse what cannot be done, and choose what is written."""
        name = str(self.contents.index.folder)
        if self.structure and self.kind != FAISS:
            raise RetrievalError(f"A structure can be exported as a FAISS file, not as {self.kind}; name it .faiss.")
        if self._given is not None and self.kind != ANN:
            raise RetrievalError(f"Queries go into a file of ann-benchmarks, not of {self.kind}; leave --queries out.")
        if self.contents.binary and self.kind not in (FAISS, NUMPY):
            raise RetrievalError(
                f"The index {name!r} keeps binary codes, which {self.kind} cannot hold; export it as .faiss or .npy."
            )
        if self.structure:
            self._choose_structure()
        elif self.kind == ANN:
            self._choose_queries()
        elif not len(self.contents) and self.kind not in (FAISS, NUMPY, CLIP):
            raise RetrievalError(f"The index {name!r} is empty, which {self.kind} cannot say; export it as .npy.")

    def write(self, path: Path) -> None:
        """Write the vectors or the structure."""
        record = self.contents.index.structure
        if self.structure and record is not None:
            from retrieval.index.nearest.faiss_exchange import write_structure

            write_structure(self.contents.index.folder / record.file, path, record.ids)
        elif self.kind == ANN:
            ann_benchmarks.write(self.contents, path, self.queries, self.notes[0])
        else:
            WRITERS[self.kind](self.contents, path)

    def write_list(self, path: Path, suffix: str) -> None:
        """Write what the vectors belong to, in their order."""
        kinds = self.contents.kinds if suffix in (".csv", ".parquet") else {}
        with lists.writer(path, suffix, kinds) as write, bar(len(self.contents), "Listing", "items") as progress:
            for ids in self.contents.id_blocks():
                write(self.contents.records(ids))
                progress.update(len(ids))

    def _choose_structure(self) -> None:
        from retrieval.base.open_file import OpenFile

        index = self.contents.index
        record = index.structure
        if isinstance(index, EngineIndex):
            raise RetrievalError(f"The structure of {index.name!r} is its database's own; leave --structure out.")
        if record is None:
            raise RetrievalError(
                f"The index {str(index.folder)!r} has no structure, as its search is exact; leave --structure out."
            )
        OpenFile(index.folder / record.file).check(record.size, record.checksum, full=True)
        held = np.isin(self.contents.ids, record.ids, assume_unique=True)
        gone = len(record.ids) - int(np.count_nonzero(held))
        if gone:
            self.notes.append(f"{gone:,} of its vectors are no longer in the index, and so not in the list: drop them")
        if not held.all():
            late = int(np.count_nonzero(~held))
            self.notes.append(f"{late:,} items came after it was built, and are left out")
        self.contents = Contents(index, self.contents.ids[held])

    def _choose_queries(self) -> None:
        if self._given is None:
            self.contents, self.queries = ann_benchmarks.hold_out(self.contents, self._seed)
            self.notes.append(f"held out at random from the index (seed {self._seed})")
            return
        kind = format_of(self._given, None)
        if kind not in (NUMPY, FVECS):
            raise RetrievalError(f"Queries come from a .npy or .fvecs file, not from {printable(self._given)!r}.")
        source = READERS[kind](Path(self._given))
        if source.dim != self.contents.width or source.binary or not len(source) or not len(self.contents):
            raise RetrievalError(
                f"{printable(self._given)!r} has {len(source):,} queries of {source.dim:,} numbers for "
                f"{len(self.contents):,} vectors of {self.contents.width:,}; make them with the index's model."
            )
        rows = [unit(np.asarray(part.vectors)) for part in source.parts]
        if not all(part.usable.all() for part in rows):
            raise RetrievalError(
                f"{printable(self._given)!r} has rows that are zero or not finite, and so have no direction; "
                "leave them out."
            )
        self.queries = np.concatenate([part.vectors for part in rows])
        self.notes.append(f"given: {Path(printable(self._given)).name}")


def _write_files(path: Path, beside: Path, job: _Job, overwrite: bool) -> None:
    """Write two files under temporary names, and name them when both are whole."""
    suffix = lists.require_suffix(beside)
    if path == beside:
        raise RetrievalError(f"{printable(path)!r} cannot hold the vectors and the list; name another with --list.")
    temporary = [file.with_name(file.name + TEMPORARY) for file in (path, beside)]
    for file in (path, beside):
        if file.is_dir():
            raise RetrievalError(f"{printable(file)!r} is a folder; name a file.")
        _require_free(file, overwrite)
    try:
        with _told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            job.write(temporary[0])
        with _told(beside):
            beside.parent.mkdir(parents=True, exist_ok=True)
            job.write_list(temporary[1], suffix)
        name_durably(temporary[1], beside)
        name_durably(temporary[0], path)
    finally:
        for file in temporary:
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)


def _write_folder(path: Path, write: Callable[[Path], None], overwrite: bool) -> None:
    """Write a folder under a temporary name, and name it when it is whole."""
    if path.is_dir() and not any(path.iterdir()):
        path.rmdir()
    _require_free(path, overwrite)
    if path.exists() and not clip_retrieval.is_layout(path):
        raise RetrievalError(f"{printable(path)!r} is something else than such a folder; choose another name.")
    with _told(path), written_folder(path, clip_retrieval.is_part) as temporary:
        write(temporary)


def _require_free(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise RetrievalError(f"{printable(path)!r} exists; choose another name, or replace it with --overwrite.")


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """What the system says against writing a file, as a sentence."""
    try:
        yield
    except OSError as error:
        reason = " ".join(str(error.strerror or error).split()).rstrip(".")
        raise RetrievalError(
            f"{printable(path)!r} cannot be written ({reason}); make room, or allow writing there."
        ) from error
