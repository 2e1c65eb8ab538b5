"""Scoring pairs of pictures with a trained pair network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from retrieval.base.machine import cores
from retrieval.encoder import pair_store
from retrieval.encoder.torch_runtime import best_device, precisely
from retrieval.errors import RetrievalError
from retrieval.images import Pixels
from retrieval.networks.layers import Normalised
from retrieval.networks.pairs import PairNetwork, SiameseNetwork, symmetric_logits

Scores = NDArray[np.float32]

PIXELS_A_RUN = 64 * 64 * 128
"""Pixels of one side that go through a network at once: what a core's cache and a GPU's memory both bear."""


class PairScorer:
    """The probability that two pictures are of one class, by a network that sees both.

    It is the same in both orders, but for the last digits of a float: where the network is not symmetric, the logits
    of both orders are averaged. Siamese networks compute each picture's features once.

    Args:
        network: a :class:`retrieval.networks.pairs.PairNetwork`; it is put into evaluation mode.
        device: where to run; by default the GPU if there is one. The network is moved there.
        threads: CPU threads; all cores by default.

    Attributes:
        network: as given.
        preprocessing: how pictures are to be read (:func:`retrieval.images.read`).
        siamese: features can be computed ahead, by :meth:`embed`.
        config, card: what was saved with it, if it was loaded.
    """

    def __init__(
        self,
        network: nn.Module,
        device: torch.device | None = None,
        threads: int | None = None,
        *,
        config: pair_store.PairConfig | None = None,
        card: str | None = None,
    ) -> None:
        self.device = device or best_device()
        self.network: Any = network.to(self.device).eval()
        self.preprocessing = cast(PairNetwork, network).preprocessing
        self.siamese = isinstance(network, SiameseNetwork)
        self.config = config
        self.card = card
        self._threads = threads or cores()
        p = self.preprocessing
        self._normalised = Normalised(p, self.device)
        self._step = max(1, PIXELS_A_RUN // p.size**2)

    @classmethod
    def load(cls, source: str | Path, device: torch.device | None = None, threads: int | None = None) -> PairScorer:
        """The scorer of a saved network.

        Args:
            source: a run's folder (``runs/NAME``), or the folder ``pair`` in it.
            device, threads: as above.

        Raises:
            RetrievalError: there is none, or its files are not the ones that were saved.
        """
        saved = pair_store.load(source)
        return cls(saved.network, device, threads, config=saved.config, card=saved.card)

    def score(self, query: Pixels, hits: Pixels) -> Scores:
        """One picture against many.

        Args:
            query: uint8 (size, size, c), read with :attr:`preprocessing`.
            hits: uint8 (n, size, size, c).

        Returns:
            Probabilities, float32 (n,), in [0, 1], higher is more alike.

        Raises:
            RetrievalError: another shape or type, or the network gives no numbers.
        """
        return probabilities(self.logits(query, hits))

    def logits(self, query: Pixels, hits: Pixels) -> Scores:
        """What :meth:`score` makes probabilities of, float32 (n,): log odds, in which nothing is rounded to 0 or 1."""
        query = np.asarray(query)
        self._check(query[None], "the query")
        if self.siamese:
            return self.feature_logits(self.embed(query[None]), self.embed(hits))
        return self.pair_logits(np.broadcast_to(query, (len(hits), *query.shape)), hits)

    def score_pairs(self, first: Pixels, second: Pixels) -> Scores:
        """Each picture against the one beside it.

        Args:
            first, second: uint8 (n, size, size, c).

        Returns:
            Probabilities, float32 (n,).
        """
        return probabilities(self.pair_logits(first, second))

    def pair_logits(self, first: Pixels, second: Pixels) -> Scores:
        """What :meth:`score_pairs` makes probabilities of, float32 (n,)."""
        self._check(first, "the first pictures")
        self._check(second, "the second pictures")
        if len(first) != len(second):
            raise RetrievalError(f"There are {len(first)} first and {len(second)} second pictures; give pairs.")

        def logits(part: slice) -> Tensor:
            return symmetric_logits(self.network, self._input(first[part]), self._input(second[part]))

        return _numbers(self._run(logits, len(first)))

    def embed(self, pixels: Pixels) -> NDArray[np.float32]:
        """Features of pictures, to be compared by :meth:`score_features`; of siamese networks only.

        Args:
            pixels: uint8 (n, size, size, c).

        Returns:
            float32 (n, d), not of unit length.

        Raises:
            RetrievalError: the network is not siamese, or the pictures have another shape or type.
        """
        if not self.siamese:
            raise RetrievalError("This pair network has no features of single pictures; score pairs of pictures.")
        self._check(pixels, "the pictures")
        features: NDArray[np.float32] = self._run(
            lambda part: self.network.embed(self._input(pixels[part])), len(pixels)
        ).numpy()
        return features

    def score_features(self, query: NDArray[np.float32], features: NDArray[np.float32]) -> Scores:
        """One picture's features against those of many.

        Args:
            query: float32 (d,), from :meth:`embed`.
            features: float32 (n, d).

        Returns:
            Probabilities, float32 (n,).
        """
        return probabilities(self.feature_logits(query[None], features))

    def feature_logits(self, first: NDArray[np.float32], second: NDArray[np.float32]) -> Scores:
        """The logits of pairs by their features, float32 (n,): each against the one beside it.

        Args:
            first: float32 (n, d) from :meth:`embed`, or (1, d): one for all.
            second: float32 (n, d).
        """

        def logits(part: slice) -> Tensor:
            others = torch.from_numpy(second[part]).to(self.device)
            asked = torch.from_numpy(first if len(first) == 1 else first[part]).to(self.device)
            return symmetric_logits(self.network, asked.expand_as(others), others, self.network.compare)

        return _numbers(self._run(logits, len(second)))

    def _run(self, job: Callable[[slice], Tensor], count: int) -> Tensor:
        """`job` on one run of pictures after another, joined on the CPU."""
        with precisely(self._threads), torch.inference_mode():
            starts = range(0, count, self._step) if count else [0]
            return torch.cat([job(slice(i, i + self._step)).float().cpu() for i in starts])

    def _input(self, pixels: Pixels) -> Tensor:
        """uint8 (n, h, w, c) → float32 (n, c, h, w), normalised."""
        return self._normalised(torch.tensor(pixels))

    def _check(self, pixels: Pixels, what: str) -> None:
        p = self.preprocessing
        expected = (p.size, p.size, p.channels)
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != expected:
            raise RetrievalError(
                f"This pair network takes pictures of shape {expected} (uint8), and {what} have {pixels.shape[1:]} "
                f"({pixels.dtype}); read them with its preprocessing."
            )


def _numbers(logits: Tensor) -> Scores:
    found: Scores = logits.numpy()
    wrong = int(np.isnan(found).sum())
    if wrong:
        raise RetrievalError(f"The pair network gives {wrong} scores that are not numbers; train it anew.")
    return found


def probabilities(logits: Scores) -> Scores:
    """Of logits, float32 in either."""
    found: Scores = torch.from_numpy(logits).sigmoid().numpy()
    return found
