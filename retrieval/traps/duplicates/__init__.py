"""Near-duplicates in a folder or an index, in groups to look through.

Nothing here changes or deletes a picture; :func:`move_copies` moves those that could go, and :func:`undo_move` moves
them back.
"""
