"""Losses for binary codes against brute force over all codes, the divide-and-encode head, and codes from training to
the measures of an index."""

import itertools
import json
import math

import numpy as np
import pytest
import torch

from retrieval import networks
from retrieval.cli import main
from retrieval.errors import RetrievalError
from retrieval.training import losses
from retrieval.training.losses import hashing
from retrieval.training.recipe import Recipe


def outputs(count, bits, seed=0, scale=1.0):
    """Three sets of raw outputs, float64."""
    draws = torch.Generator().manual_seed(seed)
    return [scale * torch.randn(count, bits, generator=draws, dtype=torch.float64) for _ in range(3)]


def ranking_loss(codes, margin):
    """The paper's ℓ of three codes of −1 and 1."""
    g, near, far = (np.array(code) for code in codes)
    return max(0.0, margin + int((g != near).sum()) - int((g != far).sum()))


def brute_force(f, near, far, margin):
    """The bound of one triplet and the codes that make it, over all 2^b × 2^b × 2^b of them."""
    every = list(itertools.product((-1, 1), repeat=len(f)))
    value, codes = max(
        (
            ranking_loss(codes, margin) + sum(float(np.dot(g, x)) for g, x in zip(codes, (f, near, far), strict=True)),
            codes,
        )
        for codes in itertools.product(every, repeat=3)
    )
    return value - sum(float(np.abs(x).sum()) for x in (f, near, far)), codes


def dynamic_programme(f, near, far, margin):
    """The bound of one triplet as the paper finds it: the best sum for each difference of the two distances."""
    best = {0: 0.0}
    for x, y, z in zip(f, near, far, strict=True):
        following = {}
        for difference, value in best.items():
            for g, h, k in itertools.product((-1, 1), repeat=3):
                reached = difference + (g != h) - (g != k)
                following[reached] = max(following.get(reached, -math.inf), value + g * x + h * y + k * z)
        best = following
    value = max(max(0.0, margin + difference) + value for difference, value in best.items())
    return value - sum(float(np.abs(x).sum()) for x in (f, near, far))


@pytest.mark.parametrize(("bits", "margin"), [(1, 1.0), (2, 1.0), (3, 1.0), (3, 2.5), (4, 1.0)])
def test_hdml_is_the_bound_that_brute_force_finds_with_its_gradient(bits, margin):
    triplets = [x.requires_grad_() for x in outputs(4, bits, seed=bits, scale=0.6)]
    bounds = hashing.hdml_loss(*triplets, margin)
    bounds.sum().backward()
    for i in range(4):
        rows = [x[i].detach().numpy() for x in triplets]
        value, codes = brute_force(*rows, margin)
        assert bounds[i].item() == pytest.approx(value, abs=1e-12)
        for x, row, code in zip(triplets, rows, codes, strict=True):
            assert np.allclose(x.grad[i], np.array(code) - np.sign(row))


@pytest.mark.parametrize("margin", [1.0, 6.0])
def test_hdml_is_the_bound_that_the_papers_dynamic_programme_finds(margin):
    triplets = outputs(20, 24, seed=1)
    bounds = hashing.hdml_loss(*triplets, margin)
    expected = [dynamic_programme(*(x[i].tolist() for x in triplets), margin) for i in range(20)]
    assert bounds.tolist() == pytest.approx(expected, abs=1e-9)


def test_hdml_is_never_below_the_loss_of_the_codes_and_meets_it_where_they_are_decided():
    for scale, tight in ((0.3, False), (100.0, True)):
        triplets = outputs(200, 8, seed=2, scale=scale)
        if tight:
            triplets = [x + 50 * x.sign() for x in triplets]
        bounds = hashing.hdml_loss(*triplets, 2.0).tolist()
        real = [ranking_loss([x[i].sign().numpy() for x in triplets], 2.0) for i in range(200)]
        assert all(bound >= loss - 1e-9 for bound, loss in zip(bounds, real, strict=True))
        assert (bounds == pytest.approx(real)) == tight


def test_relaxed_codes_are_cut_outside_the_band():
    z = torch.tensor([[-3.0, -0.5, 0.0, 0.5, 3.0]], dtype=torch.float64, requires_grad=True)
    codes = hashing.lai_codes(z, 0.25)
    s = 1 / (1 + math.exp(-0.5))
    assert codes.tolist()[0] == pytest.approx([0, 1 - s, 0.5, s, 1])
    codes.sum().backward()
    assert z.grad.tolist()[0] == pytest.approx([0, s * (1 - s), 0.25, s * (1 - s), 0])


