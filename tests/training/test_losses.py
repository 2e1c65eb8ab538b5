"""The losses against slow, obvious float64 versions, against pytorch-metric-learning, and at their edges."""

import math
import sys

import pytest
import torch
from pytorch_metric_learning import distances as pml_distances
from pytorch_metric_learning import losses as pml_losses
from pytorch_metric_learning import miners as pml_miners
from pytorch_metric_learning import reducers as pml_reducers
from torch.nn import functional as F

from retrieval.errors import RetrievalError
from retrieval.training.losses import NAMES, TABLE, create, mining
from retrieval.training.losses.classification import SoftmaxLoss
from retrieval.training.losses.contrastive import supervised_contrastive_loss
from retrieval.training.losses.distances import squared_distances
from retrieval.training.losses.triplet import TripletLoss, batch_all_triplet_loss, triplet_loss
from retrieval.training.recipe import Recipe


def batch(n=40, d=16, classes=5, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    embeddings = F.normalize(torch.randn(n, d, generator=generator, dtype=torch.float64)).to(dtype)
    return embeddings.requires_grad_(), torch.randint(0, classes, (n,), generator=generator)


def every_triplet(embeddings, labels, margin):
    hinges = []
    for a in range(len(labels)):
        for p in range(len(labels)):
            for n in range(len(labels)):
                if a != p and labels[a] == labels[p] and labels[a] != labels[n]:
                    to_p = (embeddings[a] - embeddings[p]).square().sum()
                    to_n = (embeddings[a] - embeddings[n]).square().sum()
                    hinges.append((margin + to_p - to_n).clamp_min(0))
    return torch.stack(hinges)


def gradient(loss, embeddings):
    """Along the sphere: the radial part does nothing to a vector that is normalised, and the formulas differ in it."""
    full = torch.autograd.grad(loss, embeddings)[0]
    unit = embeddings.detach()
    return full - (full * unit).sum(1, keepdim=True) * unit


def test_seed_loss_is_the_published_formula():
    generator = torch.Generator().manual_seed(0)
    a, p, n = torch.randn(3, 7, 5, generator=generator, dtype=torch.float64)
    expected = [
        max(0.0, 1 - (float((x - z) @ (x - z)) - float((x - y) @ (x - y)))) for x, y, z in zip(a, p, n, strict=True)
    ]
    assert triplet_loss(a, p, n).tolist() == pytest.approx(expected, abs=1e-12)
    loss, active = TripletLoss(1.0, "given")(torch.cat([a, p, n]), torch.zeros(21, dtype=torch.int64))
    assert loss.item() == pytest.approx(sum(expected) / 7, abs=1e-12)
    assert float(active) == pytest.approx(sum(x > 0 for x in expected) / 7)


@pytest.mark.parametrize("margin", [0.0, 0.2, 1.0, 5.0])
@pytest.mark.parametrize("classes", [2, 5])
def test_batch_all_is_the_mean_over_the_active_triplets(margin, classes):
    embeddings, labels = batch(n=18, classes=classes)
    hinges = every_triplet(embeddings, labels, margin)
    active = (hinges > 0).sum()
    loss, share = batch_all_triplet_loss(embeddings, labels, margin)
    assert float(share) == pytest.approx(float(active) / len(hinges))
    assert loss.item() == pytest.approx((hinges.sum() / active).item(), abs=1e-12)
    expected = gradient(hinges.sum() / active, embeddings)
    torch.testing.assert_close(gradient(loss, embeddings), expected, atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(3))
def test_batch_all_agrees_with_pytorch_metric_learning(dtype, seed):
    ours, labels = batch(n=60, seed=seed, dtype=dtype)
    theirs = ours.detach().clone().requires_grad_()
    peer = pml_losses.TripletMarginLoss(
        margin=0.2,
        distance=pml_distances.LpDistance(power=2),
        reducer=pml_reducers.AvgNonZeroReducer(),
        triplets_per_anchor="all",
    )(theirs, labels)
    loss, _ = batch_all_triplet_loss(ours, labels, 0.2)
    assert loss.item() == pytest.approx(peer.item(), abs=1e-5)
    torch.testing.assert_close(gradient(loss, ours), gradient(peer, theirs), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_supervised_contrastive_agrees_with_pytorch_metric_learning(dtype):
    ours, labels = batch(n=48, dtype=dtype)
    theirs = ours.detach().clone().requires_grad_()
    loss = supervised_contrastive_loss(ours, labels, 0.1)
    peer = pml_losses.SupConLoss(temperature=0.1)(theirs, labels)
    assert loss.item() == pytest.approx(peer.item(), abs=1e-5)
    torch.testing.assert_close(gradient(loss, ours), gradient(peer, theirs), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_batch_hard_agrees_with_pytorch_metric_learning(seed):
    embeddings, labels = batch(n=50, seed=seed)
    ours = mining.batch_hard(squared_distances(embeddings, embeddings).detach(), labels)
    theirs = pml_miners.BatchHardMiner()(embeddings.detach(), labels)
    assert {tuple(t) for t in torch.stack(ours, 1).tolist()} == {tuple(t) for t in torch.stack(theirs, 1).tolist()}


@pytest.mark.parametrize("seed", range(5))
def test_semi_hard_is_the_nearest_negative_beyond_the_positive(seed):
    embeddings, labels = batch(n=30, seed=seed)
    distances = squared_distances(embeddings, embeddings).detach()
    found = {(a, p): n for a, p, n in torch.stack(mining.semi_hard(distances, labels), 1).tolist()}
    pairs = 0
    for a in range(30):
        negatives = [n for n in range(30) if labels[n] != labels[a]]
        for p in range(30):
            if a == p or labels[a] != labels[p]:
                continue
            pairs += 1
            beyond = [n for n in negatives if distances[a, n] > distances[a, p]]
            expected = min(beyond, key=lambda n: distances[a, n], default=None)
            if expected is None:
                expected = max(negatives, key=lambda n: distances[a, n])
            assert found[a, p] == expected
    assert len(found) == pairs


def test_batch_all_indices_are_every_triplet():
    labels = torch.tensor([0, 1, 0, 2, 1])
    expected = [
        (a, p, n)
        for a in range(5)
        for p in range(5)
        for n in range(5)
        if a != p and labels[a] == labels[p] != labels[n]
    ]
    assert [tuple(t) for t in torch.stack(mining.batch_all(labels), 1).tolist()] == expected


@pytest.mark.parametrize("kind", ["all", "semi-hard", "hard"])
@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 1, 2, 3]])
def test_without_any_triplet_the_loss_is_zero_and_has_a_gradient(kind, labels):
    embeddings, _ = batch(n=4)
    loss, active = TripletLoss(0.2, kind)(embeddings, torch.tensor(labels))
    assert loss.item() == 0 and float(active) == 0
    assert torch.equal(gradient(loss, embeddings), torch.zeros_like(embeddings))


