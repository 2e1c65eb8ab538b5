"""The peers' own figures: pytorch-metric-learning itself, and open-metric-learning's formulas as it writes them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from slow_measures import clusters

from retrieval.errors import RetrievalError
from retrieval.measures import like_oml, like_pml, peer_libraries, rank
from retrieval.measures.peer_libraries import faiss_clusters


def calculator(**options):
    import torch
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

    return AccuracyCalculator(device=torch.device("cpu"), **options)


def lengthened(vectors: np.ndarray) -> np.ndarray:
    """No longer of unit length, so that distances and inner products order differently."""
    return vectors * np.random.default_rng(3).uniform(0.5, 2, (len(vectors), 1)).astype(np.float32)


@pytest.mark.parametrize("k", [None, "max_bin_count", 5, 60])
@pytest.mark.parametrize("same", [True, False])
def test_every_figure_of_pytorch_metric_learning(same, k):
    gallery, gallery_labels = clusters(230, 7, seed=0)
    queries, labels = (gallery, gallery_labels) if same else clusters(90, 9, seed=1)  # two classes find nothing
    queries, gallery = lengthened(queries), lengthened(gallery)
    shelf = () if same else (gallery, gallery_labels)
    theirs = calculator(k=k).get_accuracy(queries, labels, *shelf)
    assert like_pml(queries, labels, *shelf, k=k) == pytest.approx(theirs, abs=1e-6)
    assert len(theirs) == 7


@pytest.mark.parametrize("k", [None, "max_bin_count"])
def test_queries_that_are_part_of_the_gallery(k):
    gallery, labels = clusters(230, 7, seed=0)
    theirs = calculator(k=k).get_accuracy(gallery[:90], labels[:90], gallery, labels, ref_includes_query=True)
    ours = like_pml(gallery[:90], labels[:90], gallery, labels, own=np.arange(90), k=k)
    assert ours == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("same", [True, False])
def test_rank_as_pytorch_metric_learning_on_unit_vectors(same):
    gallery, gallery_labels = clusters(230, 7, seed=0)
    queries, labels = (gallery, gallery_labels) if same else clusters(90, 9, seed=1)
    shelf = () if same else (gallery, gallery_labels)
    peer = calculator(exclude=("NMI", "AMI")).get_accuracy(queries, labels, *shelf)
    ours = rank(queries, labels, *shelf)
    assert ours.tied.max() == 0  # it leaves ties to luck, so that only untied rankings compare
    for name, theirs in {
        "P@1": "precision_at_1",
        "R-precision": "r_precision",
        "MAP@R": "mean_average_precision_at_r",
        "mAP": "mean_average_precision",
        "MRR": "mean_reciprocal_rank",
    }.items():
        assert ours.values[name].mean() == pytest.approx(peer[theirs], abs=1e-6), name
    assert ours.without_relevant == (0 if same else (labels >= 7).sum())


def check_clusters(vectors: np.ndarray, k: int) -> None:
    import torch
    from pytorch_metric_learning.utils.inference import FaissKMeans

    theirs = FaissKMeans(niter=20, gpu=False)(torch.tensor(vectors), k).numpy()
    np.testing.assert_array_equal(faiss_clusters(vectors, k), theirs)


@pytest.mark.parametrize(("n", "d", "k"), [(300, 8, 7), (2600, 8, 10), (500, 4, 60), (60, 5, 60)])
def test_clusters_are_those_of_faiss(n, d, k):
    """Few points, more than it looks at, and as many as clusters."""
    check_clusters(clusters(n, 10, seed=1, d=d)[0], k)


def test_empty_clusters_are_split_as_faiss_does(monkeypatch):
    rng = np.random.default_rng(0)
    drawn = rng.integers(-20, 20, (60, 4))
    vectors = np.concatenate([drawn[rng.integers(0, 60, 100)], rng.integers(-20, 20, (100, 4))]).astype(np.float32)
    empty: list[int] = []
    split = peer_libraries._split
    monkeypatch.setattr(peer_libraries, "_split", lambda *its: (empty.append(int((its[1] == 0).sum())), split(*its)))
    check_clusters(vectors, 60)
    assert sum(empty) > 3


# open-metric-learning: cmc_single, precision_single and map_single of its oml/functional/metrics.py, with lists for
# tensors. `correct` is what was retrieved, up to the largest k, `n_gt` how many relevant items there are.


def cmc_single(correct: list[bool], n_gt: int, k: int) -> float:
    return float(any(correct[:k]))


def precision_single(correct: list[bool], n_gt: int, k: int) -> float:
    k = min(k, len(correct))
    found = sum(correct[:k])
    return found / min(n_gt, k) if n_gt else math.nan  # its 0 / 0


def map_single(correct: list[bool], n_gt: int, k: int) -> float:
    k = min(k, len(correct))
    found = sum(correct[:k])
    return sum(sum(correct[: i + 1]) / (i + 1) * correct[i] for i in range(k)) / found if found else 0.0


@pytest.mark.parametrize("case", ["within", "apart", "some find nothing"])
def test_every_figure_of_open_metric_learning(case):
    ks = (1, 5, 30, 500)
    gallery, gallery_labels = clusters(120, 7, seed=0)
    queries, labels = clusters(50, 7 if case == "apart" else 9, seed=1)
    if case == "within":
        queries, labels = gallery, gallery_labels
    queries, gallery = lengthened(queries), lengthened(gallery)
    expected: dict[str, dict[int, float]] = {"cmc": {}, "precision": {}, "map": {}}
    rows = []
    for q in range(len(queries)):
        others = np.flatnonzero(np.arange(120) != (q if case == "within" else -1))
        order = others[np.argsort(((gallery[others].astype(float) - queries[q]) ** 2).sum(axis=1))][: max(ks)]
        rows.append(((gallery_labels[order] == labels[q]).tolist(), int((gallery_labels[others] == labels[q]).sum())))
    for name, single in (("cmc", cmc_single), ("precision", precision_single), ("map", map_single)):
        expected[name] = {k: float(np.mean([single(*row, k) for row in rows])) for k in ks}
    ours = like_oml(queries, labels, *(() if case == "within" else (gallery, gallery_labels)), ks=ks)
    assert list(ours) == list(expected)
    for name, figures in expected.items():
        assert ours[name] == pytest.approx(figures, abs=1e-6, nan_ok=True), name
    assert math.isnan(ours["precision"][5]) == (case == "some find nothing")
    assert ours["map"][1] == pytest.approx(ours["cmc"][1])  # one hit of many at rank 1 scores 1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda v, y: like_pml(v, y, k=0), "k is 0"),
        (lambda v, y: like_pml(v, y, k="most"), "'most'"),
        (lambda v, y: like_pml(v, y, v), "no labels"),
        (lambda v, y: like_oml(v, y, ks=(5, 0)), "at least 1"),
        (lambda v, y: like_oml(v, y, ks=()), "at least 1"),
    ],
)
def test_what_the_peers_cannot_be_asked_is_refused(call, words):
    with pytest.raises(RetrievalError, match=words):
        call(*clusters(30, 3, seed=2))
