"""Trainings on small made-up pictures: they learn, repeat, resume bit for bit, and say when they go wrong."""

import csv
import dataclasses
import itertools
import json
import math
import re
import signal
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from retrieval import datasets, networks
from retrieval.datasets import PictureSet
from retrieval.encoder import Encoder
from retrieval.errors import RetrievalError
from retrieval.images import Preprocessing
from retrieval.training import augmentation, engine, loop, losses, run_folder
from retrieval.training.history import Monitor, read_history, spread
from retrieval.training.loop import train
from retrieval.training.processes import World
from retrieval.training.recipe import CHOICES, PRESETS, Recipe, epochs_for
from retrieval.training.sampling.balanced import ClassBatches
from retrieval.training.training_set import Batches, Source

QUICK = Recipe(
    widths="16,32",
    epochs=3,
    classes_per_batch=4,
    pictures_per_class=8,
    validation=40,
    threads=1,
    precision="float32",
)


def made_up(n=240, classes=4, side=12, noise=50, seed=0, channels=3):
    """Each class a random picture, each of its pictures that with noise."""
    random = np.random.default_rng(seed)
    centres = random.integers(0, 255, (classes, side, side, channels))
    labels = np.arange(n) % classes
    pixels = centres[labels] + random.normal(0, noise, (n, side, side, channels))
    return PictureSet(
        name="made-up",
        names=[f"{i}.png" for i in range(n)],
        classes=tuple(f"class {c}" for c in range(classes)),
        labels=labels.astype(np.int64),
        splits=np.array(["train"] * n),
        pixels=pixels.clip(0, 255).astype(np.uint8),
    )


def weights(run):
    return Encoder.load(run)._loaded_network().state_dict()


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.kernels
def test_a_training_learns_and_leaves_everything_behind(tmp_path):
    trained = train(made_up(), tmp_path / "run", QUICK)
    assert trained.precision_at_1 > 0.8  # from 0.91 to 1 for every seed; what has not learned reaches up to 0.71
    assert not trained.warnings
    encoder = Encoder.load(tmp_path / "run")
    assert encoder.config.classes == made_up().classes and encoder.config.trained_on == "made-up"
    assert encoder.card is not None and f"{trained.precision_at_1:.3f}" in encoder.card
    recipe = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert recipe["epochs"] == 3 and recipe["augment"] == "flip,shift" and recipe["lr"] == 0.07
    with (tmp_path / "run" / "curves.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(trained.history)
    assert [dataclasses.astuple(r)[:3] for r in read_history(tmp_path / "run" / "curves.csv")] == [
        dataclasses.astuple(r)[:3] for r in trained.history
    ]
    with Image.open(tmp_path / "run" / "curves.png") as curves:
        assert min(curves.size) > 500
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "curves.csv",
        "curves.png",
        "encoder",
        "recipe.json",
    ]


@pytest.mark.kernels
def test_the_encoder_gives_what_the_network_gave(tmp_path):
    """What was trained and what is saved see pictures alike: same normalisation, same weights."""
    pictures = made_up()
    train(pictures, tmp_path / "run", QUICK)
    encoder = Encoder.load(tmp_path / "run")
    vectors = encoder.encode(pictures.read(encoder.config.preprocessing))
    similar = vectors @ vectors.T
    np.fill_diagonal(similar, -2)
    assert (pictures.labels[similar.argmax(1)] == pictures.labels).mean() > 0.8


@pytest.mark.kernels
@pytest.mark.usefixtures("lean")
def test_one_seed_repeats_and_another_differs(tmp_path):
    runs = {name: train(made_up(), tmp_path / name, QUICK.replace(seed=seed)) for name, seed in
            (("a", 1), ("b", 1), ("c", 2))}  # fmt: skip
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert [r.loss for r in runs["a"].history] == [r.loss for r in runs["b"].history]
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"))


@pytest.fixture(scope="module")
def whole_training(tmp_path_factory):
    """Trains by a recipe without a break, once for all tests."""
    known = {}

    def trained(recipe):
        if recipe not in known:
            known[recipe] = train(made_up(), tmp_path_factory.mktemp("whole") / "run", recipe)
        return known[recipe]

    return trained


