"""Losses for binary codes: a code has a 1 where the network's raw output is above 0.

All take raw outputs (n, b) for codes of b bits, which an index of binary vectors holds as they come out of an encoder:
scaling a vector to length one leaves every sign as it is.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retrieval.errors import RetrievalError
from retrieval.training.losses import mining
from retrieval.training.losses.distances import widened

DRAWS = 20
"""So many sets of hash centres are drawn, of which the one with the largest smallest distance is taken."""

ROUNDING = 1e-4
"""A loss up to here counts as 0: it is the rest of terms that cancel."""

SCALE = 2.0
"""The standard deviation of each bit's outputs in HDML, in units of the margin: a bit counts as undecided within ½."""


def hdml_loss(anchors: Tensor, positives: Tensor, negatives: Tensor, margin: float = 1.0) -> Tensor:
    """The piecewise linear upper bound on the triplet ranking loss of codes (Norouzi, Fleet and Salakhutdinov 2012,
    "Hamming Distance Metric Learning", sections 2 and 3).

    The loss is ℓ(h, h⁺, h⁻) = max(0, margin + ‖h − h⁺‖_H − ‖h − h⁻‖_H) of the codes h = sign(f), and the bound

        max over g, g⁺, g⁻ of [ℓ(g, g⁺, g⁻) + g·f + g⁺·f⁺ + g⁻·f⁻] − ‖f‖₁ − ‖f⁺‖₁ − ‖f⁻‖₁

    over all codes in {−1, 1}ᵇ. The paper finds the maximum in O(b²), by a dynamic programme over the difference of the
    two distances, which serves any loss of that difference. For the hinge it comes in O(b): the hinge is the larger of
    two functions that add up over the bits, 0 and margin + Σᵢ([gᵢ ≠ gᵢ⁺] − [gᵢ ≠ gᵢ⁻]), so that each of the two is
    maximised bit by bit. With 0 the codes are the signs, which cost what is taken off. What is left is

        max(0, margin + Σᵢ (max over gᵢ = ±1 of [gᵢfᵢ + max(gᵢfᵢ⁺, 1 − gᵢfᵢ⁺) + max(gᵢfᵢ⁻, −1 − gᵢfᵢ⁻)]
        − |fᵢ| − |fᵢ⁺| − |fᵢ⁻|)).

    Its gradient is the paper's, ĝ − sign(f) for the maximising ĝ; where several are, it is a mean of theirs. It only
    ever drives an output away from 0 at the sign that it has: codes change because pictures share weights. Where a
    network begins with the same code for all pictures, it ends with it, at a loss of exactly the margin; so outputs
    have to be balanced, as those of :class:`retrieval.networks.divide_and_encode.DivideAndEncode` are.

    Args:
        anchors, positives, negatives: raw outputs f, f⁺ and f⁻, (t, b) each, one triplet a row.
        margin: in bits; 1 as published.

    Returns:
        (t,), one bound a triplet, never below its loss.
    """

    def best(g: int) -> Tensor:
        """Of each bit, with the anchor's at g."""
        positive, negative = g * positives, g * negatives
        return g * anchors + torch.maximum(positive, 1 - positive) + torch.maximum(negative, -1 - negative)

    cost = anchors.abs() + positives.abs() + negatives.abs()
    return F.relu(margin + (torch.maximum(best(1), best(-1)) - cost).sum(1))


def lai_codes(outputs: Tensor, epsilon: float = 0.25) -> Tensor:
    """Relaxed codes in [0, 1] (Lai, Pan, Liu and Yan 2015, section 3.3): the sigmoid s, and then the piecewise
    threshold: 0 where s < ½ − ε, 1 where s > ½ + ε, and s in between.

    A bit that is decided has no gradient of its own, but the weights that it shares with the same bit of other
    pictures have.
    """
    soft = outputs.sigmoid()
    decided = (soft > 0.5).to(soft.dtype)
    return torch.where((soft - 0.5).abs() > epsilon, decided, soft)


def lai_loss(anchors: Tensor, positives: Tensor, negatives: Tensor, margin: float = 1.0) -> Tensor:
    """max(0, margin + ‖a − p‖² − ‖a − n‖²) of relaxed codes in [0, 1] (Lai et al. 2015, section 3.1), where the squared
    distance of decided codes is their Hamming distance.

    Returns:
        (t,), one hinge a triplet.
    """
    return F.relu(margin + (anchors - positives).square().sum(1) - (anchors - negatives).square().sum(1))


def csq_loss(outputs: Tensor, centres: Tensor, quantisation: float = 1e-4) -> Tensor:
    """Central similarity quantisation (Yuan et al. 2020, "Central Similarity Quantization for Efficient Image and Video
    Retrieval", section 3.3).

    The binary cross-entropy of h = sigmoid(output) to the bits of the own class's centre, plus `quantisation` times
    log cosh(|2h − 1| − 1), which is least where h is 0 or 1. The mean over pictures of the sum over bits, of which the
    paper takes the mean: so one learning rate suits codes of all lengths.

    Args:
        outputs: raw outputs (n, b).
        centres: the centre of each picture, 0 and 1, (n, b).
        quantisation: λ₁ of the paper, as in the authors' program.
    """
    central = F.binary_cross_entropy_with_logits(outputs, centres.to(outputs.dtype), reduction="none")
    # |2·sigmoid(z) − 1| − 1 = −2·sigmoid(−|z|), without a difference of nearly equal numbers
    undecided = 2 * torch.sigmoid(-outputs.abs())
    return (central + quantisation * torch.cosh(undecided).log()).sum(1).mean()


