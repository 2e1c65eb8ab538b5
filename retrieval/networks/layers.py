"""What several networks are made of, and what goes into all of them."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import torch
from torch import Tensor, nn

from retrieval.images import Preprocessing

Box = tuple[float, float, float, float]


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


class Normalised:
    """Pictures uint8 (n, h, w, c) as a network's input on a device: float32 (n, c, h, w), channels last in memory."""

    def __init__(self, preprocessing: Preprocessing, device: torch.device) -> None:
        self.mean, self.std = (
            torch.tensor(values, device=device).view(1, -1, 1, 1) * 255
            for values in (preprocessing.mean, preprocessing.std)
        )

    def __call__(self, pixels: Tensor) -> Tensor:
        return (pixels.to(self.mean.device).permute(0, 3, 1, 2).float() - self.mean) / self.std


class Shares(NamedTuple):
    """Embeddings as sums over the positions of the last feature map (Stylianou, Souvenir and Pless 2019).

    A network that ends in pooling and linear layers has a method ``shares(x: Tensor) -> Shares``; one that has none
    does not decompose. Average pooling is linear, and so is a fully connected layer on the flattened map; of maximum
    pooling a channel's whole share belongs to the position that has its maximum.

    Attributes:
        positions: (n, h, w, dim), the type of the weights. ``positions.sum((1, 2)) + constant`` is the network's
            output, which is not of unit length.
        constant: (dim,), or (n, dim), what comes from no position: the last layer's bias.
        box: what the h × w cells cover: left, top, right and bottom in pixels of the network's input. The middle of a
            cell is the middle of what its position sees (its receptive field: Araujo, Norris and Sim 2019, "Computing
            Receptive Fields of Convolutional Neural Networks"), so that the box may leave a margin, or reach over the
            edge. What a position sees is wider than its cell.
    """

    positions: Tensor
    constant: Tensor
    box: Box
