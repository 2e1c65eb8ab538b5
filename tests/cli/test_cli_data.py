"""`retrieval data`, as people run it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_sets import SHARED, in_memory, noise, same, write

from retrieval import datasets
from retrieval.cli import main

ROOT = Path(__file__).parents[2]


def process(*arguments: str | Path, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "retrieval", "data", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **options
    )  # type: ignore[call-overload,no-any-return]


def say(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    code = main(["data", *map(str, arguments)])
    return (code, *capsys.readouterr())


def test_digits_from_a_fresh_process_twice(tmp_path: Path) -> None:
    """Results on stdout, nothing on stderr, and the second time nothing to do."""
    for state, there in (
        ("written", "360 pictures written"),
        ("was there already", "0 pictures written, 360 were there already"),
    ):
        running = process("digits", "--export", "out", "--split", "test", cwd=tmp_path)
        out, err = running.communicate(timeout=120)
        assert running.returncode == 0 and err == ""
        lines = dict(line.split("  ", 1) for line in out.splitlines())
        assert lines["digits"].strip() == "1,797 pictures (8×8, grey)"
        assert lines["splits"].strip() == "train 1,437, test 360"
        assert re.fullmatch(rf"data/digits\.h5 \(\d+ kB, {state}\)", lines["file"].strip())
        assert lines["folder"].strip() == f"out ({there})"
    assert len(list((tmp_path / "out").glob("*/*.png"))) == 360
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["digits.h5"]


def test_a_folder_becomes_one_file_and_one_file_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = in_memory()
    datasets.export(pictures, tmp_path / "pets")
    code, out, _ = say(capsys, tmp_path / "pets", "--to", tmp_path / "data", "--json")
    report = json.loads(out)
    assert code == 0 and report["pictures"] == 12 and report["splits"] == {"train": 6, "test": 6}
    assert report["classes"] == ["cat", "dog", "eel"] and report["size"] == {"width": 5, "height": 6, "channels": 3}
    assert report["file"]["path"] == str(tmp_path / "data/pets.h5") and not report["file"]["already_there"]
    assert json.loads(say(capsys, tmp_path / "pets", "--to", tmp_path / "data", "--json")[1])["file"]["already_there"]
    code, out, _ = say(capsys, tmp_path / "data/pets.h5", "--export", tmp_path / "again", "--limit", "6")
    assert code == 0 and "6 pictures written" in out
    whole = say(capsys, tmp_path / "data/pets.h5", "--export", tmp_path / "again")
    assert "6 pictures written, 6 were there already" in whole[1]
    first, again = (datasets.resident(datasets.load(tmp_path / name)) for name in ("pets", "again"))
    np.testing.assert_array_equal(first.pixels, again.pixels)
    assert first.names == again.names


def test_a_changed_folder_is_written_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    datasets.export(in_memory(), tmp_path / "pets")
    say(capsys, tmp_path / "pets", "--to", tmp_path)
    Image.fromarray(noise(6, 5, 3, seed=9)).save(tmp_path / "pets" / in_memory().names[0])
    assert "written" in say(capsys, tmp_path / "pets", "--to", tmp_path)[1]
    same(datasets.load(tmp_path / "pets.h5"), datasets.resident(datasets.load(tmp_path / "pets")))


def test_bad_files_are_listed_and_do_not_stop_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "p/a/1.png", noise(5, 5))
    write(tmp_path / "p/b/2.png", noise(5, 5))
    (tmp_path / "p/b/link.png").symlink_to("gone")
    (tmp_path / "p/b/3.png").write_bytes((tmp_path / "p/b/2.png").read_bytes()[:50])
    code, out, err = say(capsys, tmp_path / "p", "--to", tmp_path / "out")
    assert code == 0 and "left out  2 files" in out
    assert err.splitlines() == ["left out: b/link.png: broken link", "left out: b/3.png: truncated"]
    assert len(datasets.load(tmp_path / "out/p.h5")) == 2


def test_photos_of_several_sizes_can_be_looked_at_and_exported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "p/1.png", noise(5, 5))
    write(tmp_path / "p/2.jpg", noise(50, 70, 3))
    code, out, _ = say(capsys, tmp_path / "p")
    assert code == 0 and "2 pictures (files)" in out and "classes  none" in out
    assert say(capsys, tmp_path / "p", "--export", tmp_path / "out")[0] == 0
    assert (tmp_path / "out/train/2.jpg").read_bytes() == (tmp_path / "p/2.jpg").read_bytes()
    code, out, err = say(capsys, tmp_path / "p", "--to", tmp_path)
    assert code == 1 and out == "" and "differ in size" in err and len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nowhere",), "There is no file or folder 'nowhere'; give a folder of pictures"),
        (("nowhere", "--from", "x"), "--from is for the named sets"),
        (("digits", "--limit", "3"), "add --export FOLDER"),
        (("cifar10", "--from", "nowhere"), "There is no file or folder 'nowhere'"),
        (("digits", "--to", "small.h5/in"), "The file 'small.h5/in/digits.h5' cannot be written (Not a directory)"),
        (("x" * 5000,), "cannot be read: File name too long"),
        (("small.h5", "--export", "small.h5"), "The export stopped at 'small.h5/"),
        (("small.h5", "--export", "out", "--split", "val"), "small has no val pictures to export"),
        (("small.h5", "--export", "out", "--limit", "0"), "The limit is 0; give at least 1"),
    ],
)
def test_mistakes_are_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    datasets.save(in_memory(), "small.h5")
    code, out, err = say(capsys, *arguments)
    assert code == 1 and out == "" and sentence in err and len(err.splitlines()) == 1


def test_help_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["data", "--help"])
    assert caught.value.code == 0
    assert "retrieval data cifar10 --to data" in capsys.readouterr().out


def test_ctrl_c_leaves_whole_files_only_and_the_next_run_goes_on(tmp_path: Path) -> None:
    count = 4000
    pictures = in_memory(count)
    datasets.save(pictures, tmp_path / "set.h5")
    out = tmp_path / "out"
    running = process(tmp_path / "set.h5", "--export", out)
    deadline = time.monotonic() + 60
    while not (out / pictures.names[5]).exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130 and "Traceback" not in err and "goes on from there" in err
    there = [path for path in out.rglob("*") if path.is_file()]
    assert 0 < len(there) < count
    for path in there:
        with Image.open(path) as picture:
            picture.load()
    assert datasets.export(pictures, out) == (count - len(there), len(there), ())


@pytest.mark.skipif(not (SHARED / "att_faces.zip").is_file(), reason="no ../shared/data/att_faces.zip")
def test_the_real_faces(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = say(capsys, SHARED / "att_faces.zip", "--to", tmp_path)
    assert code == 0 and "400 pictures (92×112, grey)" in out and "40 (s1, s10," in out
    assert len(datasets.load(tmp_path / "att_faces.h5")) == 400
