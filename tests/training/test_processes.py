"""Several processes train as one does: two of them on the CPU, started by torchrun, against this one."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_training import QUICK, made_up, weights
from torch import nn

from retrieval.training.loop import train
from retrieval.training.normalisation import SynchronisedBatchNorm, statistics_kept, synchronised
from retrieval.training.processes import World
from retrieval.training.recipe import PRESETS

pytestmark = pytest.mark.usefixtures("lean")

# 3 pictures of each of 5 classes: the two processes have 8 and 7 pictures of a batch
SMALL = QUICK.replace(widths="8,16", epochs=1, classes_per_batch=5, pictures_per_class=3, lr=0.02, augment="flip,shift")
RECIPES = {
    # a smooth loss: the mean over active triplets jumps where one of them is active by a hair
    "batch norm": SMALL.replace(loss="supcon", average=0.9),
    "no batch norm": PRESETS["seed"].replace(
        epochs=1, dim=16, triplets_per_batch=7, triplets_per_epoch=56, threads=1, validation=40, augment="cutout"
    ),
    # without batch normalisation, whose statistics are those of a chunk
    "classifier in chunks": SMALL.replace(
        net="seed", widths=None, dim=16, loss="softmax", chunk=3, accumulate=2, augment="flip"
    ),
}
PICTURES = {"n": 120, "classes": 5}

PROGRAM = """
import atexit, glob, json, os, signal, sys
@atexit.register
def ended():  # the first that is registered runs last
    names = [open(file).read() for file in glob.glob("/proc/self/task/*/comm")]
    if any("gloo" in name for name in names):
        print("threads of the group outlive it:", names, file=sys.stderr, flush=True)
        os._exit(3)
sys.path[:0] = sys.argv[2:]
import pytest, torch
from lean import leave_out_the_end
from test_processes import PICTURES, RECIPES, made_up, train
from retrieval.base.progress import speaks
from retrieval.training import engine, processes, training_run
from retrieval.training.training_run import Run

leave_out_the_end(pytest.MonkeyPatch())
rows = []
learn, run = engine.Engine._learn, Run.go
def counted(self, place, batch, share):
    rows.append((len(batch.pixels), len(batch.labels)))
    return learn(self, place, batch, share)
def checked(self):
    run(self)
    # all processes hold the same weights and averages, bit for bit
    for name, tensor in self.engine.state().items():
        told = tensor.clone()
        torch.distributed.broadcast(told, 0)
        assert torch.equal(told, tensor), name
engine.Engine._learn, Run.go = counted, checked
for name, recipe in RECIPES.items():
    rows.clear()
    trained = train(made_up(**PICTURES), f"{sys.argv[1]}/{name}", recipe)
    if speaks():
        with open(f"{sys.argv[1]}/{name}.json", "w") as file:
            json.dump({"loss": [r.loss for r in trained.history], "rows": rows[0],
                       "quality": trained.precision_at_1}, file)

# the clock of the first process decides for all, whatever the others' say
class Clock:
    now = 0.0
    def perf_counter(self):
        self.now += 0.02 if speaks() else 0.5
        return self.now
training_run.time = Clock()
trained = train(made_up(**PICTURES), f"{sys.argv[1]}/timed", RECIPES["batch norm"].replace(epochs=None, minutes=0.04))
if speaks():
    with open(f"{sys.argv[1]}/timed.json", "w") as file:
        json.dump({"loss": [r.loss for r in trained.history]}, file)

# Ctrl-C reaches the first process alone
watch = Run.watch
def stopping(self, reading):
    watch(self, reading)
    if reading.step == 3 and self.world.first:
        signal.raise_signal(signal.SIGINT)
Run.watch = stopping
try:
    train(made_up(**PICTURES), f"{sys.argv[1]}/stopped", RECIPES["batch norm"])
    raise SystemExit("nothing stopped the training")
except KeyboardInterrupt:
    Run.watch = watch
