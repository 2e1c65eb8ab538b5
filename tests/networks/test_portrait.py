"""The siamese network of 2005, from faces to an index: trained on some people, saved, and filled with others."""

import json

import numpy as np
import pytest
from PIL import Image

from retrieval.cli import main
from retrieval.encoder import Encoder

PEOPLE, EACH = 8, 4


@pytest.fixture
def faces(tmp_path):
    """Class folders of upright grey pictures, smooth noise a person, and a list: the last three people are its test
    split."""
    random = np.random.default_rng(0)
    lines = ["path,label,split"]
    for person in range(PEOPLE):
        coarse = random.integers(0, 180, (7, 6), np.uint8)
        (tmp_path / "faces" / f"s{person}").mkdir(parents=True)
        for number in range(EACH):
            picture = Image.fromarray(coarse + random.integers(0, 40, coarse.shape, np.uint8))
            name = f"faces/s{person}/{number}.png"
            picture.resize((92, 112), Image.Resampling.BICUBIC).save(tmp_path / name)
            lines.append(f"{name},s{person},{'test' if person >= PEOPLE - 3 else 'train'}")
    (tmp_path / "faces.csv").write_text("\n".join(lines))
    return tmp_path / "faces.csv"


def run(capsys, *words):
    assert main([str(word) for word in words]) == 0
    return capsys.readouterr().out


@pytest.mark.kernels
@pytest.mark.usefixtures("lean")
@pytest.mark.parametrize("sampler", ["classes", pytest.param("pairs", marks=pytest.mark.long)])
def test_from_faces_to_an_index(faces, tmp_path, capsys, sampler):
    model, index = tmp_path / "run", tmp_path / "index"
    chosen = ["--net", "portrait", "--loss", "energy", "--space", "raw", "--sampler", sampler, "--dim", 12]
    few = ["--classes-per-batch", 5, "--pictures-per-class", 4, "--pairs-per-batch", 20, "--epochs", 15, "--threads", 1]
    run(capsys, "train", faces, "--out", model, *chosen, *few, "--validation", 0, "--optimizer", "adamw")
    encoder = Encoder.load(model)
    p = encoder.config.preprocessing
    assert (p.size, p.mode, p.fit, encoder.dim) == (56, "L", "pad", 12)
    assert "portrait, energy" in encoder.card and "20 pictures of 5 classes" in encoder.card

    run(capsys, "build", faces.with_suffix(""), "--model", model, "--out", index)
    asked = faces.with_suffix("") / "s1" / "0.png"
    found = json.loads(run(capsys, "query", index, asked, "-k", 3, "--json"))["answers"][0]["hits"]
    assert [hit["label"] for hit in found] == ["s1"] * 3
    report = json.loads(run(capsys, "evaluate", model, faces, "--within", "train", "--json"))
    assert report["measures"]["P@1"]["value"] == 1


def test_its_input_has_a_size_of_its_own(faces, tmp_path, capsys):
    for choice in ("--size", "--widths"):
        assert main(["train", str(faces), "--net", "portrait", choice, "64", "--out", str(tmp_path / "run")]) == 1
        assert f"{choice} does not go with --net portrait" in capsys.readouterr().err
        assert not (tmp_path / "run").exists()
