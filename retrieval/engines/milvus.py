"""Milvus as an engine."""

from __future__ import annotations

from collections.abc import Iterator

from retrieval.engines.address import Address
from retrieval.engines.engine import Loading
from retrieval.engines.milvus_checks import problems
from retrieval.engines.milvus_index import MilvusIndex
from retrieval.engines.milvus_loading import MilvusLoading


class Milvus(MilvusIndex):
    """An index in a collection of Milvus, with all that an engine does."""

    @classmethod
    def load(cls, address: Address) -> Loading:
        """See :meth:`.Engine.load`."""
        return MilvusLoading(address, cls)

    def problems(self) -> Iterator[str]:
        """See :meth:`.Engine.problems`."""
        return problems(self)
