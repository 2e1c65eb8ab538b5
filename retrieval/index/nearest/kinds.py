"""The kinds of structures: what stands behind each name. A new one is a file with a class, and a line in the table."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any, NamedTuple

from retrieval.index.nearest.structure import Floats, Structure


class Kind(NamedTuple):
    """A line of the table.

    Attributes:
        names: how its factories begin, a regular expression.
        module: of this package, imported when it is first asked for.
        structure: the class in it, a :class:`retrieval.index.nearest.structure.Structure`.
        library: what it needs that is not to be had everywhere; None if it needs nothing.
    """

    names: str
    module: str
    structure: str
    library: str | None = None


KINDS = (
    Kind("SymphonyQG", "symphony_structure", "SymphonyStructure", library="rabitqlib"),
    Kind("Lists", "lists_structure", "ListsStructure"),
    Kind("B", "binary_structure", "BinaryStructure"),
    Kind("", "faiss_structure", "FaissStructure"),
)
"""The first whose names fit; what no other knows is FAISS's to refuse."""


def build(factory: str, vectors: Floats, *, seed: int = 0, progress: Any = None) -> Structure:
    """Build one over unit vectors (n, d); see :meth:`Structure.build`."""
    return _class(factory).build(factory, vectors, seed=seed, progress=progress)


def read(factory: str, path: Path, dim: int, items: int, *, mapped: bool = False) -> Structure:
    """Read what :meth:`Structure.write` wrote; see :meth:`Structure.read`."""
    return _class(factory).read(factory, path, dim, items, mapped=mapped)


def available(factory: str) -> bool:
    """Whether the library that a structure needs can be used here."""
    library = _kind(factory).library
    try:
        return library is None or importlib.import_module(library) is not None
    except ImportError:
        return False


def efforts(factory: str, n: int) -> list[dict[str, int]]:
    """Search parameters of a structure of n vectors, from cheap to thorough."""
    return _class(factory).efforts(factory, n)


def _kind(factory: str) -> Kind:
    return next(kind for kind in KINDS if re.match(kind.names, factory))


def _class(factory: str) -> type[Structure]:
    kind = _kind(factory)
    found: type[Structure] = getattr(importlib.import_module(f"{__package__}.{kind.module}"), kind.structure)
    return found
