"""The index: a folder that holds vectors, what they belong to, and what makes them fast to search.

``docs/index-format.md`` describes the folder. Nothing here needs torch, and the first search imports FAISS.
"""

from retrieval.index.damage import DamagedFileError
from retrieval.index.records import Item, NewItem, StructureRecord
from retrieval.index.store import Index

__all__ = ["DamagedFileError", "Index", "Item", "NewItem", "StructureRecord"]
