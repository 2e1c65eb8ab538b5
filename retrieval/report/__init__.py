"""One page about an index that people read."""

from __future__ import annotations

from retrieval.report.contents import Contents, gather
from retrieval.report.page import render, write_page

__all__ = ["Contents", "gather", "render", "write_page"]
