"""Pair networks trained, saved, loaded and scored; what is damaged or hostile is refused in one sentence."""

import dataclasses
import itertools
import json
import math
import pickle
import signal

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from retrieval import networks
from retrieval.base.files import digest
from retrieval.base.saved_folder import CARD, CONFIG, WEIGHTS
from retrieval.cli import main
from retrieval.datasets import PictureSet
from retrieval.encoder import Encoder, pair_store
from retrieval.encoder.pair_scorer import PairScorer
from retrieval.errors import RetrievalError
from retrieval.measures.roc import verify
from retrieval.networks import pairs
from retrieval.training import loop, run_folder
from retrieval.training.engine import Engine
from retrieval.training.history import PATIENCE, Watch
from retrieval.training.pair_recipe import PairRecipe
from retrieval.training.pairs import pair_loop, validation
from retrieval.training.pairs.pair_loop import train_pair
from retrieval.training.training_run import Run

QUICK = PairRecipe(
    net="comparison",
    widths="6,8",
    dim=8,
    size=12,
    epochs=5,
    classes_per_batch=4,
    pictures_per_class=4,
    augment="none",
    threads=1,
    precision="float32",
)
TWO_CHANNEL = PairRecipe(
    net="two-channel",
    widths="8,16,16",
    size=64,
    epochs=2,
    pairs_per_batch=32,
    augment="none",
    threads=1,
    precision="float32",
    validation=0,
)
OPTIONS = {
    "comparison": {"trunk": "convnet", "channels": 1, "size": 16, "dim": 6, "widths": [4, 6]},
    "two-channel": {"channels": 3, "size": 64, "widths": [3, 4, 5]},
    "two-stream": {"channels": 1, "size": 56, "widths": [3, 4]},
    "siamese": {"channels": 1, "size": 64, "widths": [3, 4, 5]},
    "pseudo-siamese": {"channels": 1, "size": 64, "widths": [3, 4, 5]},
}


def made_up(n=240, classes=6, side=12, noise=40, seed=0):
    """Each class a random picture, each of its pictures that with noise."""
    random = np.random.default_rng(seed)
    centres = random.integers(0, 255, (classes, side, side, 1))
    labels = np.arange(n) % classes
    pixels = centres[labels] + random.normal(0, noise, (n, side, side, 1))
    return PictureSet(
        name="made-up",
        names=[f"{i}.png" for i in range(n)],
        classes=tuple(f"class {c}" for c in range(classes)),
        labels=labels.astype(np.int64),
        splits=np.array(["train"] * n),
        pixels=pixels.clip(0, 255).astype(np.uint8),
    )


def noise(n, p, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, p.size, p.size, p.channels), np.uint8)


def untrained(name, seed=0):
    """A network whose batch normalisation has seen a batch, so that its logits differ."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = pairs.create(name, **OPTIONS[name])
        p = network.preprocessing
        x = torch.randn(8, p.channels, p.size, p.size)
        network.train()(x, x.flip(0))
    return network.eval()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished training."""
    out = tmp_path_factory.mktemp("pairs") / "run"
    return train_pair(made_up(), out, QUICK.replace(epochs=8))


@pytest.fixture(params=pairs.NAMES)
def saved(request, tmp_path):
    network = untrained(request.param)
    config = pair_store.PairConfig(request.param, OPTIONS[request.param], network.preprocessing, "noise")
    pair_store.save(tmp_path / "run" / "pair", network, config, "A card.")
    return tmp_path / "run", network


