"""What makes Milvus fast: lists of near vectors (IVF), of which as many are looked at as are asked for, or all.

Among Milvus' indexes it is the one that can also be asked exactly, by looking at every list, with any filter; so no
second copy of the vectors is needed for answers that must be whole. Segments that are still growing, and those that
Milvus has no index for yet, it searches by one of its own making that does not follow what is asked for; so what is
not in a finished index is kept apart by whoever asks (:meth:`.MilvusIndex._near`), and is brought in by
:meth:`Structure.settle`.
"""

from __future__ import annotations

import math
import time

from pymilvus import MilvusClient
from pymilvus.client.types import IndexState

from retrieval.base import progress
from retrieval.engines.milvus_rows import Vectors
from retrieval.errors import RetrievalError

FIELD = "embedding"

LONG = 24 * 3600.0
"""Seconds that Milvus may take for an index."""

_SEGMENT = 2**28
"""Bytes of vectors in a segment of Milvus, about; each has lists of its own."""

_SMALL = 1024
"""Rows up to which Milvus gives a segment no index, and looks at each."""

_SEALED = 3


def efforts(lists: int) -> list[int]:
    """How many lists may be looked at, ascending."""
    return sorted({math.ceil(lists / 2**part) for part in range(1, 7)})


class Structure:
    """That of one index's collections.

    Args:
        vectors: how they are kept.
    """

    def __init__(self, client: MilvusClient, vectors: Vectors) -> None:
        self._client = client
        self._vectors = vectors

    def name(self, lists: int) -> str:
        """What it is, for people."""
        return f"{self._kind('IVF_FLAT')} of Milvus, {lists} lists a segment"

    def flat(self) -> object:
        """The parameters of none: every vector is looked at."""
        return self._parameters("FLAT", {})

    def build(self, collection: str, items: int) -> int:
        """Make it, over all that is there, and wait until it is what is asked; how many lists a segment has."""
        client = self._client
        lists = min(max(round(4 * math.sqrt(min(items, _SEGMENT // self._vectors.bytes))), 16), 4096)
        client.flush(collection, timeout=LONG)
        client.release_collection(collection, timeout=LONG)
        for name in client.list_indexes(collection, timeout=LONG):
            client.drop_index(collection, name, timeout=LONG)
        with progress.bar(None, "Building lists", "s"):
            client.create_index(collection, self._parameters("IVF_FLAT", {"nlist": lists}), timeout=LONG)
            client.load_collection(collection, timeout=LONG)
            self._wait(collection)
        return lists

    def settle(self, collection: str) -> None:
        """Bring all that is there into it, and wait until it is what is asked."""
        self._client.flush(collection, timeout=LONG)
        self._wait(collection)

    def is_whole(self, collection: str) -> bool:
        """Whether it is there, and finished."""
        return any(
            told["index_type"] == self._kind("IVF_FLAT") and IndexState[told["state"]] == IndexState.Finished
            for name in self._client.list_indexes(collection, timeout=30)
            for told in [self._client.describe_index(collection, name, timeout=30)]
        )

    def _wait(self, collection: str) -> None:
        """Until all that was written is in segments that are searched as such, and indexed if they are large enough."""
        end = time.monotonic() + LONG
        while time.monotonic() < end:
            kept = self._client.list_persistent_segments(collection, timeout=30)
            asked = {
                one.segment_id
                for one in self._client.list_loaded_segments(collection, timeout=30)
                if one.state == _SEALED and (one.index_id > 0 or one.num_rows < _SMALL)
            }
            if all(one.segment_id in asked for one in kept if one.num_rows):
                return
            time.sleep(0.5)
        raise RetrievalError("Milvus has not finished an index within a day; see to its index nodes.")

    def _kind(self, kind: str) -> str:
        return f"BIN_{kind}" if self._vectors.binary else kind

    def _parameters(self, kind: str, parameters: dict[str, int]) -> object:
        index = MilvusClient.prepare_index_params()
        index.add_index(FIELD, index_type=self._kind(kind), metric_type=self._vectors.metric, params=parameters)
        return index
