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


def amx(candidate, precision):
    return AMX[candidate.widths]


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

    def seconds_of(candidate, precision):
        tried.append((candidate.widths, precision))
        return speed * cost[candidate.widths] * (0.5 if precision == BRAIN else 1)

    return pick(recipe, [FLOAT], seconds_of, never, 100.0, **more), tried


@pytest.mark.usefixtures("made_up_table")
def test_the_faster_the_machine_the_wider_the_network():
    widths = [on(100.0 / pictures)[0].candidate.widths for pictures in (10, 1e4, 1.6e5, 1e6, 1e9)]
    assert widths == ["4,8", "4,8", "8,8", "8,16", "8,16"]
    # what is slower still is not even tried
    assert on(100.0 / 10)[1] == [("4,8", FLOAT), ("8,8", FLOAT)]


def test_nothing_more_is_promised_than_was_seen():
    candidate = Candidate("4,8", CLASSIFIER, {10: 0.5, 40: 0.7})
    seen = {1: 0.0, 5e3: 0.5 - HALVING, 1e4: 0.5, 2e4: 0.6, 4e4: 0.7, 1e9: 0.7}
    assert [candidate.expected(pictures) for pictures in seen] == pytest.approx(list(seen.values()))
    assert "on CIFAR-10, so many led to a kNN accuracy of about 0.60" in str(Pick(candidate, FLOAT, 2e4, 0.6))


@pytest.mark.usefixtures("made_up_table")
def test_epochs_that_are_given_count():
    assert on(100.0 / 1e9, most=1e4)[0].candidate.widths == "4,8"


@pytest.mark.usefixtures("made_up_table")
def test_the_faster_precision_is_taken_for_all():
    tried = []

    def seconds_of(candidate, precision):
        tried.append((candidate.widths, precision))
        return 1e-6 if precision == BRAIN else 2e-6

    chosen = pick(OPEN, [FLOAT, BRAIN], seconds_of, never, 100.0)
    assert chosen.precision == BRAIN
    assert tried == [("4,8", FLOAT), ("4,8", BRAIN), ("8,8", BRAIN), ("8,16", BRAIN)]


@pytest.mark.usefixtures("made_up_table")
def test_choosing_ends_when_enough_time_went_into_it():
    looks = iter([False, False, True])  # the precisions of the first, the first, the second
    assert pick(OPEN, [FLOAT, BRAIN], lambda *_: 1e-9, lambda: next(looks), 100.0).candidate.widths == "8,8"
    assert pick(OPEN, [FLOAT, BRAIN], lambda *_: 1e-9, lambda: True, 100.0)[:2] == (for_minutes.CANDIDATES[0], FLOAT)


def test_two_cores_with_amx_reach_no_less_than_before_there_was_a_choice():
    triplets = pick(OPEN.replace(loss="triplet"), [BRAIN], amx, never, 285.0)
    assert triplets.candidate.widths == "64,128,256" and triplets.expected >= 0.89
    open_ = [pick(OPEN, [BRAIN], amx, never, 60.0 * minutes) for minutes in (5, 30, 90)]
    assert open_[0].expected >= triplets.expected
    # and with more time what the records trained
    assert [chosen.candidate.widths for chosen in open_[1:]] == ["64,256,256", "128,384,384"]


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
    assert wide.settled(OPEN).weight_decay == 5e-3 and wide.settled(OPEN.replace(weight_decay=0.1)).weight_decay == 0.1
    assert wide.settled(OPEN.replace(loss="supcon")).loss == "supcon"


def test_the_table_can_be_chosen_from():
    """Each row rises with the pictures that were seen, and makes a recipe."""
    for candidate in CANDIDATES:
        counts, reached = list(candidate.reached), list(candidate.reached.values())
        assert counts == sorted(set(counts)) and reached == sorted(set(reached)) and 0 < reached[-1] < 1
        assert candidate.settled(OPEN).widths == candidate.widths
    assert {candidate.rest["loss"] for candidate in CANDIDATES} == {USUAL, CLASSIFIER["loss"]}


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