@pytest.mark.kernels
def test_a_training_learns_and_leaves_everything_behind(run):
    out = run.folder
    # Guessing would be half of either. Validation has 24 genuine pairs here, so each is 4 % of the EER, and whether
    # none or two of them are missed is a matter of rounding.
    assert np.mean([r.accuracy for r in run.history[-20:]]) > 0.85
    assert run.measures["EER"].value < 0.25 and not run.warnings
    assert sorted(path.name for path in out.iterdir()) == ["curves.csv", "curves.png", "pair", "recipe.json"]
    assert sorted(path.name for path in (out / "pair").iterdir()) == [CARD, CONFIG, WEIGHTS]
    assert json.loads((out / "recipe.json").read_text())["lr"] == 0.07
    assert len((out / "curves.csv").read_text().splitlines()) == 1 + len(run.history)
    with Image.open(out / "curves.png") as curves:
        assert min(curves.size) > 300
    scorer = PairScorer.load(out)
    assert f"EER: {run.measures['EER'].value:.3f}" in scorer.card and scorer.config.trained_on == "made-up"


@pytest.mark.kernels
def test_the_saved_network_tells_new_pictures_apart(run):
    """Other pictures of the same classes, scored from files as they were saved."""
    scorer = PairScorer.load(run.folder)
    new = made_up(n=120, seed=0)
    pixels = new.read(scorer.preprocessing)
    first, second = validation.balanced_pairs(new.labels, 200, seed=1)
    found = validation.scored(scorer, validation.Drawn(lambda rows: pixels[rows], new.labels, first, second))
    assert found.genuine.sum() == 100 and found.available == (100, 100)
    # near 1 and near 0 with every kernel and seed; guessing would be 0.5 and 0.95
    assert ((found.scores > 0.5) == found.genuine).mean() > 0.9
    assert verify(found, resamples=50)["FPR at 95 % recall"].value < 0.1
    one = scorer.score(pixels[0], pixels[:60])
    same = new.labels[:60] == new.labels[0]
    assert np.quantile(one[same], 0.1) > np.quantile(one[~same], 0.9)


@pytest.mark.parametrize("name", ["comparison", "siamese", "pseudo-siamese"])
def test_pairs_are_scored_from_features_of_each_picture_once_where_there_are_any(name, monkeypatch):
    scorer = PairScorer(untrained(name), threads=1)
    pixels, labels = noise(9, scorer.preprocessing), np.arange(9) % 3
    drawn = validation.Drawn(lambda rows: pixels[rows], labels, *validation.balanced_pairs(labels, 40, seed=0))
    monkeypatch.setattr(validation, "AT_ONCE", 7)
    ran = []
    scorer._normalised, normalised = lambda x: ran.append(len(x)) or normalised(x), scorer._normalised
    said = validation.logits(scorer, drawn)
    assert sum(ran) == drawn.embedded(scorer.siamese) == (80 if name == "pseudo-siamese" else 9)
    expected = scorer.pair_logits(pixels[drawn.first], pixels[drawn.second])
    assert np.allclose(said, expected, rtol=0, atol=1e-6) and np.ptp(expected) > 1e-4
    found = validation.scored(scorer, drawn)
    assert np.allclose(found.scores, 1 / (1 + np.exp(-expected)), rtol=0, atol=1e-5)
    assert found.genuine.tolist() == (labels[drawn.first] == labels[drawn.second]).tolist()
    assert validation.accuracy(found, 0.5).value == np.mean((expected > 0) == found.genuine)


@pytest.mark.kernels
def test_a_two_channel_network_learns_too(tmp_path):
    recipe = TWO_CHANNEL.replace(epochs=6)
    trained = train_pair(made_up(), tmp_path / "run", recipe)
    assert np.mean([r.accuracy for r in trained.history[-15:]]) > 0.85  # near 1; guessing would be 0.5
    assert trained.measures == {} and math.isnan(trained.history[-1].equal_error)
    assert "not measured" in PairScorer.load(tmp_path / "run").card


@pytest.fixture(scope="module")
def whole_training(tmp_path_factory):
    """Trains by a recipe without a break, once for all tests."""
    known = {}

    def trained(recipe):
        if recipe not in known:
            known[recipe] = train_pair(made_up(), tmp_path_factory.mktemp("whole") / "run", recipe)
        return known[recipe]

    return trained


