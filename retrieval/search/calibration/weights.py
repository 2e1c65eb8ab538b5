"""A logistic model of several numbers, and which part of what it says comes from which."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retrieval.search.calibration.surroundings import COLUMNS, LABEL_COLUMNS, WORDS

Doubles = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

RIDGE = 1.0
"""Half of this times the squared weights of the standardised columns is added to the negative log-likelihood."""


@dataclass(frozen=True)
class Weights:
    """P = 1 / (1 + exp(−intercept − Σ weight · (value − centre))).

    Attributes:
        columns: which of :data:`COLUMNS` it takes.
        centres: their means over what it was fitted to, so that what a column says is said against the usual hit.
        weights: one a column.
        intercept: what it says of the usual hit.
    """

    columns: tuple[str, ...]
    centres: tuple[float, ...]
    weights: tuple[float, ...]
    intercept: float

    def __post_init__(self) -> None:
        if not self.columns or not set(self.columns) <= set(COLUMNS) or len(set(self.columns)) != len(self.columns):
            raise ValueError(f"columns that there are not: {ascii(self.columns)[:80]}")
        if not len(self.columns) == len(self.centres) == len(self.weights):
            raise ValueError(
                f"{len(self.columns)} columns, {len(self.centres)} centres and {len(self.weights)} weights"
            )

    @property
    def heeds_labels(self) -> bool:
        """Whether other hits of its label speak for a hit, all in all, or at least not against it."""
        return sum(w for name, w in zip(self.columns, self.weights, strict=True) if name in LABEL_COLUMNS) >= 0

    def said(self, table: Doubles) -> Doubles:
        """What each column says, in log-odds, float64 (..., columns of this model).

        Args:
            table: float64 (..., :data:`COLUMNS`), or of hits (..., :data:`HIT`), for a model that takes no others.
        """
        places = [COLUMNS.index(name) for name in self.columns]
        parts: Doubles = (table[..., places] - np.array(self.centres)) * np.array(self.weights)
        return parts

    def log_odds(self, table: Doubles) -> Doubles:
        """float64 (...); see :meth:`said`."""
        odds: Doubles = self.said(table).sum(axis=-1) + self.intercept
        return odds

    def __call__(self, table: Doubles) -> Doubles:
        """Probabilities, float64 (...)."""
        return probability(self.log_odds(table))

    def parts(self, said: Doubles) -> list[Mapping[str, float]]:
        """What was said of each hit, by the words of :data:`WORDS`; with "usual", the intercept, all of it.

        Args:
            said: float64 (k, columns of this model).
        """
        words = [WORDS.get(name, name) for name in self.columns]
        names = list(dict.fromkeys(words))
        sums = said @ np.array([[word == name for name in names] for word in words], np.float64)
        return [{"usual": self.intercept, **dict(zip(names, row, strict=True))} for row in sums.tolist()]


def probability(log_odds: npt.ArrayLike) -> Doubles:
    """1 / (1 + exp(−x)), which never overflows."""
    found: Doubles = 0.5 * (1 + np.tanh(np.asarray(log_odds, np.float64) / 2))
    return found


def fit_weights(table: Doubles, matched: Mask, weight: Doubles, columns: tuple[str, ...]) -> Weights:
    """The model of the greatest likelihood, less a ridge on the standardised columns, to Platt's targets.

    Args:
        table: float64 (n, columns), n at least 1, in the order of :data:`COLUMNS`.
        matched: bool (n,). weight: above 0 (n,), how often each counts.
        columns: those that it may take.
    """
    x = table[:, [COLUMNS.index(name) for name in columns]]
    matches, total = float(weight @ matched), float(weight.sum())
    target = np.where(matched, (matches + 1) / (matches + 2), 1 / (total - matches + 2))
    centre = weight @ x / total
    spread = np.sqrt(np.maximum(weight @ (x - centre) ** 2 / total, 1e-18))
    sides = np.concatenate([((x - centre) / spread).T, np.ones((1, len(x)))])
    ridge = np.append(np.full(len(columns), RIDGE), 1e-9)
    share = float(weight @ target) / total
    at = np.append(np.zeros(len(columns)), math.log(share / (1 - share)))

    def loss(parameters: Doubles) -> float:
        steepness = parameters @ sides
        return float(weight @ (np.logaddexp(0, steepness) - target * steepness) + ridge @ parameters**2 / 2)

    for _ in range(100):  # Newton's method, the step halved until it gains: the loss is convex
        p = probability(at @ sides)
        downhill = sides @ (weight * (p - target)) + ridge * at
        step = np.linalg.solve((sides * (weight * p * (1 - p))) @ sides.T + np.diag(ridge), downhill)
        if float(downhill @ step) < 1e-10 * total:
            break
        before = loss(at)
        while loss(at - step) > before and float(np.abs(step).max()) > 1e-12:
            step = step / 2
        at = at - step
    return Weights(columns, tuple(centre.tolist()), tuple((at[:-1] / spread).tolist()), float(at[-1]))
