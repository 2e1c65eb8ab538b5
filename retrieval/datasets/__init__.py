"""Labelled picture sets: loading every usual layout, splitting, saving, exporting."""

from __future__ import annotations

from retrieval.datasets.exporting import Exported, export
from retrieval.datasets.formats import load
from retrieval.datasets.hdf5 import save
from retrieval.datasets.memory import resident
from retrieval.datasets.picture_set import SPLITS, PictureSet, Progress

__all__ = ["SPLITS", "Exported", "PictureSet", "Progress", "export", "load", "resident", "save"]