@pytest.mark.usefixtures("lean")
@pytest.mark.parametrize(
    ("recipe", "stop"),
    [
        pytest.param(recipe, stop, id=f"{name}-{stop}", marks=[] if stop == stops[0] else pytest.mark.long)
        for name, recipe, stops in (
            ("triplets", QUICK, (7, 1, 18)),
            ("softmax", QUICK.replace(loss="softmax"), (18, 1, 7)),
            (
                "seed",
                PRESETS["seed"].replace(
                    epochs=1, dim=16, triplets_per_batch=8, triplets_per_epoch=40, threads=1, validation=40
                ),
                (1, 4),
            ),
        )
        for stop in stops
    ],
)
def test_resuming_gives_the_same_bits(tmp_path, monkeypatch, whole_training, recipe, stop):
    whole = whole_training(recipe)
    forward, steps = engine.Engine._forward, itertools.count(1)

    def interrupted(self, x):
        """Ctrl-C in the middle of a step: the network has seen the batch, and no weight has moved yet."""
        out = forward(self, x)
        if self.modules.training and next(steps) == stop:
            signal.raise_signal(signal.SIGINT)
        return out

    monkeypatch.setattr(engine.Engine, "_forward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(made_up(), tmp_path / "parts", recipe)
    monkeypatch.undo()
    with pytest.raises(RetrievalError, match="--resume"):
        train(made_up(), tmp_path / "parts", recipe)
    with pytest.raises(RetrievalError, match="began with seed 0, not 7"):
        train(made_up(), tmp_path / "parts", recipe.replace(seed=7), resume=True)
    parts = train(made_up(), tmp_path / "parts", resume=True)
    assert same(weights(whole.folder), weights(tmp_path / "parts"))
    a, b = ([dataclasses.replace(r, seconds=0) for r in t.history] for t in (whole, parts))
    np.testing.assert_equal([dataclasses.astuple(r) for r in a], [dataclasses.astuple(r) for r in b])
    if recipe.loss == "softmax":
        assert (whole.folder / loop.CLASSIFIER).read_bytes() == (tmp_path / "parts" / loop.CLASSIFIER).read_bytes()


@pytest.mark.usefixtures("lean")
def test_a_checkpoint_is_not_taken_for_another_set_or_another_file(tmp_path, monkeypatch):
    forward = engine.Engine._forward

    def interrupted(self, x):
        signal.raise_signal(signal.SIGINT)
        monkeypatch.undo()
        return forward(self, x)

    monkeypatch.setattr(engine.Engine, "_forward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(made_up(), tmp_path / "run", QUICK)
    with pytest.raises(RetrievalError, match="other pictures"):
        train(made_up(seed=5), tmp_path / "run", resume=True)
    checkpoint = tmp_path / "run" / run_folder.CHECKPOINT
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(RetrievalError, match="no checkpoint"):
        train(made_up(), tmp_path / "run", resume=True)


@pytest.mark.usefixtures("lean")
def test_a_finished_run_is_not_overwritten(tmp_path):
    train(made_up(), tmp_path / "run", QUICK.replace(epochs=1))
    assert run_folder.finished(tmp_path / "run")
    with pytest.raises(RetrievalError, match="finished"):
        train(made_up(), tmp_path / "run", QUICK)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(RetrievalError, match="no training"):
        train(made_up(), tmp_path / "mine", QUICK)
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"


@pytest.mark.kernels
@pytest.mark.usefixtures("lean")
def test_batch_hard_from_the_start_collapses_and_is_named_once_across_a_break(tmp_path):
    """Noise without classes leaves nothing to learn: the hardest negatives pull all pictures to one point."""
    pictures = made_up(n=480, noise=400)
    said, left = [], []

    def stop(sentence):
        said.append(sentence)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(pictures, tmp_path, QUICK.replace(mining="hard", epochs=12, lr=0.05), warn=stop)
    trained = train(pictures, tmp_path, resume=True, warn=left.append)
    assert said == trained.warnings and len(said) == 1 and left == []
    assert "collapsed" in said[0] and "--mining hard" in said[0] and "--mining all" in said[0]
    assert trained.history[-1].spread < 0.02
    card = Encoder.load(tmp_path).card
    assert card is not None and "collapsed" in card


@pytest.mark.parametrize(
    ("recipe", "cause"),
    [
        (Recipe(loss="triplet", margin=3.0), "--margin"),
        (Recipe(), "--lr 0.04"),
        (Recipe(loss="triplet", mining="hard"), "--mining hard, .* costs exactly the margin: use"),
        (Recipe(loss="soft-triplet", mining="hard"), "--mining hard, .* costs log 2: use"),
    ],
)
def test_the_monitor_names_the_cause_once(recipe, cause):
    monitor = Monitor(recipe, lr=0.2)
    said = [monitor.look(loss=0.2, spread=0.001) for _ in range(100)]
    messages = [message for message in said if message]
    assert len(messages) == 1 and re.search(cause, messages[0])
    assert not any(Monitor(recipe, lr=0.2).look(loss=0.2, spread=0.3) for _ in range(100))


def test_spread_is_half_the_mean_squared_distance():
    x = torch.nn.functional.normalize(torch.randn(30, 5, generator=torch.Generator().manual_seed(0)))
    expected = np.mean([float((a - b).square().sum()) / 2 for a in x for b in x])
    assert spread(x) == pytest.approx(expected, abs=1e-5)
    assert spread(x[:1].repeat(9, 1)) == pytest.approx(0, abs=1e-6)


def test_a_loss_that_is_no_number_stops_with_advice(tmp_path):
    with pytest.raises(RetrievalError, match="--lr"):
        train(made_up(), tmp_path / "run", QUICK.replace(lr=1e30, loss="softmax"))


def test_small_sets_get_more_epochs():
    assert epochs_for(Recipe(), batches=180) == 8
    assert epochs_for(Recipe(), batches=10) == 144
    assert epochs_for(Recipe(epochs=2), batches=10) == 2


def test_the_learning_rate_rises_to_its_peak_and_falls_to_nothing():
    recipe = Recipe(lr=0.5, warmup=0.2)
    rates = [recipe.rate(step, 100) for step in range(101)]
    assert rates[0] == pytest.approx(0.05) and rates[20] == pytest.approx(0.5) and rates[100] == 0
    assert rates[:21] == sorted(rates[:21]) and rates[20:] == sorted(rates[20:], reverse=True)
    assert {Recipe(lr=0.3, schedule="constant").rate(step, 10) for step in range(10)} == {0.3}
    assert Recipe(lr=0.5, warmup=1.0).rate(99, 100) < 0.5


def test_the_choices_are_those_that_the_losses_know():
    assert CHOICES["mining"] == losses.MINING


def test_seed_recipe_is_the_published_one():
    recipe = PRESETS["seed"]
    assert (recipe.margin, recipe.lr, recipe.triplets_per_batch, recipe.triplets_per_epoch) == (1.0, 0.01, 128, 100_000)
    assert recipe.momentum == recipe.weight_decay == 0 and recipe.augment == "none"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"loss": "triplets"}, "triplets"),
        ({"mining": "given"}, "random-triplets"),
        ({"margin": -1.0}, "-1.0"),
        ({"lr": math.nan}, "nan"),
        ({"minutes": 0.0}, "minutes"),
        ({"pictures_per_class": 1}, "pictures-per-class"),
    ],
)
def test_bad_choices_are_refused_by_name(change, named):
    with pytest.raises(RetrievalError, match=named):
        Recipe(**change)


