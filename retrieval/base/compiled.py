"""What was compiled of this package, where a compiler was there when it was built; who uses it can do without.

Beside a graph that answers in tens of microseconds each call of NumPy's is felt, and a search makes twenty.
"""

from __future__ import annotations

import contextlib
import importlib
from typing import Any

kernel: Any = None
with contextlib.suppress(ImportError):
    kernel = importlib.import_module("retrieval.base._kernel")
