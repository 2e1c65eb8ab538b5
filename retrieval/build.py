"""Where :func:`build` was: the package offers the function by this name, and cannot offer a module by it as well."""

from retrieval.indexing import BuildReport, build

__all__ = ["BuildReport", "build"]
