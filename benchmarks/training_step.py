#!/usr/bin/env python3
"""One training step with our triplet losses, and with those of pytorch-metric-learning.

    python benchmarks/training_step.py            loss alone and the whole step, as ratios in one run
    python benchmarks/training_step.py --json

The same network, batch (10 classes x 25 pictures) and triplets on both sides. Values and gradients (of the embeddings,
along the sphere on which they lie) are compared first, in float32, and must agree to 1e-5.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from command import options, show
from pytorch_metric_learning import distances, losses, miners, reducers
from torch import Tensor
from torch.nn import functional as F
from turns import take_turns

from retrieval import networks
from retrieval.training.losses.triplet import TripletLoss

MARGIN = 0.2
Loss = Callable[[Tensor, Tensor], Tensor]


def peer(mining: str) -> Loss:
    """pytorch-metric-learning's loss over the same triplets."""
    loss = losses.TripletMarginLoss(
        margin=MARGIN,
        distance=distances.LpDistance(power=2),
        reducer=reducers.AvgNonZeroReducer(),
        triplets_per_anchor="all",
    )
    if mining == "all":
        return loss
    miner = miners.BatchHardMiner(distance=distances.LpDistance(power=2))
    return lambda embeddings, labels: loss(embeddings, labels, miner(embeddings, labels))


def ours(mining: str) -> Loss:
    loss = TripletLoss(MARGIN, mining)
    return lambda embeddings, labels: loss(F.normalize(embeddings), labels)[0]


def value_and_gradient(loss: Loss, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    leaf = embeddings.detach().clone().requires_grad_()
    value = loss(leaf, labels)
    (gradient,) = torch.autograd.grad(value, leaf)
    return value.detach(), gradient


def main() -> int:
    args = options(__doc__, rounds=15).parse_args()
    torch.manual_seed(args.seed)
    network = networks.create("convnet").to(memory_format=torch.channels_last)
    pictures = torch.randn(250, 3, 32, 32).to(memory_format=torch.channels_last)
    labels = torch.arange(250) // 25
    embeddings = F.normalize(torch.randn(250, 128) + 0.5 * torch.randn(10, 128)[labels])
    rows = []
    for mining in ("all", "hard"):
        sides = {"pytorch-metric-learning": peer(mining), "ours": ours(mining)}
        (their_value, theirs), (value, gradient) = (
            value_and_gradient(loss, embeddings, labels) for loss in sides.values()
        )
        difference = max(float((value - their_value).abs()), float((gradient - theirs).abs().max()))
        if not difference <= 1e-5:
            print(f"{mining}: values or gradients differ by {difference}", file=sys.stderr)
            return 1

        def step(loss: Loss) -> None:
            network.zero_grad()
            loss(network(pictures), labels).backward()

        alone = {name: lambda loss=loss: value_and_gradient(loss, embeddings, labels) for name, loss in sides.items()}
        whole = {name: lambda loss=loss: step(loss) for name, loss in sides.items()}
        for what, runs in (("loss and its gradient", alone), ("whole step, float32", whole)):
            result = take_turns(runs, args.rounds)
            rows.append(
                {
                    "triplets": mining,
                    "timed": what,
                    "ours / theirs": result["ours"]["ratio"],
                    "least": result["ours"]["least"],
                    "most": result["ours"]["most"],
                    "ours ms": 1000 * result["ours"]["seconds"],
                    "theirs ms": 1000 * result["pytorch-metric-learning"]["seconds"],
                    "largest difference": difference,
                }
            )
    show(args, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
