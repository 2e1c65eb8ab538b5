"""The rows of pair networks in the family's table, on made-up alphabets."""

from __future__ import annotations

import importlib
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from lake_archive import archive, members
from PIL import Image

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

pytestmark = pytest.mark.usefixtures("lean")


def alphabets(path: Path, names: str) -> None:
    """An archive like Omniglot's: of each alphabet three characters, coarse squares, each drawn four times."""
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            for character in range(3):
                coarse = np.random.default_rng([ord(name), character]).integers(0, 2, (5, 5), np.uint8) * 255
                for drawing in range(4):
                    file = io.BytesIO()
                    picture = Image.fromarray(coarse).resize((35, 35), Image.Resampling.NEAREST)
                    picture.rotate(3 * drawing, fillcolor=255).save(file, "PNG")
                    where = f"{path.stem}/Alphabet_{name}/character{character + 1:02}/{drawing:04}.png"
                    archive.writestr(where, file.getvalue())


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for number, names in (("1", "abc"), ("2", "cde")):
        alphabets(tmp_path / "omniglot" / f"images_background_small{number}.zip", names)
    return tmp_path


def test_only_unseen_alphabets_are_unpacked(data, tmp_path):
    pairs = importlib.import_module("systems.pairs")
    train, test = pairs.omniglot(data, "small")
    assert set(train.levels) == {"Alphabet_a", "Alphabet_b", "Alphabet_c"}
    assert set(test.levels) == {"Alphabet_d", "Alphabet_e"}
    pairs.unpack(data / "omniglot" / "images_background_small2.zip", tmp_path / "files", set(test.levels))
    found = sorted(path.relative_to(tmp_path / "files").as_posix() for path in (tmp_path / "files").rglob("*.png"))
    assert len(found) == 24 and found[0] == "Alphabet_d/character01/0000.png"
    assert not any("Alphabet_c" in path for path in found)


def rows(monkeypatch, capsys, data, out, name):
    """What benchmarks/family.py says of its small size."""
    program = importlib.import_module("family")
    words = ["family.py", data, "--out", out, "--size", "small", "--only", name, "--json"]
    monkeypatch.setattr("sys.argv", list(map(str, words)))
    assert program.main() == 0
    return json.loads(capsys.readouterr().out)["rows"]


def test_the_gain_of_re_ranking_is_a_row(data, tmp_path, monkeypatch, capsys):
    (row,) = rows(monkeypatch, capsys, data, tmp_path / "out", "reranking")
    for name in ("P@1", "mAP@100"):
        before, after, gain = (
            row["ours"][key][0] for key in (f"{name} of the encoder", f"{name} re-ranked", f"difference in {name}")
        )
        assert gain == pytest.approx(after - before, abs=1e-9)
        assert 0 < before <= 1 and 0 < after <= 1
    assert "9 characters; 20 of 24 drawings" in row["data"]


@pytest.mark.parametrize("name", ["two-channel", "comparison", "comparison-vgg16"])
def test_pair_networks_are_rows(data, tmp_path, monkeypatch, capsys, name):
    pairs = importlib.import_module("systems.pairs")
    monkeypatch.setitem(pairs.EFFORTS, "small", pairs.EFFORTS["small"]._replace(pairs=40))
    (row,) = rows(monkeypatch, capsys, data, tmp_path / "out", name)
    assert set(row["ours"]) == {"FPR at 95 % recall", "EER", "accuracy"}
    assert all(0 <= value <= 1 for values in row["ours"].values() for value in values)
    assert "9 characters" in row["data"] and "40 balanced pairs of unseen alphabets" in row["data"]


def test_vgg16_on_folders_of_faces_is_a_row(data, tmp_path, monkeypatch, capsys):
    with zipfile.ZipFile(data / "att_faces.zip", "w") as archive:
        for subject in (*range(1, 9), 36, 37, 40):
            face = np.random.default_rng(subject).integers(0, 256, (8, 7), np.uint8).repeat(14, 0).repeat(13, 1)
            for picture in range(4):
                file = io.BytesIO()
                Image.fromarray(np.roll(face, 3 * picture, 1)).save(file, "PPM")
                archive.writestr(f"att_faces/s{subject}/{picture + 1}.pgm", file.getvalue())
    (row,) = rows(monkeypatch, capsys, data, tmp_path / "out", "comparison-vgg16-faces")
    assert set(row["ours"]) == {"FPR at 95 % recall", "EER", "accuracy"}
    assert "at 105×105: subjects 1–35 trained" in row["data"]
    recipe = json.loads((tmp_path / "out" / "comparison-vgg16-faces-small" / "recipe.json").read_text())
    assert (recipe["trunk"], recipe["size"], recipe["augment"]) == ("vgg16", 105, "flip,shift")


def test_one_shot_trials_are_a_row(data, tmp_path, monkeypatch, capsys):
    archive(data / "omniglot" / "all_runs.zip", members(noise=0.0))
    one_shot = importlib.import_module("systems.one_shot")
    quick = one_shot.RECIPE.replace(widths="8,8", classes_per_batch=8)
    monkeypatch.setattr(one_shot, "RECIPE", quick)
    (row,) = rows(monkeypatch, capsys, data, tmp_path / "out", "one-shot")
    assert set(row["ours"]) == {"error", f"error with {one_shot.VIEWS} views"}
    assert all(0 <= value <= 1 for values in row["ours"].values() for value in values)
    assert "3 background alphabets trained; Lake's 3 runs" in row["data"]
    assert row["ours"]["error"][0] == 0  # whatever the network has learned: each drawing is its training drawing
