"""Networks from disk take no memory before their weights fit, and no seconds."""

import subprocess
import sys

import pytest
import torch

from retrieval import networks
from retrieval.networks import pairs
from retrieval.networks.unfilled import fill, misfits, unfilled

ALL = {
    "convnet": lambda: networks.create("convnet", size=16, widths=(4, 6)),
    "divide-and-encode": lambda: networks.create("divide-and-encode", size=16, widths=(4, 6)),
    "portrait": lambda: networks.create("portrait", dim=4),
    "seed": lambda: networks.create("seed", size=16),
    "vgg16": lambda: networks.create("vgg16", size=32, widths=(2, 2, 2, 2, 2)),
    **{
        n: lambda n=n: networks.create(n, dim=4, pretrained=False) for n in ("efficientnet_lite0", "efficientnet_lite1")
    },
    "comparison": lambda: pairs.create("comparison", size=16, widths=(4, 6)),
    **{n: lambda n=n: pairs.create(n, widths=(3, 4, 5)) for n in ("two-channel", "siamese", "pseudo-siamese")},
    "two-stream": lambda: pairs.create("two-stream", widths=(3, 4)),
}


@pytest.mark.parametrize("name", ALL)
def test_a_network_gets_its_weights_back(name):
    """It is made of nothing, and drew nothing; with its weights it computes what it did."""
    real = ALL[name]().eval()
    before = torch.get_rng_state()
    empty = unfilled(ALL[name])
    assert torch.equal(before, torch.get_rng_state())
    assert all(tensor.is_meta for tensor in (*empty.parameters(), *empty.buffers()))
    assert misfits(empty, real.state_dict()) == ""
    filled = fill(empty, real.state_dict())
    p = real.preprocessing
    pictures = [torch.randn(2, p.channels, p.size, p.size)] * (2 if name in pairs.NAMES else 1)
    assert torch.equal(filled(*pictures), real(*pictures)) and not filled.training
    assert not any(parameter.requires_grad for parameter in filled.parameters())


def test_every_network_is_here():
    assert set(ALL) == {*networks.NAMES, *pairs.NAMES}


def test_weights_that_do_not_fit_are_named():
    state = ALL["convnet"]().state_dict()
    empty = unfilled(lambda: networks.create("convnet", dim=10**9, size=16, widths=(4, 6)))
    assert misfits(empty, state) == "embedding.weight is torch.float32 (128, 6)"
    empty = unfilled(ALL["convnet"])
    assert misfits(empty, {**state, "more": torch.zeros(1)}) == "more is unknown"
    assert misfits(empty, {n: w for n, w in state.items() if n != "stem.bias"}) == "stem.bias is missing"
    assert misfits(empty, {**state, "stem.bias": state["stem.bias"].half()}).startswith("stem.bias is torch.float16")


def test_the_compiler_is_not_imported():
    """It takes seconds, on each `--rerank runs/PAIR`."""
    code = (
        "import sys; from retrieval.networks import pairs; from retrieval.networks.unfilled import unfilled; "
        "unfilled(lambda: pairs.create('two-channel')); assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
