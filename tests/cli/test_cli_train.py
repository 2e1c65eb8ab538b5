"""`train` as people run it: train_triplet.py as a process where Ctrl-C ends it, within this process else."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retrieval.cli import main

ROOT = Path(__file__).parents[2]
SMALL = ["--widths", "8,16", "--threads", "1", "--pictures-per-class", "4", "--size", "12"]


def command(*arguments):
    return [sys.executable, str(ROOT / "train_triplet.py"), *map(str, arguments)]


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


@pytest.mark.usefixtures("lean")
def test_train_then_again_then_resume(photos, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["train", str(photos), "--out", str(run), "--epochs", "2", "--json", *SMALL]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["recipe"]["epochs"] == 2 and said["recipe"]["widths"] == "8,16"
    assert 0 <= said["validation_precision_at_1"] <= 1 and said["steps"] > 0
    assert (run / "encoder" / "weights.safetensors").is_file()
    assert main(["train", str(photos), "--out", str(run), *SMALL]) == 1
    assert "finished training" in capsys.readouterr().err
    assert main(["train", str(photos), "--out", str(run), "--resume"]) == 0
    assert "trained already" in capsys.readouterr().out


def test_ctrl_c_keeps_what_was_done(photos, tmp_path, capsys):
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
    assert main(["train", *map(str, long)]) == 1
    assert "--resume" in capsys.readouterr().err
    assert main(["train", str(photos), "--out", str(run), "--resume", "--epochs", "3"]) == 1
    assert "began with" in capsys.readouterr().err


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
def test_mistakes_end_in_one_sentence(photos, tmp_path, monkeypatch, capsys, arguments, code, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        sys.exit(main(["train", *(str(photos) if a == "PHOTOS" else a for a in arguments)]))
    out, err = capsys.readouterr()
    assert ended.value.code == code and words in err and "Traceback" not in err
    assert out == "" and not (tmp_path / "run").exists()
