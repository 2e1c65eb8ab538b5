"""A structure of an index, and how it is asked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from retrieval.errors import RetrievalError
from retrieval.index.damage import DamagedFileError, OpenFile
from retrieval.index.records import StructureRecord
from retrieval.index.segments import FULL_CHECK

if TYPE_CHECKING:
    from retrieval.index.nearest.structures import Structure

Ids = npt.NDArray[np.int64]


class Searcher(NamedTuple):
    """A structure, and how it is asked.

    Attributes:
        structure: the structure.
        parameters: those of its search. ``candidates`` is how many times k are scored exactly.
        ids: int64 (m,), ascending: the item at each of its positions.
        k: neighbours that the parameters were chosen for; more of them take more effort.
    """

    structure: Structure
    parameters: Mapping[str, int]
    ids: Ids
    k: int = 10

    def effort(self, k: int, spare: int) -> Mapping[str, int]:
        """The parameters for k neighbours, of which `spare` more are asked for.

        An effort that finds ten finds few of a hundred. How many candidates are scored grows with k by itself.
        """
        if k <= self.k:
            return self.parameters
        times = (k + spare) / (self.k + spare)
        return {
            name: value if name == "candidates" else math.ceil(value * times) for name, value in self.parameters.items()
        }


def read_searcher(
    record: StructureRecord, file: OpenFile, dim: int, *, mapped: bool, warnings: list[str]
) -> Searcher | None:
    """The structure that an index's catalog names, checked; None where it cannot be used.

    Args:
        record: what the catalog knows of it.
        file: where it lies.
        dim: numbers in a vector.
        mapped: leave what is large on the disk.
        warnings: takes in a sentence that says why it cannot be used.
    """
    from retrieval.index.nearest import structures

    try:
        # FAISS trusts what it reads.
        file.check(record.size, record.checksum, full=not mapped or record.size <= FULL_CHECK)
        structure = structures.read(record.factory, Path(file.name), dim, record.items, mapped=mapped)
    except DamagedFileError as error:
        warnings.append(
            f"{str(file.path)!r} {error.problem}; searching exactly instead, until the index is built again."
        )
        return None
    except RetrievalError as error:  # its library is not installed
        warnings.append(f"{error} Until then every vector is looked at.")
        return None
    measured_k = record.measured.get("k")
    k = measured_k if isinstance(measured_k, int) and measured_k > 0 else 10
    return Searcher(structure, record.parameters, record.ids, k)
