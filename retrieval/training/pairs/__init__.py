"""Pair networks at work: training on labelled pictures, saving and loading, and scoring a query against its hits.

Nothing is imported here, so that ``retrieval train --help`` need not wait for torch.
"""

from __future__ import annotations
