"""An index folder into an engine: in blocks, each durable, so that the same call goes on where one was stopped."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from retrieval.base import progress
from retrieval.base.files import digest
from retrieval.base.text import printable
from retrieval.engines.address import Address
from retrieval.engines.engine import Loading, Row, engine_class
from retrieval.engines.engine_index import EngineIndex
from retrieval.engines.kept_encoder import parts_of_encoder
from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.index.folder import ENCODER, network_of

BLOCK_NUMBERS = 1 << 21
"""Numbers in the vectors of one block: 8 MB."""

FEW_NUMBERS = 1 << 20
"""Numbers in all vectors up to which exact search takes a millisecond or two, so that no structure is made."""


@dataclass(frozen=True)
class EngineExport:
    """What an export into an engine did.

    Attributes:
        index: the index's folder. to: its address now, without a password.
        items: pictures there. copied: of these, in this call; the others were there already.
        structure: what makes it fast, if anything does. recall: of the ten nearest, by that, against exact search.
        seconds: spent.
    """

    index: str
    to: str
    items: int
    copied: int
    structure: str | None
    recall: float | None
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def export_to_engine(index: Index, to: str, *, overwrite: bool = False) -> EngineExport:
    """Copy an index into an engine: vectors, what they belong to, attributes, encoder and calibration.

    Nobody sees it before it is whole; where there is one of the name already, it then takes its place at once. An
    index that is there as it is, is left alone.

    Args:
        index: open, a folder's. to: the address.
        overwrite: also over another index, or over one that was changed there since it was exported.

    Raises:
        RetrievalError: the engine cannot be reached, cannot hold something of the index, or has another index there.
    """
    began = time.perf_counter()
    address, source = Address.of(to), _source(index)
    with engine_class(address).load(address) as loading:
        before = loading.present()
        made = None if before is None else _kept(EngineIndex(before, write=False), source, overwrite)
        copied = 0
        if made is None:
            generation = max(index.generation, 0 if before is None else before.expected + 1)
            copied = _load(index, loading, {**source, "generation": index.generation}, generation)
            made = EngineIndex(loading.finished(), write=True)
            made.see_to_structure(FEW_NUMBERS)
            made.record_export(source)
            loading.take_place()
    structure = made.structure
    return EngineExport(
        index=printable(index.name),
        to=address.shown,
        items=len(made),
        copied=copied,
        structure=None if structure is None else structure.factory,
        recall=None if structure is None else structure.measured["recall"],
        seconds=time.perf_counter() - began,
    )


def _source(index: Index) -> dict[str, Any]:
    """What tells an index, and its state, from others."""
    return {
        "created": index.created,
        "root": index.root,
        "encoder_hash": index.encoder_hash,
        "dim": index.dim,
        "storage": index.storage,
        "generation": index.generation,
    }


def _kept(there: EngineIndex, source: Mapping[str, Any], overwrite: bool) -> EngineIndex | None:
    """What is there, if it is the same state of the same index; None if another may take its place.

    Raises:
        RetrievalError: what is there would be lost.
    """
    if overwrite:
        return None
    exported = there.exported
    same = all(exported.get(name) == value for name, value in source.items() if name != "generation")
    if not same:
        raise RetrievalError(
            f"There is another index at {there.name!r}; choose another name, or replace it with --overwrite."
        )
    changed = there.generation != exported.get("as")
    if changed:
        raise RetrievalError(
            f"The index at {there.name!r} was changed since it was exported, which would be lost; go on with it there, "
            "or replace it with --overwrite."
        )
    return there if exported["generation"] == source["generation"] else None


def _load(index: Index, loading: Loading, source: Mapping[str, Any], generation: int) -> int:
    """Fill a new version; how many items were copied."""
    encoder = index.folder / ENCODER
    files = [path for path in encoder.rglob("*") if path.is_file()]
    meta = {
        "dim": index.dim,
        "storage": index.storage,
        "root": index.root,
        "encoder_hash": index.encoder_hash,
        "decoder": index.decoder,
        "created": index.created,
        "details": index.details,
        "calibration": index.calibration,
        "libraries": index.info()["libraries"],
        "next_id": index.next_id,
        "generation": generation,
        "kinds": {name: sorted(kinds) for name, kinds in index.attribute_kinds().items()},
        "structure": None,
        "encoder": {path.relative_to(encoder).as_posix(): digest(path) for path in files},
        "network": network_of(index.folder),
        "skipped": index.skipped(),
        "left_out": index.left_out(),
    }
    last = loading.begin(source, meta)
    for name, parts in parts_of_encoder(encoder):
        loading.put_encoder(name, parts)
    ids = index.select("id is present")
    ids = ids[ids > last]
    step = max(1, BLOCK_NUMBERS // index.dim)
    with progress.bar(len(ids), "Copying", "pictures") as bar:
        for start in range(0, len(ids), step):
            some = ids[start : start + step]
            items, attributes = index.items(some), index.attributes(some)
            rows = [Row(item, own, dict(index.facts(item.id))) for item, own in zip(items, attributes, strict=True)]
            loading.put(rows, index.vectors(some))
            bar.update(len(some))
    return len(ids)
