"""A training keeps its minutes whatever the machine does meanwhile, and repeats by its plan. The clocks are made up."""

import dataclasses
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from test_training import QUICK, made_up, same, weights

from retrieval.cli import main
from retrieval.datasets import hdf5
from retrieval.errors import RetrievalError
from retrieval.training import training_run
from retrieval.training.engine import Engine
from retrieval.training.history import read_history
from retrieval.training.loop import EmbeddingRun, train
from retrieval.training.pair_recipe import PairRecipe
from retrieval.training.pairs.pair_loop import train_pair
from retrieval.training.plan import FILE, OVER, Decision, Plan
from retrieval.training.run_folder import CHECKPOINT, read

pytestmark = pytest.mark.usefixtures("lean")

MINUTE = QUICK.replace(widths="4,8", epochs=None, minutes=1.0, lr=0.05)
SPEEDS = {
    "steady": lambda gone: 1.0,
    "slow": lambda gone: 4.5,
    "fast": lambda gone: 0.45,
    "slower midway": lambda gone: 0.5 if gone < 30 else 2.5,
    "faster midway": lambda gone: 2.5 if gone < 30 else 0.5,
    "stops for a while": lambda gone: 9.0 if 20 < gone < 28 else 1.0,
    "ten times slower near the end": lambda gone: 0.2 if gone < 54 else 2.0,
    "ten times faster near the end": lambda gone: 1.0 if gone < 50 else 0.1,
}
VALIDATION = 1.5
"""Steps that take as long as a validation."""


class Clock:
    """A step takes so many of its seconds, by how many are gone, and a validation :data:`VALIDATION` times as many."""

    def __init__(self, monkeypatch, step, preparation=0.0):
        self.begun = self.now = 1000.0
        learn, precision, make = Engine.step, EmbeddingRun.quality, EmbeddingRun.make

        def slowly(engine, *args):
            self.now += step(self.now - self.begun)
            return learn(engine, *args)

        def validated(run):
            self.now += VALIDATION * step(self.now - self.begun)
            return precision(run)

        def made(run, saved):
            self.now += preparation
            make(run, saved)

        monkeypatch.setattr(training_run, "time", self)
        monkeypatch.setattr(Engine, "step", slowly)
        monkeypatch.setattr(EmbeddingRun, "quality", validated)
        monkeypatch.setattr(EmbeddingRun, "make", made)

    def perf_counter(self):
        return self.now


def decisions(run):
    return json.loads((run / FILE).read_text())["decisions"]


def readings(trained):
    return [dataclasses.astuple(dataclasses.replace(reading, seconds=0)) for reading in trained.history]


@pytest.mark.parametrize(
    "speed",
    [
        pytest.param(speed, marks=[pytest.mark.long] if speed in ("steady", "fast", "stops for a while") else [])
        for speed in SPEEDS
    ],
)
def test_the_rate_is_zero_when_the_time_is_up(tmp_path, monkeypatch, speed):
    clock = Clock(monkeypatch, SPEEDS[speed], preparation=6.0)
    trained = train(made_up(n=80), tmp_path / "run", MINUTE)
    longest, ending = max(SPEEDS[speed](gone) for gone in range(60)), VALIDATION * SPEEDS[speed](59)
    assert abs(trained.seconds - 60) <= max(1.5, longest / 2 + 1) < 6  # the validation counted in
    assert clock.now - clock.begun == trained.seconds
    lr = [reading.lr for reading in trained.history]
    gone = np.array([before.seconds for before in trained.history[:-1]])
    share = (gone - 6) / (60 - 6 - ending)
    # each step's rate is that of the time when it began, as far as the last look at the clock knows it
    np.testing.assert_allclose(lr[1:], [MINUTE.rate(1000 * s, 1000) for s in share], atol=0.05 * 0.25)
    # the last step may begin when half of one's time is over that is left for it
    assert lr[-1] <= MINUTE.rate(1 - (2 * longest + ending) / 51, 1) and max(lr) > 0.05 * 0.85
    rows = decisions(tmp_path / "run")
    assert rows[-1]["steps"] == len(lr)
    assert all(row["lr"] == [*lr, 0][row["step"]] for row in rows)
    assert len(rows) < 130


