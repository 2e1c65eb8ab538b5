"""torch.compile is used where it pays, and otherwise the training says why not. The compiler itself is a stand-in."""

import json
import signal

import pytest
import torch
from test_training import QUICK, made_up, same, weights

from retrieval.errors import RetrievalError
from retrieval.training import engine as engines
from retrieval.training import hardware
from retrieval.training.loop import train
from retrieval.training.run_folder import CHECKPOINT, read

pytestmark = pytest.mark.usefixtures("lean")

RECIPE = QUICK.replace(compile=True, epochs=1)


@pytest.fixture
def plain(tmp_path):
    train(made_up(), tmp_path / "plain", QUICK.replace(epochs=1))
    return weights(tmp_path / "plain")


class Compiler:
    """Compiles to the network itself; compiled or not it takes so many seconds of a clock of its own, as which of the
    two is faster by the machine's is no matter here."""

    def __init__(self, monkeypatch, compiled=0.0, uncompiled=0.0):
        self.calls, self.now = 0, 0.0
        forward = engines.Engine._forward

        def slow(run, x):
            self.now += 1e-3 + (uncompiled if run.compiled is None else compiled)
            return forward(run, x)

        monkeypatch.setattr(hardware, "time", self)
        monkeypatch.setattr(engines.Engine, "_forward", slow)
        monkeypatch.setattr(torch, "compile", self)

    def perf_counter(self):
        return self.now

    def __call__(self, network):
        def compiled(x):
            self.calls += 1
            return network(x)

        return compiled


def test_what_pays_is_kept_and_changes_nothing_but_the_time(tmp_path, monkeypatch, plain):
    compiler = Compiler(monkeypatch, uncompiled=0.05)
    trained = train(made_up(), tmp_path / "run", RECIPE)
    assert not trained.warnings
    assert compiler.calls > len(trained.history)  # those of the measurement, and all steps
    assert same(weights(tmp_path / "run"), plain)


def test_what_does_not_pay_is_left_with_a_note(tmp_path, monkeypatch, plain):
    compiler = Compiler(monkeypatch, compiled=0.05)
    trained = train(made_up(), tmp_path / "run", RECIPE)
    assert len(trained.warnings) == 1 and "does not pay" in trained.warnings[0]
    assert compiler.calls == 7  # the measurement: all steps of the epoch
    assert same(weights(tmp_path / "run"), plain)


def test_what_fails_is_left_with_a_warning(tmp_path, monkeypatch, plain):
    def broken(network):
        def compiled(x):
            raise ValueError("no compiler\nin many lines")

        return compiled

    monkeypatch.setattr(torch, "compile", broken)
    said = []
    train(made_up(), tmp_path / "run", RECIPE, warn=said.append)
    assert len(said) == 1 and "(ValueError: no compiler); the training goes on without" in said[0]
    assert same(weights(tmp_path / "run"), plain)


def test_a_compiled_training_goes_on_compiled_or_not_at_all(tmp_path, monkeypatch, plain):
    Compiler(monkeypatch, uncompiled=0.05)
    learn = engines.Engine._learn
    stopped = []

    def interrupted(self, place, batch, share):
        if self.compiled is not None and place[0] == 3:
            stopped.append(1)
            if len(stopped) == 2:  # after the measurement
                signal.raise_signal(signal.SIGINT)
        return learn(self, place, batch, share)

    monkeypatch.setattr(engines.Engine, "_learn", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(made_up(), tmp_path / "run", RECIPE)
    assert read(tmp_path / "run" / CHECKPOINT)[1]["compiled"] is True
    monkeypatch.setattr(torch, "compile", lambda network: json.loads)
    with pytest.raises(RetrievalError, match="began compiled"):
        train(made_up(), tmp_path / "run", resume=True)
    monkeypatch.undo()
    # now compiling does not pay, and is done all the same
    compiler = Compiler(monkeypatch, compiled=0.01)
    train(made_up(), tmp_path / "run", resume=True)
    assert compiler.calls == 1 + 3
    assert same(weights(tmp_path / "run"), plain)
