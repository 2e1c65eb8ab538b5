"""The networks that are trained from scratch: shapes, the published layers, and the whitening stem."""

import numpy as np
import pytest
import torch
from torch import nn

from retrieval import images, networks
from retrieval.errors import RetrievalError


def test_the_seed_network_is_the_published_one():
    network = networks.create("seed")
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, c.kernel_size, c.padding) for c in convolutions] == [
        (3, 32, (5, 5), (0, 0)),
        (32, 32, (3, 3), (0, 0)),
        (32, 32, (3, 3), (0, 0)),
    ]
    kinds = [type(m).__name__ for m in network.features]
    assert kinds == ["Conv2d", "AvgPool2d", "ReLU"] * 3
    assert all((m.kernel_size, m.stride) == (2, 1) for m in network.modules() if isinstance(m, nn.AvgPool2d))
    # 32 − 4 − 1 − 2 − 1 − 2 − 1 = 21 pixels a side are left
    assert (network.embedding.in_features, network.embedding.out_features) == (32 * 21 * 21, 1024)
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 1024)


def test_the_portrait_network_is_the_published_one():
    """Chopra, Hadsell and LeCun 2005, section 3.1: each layer's filters and what is left of 56×46 behind it."""
    network = networks.create("portrait").eval()
    seen = []
    for layer in network.features:
        if isinstance(layer, nn.Conv2d | nn.AvgPool2d):
            layer.register_forward_hook(lambda layer, given, out: seen.append(tuple(out.shape[1:])))
    assert network(torch.zeros(2, 1, 56, 56)).shape == (2, 50) and network.dim == 50
    assert seen == [(15, 50, 40), (15, 25, 20), (45, 20, 15), (45, 5, 5), (250, 1, 1)]


def test_the_portrait_network_sees_just_a_face():
    """92×112 pixels fill the middle 46 of 56 columns, and what stands beside them changes nothing."""
    network = networks.create("portrait", dim=3).eval()
    face = np.random.default_rng(0).integers(0, 256, (1, 112, 92, 1), np.uint8)
    pixels = images.fit_array(face, network.preprocessing)
    assert pixels.shape == (1, 56, 56, 1) and (pixels[:, :, :5] == 128).all() and (pixels[:, :, 51:] == 128).all()
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    beside, inside = x.clone(), x.clone()
    beside[..., :5] = beside[..., 51:] = 0
    inside[..., 5] = inside[..., 50] = 0
    with torch.inference_mode():
        assert torch.equal(network(x), network(beside)) and not torch.equal(network(x), network(inside))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [9, 28, 33])
def test_the_convnet_takes_any_size(channels, size):
    network = networks.create("convnet", dim=7, channels=channels, size=size, widths=(4, 8, 8))
    assert network(torch.zeros(2, channels, size, size)).shape == (2, 7)


def test_the_stem_whitens_the_patches_it_was_fitted_to():
    network = networks.create("convnet", widths=(4,))
    generator = torch.Generator().manual_seed(0)
    # correlated neighbours and channels, as in photographs
    noise = torch.randn(200, 18, 18, 1, generator=generator) * 40 + torch.randn(200, 18, 18, 3, generator=generator) * 9
    smooth = nn.functional.avg_pool2d(noise.permute(0, 3, 1, 2), 3, 1).permute(0, 2, 3, 1)
    pictures = (128 + 2 * smooth).clamp(0, 255).byte()
    network.fit_to(pictures)
    p = network.preprocessing
    x = (pictures.permute(0, 3, 1, 2) / 255 - torch.tensor(p.mean).view(3, 1, 1)) / torch.tensor(p.std).view(3, 1, 1)
    assert x.mean((0, 2, 3)).abs().max() < 1e-4 and (x.std((0, 2, 3)) - 1).abs().max() < 1e-3
    out = network.stem(x)
    first, second = out.chunk(2, dim=1)
    assert torch.allclose(first, -second, atol=1e-5), "each direction comes with both signs"
    covariance = torch.cov(first.permute(1, 0, 2, 3).flatten(1))
    assert (covariance - torch.eye(12)).abs().max() < 0.1
    assert not network.stem.weight.requires_grad


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("resnet", {}, "resnet"),
        ("convnet", {"depth": 3}, "depth"),
        ("seed", {"size": 11}, "12 pixels"),
        ("convnet", {"size": 16, "widths": (4, 4, 4, 4)}, "--widths"),
    ],
)
def test_what_cannot_be_made_is_refused(name, options, words):
    with pytest.raises(RetrievalError, match=words):
        networks.create(name, **options)
