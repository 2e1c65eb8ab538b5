"""The rows of pair networks in the family's table, on made-up alphabets."""

from __future__ import annotations

import importlib
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"

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


def test_the_gain_of_re_ranking_is_a_row(data, tmp_path, monkeypatch, capsys):
    program = importlib.import_module("family")
    words = ["family.py", data, "--out", tmp_path / "out", "--size", "small", "--only", "reranking", "--json"]
    monkeypatch.setattr("sys.argv", list(map(str, words)))
    assert program.main() == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    for name in ("P@1", "mAP@100"):
        before, after, gain = (
            row["ours"][key][0] for key in (f"{name} of the encoder", f"{name} re-ranked", f"difference in {name}")
        )
        assert gain == pytest.approx(after - before, abs=1e-9)
        assert 0 < before <= 1 and 0 < after <= 1
    assert "9 characters; 20 of 24 drawings" in row["data"]