@pytest.mark.usefixtures("lean")
def test_files_are_decoded_and_bad_ones_left_out(tmp_path):
    pictures = made_up(n=64)
    for i, (pixels, label) in enumerate(zip(pictures.pixels, pictures.labels, strict=True)):
        place = tmp_path / "photos" / f"class {label}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{i}.png")
    (tmp_path / "photos" / "class 0" / "broken.png").write_bytes(b"\x89PNG not")
    said = []
    recipe = QUICK.replace(epochs=1, size=12, validation=0)
    trained = train(datasets.load(tmp_path / "photos"), tmp_path / "run", recipe, warn=said.append)
    assert len(said) == 1 and "broken.png" in said[0]
    assert math.isnan(trained.precision_at_1)
    assert "64 pictures of 4 classes" in (tmp_path / "run" / "encoder" / "card.md").read_text()


@pytest.mark.usefixtures("lean")
def test_sets_too_large_for_memory_give_the_same_training(tmp_path, monkeypatch):
    a = train(made_up(), tmp_path / "a", QUICK.replace(epochs=1))
    monkeypatch.setattr("retrieval.training.training_set.IN_MEMORY", 0)
    b = train(made_up(), tmp_path / "b", QUICK.replace(epochs=1))
    assert [r.loss for r in a.history] == [r.loss for r in b.history]


