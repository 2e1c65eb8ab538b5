"""What can be wrong with an index in Milvus."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from retrieval.engines.engine import Ids
from retrieval.engines.milvus_index import MilvusIndex
from retrieval.engines.milvus_rows import ROW, checksum_of, terms_of, to_row
from retrieval.index.vectors import UNIT_TOLERANCE

SAMPLE = 1000
"""Items whose vectors are looked at."""


def problems(engine: MilvusIndex) -> Iterator[str]:
    """See :meth:`.Engine.problems`."""
    meta = engine.meta()
    items, ids = 0, set[int]()
    early, pathless, twice, odd, unlike = range(5)
    wrong = [0] * 5
    for block in engine._pages([*ROW, "terms"]):
        for one in block:
            row = to_row(one)
            others = [value for value in row.attributes.values() if not isinstance(value, str | int | float)]
            items += 1
            wrong[early] += not 0 <= row.item.id < meta["next_id"]
            wrong[pathless] += not row.item.path
            wrong[twice] += row.item.id in ids
            wrong[odd] += len(others)
            wrong[unlike] += not others and dict(one["terms"]) != terms_of(row.item, row.attributes)
            ids.add(row.item.id)
    if items != meta["items"]:
        yield f"has {items:,} items and counts {meta['items']:,}"
    for count, what in (
        (wrong[early], "items with an id that is still to be given"),
        (wrong[pathless], "items without a path"),
        (wrong[twice], "items whose id another has, too"),
        (wrong[odd], "attributes that are neither number nor text"),
        (wrong[unlike], "items whose terms are not those of their values"),
    ):
        if count:
            yield f"has {count:,} {what}"
    yield from _odd_vectors(engine, np.array(sorted(ids), np.int64))
    if meta.get("structure") and not engine._structure.is_whole(engine._collection):
        yield "is said to have lists of its vectors that are not there, or not whole; export it again with --overwrite"


def _odd_vectors(engine: MilvusIndex, ids: Ids) -> Iterator[str]:
    """What is wrong with the vectors of some items, drawn at random."""
    some = np.random.default_rng().choice(ids, min(SAMPLE, len(ids)), replace=False)
    changed = long = 0
    for start in range(0, len(some), engine._step):
        chunk = some[start : start + engine._step].tolist()
        found = engine._items(f"id in {chunk}", ["id", "embedding", "checksum"])
        _, vectors = engine._decoded(found)
        sums = [int(one["checksum"]) for one in sorted(found, key=lambda one: int(one["id"]))]
        sent = engine._vectors.encoded(vectors)
        changed += sum(checksum_of(bytes(vector)) != checksum for vector, checksum in zip(sent, sums, strict=True))
        if not engine._vectors.binary:
            off = np.abs(np.linalg.norm(vectors, axis=1) - 1)
            long += int(np.count_nonzero(~(off <= UNIT_TOLERANCE + 2**-10)))
    for count, what in ((changed, "that are not what was written"), (long, "that are not of unit length")):
        if count:
            yield f"has {count:,} vectors of {len(some):,} looked at {what}"
