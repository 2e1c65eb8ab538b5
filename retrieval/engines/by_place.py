"""Functions on an index that can be given its folder or its address instead, as the command line is."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from retrieval.engines.opening import open_index
from retrieval.index import Index

P = ParamSpec("P")
R = TypeVar("R")

OnIndex = Callable[Concatenate[Index, P], R]
OnIndexOrPlace = Callable[Concatenate[Index | str | Path, P], R]


def or_place(*, write: bool = False, mapped: bool = False) -> Callable[[OnIndex[P, R]], OnIndexOrPlace[P, R]]:
    """A decorator: the function's first argument, an open index, may be a place, which is opened meanwhile.

    Args:
        write: it is opened for writing. mapped: a folder is opened mapped.
    """

    def decorated(function: OnIndex[P, R]) -> OnIndexOrPlace[P, R]:
        @functools.wraps(function)
        def called(index: Index | str | Path, /, *args: P.args, **options: P.kwargs) -> R:
            if isinstance(index, Index):
                return function(index, *args, **options)
            with open_index(index, write=write, mapped=mapped) as opened:
                return function(opened, *args, **options)

        return called

    return decorated
