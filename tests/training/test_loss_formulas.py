"""Every loss against pytorch-metric-learning or the paper's formula written out slowly in float64, value and gradient,
over batches with ties, lone classes, one class and identical vectors; and finite in half precision on all of them."""

import math
from types import SimpleNamespace

import pytest
import torch
from pytorch_metric_learning import distances, losses, reducers
from torch.nn import functional as F

from retrieval.errors import RetrievalError
from retrieval.training.losses import NAMES, TABLE, create
from retrieval.training.losses.classification import ArcFaceLoss
from retrieval.training.losses.contrastive import InfoNCELoss, NPairsLoss, SupervisedContrastiveLoss
from retrieval.training.losses.siamese import ContrastiveLoss, EnergyLoss
from retrieval.training.losses.triplet import SoftTripletLoss, TripletLoss
from retrieval.training.recipe import CHOICES, Recipe

DIM, CLASSES = 6, 5
BATCHES = ("ordinary", "ties", "lone", "one class", "identical", "opposite")


def batch(kind, dtype=torch.float64, n=24):
    generator = torch.Generator().manual_seed(BATCHES.index(kind))
    x = F.normalize(torch.randn(n, DIM, generator=generator, dtype=torch.float64))
    labels = torch.randint(0, CLASSES, (n,), generator=generator)
    if kind == "ties":  # every vector twice, in one class or in two
        x = x[torch.arange(n) // 2]
    elif kind == "lone":  # two classes of one picture each
        labels = torch.cat([torch.tensor([3, 4]), labels[2:] % 3])
    elif kind == "one class":
        labels = torch.full((n,), 2)
    elif kind == "identical":
        x = x[:1].repeat(n, 1)
    elif kind == "opposite":
        x = x[:1] * torch.where(torch.arange(n) % 2 == 0, 1.0, -1.0)[:, None]
    return x.to(dtype).requires_grad_(), labels


def tangent(loss, x):
    """The gradient along the sphere: what is normalised first has no other, and the formulas differ in the rest."""
    full = torch.autograd.grad(loss, x)[0].double()
    unit = F.normalize(x.detach().double())
    return full - (full * unit).sum(1, keepdim=True) * unit


def relation(labels):
    same = labels[:, None] == labels[None, :]
    return same & ~torch.eye(len(labels), dtype=torch.bool), ~same


def slow_pairs(x, labels, order, genuine_loss, impostor_loss):
    """Half the mean over genuine pairs and half that over impostors, each unordered pair once."""
    kinds = {True: [], False: []}
    for i in range(len(x)):
        for j in range(i):
            difference = x[i] - x[j]
            if not difference.any():  # the norm has no gradient there; 0 is taken
                difference = torch.zeros_like(difference)
                distance = difference.sum()
            else:
                distance = difference.abs().sum() if order == 1 else difference.square().sum().sqrt()
            genuine = bool(labels[i] == labels[j])
            kinds[genuine].append(genuine_loss(distance) if genuine else impostor_loss(distance))
    means = [torch.stack(values).mean() for values in kinds.values() if values]
    return sum(means) / 2 + 0 * x.sum()


def slow_energy(x, labels):
    q = 2 * math.sqrt(DIM)
    return slow_pairs(x, labels, 1, lambda e: 2 / q * e**2, lambda e: 2 * q * torch.exp(-2.77 * e / q))


def slow_contrastive(x, labels):
    return slow_pairs(x, labels, 2, lambda d: d**2 / 2, lambda d: max(0 * d, 1.2 - d) ** 2 / 2)


def slow_supcon(x, labels):
    """Khosla et al. 2020, equation 2."""
    positive, _ = relation(labels)
    anchors = []
    for i in range(len(x)):
        among = [torch.dot(x[i], x[a]) / 0.1 for a in range(len(x)) if a != i]
        shares = [torch.dot(x[i], x[p]) / 0.1 - torch.stack(among).logsumexp(0) for p in positive[i].nonzero()[:, 0]]
        if shares:
            anchors.append(-torch.stack(shares).mean())
    return torch.stack(anchors).mean()


def peer_triplet(**more):
    squared = distances.LpDistance(power=2)
    return losses.TripletMarginLoss(distance=squared, reducer=reducers.AvgNonZeroReducer(), **more)


def peer_with_weights(peer, weight):
    """The library's classifier with our class directions."""
    with torch.no_grad():
        peer.W.copy_(weight.T)
    return peer


ARCFACE = ArcFaceLoss(DIM, CLASSES, margin=0.5, scale=16)
NORMALISED = ArcFaceLoss(DIM, CLASSES, margin=0, scale=20)
CASES = {
    "triplet": (TripletLoss(0.2, "all"), peer_triplet(margin=0.2, triplets_per_anchor="all")),
    "soft-triplet": (SoftTripletLoss("all"), peer_triplet(margin=0, smooth_loss=True, triplets_per_anchor="all")),
    "energy": (EnergyLoss(DIM), slow_energy),
    "contrastive": (ContrastiveLoss(1.2), slow_contrastive),
    "supcon": (SupervisedContrastiveLoss(0.1), slow_supcon),
    "infonce": (InfoNCELoss(0.1), losses.NTXentLoss(temperature=0.1)),
    "norm-softmax": (
        NORMALISED,
        peer_with_weights(losses.NormalizedSoftmaxLoss(CLASSES, DIM, temperature=0.05).double(), NORMALISED.weight),
    ),
    "arcface": (
        ARCFACE,
        peer_with_weights(
            losses.ArcFaceLoss(CLASSES, DIM, margin=math.degrees(0.5), scale=16).double(), ARCFACE.weight
        ),
    ),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", BATCHES)
@pytest.mark.parametrize("name", CASES)
def test_ours_are_the_published_formulas(name, kind, dtype):
    ours, theirs = CASES[name]
    x, labels = batch(kind, dtype)
    exact = x.detach().double().requires_grad_()
    expected = theirs(exact, labels)
    loss, _ = ours(x, labels)
    assert loss.dtype == dtype
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5, rel=1e-5)
    torch.testing.assert_close(tangent(loss, x), tangent(expected, exact), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 0.2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_n_pairs_agree_where_a_class_has_one_pair(dtype, temperature):
    x, _ = batch("ordinary", dtype, n=12)
    labels = torch.tensor([4, 0, 1, 1, 2, 0, 2, 3, 0, 4, 2, 4])  # classes of three, two and one picture
    exact = x.detach().double().requires_grad_()
    similarity = distances.DotProductSimilarity()
    peer = losses.NPairsLoss(distance=similarity)
    if temperature == 1:
        expected = peer(exact, labels)
    else:  # the library has no temperature; the formula, then
        anchors, positives = [1, 2, 4, 0], [5, 3, 6, 9]
        logits = exact[anchors] @ exact[positives].T / temperature
        expected = F.cross_entropy(logits, torch.arange(4))
    loss, _ = NPairsLoss(temperature)(x, labels)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    torch.testing.assert_close(tangent(loss, x), tangent(expected, exact), atol=1e-5, rtol=1e-5)


def test_n_pairs_of_several_a_class_leave_out_their_own_class():
    x, _ = batch("ordinary", n=8)
    labels = torch.tensor([0, 0, 1, 1, 0, 0, 1, 1])
    expected = []
    for anchor, positive, others in ((0, 1, (3, 7)), (2, 3, (1, 5)), (4, 5, (3, 7)), (6, 7, (1, 5))):
        logits = torch.stack([x[anchor] @ x[i] for i in (positive, *others)]) / 0.1
        expected.append(logits.logsumexp(0) - logits[0])
    assert NPairsLoss(0.1)(x, labels)[0].item() == pytest.approx(torch.stack(expected).mean().item(), abs=1e-9)


@pytest.mark.parametrize("name", ["energy", "contrastive"])
def test_given_pairs_are_the_mean_over_them(name):
    """The published form: pairs drawn, as many of one class as of two."""
    x, _ = batch("ordinary", n=12)
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0, 3, 2, 4, 1, 4])  # three genuine pairs, three impostors
    loss, _ = (EnergyLoss(DIM, given=True) if name == "energy" else ContrastiveLoss(1.2, given=True))(x, labels)
    single = CASES[name][1]
    each = [2 * single(x[[i, i + 6]], labels[[i, i + 6]]).item() for i in range(6)]
    assert loss.item() == pytest.approx(sum(each) / 6, abs=1e-9)


