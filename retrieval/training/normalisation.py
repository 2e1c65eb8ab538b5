"""Batch normalisation in chunks, and over several processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from retrieval.training.processes import sum_over_processes


class SynchronisedBatchNorm(_BatchNorm):
    """Batch normalisation by the statistics of all processes' rows together.

    torch's own ``SyncBatchNorm`` does the same on GPUs alone. Statistics and result are computed in float32.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of dimensions is good, the channels second."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        x = input.float()
        dims = [dim for dim in range(x.ndim) if dim != 1]
        shape = [-1 if dim == 1 else 1 for dim in range(x.ndim)]
        count = sum_over_processes(torch.tensor(float(x.numel() // x.shape[1]), device=x.device))
        mean = sum_over_processes(x.sum(dims)) / count
        centred = x - mean.view(shape)
        variance = sum_over_processes(centred.square().sum(dims)) / count
        if self.track_running_stats:
            self._note(mean.detach(), variance.detach() * count / (count - 1))
        out = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        return out.to(input.dtype)

    @torch.no_grad()
    def _note(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        weight = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, weight)
        self.running_var.lerp_(variance, weight)


def synchronised(network: nn.Module) -> nn.Module:
    """The network with every batch normalisation replaced by one over all processes, with the same tensors in it."""
    if isinstance(network, _BatchNorm):
        layer = SynchronisedBatchNorm(
            network.num_features, network.eps, network.momentum, network.affine, network.track_running_stats
        )
        layer.weight, layer.bias = network.weight, network.bias
        layer.running_mean, layer.running_var = network.running_mean, network.running_var
        layer.num_batches_tracked = network.num_batches_tracked
        return layer.train(network.training)
    for name, child in network.named_children():
        setattr(network, name, synchronised(child))
    return network


@contextmanager
def statistics_kept(network: nn.Module) -> Iterator[None]:
    """Batch normalisation by each batch's own statistics, as in training, but without taking note of them."""
    layers = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True