def test_the_hinge_of_decided_codes_is_one_of_hamming_distances():
    a, p, n = ((x > 0).double() for x in outputs(50, 12, seed=3))
    expected = [ranking_loss([x[i].numpy() for x in (a, p, n)], 1.0) for i in range(50)]
    assert hashing.lai_loss(a, p, n).tolist() == expected


def test_csq_is_the_formula_and_finite_for_decided_outputs():
    z, _, _ = outputs(6, 8, seed=4)
    centres = (torch.arange(48).reshape(6, 8) % 3 > 0).double()
    h = 1 / (1 + torch.exp(-z))
    central = -(centres * h.log() + (1 - centres) * (1 - h).log()).sum() / 6
    quantisation = ((2 * h - 1).abs() - 1).cosh().log().sum() / 6
    found = hashing.csq_loss(z, centres, 0.3)
    assert found.item() == pytest.approx((central + 0.3 * quantisation).item(), abs=1e-12)
    far = torch.tensor([[1e4, -1e4]], requires_grad=True)
    loss = hashing.csq_loss(far, torch.tensor([[1.0, 0.0]]), 0.3)
    loss.backward()
    assert loss.item() == 0 and far.grad.isfinite().all()


@pytest.mark.parametrize(
    ("classes", "bits", "least"), [(10, 16, 8), (32, 16, 8), (10, 64, 32), (10, 12, 3), (10, 48, 16)]
)
def test_hash_centres_lie_far_apart(classes, bits, least):
    centres = hashing.hash_centres(classes, bits)
    assert centres.shape == (classes, bits) and set(centres.unique().tolist()) == {0.0, 1.0}
    distances = torch.cdist(centres, centres, p=1)
    assert distances[~torch.eye(classes, dtype=torch.bool)].min() >= least
    assert torch.equal(centres, hashing.hash_centres(classes, bits))


def test_too_few_codes_for_the_classes():
    with pytest.raises(RetrievalError, match="3 bits are too few for 10 classes; take more --bits"):
        hashing.hash_centres(10, 3)


@pytest.mark.parametrize("name", ["hdml", "lai", "csq"])
def test_the_losses_draw_from_the_batch_and_bear_batches_without_triplets(name):
    loss = losses.create(Recipe(loss=name), 16, 4)
    assert not loss.unit
    z = outputs(12, 16)[0].bfloat16().requires_grad_()
    for labels in (torch.arange(12) % 4, torch.zeros(12, dtype=torch.int64), torch.arange(12) % 4 // 3):
        z.grad = None
        value, active = loss(z, labels)
        value.backward()
        assert value.isfinite() and z.grad.isfinite().all() and (active.isnan() or 0 <= active <= 1)
        if len(labels.unique()) == 1 and name != "csq":
            assert value == 0 and active == 0 and not z.grad.any()


def test_hdml_compares_outputs_of_one_scale_whatever_the_network_gives():
    """The loss of a batch is that of outputs of standard deviation 2, bit by bit; no gradient lies along the scale."""
    z = (outputs(30, 8, seed=6)[0] + 0.5).requires_grad_()
    labels = torch.arange(30) % 3
    loss = losses.create(Recipe(loss="hdml"), 8, 3)
    torch.manual_seed(1)
    value, active = loss(z, labels)
    value.backward()
    assert (z.grad * z).sum(0).abs().max() < 1e-9 and z.grad.abs().max() > 0.01
    torch.manual_seed(1)
    assert loss(z * torch.logspace(-3, 3, 8, dtype=torch.float64), labels)[0].item() == pytest.approx(value.item())
    torch.manual_seed(1)
    scaled = z.detach().numpy() / z.detach().numpy().std(0) * 2
    bounds = hashing.hdml_loss(*hashing._drawn(torch.from_numpy(scaled), labels)).numpy()
    assert value.item() == pytest.approx(bounds[bounds > 1e-9].mean()) and active == pytest.approx(
        (bounds > 1e-9).mean()
    )


def test_hdml_bears_a_bit_that_is_the_same_for_all():
    z = outputs(12, 6, seed=7)[0]
    z[:, 2] = 0.3
    z.requires_grad_()
    loss = losses.create(Recipe(loss="hdml"), 6, 3)
    value, _ = loss(z, torch.arange(12) % 3)
    value.backward()
    assert value.isfinite() and z.grad.isfinite().all()


def test_every_anchor_and_positive_has_a_negative_drawn_from_all():
    torch.manual_seed(0)
    labels = torch.tensor([4, 1, 4, 2, 1, 2, 2, 7])
    numbers = torch.arange(8.0)[:, None]
    found = set()
    for _ in range(200):
        found.update(zip(*(x[:, 0].int().tolist() for x in hashing._drawn(numbers, labels)), strict=True))
    expected = {
        (a, p, n)
        for a, p, n in itertools.product(range(8), repeat=3)
        if a != p and labels[a] == labels[p] and labels[a] != labels[n]
    }
    assert found == expected


@pytest.mark.kernels
@pytest.mark.parametrize("name", ["hdml", "lai", "csq"])
def test_a_linear_layer_learns_codes_whose_nearest_others_are_of_the_class(name):
    torch.manual_seed(0)
    loss = losses.create(Recipe(loss=name, margin=None if name == "csq" else 4.0), 16, 4)
    labels = torch.arange(40) % 4
    x = torch.randn(4, 8)[labels] + 0.3 * torch.randn(40, 8)
    layer = torch.nn.Linear(8, 16)

    def wrong():
        """How often a picture of another class is no farther than one of its own."""
        codes = (layer(x) > 0).float()
        distances = torch.cdist(codes, codes, p=1)
        same = labels[:, None] == labels
        return float(
            (distances[:, :, None] >= distances[:, None, :])[same[:, :, None] & ~same[:, None, :]].float().mean()
        )

    before = wrong()
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.03)
    for _ in range(100):
        optimizer.zero_grad()
        loss(layer(x), labels)[0].backward()
        optimizer.step()
    assert before > 0.05 and wrong() < 0.02