def test_a_collapsed_batch_costs_exactly_the_margin():
    embeddings = F.normalize(torch.ones(12, 8)).requires_grad_()
    labels = torch.arange(12) % 3
    for kind in ("all", "semi-hard", "hard"):
        loss, active = TripletLoss(0.2, kind)(embeddings, labels)
        assert loss.item() == pytest.approx(0.2, abs=1e-5) and float(active) == 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("function", [batch_all_triplet_loss, supervised_contrastive_loss])
def test_half_precision_stays_finite(dtype, function):
    embeddings, labels = batch(n=32, dtype=dtype)
    loss = function(embeddings, labels)
    loss = loss[0] if isinstance(loss, tuple) else loss
    assert math.isfinite(loss.item())
    assert gradient(loss, embeddings).isfinite().all()


def test_softmax_loss_is_a_linear_classifier():
    loss = SoftmaxLoss(16, 5)
    embeddings, labels = batch(dtype=torch.float32)
    expected = F.cross_entropy(F.linear(embeddings, loss.weight, loss.bias), labels)
    assert loss(embeddings, labels)[0].item() == pytest.approx(expected.item(), abs=1e-6)


def test_a_smoothed_target_is_spread_over_all_classes():
    loss = create(Recipe(loss="softmax", smoothing=0.2), 16, 5)
    embeddings, labels = batch(dtype=torch.float64)
    targets = torch.full((len(labels), 5), 0.2 / 5, dtype=torch.float64)
    targets[torch.arange(len(labels)), labels] += 0.8
    logits = F.linear(embeddings, loss.weight.double(), loss.bias.double())
    expected = -(targets * logits.log_softmax(1)).sum(1).mean()
    assert loss.double()(embeddings, labels)[0].item() == pytest.approx(expected.item(), abs=1e-12)
    with pytest.raises(RetrievalError, match="--smoothing goes with --loss softmax, not with supcon"):
        Recipe(loss="supcon", smoothing=0.1)


def test_unknown_mining_is_refused_by_name():
    with pytest.raises(RetrievalError, match="'harder'"):
        TripletLoss(0.2, "harder")


def test_without_pytorch_metric_learning_its_losses_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_metric_learning", None)
    theirs = {name for name, loss in TABLE.items() if loss.make.startswith("pml.")}
    assert theirs == {"multi-similarity", "circle", "proxy-anchor"}
    for name in NAMES:
        if name not in theirs:
            assert create(Recipe(loss=name), 16, 4)
            continue
        with pytest.raises(RetrievalError, match=rf'^--loss {name} needs .* `pip install "retrieval\[pml\]"`, or '):
            create(Recipe(loss=name), 16, 4)