torch.distributed.barrier()  # the first has written its checkpoint
steps = len(train(made_up(**PICTURES), f"{sys.argv[1]}/stopped", resume=True).history)
assert steps > 3, steps
"""


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    folder = tmp_path_factory.mktemp("together")
    (folder / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [
            *command,
            str(folder / "program.py"),
            str(folder),
            str(Path(__file__).parents[1] / "support"),
            str(Path(__file__).parent),
        ],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def by_one(tmp_path_factory):
    """Trains by a recipe in this process, once for all tests."""
    known = {}

    def trained(name):
        if name not in known:
            known[name] = train(made_up(**PICTURES), tmp_path_factory.mktemp("alone") / "run", RECIPES[name])
        return known[name]

    return trained


@pytest.mark.parametrize("name", RECIPES)
def test_two_processes_train_as_one(together, by_one, name):
    alone = by_one(name)
    found = json.loads((together / f"{name}.json").read_text())
    assert found["rows"] == ([11, 21] if name == "no batch norm" else [8, 15])
    losses = [reading.loss for reading in alone.history]
    assert len(losses) == len(found["loss"]) >= 4
    np.testing.assert_allclose(found["loss"], losses, rtol=1e-5, atol=1e-5)
    theirs, mine = weights(together / name), weights(alone.folder)
    assert theirs.keys() == mine.keys()
    for key, tensor in mine.items():
        torch.testing.assert_close(theirs[key].float(), tensor.float(), rtol=1e-4, atol=1e-4, msg=key)
    assert found["quality"] == pytest.approx(alone.precision_at_1, abs=0.05)
    assert {p.name for p in (together / name).iterdir()} == {p.name for p in alone.folder.iterdir()}


def test_two_processes_go_on_bit_for_bit(together):
    stopped, straight = weights(together / "stopped"), weights(together / "batch norm")
    assert stopped.keys() == straight.keys()
    assert all(torch.equal(stopped[name], tensor) for name, tensor in straight.items())


def test_the_plan_of_two_processes_is_repeated_by_one(together, tmp_path):
    found = json.loads((together / "timed.json").read_text())["loss"]
    again = train(made_up(**PICTURES), tmp_path / "run", plan=together / "timed" / "plan.json")
    # for as long as rounding differently has not led them apart
    np.testing.assert_allclose(found[:6], [reading.loss for reading in again.history[:6]], rtol=0, atol=1e-4)
    assert len(found) == len(again.history) > 12


def test_the_classifier_of_two_processes_is_that_of_one(together, by_one):
    name = "classifier in chunks"
    theirs, mine = (load_file(p / "classifier.safetensors") for p in (together / name, by_one(name).folder))
    for key, tensor in mine.items():
        torch.testing.assert_close(theirs[key], tensor, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("count", "size"), [(15, 2), (16, 5), (7, 7), (3, 1)])
def test_the_rows_of_all_processes_are_the_batch(count, size):
    rows = [np.arange(count)[World(rank, size).rows(count)] for rank in range(size)]
    np.testing.assert_array_equal(np.concatenate(rows), np.arange(count))
    assert [len(r) for r in rows] == World(0, size).shares(count)
    assert max(map(len, rows)) - min(map(len, rows)) <= 1


@pytest.mark.parametrize("momentum", [0.1, None])
def test_synchronised_batch_norm_of_one_is_batch_norm(monkeypatch, momentum):
    """Value, gradients and statistics are those of torch's."""
    monkeypatch.setattr("retrieval.training.normalisation.sum_over_processes", lambda x: x)
    torch.manual_seed(0)
    theirs = nn.Sequential(nn.Conv2d(3, 4, 2), nn.BatchNorm2d(4, momentum=momentum))
    nn.init.normal_(theirs[1].weight)
    ours = synchronised(nn.Sequential(nn.Conv2d(3, 4, 2), nn.BatchNorm2d(4, momentum=momentum)))
    ours.load_state_dict(theirs.state_dict())
    assert isinstance(ours[1], SynchronisedBatchNorm)
    for seed in range(3):
        x = torch.randn(6, 3, 5, 5, generator=torch.Generator().manual_seed(seed)) + 10
        outs = [net(x) for net in (theirs, ours)]
        torch.testing.assert_close(outs[0], outs[1], rtol=1e-4, atol=1e-4)
        for net, out in zip((theirs, ours), outs, strict=True):
            net.zero_grad()
            (out**3).sum().backward()
        for a, b in zip(theirs.parameters(), ours.parameters(), strict=True):
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-2)
    with statistics_kept(ours):
        ours(x)
    for name, tensor in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], tensor, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))
