"""How good an encoder, an index or somebody's vectors are: a report with intervals out."""

from __future__ import annotations

from retrieval.evaluation.by_name import evaluate
from retrieval.evaluation.curves import Curve
from retrieval.evaluation.of_encoder import evaluate_encoder
from retrieval.evaluation.of_index import evaluate_index
from retrieval.evaluation.of_vectors import evaluate_vectors
from retrieval.evaluation.options import EvaluationOptions
from retrieval.evaluation.paired_comparison import Difference, Differences, compare_kept
from retrieval.evaluation.per_class import Column, Confusion, PerClass
from retrieval.evaluation.per_query import Kept
from retrieval.evaluation.report import Measure, Report

__all__ = [
    "Column",
    "Confusion",
    "Curve",
    "Difference",
    "Differences",
    "EvaluationOptions",
    "Kept",
    "Measure",
    "PerClass",
    "Report",
    "compare_kept",
    "evaluate",
    "evaluate_encoder",
    "evaluate_index",
    "evaluate_vectors",
]