def test_unlabelled_pictures_cannot_be_trained_on(tmp_path):
    pictures = dataclasses.replace(made_up(), labels=np.full(240, -1, dtype=np.int64))
    with pytest.raises(RetrievalError, match="no labelled training pictures"):
        train(pictures, tmp_path / "run", QUICK)
    one = dataclasses.replace(made_up(), labels=np.zeros(240, dtype=np.int64))
    with pytest.raises(RetrievalError, match="2 classes"):
        train(one, tmp_path / "run", QUICK)
    assert not (tmp_path / "run").exists()


def test_augmentation_changes_each_picture_by_its_own_draw():
    x = torch.arange(2 * 3 * 32 * 32, dtype=torch.float32).view(2, 3, 32, 32) + 1
    generator = torch.Generator().manual_seed
    second = torch.tensor([False, True])
    assert torch.equal(augmentation.augment(x, (), generator(0), mirrored=second), x)
    flipped = augmentation.augment(x, ("flip",), generator(0), mirrored=second)
    assert torch.equal(flipped[0], x[0]) and torch.equal(flipped[1], x[1].flip(2))
    shifted = augmentation.augment(x, ("shift",), generator(1), mirrored=second)
    assert shifted.shape == x.shape and set(shifted.unique().tolist()) <= set(x.unique().tolist())
    cut = augmentation.augment(x, ("cutout",), generator(1), mirrored=second)
    assert ((cut == 0).sum((1, 2, 3)) == 3 * 8 * 8).all()
    with pytest.raises(RetrievalError, match="'flop'"):
        augmentation.parse("flip,flop")


def test_a_picture_is_mirrored_in_every_other_epoch():
    pictures = made_up(n=150)
    source, sampler = Source(pictures, Preprocessing(12)), ClassBatches(pictures.labels, 4, 8, seed=0)

    def mirrored(epoch, skip=0, seed=0):
        steps = Batches(sampler, source, pictures.labels, 1, seed, World()).epoch(epoch, skip)
        shown = [
            (pixels.numpy().tobytes(), side)
            for [batch] in steps
            for pixels, side in zip(batch.pixels, batch.mirrored.tolist(), strict=True)
        ]
        found = dict(shown)
        assert set(found.items()) == set(shown)  # what comes twice in an epoch looks the same
        return found

    sides = [mirrored(epoch) for epoch in range(3)]
    assert len(sides[0]) == 150 and 50 < sum(sides[0].values()) < 100
    assert sides[2] == sides[0] and all(sides[1][picture] != side for picture, side in sides[0].items())
    assert mirrored(0, seed=1) != sides[0]
    late = mirrored(1, skip=3)
    assert 0 < len(late) < 150 and late.items() <= sides[1].items()


def test_affine_augmentation_moves_a_point_to_where_its_matrix_says():
    side, n = 65, 200
    x = torch.zeros(n, 1, side, side)
    places = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij")) * 2.0 / side - 1 + 1 / side
    x[:] = torch.exp(-torch.from_numpy((places[0] - 0.3) ** 2 + (places[1] + 0.2) ** 2).float() / 0.01)
    moved = augmentation.augment(x, ("affine",), torch.Generator().manual_seed(2), mirrored=torch.zeros(n, dtype=bool))
    matrices = augmentation._affine(n, torch.Generator().manual_seed(2)).double().numpy()
    linear, shift = matrices[:, :, :2], matrices[:, :, 2]
    # never mirrored; areas change by 1.2² at most, lengths by little more than a fifth and a shear
    determinants = np.linalg.det(linear)
    assert determinants.min() > 1 / 1.2**2 - 1e-6 and determinants.max() < 1.2**2 + 1e-6
    assert np.abs(shift).max() <= 0.2 and np.linalg.svd(linear)[1].max() < 1.5
    assert np.abs(determinants - 1).max() > 0.2 and np.abs(shift).max() > 0.15  # and it does use what it may
    weights = moved[:, 0].double().numpy()
    weights /= weights.sum((1, 2), keepdims=True)
    found = np.stack([(weights * places[1]).sum((1, 2)), (weights * places[0]).sum((1, 2))], axis=1)  # (x, y)
    # the new picture at z shows the old one at linear·z + shift
    expected = np.stack([np.linalg.solve(m, [-0.2, 0.3] - s) for m, s in zip(linear, shift, strict=True)])
    assert np.abs(found - expected).max() < 0.02


