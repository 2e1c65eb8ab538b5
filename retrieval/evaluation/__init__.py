"""How good an encoder, an index or somebody's vectors are: a report with intervals out."""

from retrieval.evaluation.classes import Column, Confusion, PerClass
from retrieval.evaluation.comparing import Difference, Differences, compare_kept
from retrieval.evaluation.curves import Curve
from retrieval.evaluation.encoders import evaluate_encoder
from retrieval.evaluation.given import evaluate_vectors
from retrieval.evaluation.indexes import evaluate_index
from retrieval.evaluation.kept import Kept
from retrieval.evaluation.report import Measure, Report
from retrieval.evaluation.subjects import evaluate

__all__ = [
    "Column",
    "Confusion",
    "Curve",
    "Difference",
    "Differences",
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
