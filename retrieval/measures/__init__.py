"""Arrays in, numbers out: how good a ranking or an embedding is, and how sure that figure is.

Each measure states its denominator; ties count by expectation; queries without a relevant item are left out
and counted. docs/measuring.md has the definitions in one place.
"""

from __future__ import annotations

from retrieval.measures.arrays import UNLABELLED
from retrieval.measures.clustering import Clustering, agreement, cluster
from retrieval.measures.exhaustive import rank
from retrieval.measures.few_shot import FewShot, Trials, draw_trials, few_shot, few_shot_of_scores, trial_scores
from retrieval.measures.intervals import (
    FLIPS,
    Comparison,
    Interval,
    bootstrap,
    compare,
    compare_columns,
    mean_intervals,
    mean_intervals_of_groups,
    sign_flip_test,
)
from retrieval.measures.pair_sampling import Pairs, pair_scores
from retrieval.measures.peer_libraries import like_oml, like_pml
from retrieval.measures.probes import Probe, kernel_probe, knn_probe, linear_probe, logistic_probe
from retrieval.measures.ranking import Ranking, average_precision, ndcg, r_precision
from retrieval.measures.ranking_task import Rankings
from retrieval.measures.roc import Roc, roc_curve, verify
from retrieval.measures.search_recall import intersection, recall_of

__all__ = [
    "FLIPS",
    "UNLABELLED",
    "Clustering",
    "Comparison",
    "FewShot",
    "Interval",
    "Pairs",
    "Probe",
    "Ranking",
    "Rankings",
    "Roc",
    "Trials",
    "agreement",
    "average_precision",
    "bootstrap",
    "cluster",
    "compare",
    "compare_columns",
    "draw_trials",
    "few_shot",
    "few_shot_of_scores",
    "intersection",
    "kernel_probe",
    "knn_probe",
    "like_oml",
    "like_pml",
    "linear_probe",
    "logistic_probe",
    "mean_intervals",
    "mean_intervals_of_groups",
    "ndcg",
    "pair_scores",
    "r_precision",
    "rank",
    "recall_of",
    "roc_curve",
    "sign_flip_test",
    "trial_scores",
    "verify",
]