@pytest.mark.kernels
@pytest.mark.usefixtures("lean")
def test_quarter_turns_make_four_times_as_many_classes(tmp_path):
    pictures = made_up()
    source = Source(pictures, Preprocessing(12, "RGB"), turns=4)
    before = pictures.pixels.copy()
    turned = source.read(np.array([5, 5 + 240, 5 + 480, 5 + 720])).numpy()
    assert all((turned[t] == np.rot90(pictures.pixels[5], t)).all() for t in range(4))
    for turns in (1, 4):
        poses = Source(pictures, Preprocessing(12, "RGB"), turns, mirrored=True)
        assert poses.poses == 2 * turns
        seen = poses.read(np.arange(5, 240 * poses.poses, 240)).numpy()
        plain, mirrored = seen[:turns], seen[turns:]
        assert (plain == turned[:turns]).all() and (mirrored == plain[:, :, ::-1]).all()
    assert (pictures.pixels == before).all()
    trained = train(pictures, tmp_path / "run", QUICK.replace(quarter_turns=True, loss="softmax"))
    # as a picture and its turns are different classes, four times as many pictures make an epoch
    plain = train(pictures, tmp_path / "plain", QUICK.replace(loss="softmax"))
    assert len(trained.history) == 4 * len(plain.history)
    head = safetensors.torch.load_file(tmp_path / "run" / loop.CLASSIFIER)
    assert head["weight"].shape == (4, 128) and head["bias"].shape == (4,)
    assert trained.precision_at_1 > 0.8
    mirrored = train(pictures, tmp_path / "mirrored", QUICK.replace(mirrored_classes=True, epochs=1, loss="softmax"))
    assert len(mirrored.history) * QUICK.epochs == 2 * len(plain.history)
    assert safetensors.torch.load_file(tmp_path / "mirrored" / loop.CLASSIFIER)["weight"].shape == (4, 128)


@pytest.mark.usefixtures("lean")
def test_a_training_may_start_from_imagenet_weights(tmp_path):
    """The whole network is trained on, and the encoder keeps the preprocessing that the weights were made for."""
    recipe = QUICK.replace(
        net="efficientnet_lite0", widths=None, dim=8, epochs=1, classes_per_batch=2, pictures_per_class=2
    )
    trained = train(made_up(n=8, classes=2), tmp_path / "run", recipe.replace(validation=0))
    assert trained.recipe.lr == 0.01
    encoder = Encoder.load(tmp_path / "run")
    assert encoder.dim == 8 and encoder.config.preprocessing.size == 224
    untouched = networks.create("efficientnet_lite0", dim=8).state_dict()
    moved = [name for name, tensor in weights(tmp_path / "run").items() if not torch.equal(tensor, untouched[name])]
    assert "embedding.weight" in moved and any("stem" in name or name.startswith("features.0") for name in moved)
    with pytest.raises(RetrievalError, match="--size"):
        train(made_up(), tmp_path / "other", recipe.replace(size=100))


def test_a_training_that_ended_in_no_number_gives_way_to_another(tmp_path, monkeypatch):
    from retrieval.training import training_run

    monkeypatch.setattr(training_run, "CHECKPOINT_SECONDS", 0.0)
    steps = training_run.Run.watch

    def spoiled(run, reading):
        steps(run, dataclasses.replace(reading, loss=math.nan) if reading.step == 3 else reading)

    with monkeypatch.context() as patch:
        patch.setattr(training_run.Run, "watch", spoiled)
        with pytest.raises(RetrievalError, match=r"no longer a number at step 3.*train anew with --lr"):
            train(made_up(), tmp_path / "run", QUICK)
    with pytest.raises(RetrievalError, match="would end as it did: The loss is no longer a number at step 3"):
        train(made_up(), tmp_path / "run", resume=True)
    # what was advised works, in the same folder
    assert train(made_up(), tmp_path / "run", QUICK.replace(lr=0.001, epochs=1)).folder == tmp_path / "run"


def test_a_run_that_cannot_be_written_is_refused_at_once(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    for out in (tmp_path / "file" / "run", tmp_path / ("long" * 100), Path("/proc/nowhere/run")):
        with pytest.raises(RetrievalError, match="No run can be written"):
            train(made_up(), out, QUICK)


@pytest.mark.parametrize("change", [{"seed": -1}, {"seed": 2**32}, {"warmup": 1.5}])
def test_seed_and_warmup_have_ends(change):
    with pytest.raises(RetrievalError, match=r"must be at (least|most)"):
        Recipe(**change)
