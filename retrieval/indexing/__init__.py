"""Pictures into an index, and an index up to date with its pictures: build, sync, add, remove."""

from retrieval.indexing.adding import add_pictures
from retrieval.indexing.building import build
from retrieval.indexing.removing import Removal, remove_pictures
from retrieval.indexing.report import BuildReport
from retrieval.indexing.syncing import sync

__all__ = ["BuildReport", "Removal", "add_pictures", "build", "remove_pictures", "sync"]