WITH_EVERYTHING = {"accumulate": 2, "average": 0.9, "augment": "shift,cutout", "minutes": 60.0}


@pytest.mark.usefixtures("lean")
@pytest.mark.parametrize(
    ("stop", "changes"),
    [
        (1, WITH_EVERYTHING),
        (13, {}),
        pytest.param(13, WITH_EVERYTHING, marks=pytest.mark.long),
        pytest.param(1, {}, marks=pytest.mark.long),
    ],
)
def test_resuming_gives_the_same_bits(tmp_path, monkeypatch, whole_training, changes, stop):
    recipe = QUICK.replace(epochs=2, **changes)
    whole = whole_training(recipe)
    go, step, steps = Run.go, Engine.step, itertools.count(1)

    def interrupted(self, *args):
        measured = step(self, *args)
        if next(steps) == stop:
            signal.raise_signal(signal.SIGINT)
        return measured

    def begun(self):  # steps that are only timed come before
        monkeypatch.setattr(Engine, "step", interrupted)
        go(self)

    monkeypatch.setattr(Run, "go", begun)
    stop = min(stop, len(whole.history) - 1)
    with pytest.raises(KeyboardInterrupt):
        train_pair(made_up(), tmp_path / "parts", recipe)
    monkeypatch.undo()
    assert (tmp_path / "parts" / run_folder.PAIR_CHECKPOINT).is_file() and not run_folder.finished(tmp_path / "parts")
    with pytest.raises(RetrievalError, match="--resume"):
        train_pair(made_up(), tmp_path / "parts", recipe)
    with pytest.raises(RetrievalError, match="began with seed 0, not 7"):
        train_pair(made_up(), tmp_path / "parts", recipe.replace(seed=7), resume=True)
    parts = train_pair(made_up(), tmp_path / "parts", resume=True)
    assert digest(whole.folder / "pair" / WEIGHTS) == digest(tmp_path / "parts" / "pair" / WEIGHTS)
    a, b = ([dataclasses.astuple(dataclasses.replace(r, seconds=0)) for r in t.history] for t in (whole, parts))
    np.testing.assert_equal(a, b)
    assert run_folder.finished(tmp_path / "parts")


@pytest.mark.usefixtures("lean")
def test_one_seed_repeats_and_another_differs(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train_pair(made_up(), tmp_path / name, QUICK.replace(seed=seed, epochs=1))
    a, b, c = (digest(tmp_path / name / "pair" / WEIGHTS) for name in "abc")
    assert a == b != c


@pytest.mark.usefixtures("lean")
def test_a_checkpoint_is_not_taken_for_another_set_or_another_file(tmp_path, monkeypatch):
    def interrupted(self, *args):
        signal.raise_signal(signal.SIGINT)
        return step(self, *args)

    step = Engine.step
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Engine, "step", interrupted)
        train_pair(made_up(), tmp_path / "run", QUICK)
    with pytest.raises(RetrievalError, match="other pictures"):
        train_pair(made_up(seed=5), tmp_path / "run", resume=True)
    with pytest.raises(RetrievalError, match="no training of ours"):
        loop.train(made_up(), tmp_path / "run", resume=True)
    checkpoint = tmp_path / "run" / run_folder.PAIR_CHECKPOINT
    whole = checkpoint.read_bytes()
    for about in ({}, {"asked": {"net": "comparison", "surprise": 1}}, {"asked": {}, "fingerprint": 1}):
        checkpoint.write_bytes(safetensors.torch.save({}, {"format": "1", "step": "3", "about": json.dumps(about)}))
        with pytest.raises(RetrievalError, match=r"no checkpoint|other pictures"):
            train_pair(made_up(), tmp_path / "run", resume=True)
    checkpoint.write_bytes(whole[:1000])
    with pytest.raises(RetrievalError, match="no checkpoint"):
        train_pair(made_up(), tmp_path / "run", resume=True)


