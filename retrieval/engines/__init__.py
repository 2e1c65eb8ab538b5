"""Indexes that a database holds, under an address that stands wherever an index's folder may stand.

No engine of our own: what is here is the thin part between one and the rest of the program. ``docs/engines.md``
explains it to people. Nothing of an engine's library is imported before one is asked.
"""
