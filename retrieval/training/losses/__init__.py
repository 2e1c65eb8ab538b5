"""Losses on embeddings: pure functions on tensors, and thin modules around them.

A module's ``forward(embeddings, labels)`` takes embeddings (n, d) and labels int64 (n,) and returns the loss and the
share of active triplets, NaN where a loss has no such thing. Its attribute `unit` says whether the embeddings have to
be unit vectors. Everything is computed in the precision given, but never below float32. Distances are squared
Euclidean, ‖x − y‖² = 2 − 2·x·y in [0, 4] for unit vectors, unless a function says otherwise.
"""

from __future__ import annotations

from retrieval.training.losses.classification import ArcFaceLoss, SoftmaxLoss, arcface_loss
from retrieval.training.losses.contrastive import (
    InfoNCELoss,
    NPairsLoss,
    SupervisedContrastiveLoss,
    info_nce_loss,
    n_pairs_loss,
    supervised_contrastive_loss,
)
from retrieval.training.losses.create import NAMES, create
from retrieval.training.losses.cross_batch_memory import WithMemory
from retrieval.training.losses.distances import squared_distances
from retrieval.training.losses.hashing import (
    CSQLoss,
    HDMLLoss,
    LaiLoss,
    csq_loss,
    hash_centres,
    hdml_loss,
    lai_codes,
    lai_loss,
)
from retrieval.training.losses.siamese import ContrastiveLoss, EnergyLoss, contrastive_loss, energy_loss
from retrieval.training.losses.triplet import (
    MINING,
    SoftTripletLoss,
    TripletLoss,
    batch_all_triplet_loss,
    soft_triplet_loss,
    triplet_loss,
)

__all__ = [
    "MINING",
    "NAMES",
    "ArcFaceLoss",
    "CSQLoss",
    "ContrastiveLoss",
    "EnergyLoss",
    "HDMLLoss",
    "InfoNCELoss",
    "LaiLoss",
    "NPairsLoss",
    "SoftTripletLoss",
    "SoftmaxLoss",
    "SupervisedContrastiveLoss",
    "TripletLoss",
    "WithMemory",
    "arcface_loss",
    "batch_all_triplet_loss",
    "contrastive_loss",
    "create",
    "csq_loss",
    "energy_loss",
    "hash_centres",
    "hdml_loss",
    "info_nce_loss",
    "lai_codes",
    "lai_loss",
    "n_pairs_loss",
    "soft_triplet_loss",
    "squared_distances",
    "supervised_contrastive_loss",
    "triplet_loss",
]