def test_q_is_the_largest_energy_of_unit_vectors():
    farthest = torch.full((1, DIM), 1 / math.sqrt(DIM), dtype=torch.float64)
    assert float((farthest - -farthest).abs().sum()) == pytest.approx(EnergyLoss(DIM).q)
    x, _ = batch("ordinary", n=200)
    assert torch.cdist(x, x, p=1).max().item() < EnergyLoss(DIM).q


def test_contrastive_share_is_that_of_impostors_within_the_margin():
    x = torch.tensor([[0.0, 0], [0.5, 0], [3, 0], [0.2, 0]])
    loss, share = ContrastiveLoss(1.0, unit=False)(x, torch.tensor([0, 1, 1, 0]))
    assert float(share) == pytest.approx(2 / 4)  # 0.5 and 0.3 are, 3 and 2.8 are not
    genuine, impostor = (2.5**2 + 0.2**2) / 4, (0.5**2 + 0.7**2) / 8
    assert float(loss) == pytest.approx((genuine + impostor) / 2)


def test_arcface_beyond_its_last_angle_goes_on_falling():
    """cos(θ + margin) would rise again for θ > π − margin."""
    directions = torch.eye(2, dtype=torch.float64)
    angles = torch.linspace(0.01, math.pi - 0.01, 60, dtype=torch.float64)
    values = []
    for angle in angles:
        x = torch.stack([angle.cos(), angle.sin()])[None]
        loss = ArcFaceLoss(2, 2, margin=0.5, scale=1)
        loss.weight.data = torch.stack([directions[0], -directions[0]])
        values.append(loss(x, torch.tensor([0]))[0].item())
    assert values == sorted(values)


