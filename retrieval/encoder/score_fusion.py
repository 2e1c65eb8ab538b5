"""The score of an encoder and that of a pair network together, by a weight that was fitted on pairs like hits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

CERTAIN = 1.96
"""Standard errors, those of a 95 % interval."""


@dataclass(frozen=True)
class Together:
    """s + weight · z: the encoder's score of a hit, and the pair network's beside it.

    A pair network alone forgets what the encoder knew, which found the hits. The weight holds for the encoder that it
    was fitted with, and for no other.

    Attributes:
        encoder: its hash.
        weight: of z, the pair network's logit, in units of s, the inner product of the encoder's vectors; not below 0.
    """

    encoder: str
    weight: float

    def __call__(self, similarities: Numbers, logits: Numbers) -> Numbers:
        """The score by which hits are ordered, float64 (n,), of float64 (n,) each; higher is more alike."""
        return similarities + self.weight * logits

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Together:
        """What ``dataclasses.asdict`` gave.

        Raises:
            KeyError, TypeError, ValueError: `values` are none.
        """
        encoder, weight = values["encoder"], values["weight"]
        if not isinstance(encoder, str):
            raise TypeError(f"{encoder!r} is no hash")
        if not isinstance(weight, float | int) or not 0 <= weight < math.inf:
            raise ValueError(f"{weight!r} is no weight")
        return cls(encoder, weight)


def fit(encoder: str, similarities: Numbers, logits: Numbers) -> Together | None:
    """The weight by which a query's right hit most likely stands above its wrong one.

    The odds that it does are taken for exp(a · (s₁ − s₀) + b · (z₁ − z₀)) to 1 (Bradley and Terry 1952), with a and b
    by logistic regression and a weak prior on both (ridge, C = 1, of differences with mean square 1); the weight is
    b / a. Hits of different queries are never compared, as a search never does.

    Args:
        encoder: the hash of the encoder.
        similarities, logits: float64 (n, 2): of n queries, the scores of a right hit and of a wrong one.

    Returns:
        None if the encoder's score is worth nothing beside the network's. The weight is 0 where b is not above 0 by
        :data:`CERTAIN` standard errors: a network of which that cannot be told may as well do harm.
    """
    from sklearn.linear_model import LogisticRegression

    above = np.stack([similarities[:, 0] - similarities[:, 1], logits[:, 0] - logits[:, 1]], axis=1)
    scale = np.sqrt((above**2).mean(0))
    scale[scale == 0] = 1.0
    above /= scale
    # the regression wants both outcomes: every other query is told the other way round, which changes nothing
    outcome = np.arange(len(above)) % 2 == 0
    fitted = LogisticRegression(fit_intercept=False).fit(np.where(outcome, 1, -1)[:, None] * above, outcome).coef_[0]
    likely = 1 / (1 + np.exp(-above @ fitted))
    information = (above.T * (likely * (1 - likely))) @ above + np.eye(2)
    told = fitted[1] > CERTAIN * np.sqrt(np.linalg.inv(information)[1, 1])
    a, b = fitted / scale
    return None if a <= 0 else Together(encoder, float(b / a) if told else 0.0)
