"""What a training with --minutes chooses, on machines of all speeds. The clocks are made up."""

import json

import pytest
import torch
from test_training import QUICK, made_up, same, weights

from retrieval.training import for_minutes, hardware, training_run
from retrieval.training.engine import Engine
from retrieval.training.for_minutes import (
    CANDIDATES,
    CLASSIFIER,
    HALVING,
    TABLE,
    Candidate,
    Pick,
    candidates,
    leaves_open,
    pick,
)
from retrieval.training.loop import train
from retrieval.training.losses import USUAL
from retrieval.training.plan import FILE
from retrieval.training.recipe import Recipe

FLOAT, BRAIN = torch.float32, torch.bfloat16
OPEN = Recipe(minutes=5)

AMX = {
    "24,64,128": 0.4e-3,
    "32,128,128": 0.5e-3,
    "64,128,128": 0.65e-3,
    "64,128,256": 205 / 6 / 48_000,
    "64,256,256": 1.3e-3,
    "128,384,384": 3.3e-3,
}
"""Seconds of a picture on two cores with AMX: six epochs of 48,000 pictures took the default network 205 s
(docs/training.md), and the others as much for as much arithmetic, or more."""


SIDE = 32


def amx(recipe, precision):
    """As much less for a smaller input as it has fewer pixels."""
    return AMX[recipe.widths] * ((recipe.size or SIDE) / SIDE) ** 2


def never():
    return False


def three(expected):
    """Made-up candidates, the slower the better with many pictures."""
    return tuple(Candidate(widths, CLASSIFIER, reached) for widths, reached in expected.items())


@pytest.fixture
def made_up_table(monkeypatch):
    table = three({"4,8": {1: 0.5, 100: 0.6}, "8,8": {10: 0.3, 100: 0.7}, "8,16": {20: 0.3, 100: 0.8}})
    monkeypatch.setattr(for_minutes, "CANDIDATES", table)
    return table


def on(speed, recipe=OPEN, **more):
    """What is chosen on a machine that takes so many times the seconds of one on which widths are taken for cost."""
    cost = {"4,8": 1.0, "8,8": 2.0, "8,16": 4.0}
    tried = []

    def seconds_of(settled, precision):
        tried.append((settled.widths, precision))
        return speed * cost[settled.widths] * (0.5 if precision == BRAIN else 1)

    return pick(recipe, SIDE, [FLOAT], seconds_of, never, 100.0, **more), tried


@pytest.mark.usefixtures("made_up_table")
def test_the_faster_the_machine_the_wider_the_network():
    widths = [on(100.0 / pictures)[0].settings["widths"] for pictures in (10, 1e4, 1.6e5, 1e6, 1e9)]
    assert widths == ["4,8", "4,8", "8,8", "8,16", "8,16"]
    # what would promise no more with all the pictures that a faster one sees is not even tried
    assert on(100.0 / 10)[1] == [("4,8", FLOAT)]
    assert on(100.0 / 1e4)[1] == [("4,8", FLOAT)]


def test_a_row_that_is_beaten_does_not_end_the_search(monkeypatch):
    table = three({"4,8": {10: 0.5}, "8,8": {10: 0.51, 100: 0.52}, "8,16": {20: 0.3, 100: 0.8}})
    monkeypatch.setattr(for_minutes, "CANDIDATES", table)
    chosen, tried = on(100.0 / 2e5)
    assert [widths for widths, _ in tried] == ["4,8", "8,8", "8,16"] and chosen.settings["widths"] == "8,16"


def test_nothing_more_is_promised_than_was_seen():
    candidate = Candidate("4,8", CLASSIFIER, {10: 0.5, 40: 0.7})
    seen = {1: 0.0, 5e3: 0.5 - HALVING, 1e4: 0.5, 2e4: 0.6, 4e4: 0.7, 1e9: 0.7}
    assert [candidate.expected(pictures) for pictures in seen] == pytest.approx(list(seen.values()))
    said = str(Pick(candidate.settings(OPEN, SIDE), FLOAT, 2e4, 0.6))
    assert "--widths 4,8 --loss softmax" in said
    assert "on CIFAR-10, so many led to a kNN accuracy of about 0.60" in said


def test_size_and_batch_are_chosen_unless_they_are_given(monkeypatch):
    whole = Candidate("4,8", CLASSIFIER, {10: 0.5})
    small = Candidate("4,8", {**CLASSIFIER, "pictures_per_class": 12}, {10: 0.6}, 0.75)
    monkeypatch.setattr(for_minutes, "CANDIDATES", (small, whole))
    settled = small.settled(OPEN, SIDE)
    assert (settled.size, settled.pictures_per_class, whole.settled(OPEN, SIDE).size) == (24, 12, None)
    assert small.settled(OPEN, 16).size == 16 and small.settled(OPEN, 128).size == 96
    assert "--widths 4,8 --size 24 --pictures-per-class 12 --loss softmax" in str(
        Pick(small.settings(OPEN, SIDE), FLOAT, 1e4, 0.6)
    )
    assert candidates(OPEN) == [small, whole]
    for given in ({"size": 20}, {"pictures_per_class": 7}):
        assert candidates(OPEN.replace(**given)) == [whole]
        assert all(getattr(whole.settled(OPEN.replace(**given), SIDE), name) == value for name, value in given.items())


@pytest.mark.usefixtures("made_up_table")
def test_epochs_that_are_given_count():
    assert on(100.0 / 1e9, most=1e4)[0].settings["widths"] == "4,8"


