"""A question to an index, and its answer."""

from retrieval.search.answer import Answer, Hit
from retrieval.search.search import Search

__all__ = ["Answer", "Hit", "Search"]
