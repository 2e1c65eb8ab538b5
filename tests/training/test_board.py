"""Logs for TensorBoard hold what the curves hold, once, whether the training was stopped or not."""

import math
import signal
import sys

import pytest
from test_training import QUICK, made_up

from retrieval.errors import RetrievalError
from retrieval.training import engine as engines
from retrieval.training.history import FOLDER
from retrieval.training.loop import train
from retrieval.training.training_run import Run

pytestmark = pytest.mark.usefixtures("lean")

RECIPE = QUICK.replace(epochs=2)


def logged(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / FOLDER))
    events.Reload()
    return {name: [(event.step, event.value) for event in events.Scalars(name)] for name in events.Tags()["scalars"]}


def test_the_logs_hold_the_readings(tmp_path):
    trained = train(made_up(), tmp_path / "run", RECIPE, tensorboard=True)
    found = logged(tmp_path / "run")
    for title, name in {
        "loss": "loss",
        "share of active triplets": "active",
        "spread of the embedding": "spread",
        "learning rate": "lr",
        "P@1 on the validation pictures": "precision_at_1",
    }.items():
        values = [(r.step, getattr(r, name)) for r in trained.history if not math.isnan(getattr(r, name))]
        read = found.pop(title)
        assert [step for step, _ in read] == [step for step, _ in values]
        assert [value for _, value in read] == pytest.approx([value for _, value in values])
    assert not found


def test_a_resumed_training_logs_each_step_once(tmp_path, monkeypatch):
    """It was killed: the checkpoint is older than the last logs."""
    save = Run.save
    monkeypatch.setattr(Run, "save", lambda self: save(self) if self.step <= 7 else None)
    learn = engines.Engine._learn

    def interrupted(self, place, batch, share):
        if place[0] == 10:
            signal.raise_signal(signal.SIGINT)
        return learn(self, place, batch, share)

    monkeypatch.setattr(engines.Engine, "_learn", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(made_up(), tmp_path / "run", RECIPE, tensorboard=True)
    monkeypatch.undo()
    assert len(logged(tmp_path / "run")["loss"]) == 11
    trained = train(made_up(), tmp_path / "run", resume=True, tensorboard=True)
    read = logged(tmp_path / "run")["loss"]
    assert [step for step, _ in read] == list(range(1, 15))
    assert [value for _, value in read] == pytest.approx([r.loss for r in trained.history])


def test_a_training_cut_off_before_its_first_checkpoint_can_be_begun_again(tmp_path, monkeypatch):
    monkeypatch.setattr(Run, "go", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(made_up(), tmp_path / "run", RECIPE, tensorboard=True)
    assert [path.name for path in (tmp_path / "run").iterdir()] == [FOLDER]
    monkeypatch.undo()
    train(made_up(), tmp_path / "run", RECIPE.replace(epochs=1))


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(RetrievalError, match=r"pip install .*retrieval\[tensorboard\]"):
        train(made_up(), tmp_path / "run", RECIPE, tensorboard=True)
