"""VGG16 and the pair networks: the published layers, shapes over sizes and channels, symmetry, refusals."""

import pytest
import torch
from torch import nn

from retrieval import networks
from retrieval.errors import RetrievalError
from retrieval.networks import pairs

SMALL = {
    "comparison": {"trunk": "convnet", "channels": 1, "dim": 8, "widths": (4, 8)},
    "two-channel": {"widths": (4, 6, 8)},
    "two-stream": {"widths": (4, 8)},
    "siamese": {"widths": (4, 6, 8)},
    "pseudo-siamese": {"widths": (4, 6, 8)},
}


def pictures(n=3, channels=1, size=64, seed=0):
    return torch.randn(n, channels, size, size, generator=torch.Generator().manual_seed(seed))


def made(name, seed=0, **options):
    """A small one; its batch normalisation has seen a batch, so that no layer is idle."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = pairs.create(name, **{**SMALL[name], **options})
        channels, size = network.preprocessing.channels, network.preprocessing.size
        network.train()(pictures(16, channels, size), pictures(16, channels, size, seed=1))
    return network.eval()


def layers(network, kind):
    return [m for m in network.modules() if isinstance(m, kind)]


def convolutions(network):
    return [(c.in_channels, c.out_channels, c.kernel_size[0], c.stride[0]) for c in layers(network, nn.Conv2d)]


def test_vgg16_is_the_published_one():
    network = networks.create("vgg16")
    widths = [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6
    assert convolutions(network) == [(i, o, 3, 1) for i, o in zip([1, *widths], widths, strict=False)]
    kinds = [type(m).__name__ for m in network.features if isinstance(m, nn.Conv2d | nn.MaxPool2d)]
    assert "".join(kind[0] for kind in kinds) == "CCMCCMCCCMCCCMCCCM"
    assert network.dim == 512 * 3 * 3 and network.preprocessing.size == 105 and network.preprocessing.mode == "L"


@pytest.mark.parametrize(("size", "channels", "dim"), [(32, 3, None), (47, 1, 5), (105, 1, None), (64, 3, 7)])
def test_vgg16_takes_any_size_and_narrow_widths(size, channels, dim):
    network = networks.create("vgg16", dim=dim, channels=channels, size=size, widths=(2, 2, 4, 4, 6)).eval()
    assert network(pictures(2, channels, size)).shape == (2, network.dim)
    assert network.dim == (dim or 6 * (size // 32) ** 2)


def test_settled_options_make_the_same_network_again():
    sized = [name for name in networks.NAMES if networks.takes(name, "size")]
    assert sized == ["convnet", "divide-and-encode", "seed", "vgg16"]
    for name in sized:
        network = networks.create(name, size=40)
        options = networks.settled(network, {"size": 40})
        again = networks.create(name, **options)
        shapes = [{key: value.shape for key, value in n.state_dict().items()} for n in (network, again)]
        assert shapes[0] == shapes[1] and options["size"] == 40 and "channels" in options


def test_the_networks_of_patches_are_the_published_ones():
    """Zagoruyko and Komodakis 2015 at 64×64: filters, kernels, strides, and the decision layers."""
    branch = [(96, 7, 3), (192, 5, 1), (256, 3, 1)]
    stream = [(96, 5, 1), (96, 3, 1), (192, 3, 1), (192, 3, 1)]
    expected = {
        "two-channel": (2, branch, [(256, 256), (256, 1)]),
        "siamese": (1, branch, [(512, 512), (512, 1)]),
        "pseudo-siamese": (1, branch * 2, [(512, 512), (512, 1)]),
        "two-stream": (2, stream * 2, [(1536, 768), (768, 1)]),
    }
    for name, (inputs, filters, decision) in expected.items():
        network = pairs.create(name)
        found = convolutions(network)
        assert [row[1:] for row in found] == filters and found[0][0] == inputs
        assert [(m.in_features, m.out_features) for m in layers(network, nn.Linear)] == decision
        assert network.eval()(pictures(), pictures(seed=1)).shape == (3,)


def test_the_comparison_has_512_hidden_units_over_vgg16():
    network = pairs.create("comparison", trunk="vgg16", widths=(2, 2, 4, 4, 6), size=105)
    assert [(m.in_features, m.out_features) for m in layers(network, nn.Linear)] == [(54, 512), (512, 1)]
    first, second = pictures(2, 1, 105), pictures(2, 1, 105, seed=1)
    hidden, out = layers(network.eval(), nn.Linear)
    difference = (network.trunk(first) - network.trunk(second)).abs()
    slow = (difference @ hidden.weight.T + hidden.bias).clamp_min(0) @ out.weight[0] + out.bias
    torch.testing.assert_close(network(first, second), slow)


@pytest.mark.parametrize("name", pairs.NAMES)
@pytest.mark.parametrize(("channels", "size"), [(1, 64), (3, 64), (1, 71), (3, 96), (1, 105)])
def test_shapes_over_sizes_and_channels(name, channels, size):
    network = made(name, channels=channels, size=size)
    logits = network(pictures(3, channels, size), pictures(3, channels, size, seed=1))
    assert logits.shape == (3,) and logits.isfinite().all() and logits.std() > 0
    assert network.preprocessing.size == size and network.preprocessing.channels == channels


@pytest.mark.parametrize("name", pairs.NAMES)
def test_a_pair_scores_alike_in_both_orders(name):
    network = made(name)
    first, second = pictures(), pictures(seed=1)
    there, back = network(first, second), network(second, first)
    assert torch.allclose(there, back) == network.symmetric == (name == "comparison")
    both = pairs.symmetric_logits(network, first, second)
    torch.testing.assert_close(both, pairs.symmetric_logits(network, second, first))
    torch.testing.assert_close(both, (there + back) / 2)


@pytest.mark.parametrize("name", pairs.NAMES)
def test_features_once_give_the_logits_of_the_pair(name):
    network = made(name)
    siamese = isinstance(network, pairs.SiameseNetwork)
    assert siamese == (name in ("comparison", "siamese"))
    if siamese:
        first, second = pictures(), pictures(seed=1)
        torch.testing.assert_close(network.compare(network.embed(first), network.embed(second)), network(first, second))


def test_the_streams_see_the_centre_and_the_whole():
    """What lies outside the middle half reaches the surround stream only."""
    network = made("two-stream")
    seen = {}
    for name in ("centre", "surround"):
        getattr(network, name).register_forward_pre_hook(lambda _, given, name=name: seen.update({name: given[0]}))
    first, second = pictures(1), pictures(1, seed=1)
    network(first, second)
    pair = torch.cat([first, second], 1)
    assert torch.equal(seen["centre"], pair[..., 16:48, 16:48])
    corner = pair[..., 10:12, 20:22].mean((2, 3))
    torch.testing.assert_close(seen["surround"][..., 5, 10], corner)


@pytest.mark.parametrize("name", [*pairs.NAMES, "vgg16"])
def test_the_input_is_normalised_by_the_training_pictures(name):
    grey = torch.randint(40, 90, (20, 64, 64, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    network = networks.create("vgg16", size=64, widths=(2,) * 5) if name == "vgg16" else made(name, size=64, channels=1)
    network.fit_to(grey)
    assert network.preprocessing.mean[0] == pytest.approx(float(grey.float().mean()) / 255, abs=1e-6)
    assert network.preprocessing.std[0] == pytest.approx(float(grey.float().std()) / 255, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("three-channel", {}, "three-channel"),
        ("two-channel", {"depth": 3}, "depth"),
        ("two-channel", {"size": 63}, "64 pixels a side, not 63"),
        ("two-stream", {"size": 55}, "56 pixels a side, not 55"),
        ("siamese", {"widths": (4,)}, "3 --widths, not 1"),
        ("two-stream", {"widths": (4,)}, "2 --widths, not 1"),
        ("comparison", {"trunk": "hf:anything"}, "hf:anything"),
        ("comparison", {"trunk": "vgg16", "size": 31}, "32 pixels a side, not 31"),
        ("comparison", {"trunk": "vgg16", "widths": (4, 4)}, "5 numbers, not 2"),
    ],
)
def test_what_cannot_be_made_is_refused(name, options, words):
    with pytest.raises(RetrievalError, match=words):
        pairs.create(name, **options)


@pytest.mark.parametrize("name", pairs.NAMES)
def test_the_least_size_is_the_least(name):
    least = {"comparison": 8, "two-stream": 56}.get(name, 64)
    network = made(name, size=least, channels=1)
    assert network(pictures(2, 1, least), pictures(2, 1, least, seed=1)).shape == (2,)
