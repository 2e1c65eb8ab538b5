"""An index made of another one's vectors, where a head lies over the encoder that made them: nothing is encoded."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval.base import progress
from retrieval.base.text import printable
from retrieval.encoder import Encoder
from retrieval.encoder.head_map import HeadMap, unit
from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.index.folder import ENCODER
from retrieval.index.gathering import MappedSegment
from retrieval.index.records import SegmentRecord
from retrieval.ingest.index_folder import Place
from retrieval.ingest.update import Means, Workers, see_to_structure


def map_index(
    source: str | Path,
    out: str | Path,
    *,
    model: str | Path,
    vectors: str | None = None,
    on: Workers | None = None,
    overwrite: bool = False,
) -> int:
    """Build an index from the vectors of another one, whose ids, paths, labels and attributes come along.

    What it holds is what encoding all pictures anew with the head would give, but for the last digits of a float: the
    cosine of the two is at least 1 − 1e-5 on the same machine, for an index of float32 vectors.

    Args:
        source: the index whose vectors are mapped; it is left as it is.
        out: the new index's folder.
        model: a head (``retrieval train --net head``) over the encoder that made the vectors.
        vectors: what they are kept as, "float32" or "float16"; by default as in `source`.
        on: who maps, such as a :class:`retrieval.RayCluster`, each worker a segment at a time; this process by default.
        overwrite: take the place of an index that exists, at the end.

    Returns:
        How many items there are.

    Raises:
        RetrievalError: `source` is no index, `model` no head over its encoder, or `out` cannot be written.
    """
    if Path(source).resolve() == Path(out).resolve():
        raise RetrievalError(
            f"{str(out)!r} is the index whose vectors are mapped, and would be gone; name another one for the result."
        )
    Means(on=on).check()
    encoder = Encoder.load(model, threads=1)
    found = encoder.head()
    if found is None:
        raise RetrievalError(
            f"{str(model)!r} is no head over another encoder, so that stored vectors say nothing about its own; build "
            "from the pictures, or train a head (--net head)."
        )
    base, head = found
    with Index.open(source) as index:
        name = printable(index.folder)
        if base != index.encoder_hash:
            raise RetrievalError(
                f"The head in {str(model)!r} lies over the encoder {base[:12]}, and the vectors of {name!r} were made "
                f"by {index.encoder_hash[:12]}; train a head on that index."
            )
        storage = vectors or index.storage
        if storage == "binary":
            raise RetrievalError("A head makes numbers, and no codes; leave --vectors binary out.")
        with Place(Path(out), overwrite) as place:
            if place.exists:
                raise RetrievalError(f"{place.name!r} is an index already; name another one, or add --overwrite.")
            with progress.bar(len(index), "Mapping", "vectors") as bar:

                def make(folder: Path) -> None:
                    encoder.save(folder / ENCODER)
                    index.copy_mapped(
                        folder,
                        functools.partial(_written, head, bar.update, folder, on),
                        dim=head.dim,
                        encoder_hash=encoder.hash,
                        details={**index.details, "complete": False},
                        storage=storage,
                    )

                place.make(make)
            with Index.open(place.folder, write=True) as made:
                made.record_details({**made.details, "complete": see_to_structure(made)})
                count = len(made)
            place.take()
    return count


def _written(
    head: HeadMap,
    advance: Callable[[int], object],
    folder: Path,
    on: Workers | None,
    segments: Sequence[MappedSegment],
) -> Iterator[SegmentRecord]:
    """The segments, mapped here or elsewhere."""
    if on is None:
        make = _watched(head, advance)
        yield from (segment.write(make, None) for segment in segments)
        return
    for segment, part in zip(segments, on.mapped(folder, segments), strict=True):
        yield part
        advance(segment.rows)


def mapped_by(head: HeadMap) -> Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]]:
    """The head, for rows as an index stores them."""
    return lambda rows: head(rows if rows.dtype == np.float32 else unit(np.asarray(rows, np.float32)))


def _watched(head: HeadMap, advance: Callable[[int], object]) -> Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]]:
    """The same, asked by several threads, and somebody is told how far it is."""
    lock = threading.Lock()
    plain = mapped_by(head)

    def make(rows: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        made = plain(rows)
        with lock:
            advance(len(rows))
        return made

    return make
