"""Near-duplicates in a folder or an index, in groups to look through.

Nothing here moves, changes or deletes a picture.
"""

from __future__ import annotations

from retrieval.traps.duplicates.find import find_duplicates
from retrieval.traps.duplicates.page import write_page
from retrieval.traps.duplicates.report import Copy, Duplicates, Group, output

__all__ = ["Copy", "Duplicates", "Group", "find_duplicates", "output", "write_page"]
