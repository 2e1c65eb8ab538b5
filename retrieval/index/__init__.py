"""The index: a folder that holds vectors, what they belong to, and what makes them fast to search.

``docs/index-format.md`` describes the folder. Nothing here needs torch, and the first search imports FAISS.
"""

from __future__ import annotations

from retrieval.base.open_file import DamagedFileError
from retrieval.index.index import Index
from retrieval.index.records import Item, NewItem, StructureRecord

__all__ = ["DamagedFileError", "Index", "Item", "NewItem", "StructureRecord"]
