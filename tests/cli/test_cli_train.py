"""train_triplet.py as a process, as people run it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
SMALL = ["--widths", "8,16", "--threads", "1", "--pictures-per-class", "4", "--size", "12"]


def command(*arguments):
    return [sys.executable, str(ROOT / "train_triplet.py"), *map(str, arguments)]


def train(*arguments):
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for name in ("cats", "dogs", "cups"):
        (folder / name).mkdir()
        centre = random.integers(0, 255, (12, 12, 3))
        for i in range(30):
            noisy = (centre + random.normal(0, 40, centre.shape)).clip(0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(folder / name / f"{i}.png")
    return folder


def test_train_then_again_then_resume(photos, tmp_path):
    run = tmp_path / "run"
    first = train(photos, "--out", run, "--epochs", "2", "--json", *SMALL)
    assert first.returncode == 0, first.stderr
    said = json.loads(first.stdout)
    assert said["recipe"]["epochs"] == 2 and said["recipe"]["widths"] == "8,16"
    assert 0 <= said["validation_precision_at_1"] <= 1 and said["steps"] > 0
    assert (run / "encoder" / "weights.safetensors").is_file()
    again = train(photos, "--out", run, *SMALL)
    assert again.returncode == 1 and "finished training" in again.stderr and "Traceback" not in again.stderr
    resumed = train(photos, "--out", run, "--resume")
    assert resumed.returncode == 0 and "trained already" in resumed.stdout


def test_ctrl_c_keeps_what_was_done(photos, tmp_path):
    run = tmp_path / "run"
    long = [photos, "--out", run, "--epochs", "4000", *SMALL]
    process = subprocess.Popen(command(*long), stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    deadline = time.monotonic() + 90
    while not (run / "checkpoint.safetensors").exists() and time.monotonic() < deadline:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in errors and "goes on from there" in errors
    blocked = train(*long)
    assert blocked.returncode == 1 and "--resume" in blocked.stderr
    changed = train(photos, "--out", run, "--resume", "--epochs", "3")
    assert changed.returncode == 1 and "began with" in changed.stderr and "Traceback" not in changed.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nowhere", "--out", "run"], 1, "nowhere"),
        (["PHOTOS", "--out", "run", "--mining", "hardest"], 2, "hardest"),
        (["PHOTOS", "--out", "run", "--margin", "-1"], 1, "-1"),
        (["PHOTOS", "--out", "run", "--epochs", "many"], 2, "many"),
        (["PHOTOS", "--out", "run", "--net", "resnet"], 1, "resnet"),
    ],
)
def test_mistakes_end_in_one_sentence(photos, tmp_path, arguments, code, words):
    arguments = [str(photos) if a == "PHOTOS" else a for a in arguments]
    done = subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=60, cwd=tmp_path, env=os.environ, check=False
    )
    assert done.returncode == code and words in done.stderr and "Traceback" not in done.stderr
    assert done.stdout == "" and not (tmp_path / "run").exists()