@pytest.mark.parametrize("own", [1.0, -1.0])
def test_arcface_has_a_gradient_where_a_picture_is_its_class_itself(own):
    """The slope of the arc cosine has no end there."""
    loss = ArcFaceLoss(3, 2, margin=0.5, scale=16)
    loss.weight.data = torch.eye(3)[:2]
    x = torch.tensor([[own, 0.0, 0.0]], requires_grad=True)
    value, _ = loss(x, torch.tensor([0]))
    value.backward()
    assert math.isfinite(value.item()) and x.grad.isfinite().all() and loss.weight.grad.isfinite().all()


def every_recipe():
    for name in NAMES:
        minings = CHOICES["mining"][:-1] if name in ("triplet", "soft-triplet") else ("semi-hard",)
        yield from (Recipe(loss=name, mining=mining) for mining in minings)


@pytest.mark.parametrize("recipe", list(every_recipe()), ids=lambda recipe: f"{recipe.loss}-{recipe.mining}")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("memory", [0, 30])
def test_every_loss_stays_finite_on_every_batch(recipe, dtype, memory):
    if memory and not TABLE[recipe.loss].memory:
        with pytest.raises(RetrievalError, match=f"not with --loss {recipe.loss}"):
            create(recipe.replace(memory=memory), DIM, CLASSES)
        return
    for kind in BATCHES:
        loss = create(recipe.replace(memory=memory), DIM, CLASSES)
        for _ in range(2):
            x, labels = batch(kind, dtype)
            value, active = loss(x, labels)
            assert math.isfinite(value.item()), kind
            gradient = torch.autograd.grad(value, x)[0]
            assert gradient.dtype == dtype and gradient.isfinite().all(), kind
            assert math.isnan(active) or 0 <= float(active) <= 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["contrastive", "energy"])
