"""Networks from disk: made without memory for their weights, then given those of a file, which fit or are refused."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


class _NotDrawn(TorchFunctionMode):
    """Random numbers are not drawn: there is no memory for them.

    torch knows how to draw normal ones into no memory, but imports ``torch._dynamo`` for it, which takes seconds.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in (Tensor.normal_, Tensor.uniform_):
            return args[0]
        return func(*args, **(kwargs or {}))


def unfilled(make: Callable[[], nn.Module]) -> nn.Module:
    """What `make` gives, its weights on torch's ``meta`` device: of any shape, at no cost. No random numbers are used.

    A configuration from disk therefore cannot ask for memory; :func:`fill` gives it weights that are there already.

    Raises:
        RuntimeError, OverflowError: a shape that no tensor can have. And whatever `make` raises.
    """
    with torch.device("meta"), _NotDrawn():
        return make()


def misfits(network: nn.Module, weights: Mapping[str, Tensor]) -> str:
    """What is wrong with some weights for a network: the first one that is missing, unknown, or of another shape or
    type; "" if they fit."""
    expected = network.state_dict()
    for name in itertools.chain(expected, weights):
        if name not in weights or name not in expected:
            return f"{name} is {'missing' if name in expected else 'unknown'}"
        if (weights[name].shape, weights[name].dtype) != (expected[name].shape, expected[name].dtype):
            return f"{name} is {weights[name].dtype} {tuple(weights[name].shape)}"
    return ""


def fill(network: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    """Give an unfilled network its weights, which become its own: ready to run, and not to be trained.

    Args:
        network: from :func:`unfilled`.
        weights: without :func:`misfits`.
    """
    network.load_state_dict(dict(weights), assign=True)
    return network.eval().requires_grad_(False)
