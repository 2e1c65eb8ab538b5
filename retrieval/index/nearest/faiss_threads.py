"""FAISS as this package loads it: its threads sleep when they have nothing to do.

Left alone they turn in the hope of more, and on a machine that does something else besides, each waits turning for one
that has no core: building lists over 6,000 vectors on two busy cores took 27 times the processor's time and a hundred
times as long. The library reads how it is to be when it is loaded, and only then; what others load, PyTorch's OpenMP
among it, stays as it is. Who sets the variable decides, as ever.
"""

from __future__ import annotations

import os

_NAME = "OMP_WAIT_POLICY"

_unset = _NAME not in os.environ
if _unset:
    os.environ[_NAME] = "PASSIVE"
try:
    import faiss  # noqa: F401  (for what loading it does)
finally:
    if _unset:
        del os.environ[_NAME]
