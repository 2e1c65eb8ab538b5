"""The interface of an engine: a database that holds an index and searches it. Another one is a file and a line.

It is small on purpose: what an :class:`retrieval.index.Index` promises (what may go in, exact scores, ties, what an
attribute becomes when its picture is replaced) is kept above it, in :mod:`retrieval.engines.engine_index`, for all.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from retrieval.engines.address import ENGINES, Address
from retrieval.errors import RetrievalError
from retrieval.index import Item
from retrieval.index.records import Value

Ids = npt.NDArray[np.int64]

APPLICATION = "retrieval"
"""What stands in the documents of every index as ``application``."""

LARGE = ("skipped", "left_out")
"""Documents that are not read each time."""

ROUNDED = 1e-5
"""More than an engine's float32 sums are off in practice: their bound, d·2⁻²⁴, is reached by no vectors."""


@dataclass(frozen=True, slots=True)
class Row:
    """All that an engine keeps of one item, but for its vector.

    Attributes:
        item: it.
        attributes: by name.
        facts: those that the item's own file told, as it told them.
    """

    item: Item
    attributes: Mapping[str, Value]
    facts: Mapping[str, Value]


@dataclass(frozen=True)
class Change:
    """What becomes true at once, or not at all.

    Attributes:
        gone: ids of items that go.
        changed: items that stay, with their vectors, and of which all else is replaced.
        new: items that come; their ids are above all others.
        vectors: of these (n, width).
        documents: what else is kept, by name; it replaces what is there.
    """

    gone: Sequence[int] = ()
    changed: Sequence[Row] = ()
    new: Sequence[Row] = ()
    vectors: npt.NDArray[Any] | None = None
    documents: Mapping[str, Any] = field(default_factory=dict)


class Near(NamedTuple):
    """Candidates for one query.

    Attributes:
        ids: int64 (n,). vectors: theirs (n, width).
        worst: no item that may be an answer and is not among them scores more, but for the rounding of the engine;
            −inf where there is none, NaN where the engine cannot say.
    """

    ids: Ids
    vectors: npt.NDArray[Any]
    worst: float


class NoIndexError(RetrievalError):
    """There is no index at an address."""

    def __init__(self, address: Address) -> None:
        super().__init__(f"There is no index at {address.shown!r}; make one with `retrieval export INDEX --to` it.")


def require_known(address: Address, meta: Mapping[str, Any], newest: int) -> None:
    """Make sure that what an address names is an index that can be read here.

    Args:
        meta: its documents. newest: the format of this release.

    Raises:
        RetrievalError: it belongs to another program, or was written by a newer release.
    """
    if meta.get("application") != APPLICATION:
        raise another_program(address)
    if meta["format"] > newest:
        raise RetrievalError(
            f"{address.shown!r} was written by a newer release (format {meta['format']}, this one reads up to "
            f"{newest}); upgrade retrieval."
        )


def another_program(address: Address) -> RetrievalError:
    """That what an address names is not ours."""
    return RetrievalError(f"What {address.shown!r} names belongs to another program; choose another name.")


