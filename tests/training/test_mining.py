"""Distance-weighted sampling against its density, and the memory of earlier batches against the library's."""

import math

import numpy as np
import pytest
import torch
from pytorch_metric_learning import distances as pml_distances
from pytorch_metric_learning import losses as pml_losses
from pytorch_metric_learning import reducers as pml_reducers
from torch.nn import functional as F

from retrieval.errors import RetrievalError
from retrieval.training.losses import MINING, NAMES, TABLE, create, mining
from retrieval.training.losses.cross_batch_memory import CrossBatchMemory
from retrieval.training.losses.distances import squared_distances
from retrieval.training.losses.mining import CUTOFF, FARTHEST
from retrieval.training.losses.triplet import SoftTripletLoss, TripletLoss
from retrieval.training.recipe import CHOICES, Recipe

WITH_MEMORY = [name for name, loss in TABLE.items() if loss.memory]


def unit(n, d, seed=0, dtype=torch.float64):
    return F.normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=dtype))


def test_the_choices_are_the_minings():
    assert CHOICES["mining"] == MINING


@pytest.mark.parametrize("dim", [2, 3, 4, 16, 128, 1024])
def test_the_weight_is_one_over_the_density(dim):
    """Equation 4 as printed, in plain floats (their logarithm where it leaves their range)."""
    d = np.array([0.5, 0.9, 1.2, 1.39])
    expected = -((dim - 2) * np.log(d) + (dim - 3) / 2 * np.log(1 - d**2 / 4))
    if dim <= 128:
        np.testing.assert_allclose(np.exp(expected), 1 / (d ** (dim - 2) * (1 - d**2 / 4) ** ((dim - 3) / 2)))
    np.testing.assert_allclose(mining.log_inverse_density(torch.from_numpy(d), dim).numpy(), expected, atol=1e-9)


@pytest.mark.parametrize("dim", [2, 3, 5, 16])
def test_the_density_is_that_of_random_points_on_a_sphere(dim):
    """Their distances, counted, against the formula's integral: the largest difference of the two distributions."""
    x, y = unit(40_000, dim, 1), unit(40_000, dim, 2)
    found = (x - y).norm(dim=1).sort().values.numpy()
    grid = np.linspace(1e-4, 2 - 1e-4, 20_001)
    density = np.exp(-mining.log_inverse_density(torch.from_numpy(grid), dim).numpy())
    distribution = np.cumsum(density) / density.sum()
    difference = np.abs(np.interp(found, grid, distribution) - np.linspace(0, 1, len(found))).max()
    assert difference < (0.01 if dim > 2 else 0.02)  # of 2 dimensions the density has a pole at distance 2


def test_negatives_are_drawn_by_their_weights():
    """A thousand times one batch: how often each negative came, against min(λ, 1/q), by chi-square."""
    dim, n = 4, 40
    x = unit(n, dim, seed=5)
    x[1] = F.normalize(x[0] + 0.05 * x[1], dim=0)  # a negative nearer than the cut-off
    labels = torch.arange(n) % 2
    d = squared_distances(x, x).sqrt()
    generator = torch.Generator().manual_seed(0)
    counts = torch.zeros(n)
    rounds = 2000
    for _ in range(rounds):
        anchors, positives, negatives = mining.distance_weighted(d, labels, dim, generator=generator)
        assert (labels[anchors] == labels[positives]).all() and (anchors != positives).all()
        assert (labels[anchors] != labels[negatives]).all()
        counts += torch.bincount(negatives[anchors == 0], minlength=n)
    weights = np.zeros(n)
    for i in range(1, n, 2):
        distance = float(d[0, i])
        if distance < FARTHEST:
            cut = max(distance, CUTOFF)
            weights[i] = 1 / (cut ** (dim - 2) * (1 - cut**2 / 4) ** ((dim - 3) / 2))
    assert float(d[0, 1]) < CUTOFF and weights[1] == weights.max() and (weights == 0).sum() > n / 2
    draws = rounds * (n // 2 - 1)  # one for each positive
    assert counts.sum() == draws
    expected = draws * weights / weights.sum()
    assert (counts.numpy()[weights == 0] == 0).all()
    known = weights > 0
    square = ((counts.numpy()[known] - expected[known]) ** 2 / expected[known]).sum()
    freedom = known.sum() - 1
    assert abs(square - freedom) < 5 * math.sqrt(2 * freedom)


def test_where_all_negatives_are_far_each_is_drawn_alike():
    x = torch.tensor([[1.0, 0], [1, 0], [-1, 0], [-1, 0]], dtype=torch.float64)
    d = squared_distances(x, x).sqrt()
    drawn = set()
    for seed in range(20):
        _, _, negatives = mining.distance_weighted(
            d, torch.tensor([0, 0, 1, 1]), 2, generator=torch.Generator().manual_seed(seed)
        )
        drawn.add(tuple(negatives.tolist()[:1]))
    assert drawn == {(2,), (3,)}


@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 1, 2, 3]])
def test_without_any_triplet_nothing_is_drawn(labels):
    x = unit(4, 8)
    drawn = mining.distance_weighted(squared_distances(x, x).sqrt(), torch.tensor(labels), 8)
    assert [len(part) for part in drawn] == [0, 0, 0]


