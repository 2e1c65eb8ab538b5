"""Whether an index that an engine holds is whole, and found by what makes it fast."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from retrieval.encoder.store import Saved
from retrieval.engines.address import Address
from retrieval.engines.engine_index import EngineIndex
from retrieval.errors import RetrievalError
from retrieval.index.folder import ENCODER
from retrieval.index.integrity import Problem, Verification
from retrieval.index.records import NO_ENCODER

LEAST_RECALL = 0.9
"""Of the ten nearest, on vectors of the index's own, below which a structure is no good."""


def verify_engine(address: str) -> Verification:
    """Check an index in an engine: counts and ids, a sample of vectors, the encoder, and what the structure finds.

    The structure is asked for the neighbours of vectors of the index, and held against exact search.

    Raises:
        RetrievalError: there is none, or it cannot be reached.
    """
    place, notes = Address.of(address), []
    with EngineIndex.at(place) as index:
        wrong = [*index.damage(), *_encoder(index)]
        recall, structure = index.recall(), index.structure
        if recall is not None and structure is not None:
            notes.append(f"{structure.factory} finds {recall:.1%} of the ten nearest, against exact search.")
            if recall < LEAST_RECALL:
                wrong.append(f"is searched by {structure.factory}, which finds {recall:.1%} of the ten nearest alone")
        if index.encoder_hash.startswith(NO_ENCODER) or not index.encoder_files:
            notes.append("There is no encoder in the index: new pictures can neither be asked for nor added.")
        size = index.info()["bytes"]
        counts = {"items": len(index), "vectors": len(index), "bytes": size}
    problems = tuple(Problem(what, place.shown, rebuildable=False) for what in wrong)
    return Verification(place.shown, problems, tuple(notes), counts)


def _encoder(index: EngineIndex) -> Iterator[str]:
    """What is wrong with the encoder in the engine, whatever copy of it there is here."""
    digests = {name: hashlib.sha256() for name in index.encoder_files}
    for name, part in index.encoder_parts():
        if name in digests:
            digests[name].update(part)
    wrong = [name for name, digest in digests.items() if digest.hexdigest() != index.encoder_files[name]]
    if wrong:
        yield f"has an encoder that has changed since it was exported ({wrong[0]!r})"
    elif digests:
        try:
            saved = Saved.open(index.folder / ENCODER)
            if saved.config.hash(saved.weights) != index.encoder_hash:
                yield "has an encoder that is not the one that made the vectors"
        except RetrievalError as error:
            yield f"has an encoder that cannot be used: {error}"