def test_the_last_look_at_held_out_pictures_is_left_out_when_it_gets_too_late(tmp_path, monkeypatch):
    """The machine stops being fast just when all steps are done."""
    clock = Clock(monkeypatch, lambda gone: 0.5)
    monkeypatch.setattr("test_minutes.VALIDATION", 0.0)
    embed = Engine.embed

    def slowly(engine, pixels):
        clock.now += 4.0 if clock.now > clock.begun + 57 else 0.0
        return embed(engine, pixels)

    monkeypatch.setattr(Engine, "embed", slowly)
    monkeypatch.setattr(np, "array_split", lambda rows, parts, split=np.array_split: split(rows, 4))
    trained = train(made_up(n=80), tmp_path / "run", MINUTE)
    assert 60 * OVER <= trained.seconds < 60 * OVER + 4
    known = [reading.precision_at_1 for reading in trained.history if not np.isnan(reading.precision_at_1)]
    assert known and np.isnan(trained.precision_at_1)


def test_a_plan_repeats_a_training_without_a_clock(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        Clock(patch, SPEEDS["slower midway"])
        first = train(made_up(n=80), tmp_path / "a", MINUTE.replace(average=0.9))
    plan = tmp_path / "a" / FILE
    again = train(made_up(n=80), tmp_path / "b", plan=plan)
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    np.testing.assert_equal(readings(first), readings(again))
    assert (tmp_path / "b" / FILE).read_bytes() == plan.read_bytes()
    assert again.recipe.minutes is None
    with pytest.raises(RetrievalError, match="other pictures"):
        train(made_up(n=80, seed=1), tmp_path / "c", plan=plan)
    with pytest.raises(RetrievalError, match="all choices"):
        train(made_up(n=80), tmp_path / "c", MINUTE, plan=plan)
    with pytest.raises(RetrievalError, match="this kind"):
        train_pair(made_up(n=80), tmp_path / "c", plan=plan)
    assert main(["train", "nowhere", "--out", "c", "--plan", str(plan), "--lr", "1"]) == 1
    assert not (tmp_path / "c").exists()


EATER = "while True: pass"


@pytest.mark.long
@pytest.mark.parametrize("beside", ["from the start", "for the last fifth"])
def test_half_a_minute_beside_a_process_that_eats_a_core(tmp_path, beside):
    """A real clock, and real steps: from the first line of the command to the last look at held-out pictures."""
    hdf5.save(made_up(n=2000, side=32), tmp_path / "data.h5")
    train(
        made_up(n=80), tmp_path / "first", QUICK.replace(epochs=1)
    )  # what torch imports then takes long beside others
    options = ["--out", str(tmp_path / "run"), "--minutes", "0.5", "--widths", "16,32,64", "--threads", "1"]
    eaters = []
    eat = threading.Timer(
        0 if beside == "from the start" else 24,
        lambda: eaters.extend(subprocess.Popen([sys.executable, "-c", EATER]) for _ in range(os.cpu_count() or 1)),
    )
    eat.start()
    try:
        assert main(["train", str(tmp_path / "data.h5"), *options]) == 0
    finally:
        eat.join()
        for eater in eaters:
            eater.kill()
            eater.wait()
    readings = read_history(tmp_path / "run" / "curves.csv")
    assert abs(readings[-1].seconds - 30) <= 3
    assert decisions(tmp_path / "run")[-1]["steps"] == len(readings) > 20
    assert readings[-1].lr < 0.15 * max(reading.lr for reading in readings)


class Killed(BaseException):
    """Ends a training at once, with nothing put in order."""


def stop_at(count, monkeypatch, killed=None):
    """Ctrl-C in the middle of a step, or an end without any order."""
    learn, steps = Engine.step, itertools.count(1)

    def interrupted(engine, *args):
        if next(steps) == count:
            if killed is not None:
                raise killed
            signal.raise_signal(signal.SIGINT)
        return learn(engine, *args)

    monkeypatch.setattr(Engine, "step", interrupted)


@pytest.mark.parametrize("how", ["Ctrl-C", "killed"])
def test_a_training_that_was_stopped_equals_an_undisturbed_one_with_its_plan(tmp_path, monkeypatch, how):
    """Also where it goes on at another speed, and where it was killed after decisions that no checkpoint knows."""
    with monkeypatch.context() as patch:
        Clock(patch, SPEEDS["steady"])
        stop_at(29, patch, Killed if how == "killed" else None)
        with pytest.raises((KeyboardInterrupt, Killed)):
            train(made_up(n=80), tmp_path / "parts", MINUTE)
    before = decisions(tmp_path / "parts")
    assert before[-1]["step"] > read(tmp_path / "parts" / CHECKPOINT)[0] or how == "Ctrl-C"
    with monkeypatch.context() as patch:
        Clock(patch, SPEEDS["fast"], preparation=5.0)
        parts = train(made_up(n=80), tmp_path / "parts", resume=True)
    # the seconds of the work that is kept count, and those of beginning again
    assert abs(parts.seconds - 60) < 1
    known = decisions(tmp_path / "parts")
    assert known[: len(before)] == before and known[-1]["steps"] > 40
    whole = train(made_up(n=80), tmp_path / "whole", plan=tmp_path / "parts" / FILE)
    assert same(weights(tmp_path / "parts"), weights(tmp_path / "whole"))
    np.testing.assert_equal(readings(parts), readings(whole))


def test_a_training_by_plan_can_be_stopped_too(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        Clock(patch, SPEEDS["slow"])
        train(made_up(n=80), tmp_path / "a", MINUTE)
    with monkeypatch.context() as patch:
        stop_at(5, patch)
        with pytest.raises(KeyboardInterrupt):
            train(made_up(n=80), tmp_path / "b", plan=tmp_path / "a" / FILE)
    train(made_up(n=80), tmp_path / "b", resume=True)
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))


