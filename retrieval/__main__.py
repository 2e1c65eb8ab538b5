"""``python -m retrieval``: the command ``retrieval``, also where it was not installed."""

from __future__ import annotations

import sys

from retrieval.cli import main

sys.exit(main())
