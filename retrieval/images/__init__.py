"""Opening one picture safely and quickly, and finding pictures in a folder."""

from __future__ import annotations

from retrieval.base.placed_files import MAX_BYTES
from retrieval.images.box import Box
from retrieval.images.decoding import MAX_PIXELS, Decoder, Source, UnreadableImage, open_picture, read
from retrieval.images.folders import Found, Skipped, find, is_system
from retrieval.images.kinds import SUFFIXES
from retrieval.images.preprocessing import Pixels, Preprocessing, blank, fit_array, prepare, seen

__all__ = [
    "MAX_BYTES",
    "MAX_PIXELS",
    "SUFFIXES",
    "Box",
    "Decoder",
    "Found",
    "Pixels",
    "Preprocessing",
    "Skipped",
    "Source",
    "UnreadableImage",
    "blank",
    "find",
    "fit_array",
    "is_system",
    "open_picture",
    "prepare",
    "read",
    "seen",
]
