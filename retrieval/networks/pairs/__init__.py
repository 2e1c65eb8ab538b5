"""Pair networks, one architecture a file: two pictures in, one logit out that says whether they are of one class.

Siamese ones compute a feature of each picture first and compare the two, so that the features of many pictures are
computed once; the others must see every pair, and can only re-rank what an index found. A new network is a new file and
a line in :data:`TABLE`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from retrieval import networks
from retrieval.errors import RetrievalError
from retrieval.images import Preprocessing

if TYPE_CHECKING:
    from torch import Tensor, nn

TABLE = {
    "comparison": "retrieval.networks.pairs.comparison.LearnedComparison",
    "two-channel": "retrieval.networks.pairs.two_channel.TwoChannel",
    "two-stream": "retrieval.networks.pairs.two_stream.TwoStream",
    "siamese": "retrieval.networks.pairs.siamese.Siamese",
    "pseudo-siamese": "retrieval.networks.pairs.siamese.PseudoSiamese",
}
"""Name → class."""

NAMES = tuple(TABLE)
"""What ``--net`` takes, besides the embedding networks of :data:`retrieval.networks.NAMES`."""


class PairNetwork(Protocol):
    """What the training and the scoring ask of a network, besides being an ``nn.Module``.

    Attributes:
        preprocessing: how a picture becomes its input; the same for both sides.
        symmetric: the logit does not depend on which picture comes first. Where it does, use
            :func:`symmetric_logits`.
    """

    preprocessing: Preprocessing
    symmetric: bool

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        """Normalised pictures, float32 (n, c, h, w) each → logits (n,)."""
        ...


@runtime_checkable
class SiameseNetwork(Protocol):
    """A pair network whose pictures go through one and the same trunk, each by itself."""

    def embed(self, x: Tensor) -> Tensor:
        """float32 (n, c, h, w) → features (n, d)."""
        ...

    def compare(self, first: Tensor, second: Tensor) -> Tensor:
        """Features (n, d) each → logits (n,); ``network(x, y)`` is ``compare(embed(x), embed(y))``."""
        ...


def symmetric_logits(
    network: Any, first: Tensor, second: Tensor, compare: Callable[[Tensor, Tensor], Tensor] | None = None
) -> Tensor:
    """The logits of pairs, the mean of both orders where the network is not symmetric.

    Args:
        network: a :class:`PairNetwork`.
        first, second: what `compare` takes; pictures by default.
        compare: ``network.compare`` for features.
    """
    compare = compare or network
    logits = compare(first, second)
    return logits if network.symmetric else (logits + compare(second, first)) / 2


def create(name: str, **options: Any) -> nn.Module:
    """A new pair network by its name.

    Args:
        name: one of :data:`NAMES`.
        options: the architecture's own keyword arguments, for example ``size``.

    Raises:
        RetrievalError: no such network, or options that it does not take.
    """
    if name not in TABLE:
        raise RetrievalError(f"There is no pair network {name!r}; choose one of {', '.join(NAMES)}.")
    return networks.made(networks.architecture(name, TABLE), f"pair network {name!r}", options)


def is_siamese(name: str) -> bool:
    """Whether it sees one picture at a time, and so learns from all pairs of a batch of classes × pictures."""
    return issubclass(networks.architecture(name, TABLE), SiameseNetwork)
