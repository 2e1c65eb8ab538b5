"""Weight averaging: the mean of the weights that a training went through, recent ones counting most."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class Average:
    """The exponential moving average of what is learned (Polyak and Juditsky 1992, with a decay).

    After t steps it is Σᵢ βᵗ⁻ⁱ θᵢ · (1 − β) / (1 − βᵗ), i from 1 to t: without a bias towards where the training began.
    The running statistics of batch normalisation are averaged like the weights that they belong to.

    Args:
        modules: whose parameters and statistics to average.
        decay: β, in (0, 1).
    """

    def __init__(self, modules: nn.Module, decay: float) -> None:
        self.decay = decay
        self._current = dict(_averaged(modules))
        self.tensors = {name: tensor.detach().clone() for name, tensor in self._current.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after a step, counted from 1."""
        weight = (1 - self.decay) / (1 - self.decay**step)
        for name, tensor in self._current.items():
            self.tensors[name].lerp_(tensor, weight)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The modules with the averaged weights, for a while."""
        before = {name: tensor.detach().clone() for name, tensor in self._current.items()}
        self._put(self.tensors)
        try:
            yield
        finally:
            self._put(before)

    @torch.no_grad()
    def _put(self, tensors: dict[str, Tensor]) -> None:
        for name, tensor in self._current.items():
            tensor.copy_(tensors[name])


def _averaged(modules: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from ((name, parameter) for name, parameter in modules.named_parameters() if parameter.requires_grad)
    for name, module in modules.named_modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None and module.running_var is not None:
            yield f"{name}.running_mean", module.running_mean
            yield f"{name}.running_var", module.running_var
