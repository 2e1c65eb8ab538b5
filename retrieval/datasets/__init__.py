"""Labelled picture sets: loading every usual layout, splitting, saving, exporting."""

from retrieval.datasets.exporting import Exported, export
from retrieval.datasets.hdf5 import save
from retrieval.datasets.memory import resident
from retrieval.datasets.pictures import SPLITS, PictureSet, Progress
from retrieval.datasets.recognise import load

__all__ = ["SPLITS", "Exported", "PictureSet", "Progress", "export", "load", "resident", "save"]
