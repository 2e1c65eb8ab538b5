"""Going on from a trained run: what is taken over, what is new, what is refused, and a resume without that run."""

import itertools
import json
import shutil
import signal

import numpy as np
import pytest
import torch

from retrieval import networks
from retrieval.cli import main
from retrieval.datasets import PictureSet
from retrieval.encoder import Encoder
from retrieval.errors import RetrievalError
from retrieval.training import engine
from retrieval.training.loop import train
from retrieval.training.recipe import Recipe
from retrieval.training.warm_start import Initial, layers

QUICK = Recipe(epochs=1, classes_per_batch=4, pictures_per_class=4, validation=0, threads=1, precision="float32")
CODES = QUICK.replace(net="divide-and-encode", loss="csq", dim=16)


def made_up(seed=0, n=80, side=12):
    """Each class a random picture, each of its pictures that with noise."""
    random = np.random.default_rng(seed)
    labels = np.arange(n) % 4
    pixels = random.integers(0, 255, (4, side, side, 3))[labels] + random.normal(0, 50, (n, side, side, 3))
    return PictureSet(
        name=f"made-up {seed}",
        names=[f"{i}.png" for i in range(n)],
        classes=tuple("abcd"),
        labels=labels.astype(np.int64),
        splits=np.array(["train"] * n),
        pixels=pixels.clip(0, 255).astype(np.uint8),
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a narrow convnet, trained on other pictures of another size than those of the tests."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    train(made_up(seed=1, side=16), folder, QUICK.replace(widths="8,16", dim=24))
    return folder


@pytest.fixture(autouse=True)
def _lean(lean):
    pass


def weights(folder):
    return Initial.open(str(folder)).network.state_dict()


def test_codes_begin_with_the_trunk_of_a_convnet(run):
    """Every weight of the trunk is the run's; the last layer is drawn as it would be without the run."""
    initial = Initial.open(str(run))
    network = networks.create("divide-and-encode", **initial.options(CODES))
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    said = initial.hand_over(network)
    assert said.endswith("new layers: embedding") and str(run) in said
    old, new = weights(run), network.state_dict()
    for name, weight in new.items():
        expected = before[name] if name.startswith("embedding.") else old[name]
        assert torch.equal(weight, expected), name
    assert any(not torch.equal(before[name], new[name]) for name in new)


def test_the_input_is_that_of_the_run(run, tmp_path, capsys):
    """Widths, size and normalisation come from the run, whatever the new pictures would ask for."""
    told = []
    trained = train(made_up(), tmp_path / "codes", CODES.replace(init=str(run)), tell=told.append)
    first, second = Encoder.load(run), Encoder.load(tmp_path / "codes")
    assert second.config.preprocessing == first.config.preprocessing and second.config.preprocessing.size == 16
    assert second.config.options["widths"] == [8, 16] and second.dim == 16
    assert trained.recipe.lr == 0.01 and trained.recipe.init == str(run)
    assert len(told) == 1 and told[0] in (second.card or "")
    # so are they where the choices say otherwise
    larger = train(made_up(), tmp_path / "larger", QUICK.replace(init=str(run), size=24))
    assert Encoder.load(larger.folder).config.preprocessing.size == 24
    assert Encoder.load(larger.folder).dim == 24
    assert Encoder.load(larger.folder).config.preprocessing.mean == first.config.preprocessing.mean


def test_without_a_step_nothing_moves(run, tmp_path):
    """At a learning rate of 0 a whole training gives the run's own weights, but for the running statistics."""
    train(made_up(), tmp_path / "same", QUICK.replace(init=str(run), lr=0.0, weight_decay=0.0))
    old, new = weights(run), weights(tmp_path / "same")
    assert old.keys() == new.keys()
    for name, weight in old.items():
        assert torch.equal(weight, new[name]) != ("running" in name or "tracked" in name), name


def test_a_resume_needs_the_run_no_more(run, tmp_path, monkeypatch):
    gone = shutil.copytree(run, tmp_path / "gone")
    recipe = CODES.replace(init=str(gone), loss="lai", epochs=2)
    train(made_up(), tmp_path / "whole", recipe)
    forward, steps = engine.Engine._forward, itertools.count(1)

    def interrupted(self, x):
        out = forward(self, x)
        if self.modules.training and next(steps) == 4:
            signal.raise_signal(signal.SIGINT)
        return out

    monkeypatch.setattr(engine.Engine, "_forward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(made_up(), tmp_path / "parts", recipe)
    monkeypatch.setattr(engine.Engine, "_forward", forward)
    shutil.rmtree(gone)
    told = []
    train(made_up(), tmp_path / "parts", resume=True, tell=told.append)
    whole, parts = (Encoder.load(tmp_path / name) for name in ("whole", "parts"))
    assert whole.hash == parts.hash and not told
    assert "new layers: embedding" in (parts.card or "")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"net": "seed"}, "holds the network convnet, whose weights do not fit --net seed; add --net convnet"),
        ({"net": "vgg16"}, "do not fit --net vgg16"),
        ({"widths": "4,12"}, "shares no layer with the new network"),
    ],
)
def test_what_does_not_fit_is_refused(run, tmp_path, change, reason):
    with pytest.raises(RetrievalError, match=reason):
        train(made_up(), tmp_path / "no", QUICK.replace(init=str(run), **change))
    assert not (tmp_path / "no").exists()


def test_damaged_weights_are_refused(run, tmp_path):
    bad = shutil.copytree(run, tmp_path / "bad")
    path = bad / "encoder" / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(RetrievalError, match="SHA-256"):
        train(made_up(), tmp_path / "no", QUICK.replace(init=str(bad)))
    with pytest.raises(RetrievalError, match="nowhere"):
        train(made_up(), tmp_path / "no", QUICK.replace(init=str(tmp_path / "nowhere")))


def test_layers_are_named_by_what_is_all_new():
    names = {"stem.weight", "features.1.weight", "features.2.bias", "features.2.weight", "head.a.weight", "head.b"}
    assert layers(names, {"stem.weight", "features.1.weight"}) == {"features.2", "head"}
    assert layers(names, {"features.2.bias", "head.b"}) == {"stem", "features.1", "features.2.weight", "head.a"}
    assert layers(names, names) == set()


def test_the_command_says_so_on_stderr(run, tmp_path, capsys):
    from PIL import Image

    for i, pixels in enumerate(made_up(n=24).pixels):
        (tmp_path / "photos" / "abcd"[i % 4]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "photos" / "abcd"[i % 4] / f"{i}.png")
    flags = ["--epochs", "1", "--classes-per-batch", "4", "--pictures-per-class", "4", "--threads", "1", "--json"]
    assert main(["train", str(tmp_path / "photos"), "--out", str(tmp_path / "run"), "--init", str(run), *flags]) == 0
    out, err = capsys.readouterr()
    assert f"Began with the weights of {run} (convnet, encoder" in err and "new layers: none" in err
    assert json.loads(out)["recipe"]["init"] == str(run)
