"""The card of a trained pair network: what it is, for whoever finds the folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval.base.machine import describe
from retrieval.measures.intervals import Interval
from retrieval.training.pair_recipe import PairRecipe


def card(
    recipe: PairRecipe,
    *,
    pictures: str,
    fingerprint: str,
    labels: NDArray[np.int64],
    measures: Mapping[str, Interval],
    steps: int,
    seconds: float,
    dtype: str,
    warnings: Sequence[str],
) -> str:
    """Markdown, with the measured figures and every choice of the recipe.

    Args:
        labels: int64 (n,), those of the training pictures.
        measures: of the last weights on the validation pairs; empty where there were none.
    """
    figures = [
        f"\n- {name}: {m.value:.3f} (95 % interval over classes {m.low:.3f} to {m.high:.3f}; {m.n:,} balanced "
        "validation pairs)"
        for name, m in measures.items()
    ]
    measured = "".join(figures) or "\n- Quality: not measured (no validation pairs)"
    warned = "".join(f"\n- Warning: {message}" for message in warnings)
    classes = len(np.unique(labels))
    choices = "\n".join(f"| {name} | {value} |" for name, value in dataclasses.asdict(recipe).items())
    return f"""# {pictures}: {recipe.net}

- Scores pairs of pictures; trained on {pictures}, {len(labels):,} pictures of {classes:,} classes{measured}
- Took: {seconds:,.0f} s, {steps:,} steps of {recipe.pairs_per_batch} pairs, {dtype}
- Machine: {describe()}
- Fingerprint of the pictures (SHA-256): {fingerprint}{warned}

| choice | value |
|---|---|
{choices}
"""
