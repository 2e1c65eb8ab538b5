"""Numbers that a program hands over: whole ones are whole, whichever library made them."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

import numpy as np

from retrieval.errors import RetrievalError


def whole(value: object, what: str) -> int:
    """A whole number as Python's own.

    Args:
        value: an integer of Python, NumPy or the like; 3.0 and "3" are none.
        what: it is called in a message ("k").

    Raises:
        RetrievalError: it is something else.
    """
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise RetrievalError(f"{what} is {value!r:.60}; give a whole number.") from None


def whole_numbers(values: Iterable[Any], what: str) -> list[int]:
    """The same for each of many.

    Args:
        values: integers, or an array of them.
        what: each is called in a message ("an id").

    Raises:
        RetrievalError: one is something else.
    """
    if isinstance(values, np.ndarray) and values.dtype.kind in "iu" and values.ndim == 1:
        return list(map(int, values.tolist()))
    try:
        found = list(values)
    except TypeError:  # not even many
        raise RetrievalError(f"{values!r:.60} are no {what}s; give a list of whole numbers.") from None
    try:
        return list(map(operator.index, found))
    except TypeError:
        return [whole(value, what) for value in found]  # which says which it is


SEEDS = 2**32
"""Seeds are below this, which every library takes."""


def checked_seed(seed: object) -> int:
    """A seed as Python's own number.

    Raises:
        RetrievalError: it is no whole number from 0 to below :data:`SEEDS`.
    """
    number = whole(seed, "The seed")
    if not 0 <= number < SEEDS:
        raise RetrievalError(f"The seed is {number}; give a whole number from 0 to {SEEDS - 1}.")
    return number


def seeded(seed: object, *more: int) -> np.random.Generator:
    """A generator that draws the same whenever it is made of the same numbers.

    Args:
        seed: as :func:`checked_seed` takes it. more: what tells it from others of this seed.

    Raises:
        RetrievalError: as :func:`checked_seed`.
    """
    number = checked_seed(seed)
    return np.random.default_rng([number, *more] if more else number)
