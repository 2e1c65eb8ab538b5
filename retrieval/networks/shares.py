"""Where in a picture an embedding comes from, for the networks whose last steps are linear."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

Box = tuple[float, float, float, float]


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