def test_a_finished_run_is_not_overwritten(run):
    for training_ in (train_pair, loop.train):
        with pytest.raises(RetrievalError, match="finished"):
            training_(made_up(), run.folder)
    with pytest.raises(RetrievalError, match="no encoder"):
        Encoder.load(run.folder)


def test_save_and_load_give_the_same_scores(saved):
    out, network = saved
    p = network.preprocessing
    before, after = PairScorer(network), PairScorer.load(out)
    query, hits = noise(1, p, seed=1)[0], noise(5, p)
    np.testing.assert_array_equal(before.score(query, hits), after.score(query, hits))
    assert after.config.network in pairs.NAMES and after.card == "A card." and after.config.created
    assert not any(parameter.requires_grad for parameter in after.network.parameters())


@pytest.mark.kernels
def test_scores_are_the_mean_logit_of_both_orders(saved):
    _, network = saved
    p = network.preprocessing
    scorer = PairScorer(network, torch.device("cpu"))
    query, hits = noise(1, p, seed=1)[0], noise(2, p)
    x, y = (
        (torch.tensor(pixels).permute(0, 3, 1, 2).double() / 255 - 0.5) / 0.25
        for pixels in (np.repeat(query[None], 2, 0), hits)
    )
    with torch.no_grad():
        double = network.double()
        slow = ((double(x, y) + double(y, x)) / 2).sigmoid().numpy()
        network.float()
    scores = scorer.score(query, hits)
    assert scores.dtype == np.float32 and scores.shape == (2,)
    np.testing.assert_allclose(scores, slow, atol=1e-5)
    back = np.concatenate([scorer.score(hit, query[None]) for hit in hits])
    np.testing.assert_allclose(scores, back, atol=1e-6)


@pytest.mark.kernels
def test_scores_do_not_depend_on_the_batch(saved, monkeypatch):
    _, network = saved
    p = network.preprocessing
    query, hits = noise(1, p, seed=1)[0], noise(7, p)
    together = PairScorer(network).score(query, hits)
    monkeypatch.setattr("retrieval.encoder.pair_scorer.PIXELS_A_RUN", 2 * p.size**2)
    np.testing.assert_allclose(PairScorer(network).score(query, hits), together, atol=1e-6)
    assert PairScorer(network).score(query, hits[:0]).shape == (0,)
    assert PairScorer(network).score_pairs(hits[:0], hits[:0]).shape == (0,)


@pytest.mark.kernels
def test_features_are_computed_once(saved):
    _, network = saved
    scorer = PairScorer(network)
    query, hits = noise(1, scorer.preprocessing, seed=1)[0], noise(4, scorer.preprocessing)
    if not scorer.siamese:
        with pytest.raises(RetrievalError, match="no features"):
            scorer.embed(hits)
        return
    features = scorer.embed(hits)
    assert features.dtype == np.float32 and len(features) == 4
    found = scorer.score_features(scorer.embed(query[None])[0], features)
    np.testing.assert_allclose(found, scorer.score(query, hits), atol=1e-6)
    paired = scorer.score_pairs(np.repeat(query[None], 4, 0), hits)
    np.testing.assert_allclose(found, paired, atol=1e-6)


def test_pictures_of_another_shape_are_refused(saved):
    _, network = saved
    scorer = PairScorer(network)
    good = noise(2, scorer.preprocessing)
    for query, hits in (
        (good[0], good[:, 1:]),
        (good[0][..., :0], good),
        (good[0], good.astype(np.float32)),
        (good, good),
    ):
        with pytest.raises(RetrievalError, match="read them with its preprocessing"):
            scorer.score(query, hits)
    with pytest.raises(RetrievalError, match="1 first and 2 second"):
        scorer.score_pairs(good[:1], good)


