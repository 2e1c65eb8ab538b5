"""A folder of pictures into an index: what to do, the labels, the place, going on after a stop."""

from retrieval.indexing.building import BuildReport, build

__all__ = ["BuildReport", "build"]
