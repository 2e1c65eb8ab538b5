"""One page about an index that people read."""

from __future__ import annotations

from retrieval.report.contents import Contents, gather
from retrieval.report.page import Page, render, write_page, write_report

__all__ = ["Contents", "Page", "gather", "render", "write_page", "write_report"]