def test_weights_that_are_no_numbers_are_named(tmp_path):
    network = untrained("comparison")
    with torch.no_grad():
        network.comparison[2].weight.fill_(math.nan)
    with pytest.raises(RetrievalError, match="2 scores that are not numbers"):
        PairScorer(network).score(noise(1, network.preprocessing)[0], noise(2, network.preprocessing))


@pytest.fixture
def damaged(tmp_path):
    network = untrained("comparison")
    config = pair_store.PairConfig("comparison", OPTIONS["comparison"], network.preprocessing)
    pair_store.save(tmp_path / "pair", network, config, "")
    return tmp_path / "pair"


def change(path, change_):
    values = json.loads((path / CONFIG).read_text())
    change_(values)
    (path / CONFIG).write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda v: v.pop("options"), "damaged"),
        (lambda v: v.update(options=[1]), "damaged"),
        (lambda v: v.update(options={"depth": 3}), "depth"),
        (lambda v: v["options"].update(trunk="hf:/etc"), "no trunk 'hf:/etc'"),
        (lambda v: v["options"].update(widths="abc"), "damaged"),
        (lambda v: v["options"].update(widths=[10**30, 4]), "damaged"),
        (lambda v: v["options"].update(widths=[-4, 4]), "damaged"),
        (lambda v: v["options"].update(size="16"), "damaged"),
        (lambda v: v["options"].update(size=32), "sees L of 32 pixels"),
        (lambda v: v["options"].update(dim=10**9), "does not fit"),
        (lambda v: v["options"].update(dim=7), "does not fit"),
        (lambda v: v.update(network="convnet"), "no pair network 'convnet'"),
        (lambda v: v.update(network=["comparison"]), "damaged"),
        (lambda v: v["preprocessing"].update(size=-1), "damaged"),
        (lambda v: v["preprocessing"].update(surprise=1), "damaged"),
        (lambda v: v.update(files=None), "damaged"),
        (lambda v: v.update(files={}), "does not list"),
        (lambda v: v.update(format="retrieval-encoder"), "does not describe a pair network"),
        (lambda v: v.update(version=2), "format 2"),
        (lambda v: v.update(version="1"), "damaged"),
    ],
)
def test_hostile_configurations_are_refused_in_one_sentence(damaged, spoil, says):
    change(damaged, spoil)
    with pytest.raises(RetrievalError, match=says) as error:
        PairScorer.load(damaged)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"null", b"\xff\xfe"])
def test_a_configuration_that_is_no_json_is_refused(damaged, content):
    (damaged / CONFIG).write_bytes(content)
    with pytest.raises(RetrievalError, match=r"not JSON|does not describe"):
        PairScorer.load(damaged)


@pytest.mark.parametrize("how", ["cut", "other", "gone", "pickle", "more", "less", "double"])
def test_hostile_weights_are_refused(damaged, how, tmp_path):
    file, listed = damaged / WEIGHTS, True
    weights = safetensors.torch.load(file.read_bytes())
    name = next(iter(weights))
    if how in ("cut", "other", "gone"):
        listed = False  # whoever damaged it did not mend the checksum
    if how == "gone":
        file.unlink()
    elif how == "cut":
        file.write_bytes(file.read_bytes()[:-3])
    elif how == "other":
        file.write_bytes(safetensors.torch.save({**weights, name: weights[name] + 1}))
    elif how == "pickle":
        file.write_bytes(pickle.dumps({"weights": Trap(tmp_path / "trapped")}))
    elif how == "more":
        file.write_bytes(safetensors.torch.save({**weights, "surprise": torch.zeros(1)}))
    elif how == "less":
        file.write_bytes(safetensors.torch.save({n: w for n, w in weights.items() if n != name}))
    else:
        file.write_bytes(safetensors.torch.save({**weights, name: weights[name].double()}))
    if listed:
        change(damaged, lambda v: v.update(files={WEIGHTS: digest(file)}))
    with pytest.raises(RetrievalError, match="damaged or foreign") as error:
        PairScorer.load(damaged)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "trapped").exists()


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_what_is_no_pair_network_is_refused(tmp_path):
    with pytest.raises(RetrievalError, match="There is no pair network"):
        PairScorer.load(tmp_path / "nothing")
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "one.txt").write_text("dear")
    network = untrained("comparison")
    config = pair_store.PairConfig("comparison", OPTIONS["comparison"], network.preprocessing)
    with pytest.raises(RetrievalError, match="no pair network; choose another folder"):
        pair_store.save(tmp_path / "letters", network, config, "")


