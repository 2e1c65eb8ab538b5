"""Training networks that compare two pictures: what they learn from, an encoder's wrong hits, and held-out pairs."""

from __future__ import annotations
