"""Pictures into an index, and an index up to date with its pictures: build, sync, add, remove."""

from __future__ import annotations

from retrieval.ingest.add import add_pictures
from retrieval.ingest.build_index import build
from retrieval.ingest.build_report import BuildReport
from retrieval.ingest.remove import Removal, remove_pictures
from retrieval.ingest.sync_folder import sync

__all__ = ["BuildReport", "Removal", "add_pictures", "build", "remove_pictures", "sync"]
