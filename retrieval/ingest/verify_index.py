"""Whether an index is whole, the model that made its vectors included."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from retrieval.base.files import digest
from retrieval.encoder.store import Saved
from retrieval.engines.address import is_address
from retrieval.errors import RetrievalError
from retrieval.index import integrity
from retrieval.index.catalog import Catalog
from retrieval.index.folder import ENCODER
from retrieval.index.integrity import Problem, Verification
from retrieval.ingest.verify_engine import verify_engine


def verify(folder: str | Path) -> Verification:
    """Check all of an index, as :func:`retrieval.index.integrity.verify` does, and its encoder.

    No network is loaded: the encoder's files are compared with the checksums in its configuration, and the hash that
    follows from the configuration with the one in the catalog.

    Args:
        folder: of the index, or the address of one that a database holds (:mod:`retrieval.ingest.verify_engine`).

    Raises:
        RetrievalError: there is no index.
    """
    if is_address(folder):
        return verify_engine(str(folder))
    folder = Path(folder)
    found = integrity.verify(folder)
    problems, notes = list(found.problems), list(found.notes)
    if (folder / ENCODER).exists():
        problems += _check_encoder(folder)
    else:
        notes.append("There is no encoder in the index: new pictures can neither be asked for nor added.")
    return dataclasses.replace(found, problems=tuple(problems), notes=tuple(notes))


def _check_encoder(folder: Path) -> Iterator[Problem]:
    try:
        saved = Saved.open(folder / ENCODER)
    except RetrievalError as error:
        yield Problem(f"cannot be used: {error}", ENCODER, rebuildable=False)
        return
    for name, expected in saved.files.items():
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            yield Problem(f"lists a file outside its folder, {name!r}", f"{ENCODER}/config.json", rebuildable=False)
            continue
        try:
            whole = digest(saved.folder / name) == expected
            problem = "has changed since it was written (its checksum differs)"
        except OSError as error:
            whole, problem = False, f"cannot be read: {error.strerror or error}"
        if not whole:
            yield Problem(problem, f"{ENCODER}/{name}", rebuildable=False)
    with contextlib.suppress(RetrievalError), contextlib.closing(Catalog(folder, write=False)) as catalog:
        made, found = str(catalog.meta["encoder_hash"]), saved.config.hash(saved.weights)
        if made != found:
            yield Problem(
                f"is not the one that made the vectors ({found[:12]}, not {made[:12]})", ENCODER, rebuildable=False
            )