def test_distance_weighted_triplets_repeat_with_torchs_seed():
    x, labels = unit(30, 8), torch.arange(30) % 5
    values = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        values.append(TripletLoss(0.5, "distance-weighted")(x, labels)[0].item())
    assert values[0] == values[1] != values[2]


def test_the_memory_is_a_ring():
    memory = CrossBatchMemory(5, 1)
    assert [len(part) for part in memory.contents()] == [0, 0]
    rows = torch.arange(12.0)[:, None]
    memory.store(rows[:3], torch.arange(3))
    assert memory.contents()[1].tolist() == [0, 1, 2]
    memory.store(rows[3:6], torch.arange(3, 6))
    assert sorted(memory.contents()[1].tolist()) == [1, 2, 3, 4, 5]
    again = CrossBatchMemory(5, 1)
    again.load_state_dict(memory.state_dict())
    for one in (memory, again):
        one.store(rows[6:8], torch.arange(6, 8))
        embeddings, labels = one.contents()
        assert sorted(labels.tolist()) == [3, 4, 5, 6, 7] and torch.equal(embeddings[:, 0].long(), labels)
    memory.store(rows, torch.arange(12))  # larger than the memory
    assert sorted(memory.contents()[1].tolist()) == [7, 8, 9, 10, 11]


def peer(name):
    if name == "triplet":
        distance = pml_distances.LpDistance(power=2)
        reducer = pml_reducers.AvgNonZeroReducer()
        return pml_losses.TripletMarginLoss(margin=0.2, distance=distance, reducer=reducer, triplets_per_anchor="all")
    return {
        "supcon": pml_losses.SupConLoss(temperature=0.1),
        "infonce": pml_losses.NTXentLoss(temperature=0.1),
        "multi-similarity": pml_losses.MultiSimilarityLoss(alpha=2, beta=50, base=0.5),
        "circle": pml_losses.CircleLoss(m=0.4, gamma=80),
    }[name]


@pytest.mark.parametrize("name", ["triplet", "supcon", "infonce", "multi-similarity", "circle"])
def test_a_loss_with_memory_is_the_librarys(name):
    """Its memory takes in the batch first, and compares the batch with all of it but each picture with itself."""
    dim, size = 6, 40
    ours = create(Recipe(loss=name, mining="all", memory=size), dim, 4).double()
    theirs = pml_losses.CrossBatchMemory(peer(name), embedding_size=dim, memory_size=size + 16)
    for step in range(6):
        x = unit(16, dim, seed=step)
        labels = torch.randint(0, 4, (16,), generator=torch.Generator().manual_seed(step))
        expected = theirs(x, labels)
        loss, _ = ours(x, labels)
        # its ring holds the batch and, like ours, 40 before; until it is full both hold everything
        assert loss.item() == pytest.approx(expected.item(), rel=1e-9), step


