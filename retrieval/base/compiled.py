"""What was compiled of this package, where a compiler was there when it was built; who uses it can do without.

Beside a graph that answers in tens of microseconds each call of NumPy's is felt, and a search makes twenty.
"""

from __future__ import annotations

import contextlib
import importlib
from typing import Any

INTERFACE = 4
"""Counted up, here and in `_kernel.c`, with every change of what the kernel is asked for. One that was compiled before,
in a checkout that has moved on, is done without until somebody builds it anew."""

kernel: Any = None
with contextlib.suppress(ImportError):
    found = importlib.import_module("retrieval.base._kernel")
    if getattr(found, "INTERFACE", None) == INTERFACE:
        kernel = found
