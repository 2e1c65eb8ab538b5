"""Layers that several networks are made of."""

from __future__ import annotations

import dataclasses

from torch import Tensor, nn

from retrieval.images import Preprocessing


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0) -> list[nn.Module]:
    """A convolution without a bias, batch normalisation (Ioffe and Szegedy 2015), ReLU.

    The filters begin with the variance that ReLUs ask for (He et al. 2015, equation 10).
    """
    filters = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
    nn.init.kaiming_normal_(filters.weight, nonlinearity="relu")
    return [filters, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


def fitted(preprocessing: Preprocessing, pictures: Tensor) -> Preprocessing:
    """The same preprocessing, with mean and standard deviation of these pictures for each channel.

    Args:
        pictures: some training pictures, uint8 (n, h, w, channels).
    """
    values = pictures.double() / 255
    mean, std = values.mean((0, 1, 2)), values.std((0, 1, 2)).clamp_min(1e-3)
    return dataclasses.replace(preprocessing, mean=tuple(mean.tolist()), std=tuple(std.tolist()))
