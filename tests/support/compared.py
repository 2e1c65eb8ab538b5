"""All that two indexes hold, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from retrieval.index import Index
from retrieval.index.integrity import verify


def everything(out: Path) -> dict[str, Any]:
    """What an index says and holds, vectors as the bytes that they are; it must be whole, with nothing left behind."""
    found = verify(out)
    assert found.problems == () or found.problems == [], found.problems
    assert not [note for note in found.notes if "no part of the index" in note], found.notes
    with Index.open(out) as index:
        ids, vectors = index.all_vectors()
        return {
            "items": index.items(ids),
            "vectors": vectors.tobytes(),
            "skipped": index.skipped(),
            "left out": index.left_out(),
            "attributes": index.attributes(ids),
            "facts": [index.facts(id_) for id_ in ids.tolist()],
            "details": index.details,
            "decoder": index.decoder,
            "encoder": index.encoder_hash,
        }
