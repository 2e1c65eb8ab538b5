"""Nearest neighbours: the one package that knows FAISS."""

from retrieval.index.nearest.exact import RECALL, SPARE, exact_search, merge, rank
from retrieval.index.nearest.graph import Structure

__all__ = ["RECALL", "SPARE", "Structure", "exact_search", "merge", "rank"]
