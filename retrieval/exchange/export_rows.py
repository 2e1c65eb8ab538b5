"""What an export writes: an index, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval.exchange.import_rows import blocks
from retrieval.exchange.lists import Kinds, Value, kinds_of, to_record
from retrieval.index import Index

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Contents:
    """Items of an index, and their vectors, in one order.

    Attributes:
        index: it is open.
        ids: int64 (n,), the items.
    """

    index: Index
    ids: Ids

    @classmethod
    def of(cls, index: Index) -> Contents:
        """Everything in an index, by ascending id."""
        return cls(index, index.select("id is present"))  # from the catalog alone

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def binary(self) -> bool:
        """Whether the index keeps codes, eight bits a byte."""
        return self.index.storage == "binary"

    @property
    def width(self) -> int:
        """Numbers, or bytes, in a row."""
        return self.index.dim // 8 if self.binary else self.index.dim

    def blocks(self) -> Iterator[tuple[Ids, npt.NDArray[Any]]]:
        """Ids (m,) and rows (m, width), float32 or uint8."""
        for ids in self.id_blocks():
            yield ids, self.index.vectors(ids)

    def id_blocks(self) -> Iterator[Ids]:
        """The ids, as many at a time."""
        for some in blocks(len(self), self.width):
            yield self.ids[some]

    def records(self, ids: Ids) -> list[dict[str, Value]]:
        """What these items are."""
        items, attributes = self.index.items(ids), self.index.attributes(ids)
        return [to_record(item, values) for item, values in zip(items, attributes, strict=True)]

    @cached_property
    def kinds(self) -> Kinds:
        """The columns that a table of the records has."""
        return kinds_of(map(self.records, self.id_blocks()))
