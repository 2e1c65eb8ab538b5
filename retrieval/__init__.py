"""From a folder of pictures to a search engine you can trust.

The names below are loaded when they are first used, so that ``import retrieval`` costs nothing and a query does not
wait for what a training needs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from retrieval.errors import RetrievalError

if TYPE_CHECKING:
    from retrieval import datasets, measures, traps
    from retrieval.answers import Answer, Hit
    from retrieval.calibration import Calibration, calibrate
    from retrieval.datasets import PictureSet
    from retrieval.duplicates import Duplicates, find_duplicates
    from retrieval.encoder import Encoder
    from retrieval.evaluation import Report, compare_kept, evaluate_encoder, evaluate_index, evaluate_vectors
    from retrieval.explain import Explanation, explain_answer
    from retrieval.index import Index
    from retrieval.indexing import BuildReport, add_pictures, build, remove_pictures, sync
    from retrieval.search import Search
    from retrieval.training.loop import Trained, train
    from retrieval.training.recipes import PRESETS, Recipe

__version__ = "0.1.0"

_HOMES = {
    "Answer": "retrieval.answers",
    "BuildReport": "retrieval.indexing",
    "Calibration": "retrieval.calibration",
    "Duplicates": "retrieval.duplicates",
    "Encoder": "retrieval.encoder",
    "Explanation": "retrieval.explain",
    "Hit": "retrieval.answers",
    "Index": "retrieval.index",
    "PRESETS": "retrieval.training.recipes",
    "PictureSet": "retrieval.datasets",
    "Recipe": "retrieval.training.recipes",
    "Report": "retrieval.evaluation",
    "Search": "retrieval.search",
    "Trained": "retrieval.training.loop",
    "add_pictures": "retrieval.indexing",
    "build": "retrieval.indexing",
    "calibrate": "retrieval.calibration",
    "compare_kept": "retrieval.evaluation",
    "evaluate_encoder": "retrieval.evaluation",
    "evaluate_index": "retrieval.evaluation",
    "evaluate_vectors": "retrieval.evaluation",
    "explain_answer": "retrieval.explain",
    "find_duplicates": "retrieval.duplicates",
    "remove_pictures": "retrieval.indexing",
    "sync": "retrieval.indexing",
    "train": "retrieval.training.loop",
}

__all__ = [
    "PRESETS",
    "Answer",
    "BuildReport",
    "Calibration",
    "Duplicates",
    "Encoder",
    "Explanation",
    "Hit",
    "Index",
    "PictureSet",
    "Recipe",
    "Report",
    "RetrievalError",
    "Search",
    "Trained",
    "add_pictures",
    "build",
    "calibrate",
    "compare_kept",
    "datasets",
    "evaluate_encoder",
    "evaluate_index",
    "evaluate_vectors",
    "explain_answer",
    "find_duplicates",
    "measures",
    "remove_pictures",
    "sync",
    "train",
    "traps",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in ("datasets", "measures", "traps"):
        return importlib.import_module(f"retrieval.{name}")
    raise AttributeError(f"module 'retrieval' has no attribute {name!r}")
