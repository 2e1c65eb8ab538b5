"""From a folder of pictures to a search engine you can trust.

The names below are loaded when they are first used, so that ``import retrieval`` costs nothing and a query does not
wait for what a training needs.
"""

import importlib
from typing import TYPE_CHECKING, Any

from retrieval.errors import RetrievalError

if TYPE_CHECKING:
    from retrieval import datasets, measures, traps
    from retrieval.datasets import PictureSet
    from retrieval.encoder import Encoder
    from retrieval.evaluation import (
        EvaluationOptions,
        Report,
        compare_kept,
        evaluate_encoder,
        evaluate_index,
        evaluate_vectors,
    )
    from retrieval.index import Index
    from retrieval.ingest import BuildReport, add_pictures, build, remove_pictures, sync
    from retrieval.search.answer import Answer, Hit
    from retrieval.search.calibration import Calibration, calibrate
    from retrieval.search.explain import Explanation, explain_answer
    from retrieval.search.search import Search
    from retrieval.training.loop import Trained, train
    from retrieval.training.recipe import PRESETS, Recipe
    from retrieval.traps.duplicates import Duplicates, find_duplicates


_HOMES = {
    "Answer": "retrieval.search.answer",
    "BuildReport": "retrieval.ingest",
    "Calibration": "retrieval.search.calibration",
    "Duplicates": "retrieval.traps.duplicates",
    "Encoder": "retrieval.encoder",
    "EvaluationOptions": "retrieval.evaluation",
    "Explanation": "retrieval.search.explain",
    "Hit": "retrieval.search.answer",
    "Index": "retrieval.index",
    "PRESETS": "retrieval.training.recipe",
    "PictureSet": "retrieval.datasets",
    "Recipe": "retrieval.training.recipe",
    "Report": "retrieval.evaluation",
    "Search": "retrieval.search.search",
    "Trained": "retrieval.training.loop",
    "add_pictures": "retrieval.ingest",
    "build": "retrieval.ingest",
    "calibrate": "retrieval.search.calibration",
    "compare_kept": "retrieval.evaluation",
    "evaluate_encoder": "retrieval.evaluation",
    "evaluate_index": "retrieval.evaluation",
    "evaluate_vectors": "retrieval.evaluation",
    "explain_answer": "retrieval.search.explain",
    "find_duplicates": "retrieval.traps.duplicates",
    "remove_pictures": "retrieval.ingest",
    "sync": "retrieval.ingest",
    "train": "retrieval.training.loop",
}

__all__ = [
    "PRESETS",
    "Answer",
    "BuildReport",
    "Calibration",
    "Duplicates",
    "Encoder",
    "EvaluationOptions",
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
