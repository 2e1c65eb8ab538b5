"""The closed form of a head: whitening within the classes, and linear discriminants, with a shrunk scatter.

All that it needs of the vectors are sums, which can be added and subtracted, so that a fold left out costs no second
look at them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

Layer = tuple[Floats, Floats]
"""Weight float32 (m, d) and bias float32 (m,)."""

BLOCK = 2**15
"""Vectors whose products are in memory at a time."""

FLAT = 1e-12
"""The least variance of unit vectors that is no rounding: where pictures of a class do not differ at all, it is 0."""


@dataclass(frozen=True)
class Sums:
    """What a discriminant needs to know of labelled vectors.

    Attributes:
        counts: float64 (classes,), vectors of each class.
        sums: float64 (classes, d).
        products: float64 (d, d), the sum of x·xᵀ.
    """

    counts: Doubles
    sums: Doubles
    products: Doubles

    @classmethod
    def of(cls, vectors: Floats, labels: Ints, classes: int) -> Self:
        """Those of some vectors.

        Args:
            vectors: float32 (n, d).
            labels: int64 (n,), below `classes`.
        """
        counts = np.bincount(labels, minlength=classes).astype(np.float64)
        sums = np.zeros((classes, vectors.shape[1]))
        products = np.zeros((vectors.shape[1],) * 2)
        for start in range(0, len(vectors), BLOCK):
            rows = vectors[start : start + BLOCK]
            order = np.argsort(labels[start : start + BLOCK], kind="stable")
            there, firsts = np.unique(labels[start : start + BLOCK][order], return_index=True)
            sums[there] += np.add.reduceat(rows[order].astype(np.float64), firsts, axis=0)
            products += rows.T @ rows
        return cls(counts, sums, products)

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.counts + other.counts, self.sums + other.sums, self.products + other.products)

    def __sub__(self, other: Sums) -> Sums:
        return Sums(self.counts - other.counts, self.sums - other.sums, self.products - other.products)


class Discriminant:
    """Linear layers that the scatter of labelled vectors gives, for any shrinkage, at the cost of one decomposition.

    With S the pooled covariance within the classes and mean(S) the mean of its eigenvalues, the whitening is by
    (1 − s)·S + s·mean(S)·I: what pictures of one class differ by counts the less, and nothing is thrown away
    (within-class covariance normalisation: Hatch, Kajarekar and Stolcke 2006). The discriminant keeps, after that, only
    the directions that part the classes' means (Fisher 1936; shrunk: Friedman 1989): at most one less than there are
    classes.
    """

    def __init__(self, sums: Sums) -> None:
        there = sums.counts > 0
        counts, totals = sums.counts[there], sums.sums[there]
        n = counts.sum()
        means = totals / counts[:, None]
        mean = totals.sum(0) / n
        within = (sums.products - means.T @ totals) / n
        self._know(within, np.sqrt(counts / n)[:, None] * (means - mean), mean)

    @classmethod
    def of_scatter(cls, within: Doubles, between: Doubles, mean: Doubles) -> Self:
        """One of scatters that do not come from classes.

        Args:
            within: float64 (d, d). between: float64 (m, d), rows whose products add up to the scatter that is to be
                kept. mean: float64 (d,).
        """
        found = cls.__new__(cls)
        found._know(within, between, mean)
        return found

    def _know(self, within: Doubles, between: Doubles, mean: Doubles) -> None:
        values, self._axes = np.linalg.eigh((within + within.T) / 2)
        self._values: Doubles = np.maximum(values, 0)
        self._between = between
        self._mean = mean

    def whitening(self, shrinkage: float, size: int) -> Layer:
        """The layer that whitens, its rows by descending spread of all the vectors: the first `size` at most.

        Args:
            shrinkage: s, above 0 and at most 1.
        """
        white = self._white(shrinkage)
        if size >= len(white.T):
            return self._centred(white.T)
        means = self._between @ white
        kept = (1 - shrinkage) * self._values + shrinkage * self._values.mean()
        within = np.diag(self._values / np.maximum(kept, FLAT))  # of one class, after whitening
        _, axes = np.linalg.eigh(within + means.T @ means)
        return self._centred(axes[:, ::-1][:, :size].T @ white.T)

    def discriminant(self, shrinkage: float, size: int) -> Layer:
        """The layer that parts the classes, its rows by how well they do: the first `size` at most."""
        white = self._white(shrinkage)
        _, _, directions = np.linalg.svd(self._between @ white, full_matrices=False)
        return self._centred(directions[: min(size, max(1, len(self._between) - 1))] @ white.T)

    def _white(self, shrinkage: float) -> Doubles:
        kept = (1 - shrinkage) * self._values + shrinkage * self._values.mean()
        white: Doubles = self._axes / np.sqrt(np.maximum(kept, FLAT))
        return white

    def _centred(self, weight: Doubles) -> Layer:
        return weight.astype(np.float32), (-weight @ self._mean).astype(np.float32)