def test_epochs_that_fit_into_the_minutes_are_as_without_them(tmp_path, monkeypatch):
    Clock(monkeypatch, SPEEDS["steady"])
    timed = train(made_up(n=80), tmp_path / "a", MINUTE.replace(epochs=2))
    alone = train(made_up(n=80), tmp_path / "b", MINUTE.replace(epochs=2, minutes=None))
    learned = [
        [dataclasses.replace(reading, seconds=0, precision_at_1=0) for reading in one.history] for one in (timed, alone)
    ]
    assert learned[0] == learned[1] and timed.precision_at_1 == alone.precision_at_1
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert len(decisions(tmp_path / "a")) == 1 and not (tmp_path / "b" / FILE).exists()


def test_pair_networks_keep_their_minutes(tmp_path, monkeypatch):
    recipe = PairRecipe(
        net="comparison",
        size=32,
        widths="4,8",
        classes_per_batch=2,
        pictures_per_class=4,
        epochs=500,
        minutes=1.0,
        threads=1,
        validation=0,
    )
    with monkeypatch.context() as patch:
        Clock(patch, SPEEDS["slower midway"])
        trained = train_pair(made_up(n=80), tmp_path / "a", recipe)
    assert abs(trained.seconds - 60) < 3
    again = train_pair(made_up(n=80), tmp_path / "b", plan=tmp_path / "a" / FILE)
    np.testing.assert_equal(readings(trained), readings(again))


def test_without_a_clock_a_step_is_its_own_place():
    assert [Decision(0, 0.0, 1441).place(step) for step in range(1441)] == [(step, 1441) for step in range(1441)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 99}, "newer version"),
        ({"format": "1"}, "no plan"),
        ({"decisions": []}, "step 0"),
        ({"decisions": [{"step": 0, "share": 0.0, "steps": 0}]}, "cannot follow"),
        ({"decisions": [{"step": 0, "share": 0.0, "steps": 9}] * 2}, "cannot follow"),
        ({"decisions": [{"step": 0, "share": float("nan"), "steps": 9}]}, "cannot follow"),
        ({"decisions": [{"step": 0.0, "share": 0.0, "steps": 9}]}, "cannot follow"),
        ({"decisions": [{"step": 0}]}, "no plan"),
        ({"recipe": {"color": 1}}, "this kind"),
        ({"recipe": 7}, "no plan"),
    ],
)
def test_what_is_no_plan_is_refused(tmp_path, change, said):
    path = tmp_path / "other.json"
    Plan([Decision(0, 0.0, 9)], "encoder", 1.0, "", dataclasses.asdict(MINUTE)).write(tmp_path)
    path.write_text(json.dumps(json.loads((tmp_path / FILE).read_text()) | change))
    with pytest.raises(RetrievalError, match=said):
        train(made_up(n=80), tmp_path / "run", plan=path)
    path.write_bytes(path.read_bytes()[:40])
    for bad in (path, Path("nowhere.json")):
        with pytest.raises(RetrievalError, match=r"no plan|cannot be read"):
            train(made_up(n=80), tmp_path / "run", plan=bad)
    assert not (tmp_path / "run").exists()