def test_raw_output_of_any_size_stays_finite(name, dtype):
    x, labels = batch("ordinary", dtype)
    far = (x.detach() * 3000).requires_grad_()
    value, _ = create(Recipe(loss=name, space="raw"), DIM, CLASSES)(far, labels)
    assert math.isfinite(value.item()) and torch.autograd.grad(value, far)[0].isfinite().all()


@pytest.mark.parametrize("memory", [0, 5])
@pytest.mark.parametrize(("space", "unit"), [("unit", True), ("raw", False)])
def test_a_loss_says_whether_it_wants_unit_vectors(space, unit, memory):
    assert create(Recipe(memory=memory), DIM, CLASSES).unit
    for name in ("contrastive", "energy"):
        assert create(Recipe(loss=name, space=space, memory=memory), DIM, CLASSES).unit == unit


def test_the_names_of_the_command_line_are_those_of_the_losses():
    assert CHOICES["loss"] == NAMES
    with pytest.raises(RetrievalError, match="'quintuplet'"):
        create(SimpleNamespace(loss="quintuplet"), 4, 2)


def test_margin_and_temperature_are_the_losss_own_unless_given():
    assert create(Recipe(), 4, 2).margin == 0.2
    assert create(Recipe(loss="contrastive"), 4, 2).margin == 1.4
    assert create(Recipe(loss="contrastive", margin=0.5), 4, 2).margin == 0.5
    assert create(Recipe(loss="arcface", temperature=0.02), 4, 2).scale == pytest.approx(50)
    assert create(Recipe(loss="norm-softmax", margin=0.7), 4, 2).margin == 0
    settled = Recipe(loss="contrastive").resolve(channels=3, pretrained=False)
    assert settled.margin == 1.4 and settled.temperature is None


def test_losses_of_large_and_small_gradients_have_learning_rates_of_their_own():
    def rate(loss, **more):
        return Recipe(loss=loss, **more).resolve(channels=3, pretrained=False).lr

    assert rate("triplet") == 0.07 and rate("contrastive") == 0.28 and rate("circle") == 0.0049
    assert rate("circle", lr=0.2) == 0.2
    assert rate("circle", optimizer="adamw") == rate("triplet", optimizer="adamw")
    x, labels = batch("ordinary", torch.float32)
    size = {name: tangent(create(Recipe(loss=name), DIM, CLASSES)(x, labels)[0], x).norm().item() for name in NAMES}
    for name, loss in TABLE.items():
        assert loss.rate == 1 or (size[name] > size["infonce"]) == (loss.rate < 1), name


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"sampler": "pairs"}, "not with triplet"),
        ({"sampler": "pairs", "loss": "energy", "pairs_per_batch": 7}, "even"),
        ({"space": "raw"}, "not with triplet"),
        ({"memory": 100, "sampler": "pairs", "loss": "energy"}, "not with pairs"),
        ({"loss": "soft-triplet", "mining": "given"}, "random-triplets"),
        ({"memory": -1}, "memory"),
    ],
)
def test_choices_that_do_not_go_together_are_refused(change, named):
    with pytest.raises(RetrievalError, match=named):
        Recipe(**change)


def test_proxies_are_learned_kept_and_drawn_from_the_seed():
    state = torch.random.get_rng_state()
    loss, again, other = (create(Recipe(loss="proxy-anchor", seed=seed), DIM, CLASSES) for seed in (1, 1, 2))
    assert torch.equal(state, torch.random.get_rng_state())
    ((name, proxies),) = loss.named_parameters()
    assert proxies.shape == (CLASSES, DIM) and name in loss.state_dict()
    assert torch.equal(proxies, dict(again.named_parameters())[name])
    assert not torch.equal(proxies, dict(other.named_parameters())[name])
    x, labels = batch("ordinary", torch.float32)
    loss(x, labels)[0].backward()
    assert proxies.grad is not None and proxies.grad.any()