@pytest.mark.usefixtures("made_up_table")
def test_the_faster_precision_is_taken_for_all():
    tried = []

    def seconds_of(settled, precision):
        tried.append((settled.widths, precision))
        return 1e-6 if precision == BRAIN else 2e-6

    chosen = pick(OPEN, SIDE, [FLOAT, BRAIN], seconds_of, never, 100.0)
    assert chosen.precision == BRAIN
    assert tried == [("4,8", FLOAT), ("4,8", BRAIN), ("8,8", BRAIN), ("8,16", BRAIN)]


@pytest.mark.usefixtures("made_up_table")
def test_choosing_ends_when_enough_time_went_into_it():
    looks = iter([False, False, True])  # the precisions of the first, the first, the second
    assert pick(OPEN, SIDE, [FLOAT, BRAIN], lambda *_: 1e-9, lambda: next(looks), 100.0).settings["widths"] == "8,8"
    chosen = pick(OPEN, SIDE, [FLOAT, BRAIN], lambda *_: 1e-9, lambda: True, 100.0)
    assert (chosen.settings["widths"], chosen.precision) == ("4,8", FLOAT)


def test_two_cores_with_amx_reach_no_less_than_before_there_was_a_choice():
    triplets = pick(OPEN.replace(loss="triplet"), SIDE, [BRAIN], amx, never, 285.0)
    assert triplets.settings["widths"] == "64,128,256" and triplets.expected >= 0.89
    chosen = [pick(OPEN, SIDE, [BRAIN], amx, never, 60.0 * minutes) for minutes in (5, 30, 90)]
    assert chosen[0].expected >= triplets.expected
    # and with more time what the records trained
    assert [one.settings["widths"] for one in chosen[1:]] == ["64,256,256", "128,384,384"]


def test_what_is_given_is_not_chosen():
    assert leaves_open(OPEN) and leaves_open(OPEN.replace(epochs=3))
    for given in ({"net": "seed"}, {"widths": "8,8"}, {"init": "runs/x"}, {"minutes": None}):
        assert not leaves_open(OPEN.replace(**given))
    for asked, loss in (
        ({}, "softmax"),
        ({"loss": "softmax"}, "softmax"),
        ({"loss": "triplet"}, "triplet"),
        ({"loss": "supcon"}, "triplet"),
        ({"mining": "hard"}, "triplet"),
        ({"margin": 0.1}, "triplet"),
    ):
        found = candidates(OPEN.replace(**asked))
        assert found and {candidate.rest["loss"] for candidate in found} == {loss}
    wide = candidates(OPEN)[-1]
    for given, decay in ((None, 5e-3), (0.1, 0.1)):
        assert wide.settled(OPEN.replace(weight_decay=given), SIDE).weight_decay == decay
    assert wide.settled(OPEN.replace(loss="supcon"), SIDE).loss == "supcon"


def test_the_table_can_be_chosen_from():
    """Each row makes a recipe, those first that compute least, and whatever is given leaves some to choose from."""
    rows = json.loads(TABLE.read_text())
    assert sum(len(candidate.reached) for candidate in CANDIDATES) == len(rows)
    for candidate in CANDIDATES:
        assert [*candidate.reached] == sorted(candidate.reached) and 0 < min(candidate.reached.values()) < 1
        assert candidate.settled(OPEN, SIDE).widths == candidate.widths
    assert {candidate.rest["loss"] for candidate in CANDIDATES} == {USUAL, CLASSIFIER["loss"]}
    for loss in (USUAL, CLASSIFIER["loss"]):
        assert candidates(OPEN.replace(loss=loss, size=24, pictures_per_class=5))
    first, *_, last = candidates(OPEN)
    assert first.share < 1 and last.widths.startswith("128")


class Machine:
    """A step takes so many seconds for each weight of the network."""

    def __init__(self, monkeypatch, speed):
        self.now, learn = 0.0, Engine.step

        def slowly(engine, *args):
            self.now += speed * sum(weight.numel() for weight in engine.network.parameters())
            return learn(engine, *args)

        monkeypatch.setattr(Engine, "step", slowly)
        monkeypatch.setattr(training_run, "time", self)
        monkeypatch.setattr(hardware, "time", self)

    def perf_counter(self):
        return self.now


@pytest.mark.usefixtures("lean", "made_up_table")
@pytest.mark.parametrize(("speed", "widths"), [(2e-7, "8,16"), (4e-4, "4,8")])
def test_the_choice_is_said_before_the_training_and_kept(tmp_path, monkeypatch, speed, widths):
    recipe, told = QUICK.replace(widths=None, epochs=8, minutes=2.0, validation=0), []
    pictures = made_up(n=64)
    if widths == "8,16":  # there are pictures enough
        monkeypatch.setattr(
            for_minutes, "CANDIDATES", three({"4,8": {0.1: 0.5}, "8,8": {0.2: 0.6}, "8,16": {0.3: 0.7}})
        )
    with monkeypatch.context() as patch:
        Machine(patch, speed)
        trained = train(
            pictures, tmp_path / "a", recipe, tell=lambda said: told.append((said, (tmp_path / "a" / FILE).exists()))
        )
    ((sentence, begun),) = told
    assert f"--widths {widths} --loss softmax in float32" in sentence and begun
    assert trained.recipe.widths == widths
    assert json.loads((tmp_path / "a" / FILE).read_text())["recipe"]["widths"] == widths
    assert sentence in (tmp_path / "a" / "encoder" / "card.md").read_text()
    train(pictures, tmp_path / "b", plan=tmp_path / "a" / FILE)
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