def hash_centres(classes: int, bits: int, seed: int = 0) -> Tensor:
    """A code for each class, far from each other (Yuan et al. 2020, definition 1 and algorithm 1).

    Where the bits are a power of two, and the classes at most twice as many: rows of the Hadamard matrix, and then
    their opposites, which lie b/2 or b bits apart. Otherwise each bit is drawn, 0 or 1 with equal chances, and of
    :data:`DRAWS` such sets the one whose nearest two lie farthest apart is taken.

    Returns:
        0 and 1, float32 (classes, bits).

    Raises:
        RetrievalError: there are too few codes of so many bits.
    """
    if bits & (bits - 1) == 0 and classes <= 2 * bits:
        rows = torch.ones(1, 1)
        while len(rows) < bits:
            rows = torch.cat([torch.cat([rows, rows], 1), torch.cat([rows, -rows], 1)])
        return (torch.cat([rows, -rows])[:classes] + 1) / 2
    draws = torch.Generator().manual_seed(seed)
    farthest, centres = 0, torch.empty(0)
    for _ in range(DRAWS):
        drawn = torch.randint(2, (classes, bits), generator=draws).float()
        distances = torch.cdist(drawn, drawn, p=1).fill_diagonal_(math.inf)
        if distances.min() > farthest:
            farthest, centres = int(distances.min()), drawn
    if not farthest:
        raise RetrievalError(f"Codes of {bits} bits are too few for {classes:,} classes; take more --bits.")
    return centres


class HDMLLoss(nn.Module):
    """:func:`hdml_loss` of each two pictures of a class and a picture of another that is drawn at random, each bit's
    outputs first divided so that their standard deviation over the batch is :data:`SCALE`.

    The bound depends on the scale of the outputs, which no code does. Left alone they grow until no bit is within
    reach of the loss, and nothing is learned any more; where they are small, most bits are, whatever they say of the
    classes, and the gradient is mostly noise. The paper holds the norm of each bit's weights, and its authors' program
    lets weights decay: for networks with normalised layers, which undo either, this takes their place.

    ``forward`` returns the mean over the active triplets, and their share.
    """

    unit = False

    def __init__(self, margin: float = 1.0) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        outputs = widened(outputs)
        spread = outputs.var(0, correction=0) + 1e-12  # a bit that is the same for all is left with a gradient of 0
        return _mean_of_active(hdml_loss(*_drawn(SCALE * outputs / spread.sqrt(), labels), self.margin))


class LaiLoss(nn.Module):
    """:func:`lai_loss` of the :func:`lai_codes` of each two pictures of a class and a picture of another that is drawn
    at random; made for networks that end in divide-and-encode.

    ``forward`` returns the mean over the active triplets, and their share.
    """

    unit = False

    def __init__(self, margin: float = 1.0, epsilon: float = 0.25) -> None:
        super().__init__()
        self.margin = margin
        self.epsilon = epsilon

    def forward(self, outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        codes = lai_codes(widened(outputs), self.epsilon)
        return _mean_of_active(lai_loss(*_drawn(codes, labels), self.margin))


class CSQLoss(nn.Module):
    """:func:`csq_loss` to the :func:`hash_centres` of the classes; it has no triplets, so its active share is NaN."""

    unit = False
    centres: Tensor

    def __init__(self, dim: int, classes: int, quantisation: float = 1e-4, seed: int = 0) -> None:
        super().__init__()
        self.quantisation = quantisation
        self.register_buffer("centres", hash_centres(classes, dim, seed))

    def forward(self, outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return csq_loss(widened(outputs), self.centres[labels], self.quantisation), torch.tensor(math.nan)


def _drawn(outputs: Tensor, labels: Tensor) -> mining.Triplets:
    """Every anchor and positive of a batch with one negative, drawn from torch's own generator; (t, b) each."""
    positive, negative = mining.pairs(labels)
    anchors, positives = (positive & negative.any(1, keepdim=True)).nonzero(as_tuple=True)
    # in the order of the labels a class is one block, around which the draw goes
    order = labels.argsort(stable=True)
    own = labels[order].contiguous()
    first, end = torch.searchsorted(own, labels[anchors]), torch.searchsorted(own, labels[anchors], right=True)
    others = len(labels) - (end - first)
    drawn = (torch.rand(len(anchors), device=labels.device) * others).long().minimum(others - 1)
    negatives = order[torch.where(drawn < first, drawn, drawn + end - first)]
    return outputs[anchors], outputs[positives], outputs[negatives]


def _mean_of_active(losses: Tensor) -> tuple[Tensor, Tensor]:
    active = (losses > ROUNDING).sum()
    return losses.sum() / active.clamp_min(1), active / max(1, len(losses))