class Engine(ABC):
    """One index in a database, open.

    Vectors are float32, or codes uint8, as :meth:`retrieval.index.Index.vectors` gives them; a filter is its text. Any
    number of threads may read. What reads all items finds them as of :attr:`expected`, or says that they were changed.

    Attributes:
        address: where it is.
        expected: the generation that is read.
    """

    address: Address
    expected: int

    @classmethod
    @abstractmethod
    def open(cls, address: Address, *, write: bool) -> Self:
        """Connect to it.

        Raises:
            RetrievalError: it cannot be reached, there is no index, or, for `write`, another one writes it.
        """

    @classmethod
    @abstractmethod
    def load(cls, address: Address) -> Loading:
        """Begin a new version of an index.

        Raises:
            RetrievalError: it cannot be reached, or another one writes it.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go. Calling it twice is harmless."""

    @abstractmethod
    def meta(self) -> dict[str, Any]:
        """What the index knows about itself, now: what the catalog of a folder calls so, with "kinds" (name → kinds of
        values), "structure" (what makes it fast, or None) and "encoder" (name of a file → SHA-256)."""

    @abstractmethod
    def document(self, name: str) -> Any:
        """Another thing that is kept with it, too large to be read each time; None if it is not there."""

    @abstractmethod
    def rows(self, ids: Sequence[int]) -> list[Row]:
        """Those of these items that are there, in any order."""

    @abstractmethod
    def find(self, column: str, values: Iterable[str]) -> list[Row]:
        """The items whose "path", or "sha256", is one of these, by ascending id."""

    @abstractmethod
    def scan(self, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """These columns of all items, by ascending id."""

    @abstractmethod
    def values(self, name: str, ids: Sequence[int]) -> dict[int, Value]:
        """See :meth:`retrieval.index.catalog.Catalog.values`."""

    @abstractmethod
    def counts(self, name: str, ids: Ids | None) -> dict[Value | None, int]:
        """How many items have each value; see :meth:`retrieval.index.Index.counts`."""

    @abstractmethod
    def select(self, where: str, most: int | None = None) -> Ids:
        """The ids, ascending, of all items that match; or `most` of them, any."""

    @abstractmethod
    def vectors(self, ids: Ids) -> npt.NDArray[Any]:
        """The vectors (n, width) of items, in the order of their ids."""

    @abstractmethod
    def everything(self) -> tuple[Ids, npt.NDArray[Any]]:
        """Every id, ascending, and every vector."""

    @abstractmethod
    def nearest(
        self,
        query: npt.NDArray[Any],
        count: int,
        exclude: Sequence[int],
        where: str | None,
        *,
        below: float | None = None,
        effort: int | None = None,
    ) -> Near:
        """The `count` items nearest to a query (width,): exactly, or by the engine's structure with this effort.

        Args:
            exclude: ids that are none of them. where: a filter that they match.
            below: only what scores at most so much.
        """

    @abstractmethod
    def within(self, query: npt.NDArray[Any], least: float, where: str | None) -> tuple[Ids, npt.NDArray[Any]]:
        """The ids, ascending, and vectors of all items that score at least so much."""

    @abstractmethod
    def commit(self, change: Change) -> None:
        """Make a change, as the next generation.

        Raises:
            RetrievalError: the connection was lost, or the engine cannot hold what is given; nothing has changed then.
        """

    @abstractmethod
    def recount(self, names: Iterable[str]) -> dict[str, list[str]]:
        """Which kinds of values these attributes have now."""

    @abstractmethod
    def build(self) -> dict[str, Any] | None:
        """Make the structure that makes it fast, if there is none: "factory" (what it is) and "efforts", ascending;
        None if the engine has none for such vectors."""

    @abstractmethod
    def encoder(self) -> Iterator[tuple[str, bytes]]:
        """The files of the encoder, in parts: name and content."""

    @abstractmethod
    def size(self) -> int:
        """How much room all of it takes."""

    @abstractmethod
    def problems(self) -> Iterator[str]:
        """What is there and cannot be, or is not there and must be: sentences' ends, after the name of the index."""


class Loading(ABC):
    """A new version of an index in the making, which takes its place as a whole."""

    @abstractmethod
    def __enter__(self) -> Self: ...

    @abstractmethod
    def __exit__(self, *_: object) -> None: ...

    @abstractmethod
    def present(self) -> Engine | None:
        """What is there now, open as long as this is; None if nothing is."""

    @abstractmethod
    def begin(self, source: Mapping[str, Any], meta: Mapping[str, Any]) -> int:
        """Go on where one with the same source was stopped; anew otherwise.

        Returns:
            the id that the items that are there end with; −1 where there is none.
        """

    @abstractmethod
    def put(self, rows: Sequence[Row], vectors: npt.NDArray[Any]) -> None:
        """Add some items, durably."""

    @abstractmethod
    def put_encoder(self, name: str, parts: Iterable[bytes]) -> None:
        """Keep a file of the encoder."""

    @abstractmethod
    def finished(self) -> Engine:
        """What was loaded, whole and open, before anybody sees it."""

    @abstractmethod
    def take_place(self) -> None:
        """Let everybody see it, in place of what was there."""


def engine_class(address: Address) -> type[Engine]:
    """The engine of an address.

    Raises:
        RetrievalError: its library is not installed.
    """
    module, name = ENGINES[address.scheme]
    try:
        found: type[Engine] = getattr(importlib.import_module(f"{__package__}.{module}"), name)
    except ImportError as error:
        raise RetrievalError(
            f"{name} needs {error.name or 'a library'}, which is not installed; pip install 'retrieval[{module}]'."
        ) from error
    return found
