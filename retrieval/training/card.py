"""The card of a trained encoder: what it is, for whoever finds the folder."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval.base.machine import describe
from retrieval.measures.intervals import wilson
from retrieval.training.recipe import Recipe


def card(
    recipe: Recipe,
    *,
    pictures: str,
    fingerprint: str,
    labels: NDArray[np.int64],
    validation: int,
    gallery: int,
    precision_at_1: float,
    steps: int,
    seconds: float,
    dtype: str,
    began: str,
    warnings: Sequence[str],
) -> str:
    """Markdown, with the measured figures and every choice of the recipe.

    Args:
        labels: int64 (n,), those of the training pictures.
        validation: how many validation pictures were compared.
        gallery: with how many training pictures.
        precision_at_1: the last measured one; NaN where there were no validation pictures.
        began: what it began with, where that were not random weights (:mod:`retrieval.training.warm_start`), or "".
    """
    quality = "not measured (no validation pictures)"
    if not math.isnan(precision_at_1):
        low, high = wilson(precision_at_1, validation)
        quality = (
            f"{precision_at_1:.3f} (95 % interval {low:.3f} to {high:.3f}; {validation:,} validation pictures "
            f"among {gallery:,} training pictures)"
        )
    initial = f"\n- {began}" if began else ""
    warned = "".join(f"\n- Warning: {message}" for message in warnings)
    choices = "\n".join(f"| {name} | {value} |" for name, value in dataclasses.asdict(recipe).items())
    return f"""# {pictures}: {recipe.net}, {recipe.loss}

- Trained on: {pictures}, {len(labels):,} pictures of {len(np.unique(labels)):,} classes{initial}
- P@1 at the end: {quality}
- Took: {seconds:,.0f} s, {steps:,} steps, {dtype}
- Machine: {describe()}
- Fingerprint of the pictures (SHA-256): {fingerprint}{warned}

| choice | value |
|---|---|
{choices}
"""