def test_loading_draws_no_random_numbers(damaged):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    PairScorer.load(damaged)
    assert torch.equal(before, torch.get_rng_state())


def test_a_pretrained_trunk_comes_back_from_its_file(tmp_path, monkeypatch):
    """Its own weights are not looked for when it is loaded, and its preprocessing stays its own."""
    options = {"trunk": "efficientnet_lite0", "dim": 8}
    network = pairs.create("comparison", **options)
    pair_store.save(tmp_path / "pair", network, pair_store.PairConfig("comparison", options, network.preprocessing), "")
    monkeypatch.setattr("retrieval.networks.efficientnet_lite.imagenet_weights", None)
    scorer = PairScorer.load(tmp_path)
    assert scorer.preprocessing == network.preprocessing and scorer.preprocessing.size == 224
    assert all(torch.equal(a, b) for a, b in zip(scorer.network.parameters(), network.parameters(), strict=True))
    recipe = QUICK.replace(trunk="efficientnet_lite0", widths=None)
    assert recipe.resolve(channels=3, pretrained=True).lr == 0.01
    with pytest.raises(RetrievalError, match="--trunk efficientnet_lite0"):
        train_pair(made_up(), tmp_path / "other", recipe)


def test_a_network_that_guesses_is_named_once():
    watch = Watch(lr=0.5)
    said = [message for _ in range(2 * PATIENCE) if (message := watch.look(0.5))]
    assert len(said) == 1 and "--lr 0.1" in said[0]
    assert not any(Watch(lr=0.5).look(0.6) for _ in range(2 * PATIENCE))


def test_a_loss_that_is_no_number_stops_with_advice(tmp_path):
    with pytest.raises(RetrievalError, match="--lr"):
        train_pair(made_up(), tmp_path / "run", QUICK.replace(lr=1e30))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"net": "convnet"}, "--net convnet"),
        ({"pairs_per_batch": 31}, "even, not 31"),
        (
            {"pairs_per_batch": 32},
            "--pairs-per-batch does not go with --net comparison, which takes --classes-per-batch",
        ),
        (
            {"net": "two-channel"},
            "--classes-per-batch does not go with --net two-channel, which takes --pairs-per-batch",
        ),
        ({"lr": math.nan}, "--lr must"),
        ({"widths": "a,b"}, "'a,b'"),
        ({"augment": "flop"}, "flop"),
        ({"trunk": "resnet"}, "no trunk 'resnet'"),
        ({"net": "siamese", "dim": 8, "size": 64}, "dim"),
        ({"net": "siamese", "dim": None, "widths": None, "size": 32}, "64 pixels a side, not 32"),
    ],
)
def test_bad_choices_are_refused_by_name(tmp_path, changes, says):
    with pytest.raises(RetrievalError, match=says):
        train_pair(made_up(), tmp_path / "run", QUICK.replace(**changes))
    assert not (tmp_path / "run").exists()


def test_sets_without_pairs_are_refused(tmp_path):
    for labels in (np.zeros(240, np.int64), np.arange(240), np.full(240, -1)):
        pictures = dataclasses.replace(made_up(), labels=labels, classes=tuple(map(str, range(240))))
        with pytest.raises(RetrievalError, match="2 classes"):
            train_pair(pictures, tmp_path / "run", QUICK)
    assert not (tmp_path / "run").exists()


