"""Several processes that train together, as ``torchrun`` starts them.

Each process takes its rows of every batch through the network. The embeddings of all are gathered, so that each
computes the loss of the whole batch; its gradient flows back to the process's own rows, and the gradients of the
weights are added up. So the training is that of one process with the whole batch, up to rounding, and all processes
hold the same weights at each step.
"""

from __future__ import annotations

import atexit
import importlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd import Function


@dataclass(frozen=True)
class World:
    """The processes of one training; by default there is one.

    Attributes:
        rank: which of them this one is, from 0. The first alone writes files.
        size: how many there are.
        device: what tensors that travel between them lie on.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")  # noqa: RUF009 (it never changes)

    @property
    def first(self) -> bool:
        return self.rank == 0

    def shares(self, count: int) -> list[int]:
        """How many of so many rows each process takes; the first ones take one more where they do not go into it."""
        return [(count + self.size - 1 - rank) // self.size for rank in range(self.size)]

    def rows(self, count: int) -> slice:
        """Which of so many rows are this process's: neighbouring ones, in the order of the processes."""
        shares = self.shares(count)
        start = sum(shares[: self.rank])
        return slice(start, start + shares[self.rank])

    def gather(self, own: Tensor, count: int) -> Tensor:
        """The rows (count, d) of all processes from the rows of each; gradients flow to this process's own.

        Every process is expected to compute the same from the gathered rows, and so to know the whole gradient.
        """
        if self.size == 1:
            return own
        shares = self.shares(count)
        padded = own.new_zeros(max(shares), *own.shape[1:])  # what is gathered has to be of one size
        padded[: len(own)] = own.detach()
        gathered = [torch.empty_like(padded) for _ in shares]
        dist.all_gather(gathered, padded)
        parts = [part[:share] for part, share in zip(gathered, shares, strict=True)]
        parts[self.rank] = own  # the part through which gradients flow back
        return torch.cat(parts)

    def add_up(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors of one dtype, alike in shape on all processes, by their sums over the processes."""
        tensors = list(tensors)
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, total in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(total.view_as(tensor))

    def agreed(self, value: float) -> float:
        """The first process's value, on all of them."""
        if self.size == 1:
            return value
        told = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.broadcast(told, 0)
        return float(told)

    def anywhere(self, happened: bool) -> bool:
        """Whether it happened on any of the processes."""
        if self.size == 1:
            return happened
        told = torch.tensor(float(happened), device=self.device)
        dist.all_reduce(told)
        return bool(told)

    def wait(self) -> None:
        """For all processes to come this far."""
        self.anywhere(False)


def join(device: torch.device) -> World:
    """The processes that ``torchrun`` started along with this one; one alone where it did not.

    They talk through NCCL on GPUs and Gloo on CPUs, and stay together until they end: a group that was left cannot be
    joined again.
    """
    if not dist.is_available() or not dist.is_torchelastic_launched() or os.environ["WORLD_SIZE"] == "1":
        return World()
    if not dist.is_initialized():
        if device.type == "cuda":
            torch.cuda.set_device(device)
        # The functions of this module have the group as a default argument, if there is one when it is imported. torch
        # does that at its optimisers' first step; the group then outlived its end below, and its threads let go of
        # tensors while the interpreter was no longer there, which aborts the process.
        importlib.import_module("torch.distributed.nn.functional")
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(dist.destroy_process_group)
    return World(dist.get_rank(), dist.get_world_size(), device)


def sum_over_processes(x: Tensor) -> Tensor:
    """The sum of a tensor over all processes, through which gradients flow back to each of them."""
    out: Tensor = cast(Any, _Sum).apply(x)
    return out


class _Sum(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Sum.forward(ctx, gradient)
