"""Nearest neighbours: the one package that knows FAISS (and rabitqlib)."""

from __future__ import annotations

import retrieval.index.nearest.faiss_threads  # noqa: F401  (before anything here loads FAISS)
from retrieval.index.nearest.exact import SPARE, Allowed, exact_search, merge, range_search

__all__ = ["SPARE", "Allowed", "exact_search", "merge", "range_search"]
