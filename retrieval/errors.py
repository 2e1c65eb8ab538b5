"""The one error a user sees."""

from __future__ import annotations


class RetrievalError(Exception):
    """Something the user can put right.

    The message is one sentence: what was wrong, with the value, and what to do.
    """
