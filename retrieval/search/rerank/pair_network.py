"""A pair network's second look: it sees the query beside each hit, which no index of vectors can."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from retrieval import images
from retrieval.base.machine import cores
from retrieval.errors import RetrievalError
from retrieval.images import Pixels, Skipped, UnreadableImage
from retrieval.index import Index
from retrieval.search.rerank.reranker import TOP, FirstRanking, Reranked, reordered

if TYPE_CHECKING:
    from retrieval.encoder.pair_scorer import PairScorer
    from retrieval.encoder.score_fusion import Together


class PairReranker:
    """Orders the first hits by the probability that they and the query are of one class; or, where the network was
    trained on the hits of the encoder that the index was built with, by both scores together
    (:class:`retrieval.encoder.score_fusion.Together`).

    Args:
        scorer: the network.
        name: what to call it.
        top: how many hits of the first ranking it looks at.
    """

    def __init__(self, scorer: PairScorer, name: str, top: int = TOP) -> None:
        self.scorer = scorer
        self.name = name
        self.top = top

    def __call__(self, index: Index, first: FirstRanking) -> Reranked:
        """Read the pictures and order them anew.

        Raises:
            RetrievalError: the query is no picture, or cannot be read.
        """
        looked_at = min(self.top, len(first.ids))
        if not looked_at:
            return Reranked(first.ids, first.scores, np.empty(0))
        if first.picture is None:
            raise RetrievalError(
                f"{self.name!r} compares whole pictures, and one query is none; ask with a picture, --id or --path, "
                "or leave --rerank out."
            )
        p = self.scorer.preprocessing
        query = images.read(first.picture, p)
        files = [index.pictures / item.path for item in index.items(first.ids[:looked_at])]

        def read(file: Path) -> Pixels | Skipped:
            try:
                return images.read(file, p)
            except UnreadableImage as error:
                return Skipped(error.path, error.reason)

        with ThreadPoolExecutor(cores()) as pool:
            pictures = list(pool.map(read, files))
        seen = [row for row, picture in enumerate(pictures) if not isinstance(picture, Skipped)]
        scores = np.full(looked_at, np.nan)
        if seen:
            hits = np.stack([pictures[row] for row in seen])
            together = self._together(index)
            if together is None:
                scores[seen] = self.scorer.score(query, hits)
            else:
                logits = self.scorer.logits(query, hits).astype(np.float64)
                scores[seen] = together(first.scores[seen].astype(np.float64), logits)
        unread = tuple(picture for picture in pictures if isinstance(picture, Skipped))
        return reordered(first, looked_at, scores)._replace(unread=unread)

    def _together(self, index: Index) -> Together | None:
        """How the index's scores count beside the network's; not at all if they are another encoder's, or of codes."""
        config = self.scorer.config
        together = None if config is None else config.together
        if together is None or together.encoder != index.encoder_hash or index.storage == "binary":
            return None
        return together
