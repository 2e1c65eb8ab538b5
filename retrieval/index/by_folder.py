"""Functions on an index that can be given its folder instead, as the command line is."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from retrieval.index.index import Index

P = ParamSpec("P")
R = TypeVar("R")

OnIndex = Callable[Concatenate[Index, P], R]
OnIndexOrFolder = Callable[Concatenate[Index | str | Path, P], R]


def or_folder(*, write: bool = False, mapped: bool = False) -> Callable[[OnIndex[P, R]], OnIndexOrFolder[P, R]]:
    """A decorator: the function's first argument, an open index, may be a folder, which is opened meanwhile.

    Args:
        write: the folder is opened for writing. mapped: it is opened mapped.
    """

    def decorated(function: OnIndex[P, R]) -> OnIndexOrFolder[P, R]:
        @functools.wraps(function)
        def called(index: Index | str | Path, /, *args: P.args, **options: P.kwargs) -> R:
            if isinstance(index, Index):
                return function(index, *args, **options)
            with Index.open(index, write=write, mapped=mapped) as opened:
                return function(opened, *args, **options)

        return called

    return decorated