def test_each_bit_sees_its_own_slice():
    network = networks.create("divide-and-encode", dim=8, channels=1, size=28, widths=(4, 8)).eval()
    x = torch.rand(5, 1, 28, 28)
    before = network(x)
    assert before.shape == (5, 8) and network.dim == 8 and network.shares is None
    slices = network.embedding.features[0].weight.data.unflatten(0, (8, -1))
    slices[3] += 0.1
    changed = (network(x) != before).any(0)
    assert changed.tolist() == [i == 3 for i in range(8)]


@pytest.fixture(scope="module")
def patterns(tmp_path_factory):
    """Class folders of stripes in four directions, with noise."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("patterns")
    noise = np.random.default_rng(0)
    y, x = np.mgrid[:16, :16]
    for name, wave in (("lying", y), ("standing", x), ("falling", x - y), ("rising", x + y)):
        (folder / name).mkdir()
        for i in range(24):
            grey = 128 + 90 * np.sin(wave * 1.3 + noise.uniform(0, 6)) + noise.normal(0, 20, (16, 16))
            Image.fromarray(grey.clip(0, 255).astype(np.uint8)).save(folder / name / f"{i}.png")
    return folder


def run(capsys, *words):
    assert main([str(word) for word in words]) == 0
    return capsys.readouterr().out


@pytest.mark.kernels
@pytest.mark.usefixtures("lean")
def test_codes_from_training_to_the_measures_of_an_index(patterns, tmp_path, capsys):
    few = ["--size", 16, "--epochs", 20, "--widths", "8,16", "--classes-per-batch", 4, "--pictures-per-class", 8]
    few += ["--validation", 0]
    model, index = tmp_path / "run", tmp_path / "index"
    run(capsys, "train", patterns, "--out", model, "--loss", "csq", "--bits", 24, "--net", "divide-and-encode", *few)
    run(capsys, "build", patterns, "--model", model, "--out", index, "--vectors", "binary")
    info = json.loads(run(capsys, "info", index, "--json"))
    assert "binary" in json.dumps(info)

    found = json.loads(run(capsys, "query", index, patterns / "rising" / "0.png", "-k", 5, "--json"))
    scores = [hit["score"] for hit in found["answers"][0]["hits"]]
    differing = [(1 - score) / 2 * 24 for score in scores]
    # of its own code, too: a number within rounding of 0 may have another sign alone than among others
    assert differing[0] < 1.5 and all(bits == pytest.approx(round(bits), abs=1e-4) for bits in differing)

    report = json.loads(run(capsys, "evaluate", index, "--json"))
    assert report["tied"] > 0 and report["measures"]["mAP"]["value"] > 0.6
