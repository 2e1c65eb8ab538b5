"""The layer of a head, learned by any of the losses instead of in closed form."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional as F

from retrieval.base.progress import bar
from retrieval.errors import RetrievalError
from retrieval.training import losses, sampling
from retrieval.training.hardware import threads
from retrieval.training.head.choosing import Learn
from retrieval.training.head.discriminant import Discriminant, Floats, Ints, Layer, Sums
from retrieval.training.head_recipe import HeadRecipe

LENGTH = 256
"""Of the learned part, where nobody asks for another."""

SHRINKAGE = 0.3
"""Of the whitening that the layer begins with."""


def by_loss(vectors: Floats, labels: Ints, recipe: HeadRecipe) -> Learn:
    """What learns the layer from some of the rows: it begins as the whitening, and moves by AdamW.

    Args:
        vectors: float32 (n, d), unit rows.
        labels: int64 (n,).
        recipe: whose loss, batches, rate and epochs are meant.
    """
    choices = recipe.for_losses()
    size = min(LENGTH if recipe.dim is None else recipe.dim, vectors.shape[1])

    def learn(rows: npt.NDArray[np.bool_]) -> Layer:
        classes = int(labels.max()) + 1
        weight, bias = Discriminant(Sums.of(vectors[rows], labels[rows], classes)).whitening(SHRINKAGE, size)
        scale = float(np.abs(weight).mean())  # so that one rate suits vectors of any length and spread
        layer = nn.Linear(vectors.shape[1], size)
        with torch.random.fork_rng(devices=[]), threads(recipe.threads):
            torch.manual_seed(recipe.seed)
            loss = losses.create(choices, size, classes)
            layer.weight.data = torch.from_numpy(weight / scale)
            layer.bias.data = torch.from_numpy(bias / scale)
            sampler = sampling.create(choices, np.where(rows, labels, -1))
            optimizer = torch.optim.AdamW([*layer.parameters(), *loss.parameters()], lr=recipe.lr, weight_decay=0.0)
            steps, step = recipe.epochs * len(sampler), 0
            with bar(steps, f"Learning, {recipe.loss}", "steps") as progress:
                for epoch in range(recipe.epochs):
                    for batch in sampler.epoch(epoch):
                        for group in optimizer.param_groups:
                            group["lr"] = recipe.lr * 0.5 * (1 + math.cos(math.pi * step / steps))
                        out = layer(torch.from_numpy(vectors[batch]))
                        value, _ = loss(F.normalize(out) if loss.unit else out, torch.from_numpy(labels[batch]))
                        if not math.isfinite(float(value.detach())):
                            raise RetrievalError(
                                f"The loss is no longer a number at step {step}; "
                                f"train anew with --lr {recipe.lr / 5:g}."
                            )
                        optimizer.zero_grad(set_to_none=True)
                        value.backward()
                        optimizer.step()
                        step += 1
                        progress.update(1)
        return layer.weight.detach().numpy() * np.float32(scale), layer.bias.detach().numpy() * np.float32(scale)

    return learn