@pytest.mark.parametrize("name", WITH_MEMORY)
def test_the_memory_is_left_alone_outside_training_and_gets_no_gradient(name):
    loss = create(Recipe(loss=name, memory=20), 6, 4)
    labels = torch.arange(12) % 4
    first = unit(12, 6, dtype=torch.float32).requires_grad_()
    loss(first, labels)
    loss.eval()
    before = {key: value.clone() for key, value in loss.state_dict().items()}
    second = unit(12, 6, seed=1, dtype=torch.float32).requires_grad_()
    value, _ = loss(second, labels)
    value.backward()
    assert first.grad is None and second.grad.any()
    assert all(torch.equal(before[key], value) for key, value in loss.state_dict().items())
    assert int(loss.memory.stored) == 12


def test_losses_with_weights_of_their_own_take_no_memory():
    for name in set(NAMES) - set(WITH_MEMORY):
        with pytest.raises(RetrievalError, match=f"--loss {name}"):
            create(Recipe(loss=name, memory=20), 6, 4)


@pytest.mark.parametrize("miner", ["all", "semi-hard", "hard"])
def test_triplets_with_memory_are_those_by_brute_force(miner):
    x, old = unit(10, 5), unit(15, 5, seed=1)
    labels, old_labels = torch.arange(10) % 3, torch.arange(15) % 4
    others, other_labels = torch.cat([x, old]), torch.cat([labels, old_labels])
    d = squared_distances(x, others)
    if miner == "all":
        found = mining.batch_all(labels, other_labels)
    else:
        found = (mining.batch_hard if miner == "hard" else mining.semi_hard)(d, labels, other_labels)
    expected = set()
    for a in range(10):
        positives = [j for j in range(25) if j != a and other_labels[j] == labels[a]]
        negatives = [j for j in range(25) if other_labels[j] != labels[a]]
        if miner == "hard":
            expected.add((a, max(positives, key=lambda j: d[a, j]), min(negatives, key=lambda j: d[a, j])))
            continue
        for p in positives:
            if miner == "all":
                expected |= {(a, p, n) for n in negatives}
            else:
                beyond = [n for n in negatives if d[a, n] > d[a, p]]
                near = min(beyond, key=lambda j: d[a, j]) if beyond else max(negatives, key=lambda j: d[a, j])
                expected.add((a, p, near))
    assert {tuple(t) for t in torch.stack(found, 1).tolist()} == expected


@pytest.mark.parametrize("miner", ["semi-hard", "hard"])
@pytest.mark.parametrize("soft", [False, True])
def test_mined_triplets_with_memory_cost_what_their_embeddings_say(miner, soft):
    x, (old, old_labels) = unit(10, 5).requires_grad_(), (unit(15, 5, seed=1), torch.arange(15) % 4)
    labels = torch.arange(10) % 3
    others, other_labels = torch.cat([x, old]), torch.cat([labels, old_labels])
    mine = mining.batch_hard if miner == "hard" else mining.semi_hard
    a, p, n = mine(squared_distances(x, others).detach(), labels, other_labels)
    excess = (x[a] - others[p]).square().sum(1) - (x[a] - others[n]).square().sum(1)
    if soft:
        expected = torch.log(1 + excess.exp()).mean()
    else:
        hinges = (0.5 + excess).clamp_min(0)
        expected = hinges.sum() / (hinges > 0).sum()
    loss, _ = (SoftTripletLoss(miner) if soft else TripletLoss(0.5, miner))(x, labels, (old, old_labels))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-9)
    ours, theirs = (torch.autograd.grad(value, x)[0] for value in (loss, expected))
    ours, theirs = (g - (g * x.detach()).sum(1, keepdim=True) * x.detach() for g in (ours, theirs))  # along the sphere
    torch.testing.assert_close(ours, theirs)
