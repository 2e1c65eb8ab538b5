"""Near-duplicates in a folder or an index, in groups to look through.

Nothing here changes or deletes a picture; :func:`move_copies` moves those that could go, and :func:`undo_move` moves
them back.
"""

from __future__ import annotations

from retrieval.traps.duplicates.find import duplicates_of, find_duplicates, is_an_index
from retrieval.traps.duplicates.move import Moved, Undone, checked_target, move_copies, undo_move
from retrieval.traps.duplicates.page import write_page
from retrieval.traps.duplicates.report import Copy, Duplicates, Group, output

__all__ = [
    "Copy",
    "Duplicates",
    "Group",
    "Moved",
    "Undone",
    "checked_target",
    "duplicates_of",
    "find_duplicates",
    "is_an_index",
    "move_copies",
    "output",
    "undo_move",
    "write_page",
]
