"""How good an encoder or an index is: pictures or vectors in, a report with intervals out."""

from retrieval.evaluation.evaluate import evaluate_encoder, evaluate_index
from retrieval.evaluation.report import Measure, Report

__all__ = ["Measure", "Report", "evaluate_encoder", "evaluate_index"]
