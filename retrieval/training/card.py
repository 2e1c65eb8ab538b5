"""The card of what was trained: what it is, for whoever finds the folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from retrieval.base.machine import describe
from retrieval.training.head_recipe import HeadRecipe
from retrieval.training.pair_recipe import PairRecipe
from retrieval.training.recipe import Recipe


def card(
    recipe: Recipe | PairRecipe | HeadRecipe,
    title: str,
    facts: Sequence[str],
    *,
    took: str,
    fingerprint: str,
    warnings: Sequence[str],
) -> str:
    """Markdown, with the measured figures and every choice of the recipe.

    Args:
        facts: a line each, on what it learned from and how good it is.
        took: time, steps and precision.
        fingerprint: of the pictures.
    """
    facts = [
        *facts,
        f"Took: {took}",
        f"Machine: {describe()}",
        f"Fingerprint of the pictures (SHA-256): {fingerprint}",
        *(f"Warning: {message}" for message in warnings),
    ]
    lines = "\n".join(f"- {fact}" for fact in facts)
    choices = "\n".join(f"| {name} | {value} |" for name, value in dataclasses.asdict(recipe).items())
    return f"# {title}\n\n{lines}\n\n| choice | value |\n|---|---|\n{choices}\n"