def test_the_names_are_those_that_the_networks_have():
    assert not set(pairs.NAMES) & set(networks.NAMES)
    assert pair_loop.VALIDATION_PAIRS % 2 == 0


@pytest.fixture
def photos(tmp_path):
    """The made-up pictures as class folders."""
    pictures = made_up(n=72, classes=3)
    for i, (pixels, label) in enumerate(zip(pictures.pixels, pictures.labels, strict=True)):
        place = tmp_path / "photos" / f"class {label}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[..., 0]).save(place / f"{i}.png")
    return tmp_path / "photos"


SMALL = ["--net", "two-channel", "--widths", "3,4,5", "--epochs", "1", "--pairs-per-batch", "16", "--threads", "1"]


def test_the_command_trains_a_pair_network(photos, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["train", str(photos), "--out", str(out), "--json", *SMALL]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["recipe"]["net"] == "two-channel" and said["steps"] == 9 and "EER" in said["validation"]
    assert PairScorer.load(out).preprocessing.mode == "RGB"
    assert main(["train", str(photos), "--out", str(out), "--resume"]) == 0
    assert "trained already" in capsys.readouterr().out


def test_the_learned_comparison_over_vgg16_learns_from_folders_of_ones_own(tmp_path, capsys):
    """The commands of docs/pairs.md, on small pictures with few filters: trained, measured, asked of other folders."""
    for kind, classes in (("known", "abc"), ("new", "de")):
        for name in classes:
            coarse = np.random.default_rng(ord(name)).integers(0, 2, (4, 4), np.uint8) * 255
            for picture in range(40 if kind == "known" else 4):
                file = tmp_path / kind / name / f"{picture}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.roll(np.kron(coarse, np.ones((9, 9), np.uint8)), picture % 3, 0)).save(file)
    out = str(tmp_path / "run")
    narrow = ["--size", "32", "--widths", "2,4,4,4,4", "--epochs", "2", "--classes-per-batch", "3"]
    command = ["train", str(tmp_path / "known"), "--net", "comparison", "--trunk", "vgg16", "--out", out]
    assert main([*command, *narrow, "--validation", "30", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["recipe"]["trunk"] == "vgg16" and {"EER", "pair accuracy"} <= set(said["validation"])
    scorer = PairScorer.load(out)
    assert scorer.preprocessing.size == 32 and 0 <= scorer.config.measures["pair accuracy"]["value"] <= 1
    trials = ["evaluate", out, str(tmp_path / "new"), "--oneshot", "--ways", "2", "--shots", "1", "--trials", "20"]
    assert main([*trials, "--json"]) == 0
    (figure,) = json.loads(capsys.readouterr().out)["figures"].values()
    assert figure["trials"] == 20 and 0 <= figure["error"] <= 1


def test_the_command_goes_on_with_a_pair_network(photos, tmp_path, capsys, monkeypatch):
    step = Engine.step

    def interrupted(self, *args):
        signal.raise_signal(signal.SIGINT)
        return step(self, *args)

    command = ["train", str(photos), "--out", str(tmp_path / "run")]
    with monkeypatch.context() as patch:
        patch.setattr(Engine, "step", interrupted)
        assert main([*command, *SMALL]) != 0
    assert main([*command, "--resume"]) == 0
    assert "Trained 9 steps" in capsys.readouterr().out and (tmp_path / "run" / "pair").is_dir()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--net", "two-channel", "--loss", "triplet"], "--loss does not go with a pair network"),
        (["--net", "siamese", "--recipe", "seed"], "--recipe does not go with"),
        (["--net", "siamese", "--tensorboard"], "--tensorboard does not go with"),
        (["--trunk", "convnet"], "--trunk convnet goes with --net comparison"),
    ],
)
def test_flags_that_do_not_go_together_are_named(photos, tmp_path, capsys, more, says):
    assert main(["train", str(photos), "--out", str(tmp_path / "run"), *more]) == 1
    assert says in capsys.readouterr().err
