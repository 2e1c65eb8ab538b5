"""Calibration by altered copies and by words: who asks, what is left out, and what a query then shows."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from PIL import Image, ImageChops

from retrieval.cli import main
from retrieval.errors import RetrievalError
from retrieval.images.altering import ALTERATIONS
from retrieval.index import Index, NewItem
from retrieval.ingest import build
from retrieval.search.calibration import asking, calibrate
from retrieval.search.search import Search

DIM = 16


@pytest.mark.parametrize("name", ALTERATIONS)
def test_an_alteration_is_a_picture_of_the_same_kind(name: str) -> None:
    for mode in ("RGB", "L"):
        picture = tiny.picture(3, 40, 30).convert(mode)
        before = picture.tobytes()
        made = [ALTERATIONS[name](picture, np.random.default_rng(seed)) for seed in (0, 0, 1)]
        assert picture.tobytes() == before and {one.mode for one in made} == {mode}
        assert made[0].tobytes() == made[1].tobytes()
        assert made[0].size != picture.size or ImageChops.difference(made[0], picture).getbbox()
        dot = Image.new(mode, (1, 1))
        assert min(ALTERATIONS[name](dot, np.random.default_rng(0)).size) == 1


def scene(seed: int) -> Image.Image:
    """Soft colours, whose hashes no compression changes."""
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 7, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((48, 48), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of 30 pictures without labels, and besides an exact copy, a near-duplicate, and one that changed."""
    root = tmp_path_factory.mktemp("photos")
    for number in range(30):
        scene(number).save(root / f"{number:02d}.png")
    shutil.copy(root / "03.png", root / "copy.png")
    Image.open(root / "07.png").save(root / "near.jpg", quality=90)
    made = build(root, root.parent / "index", model=tiny.model(tmp_path_factory))
    scene(99).save(root / "11.png")
    return made.index


def test_what_has_a_double_is_not_altered(photos: Path) -> None:
    with Index.open(photos) as index:
        asked = asking.altered_copies(index, asking.encoder_of(index), 0)
        paths = index.paths()
        again = asking.altered_copies(index, asking.encoder_of(index), 0)
    found = {paths[int(label)] for label in asked.labels if label is not None}
    assert found == {f"{number:02d}.png" for number in range(30)} - {"03.png", "07.png", "11.png"}
    assert len(asked.labels) == len(asked.vectors) == 27 * len(ALTERATIONS)
    np.testing.assert_allclose(np.linalg.norm(asked.vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(asked.vectors, again.vectors)


def test_copies_are_calibrated_and_shown(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", str(photos), "--copies", "--fmr", "0.05", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["about"] == "copies" and record["judged"]["disjoint"] == "labels"
    assert record["judged"]["labels"] + record["judged"]["fitted_labels"] == 27
    with Index.open(photos) as index:
        assert list(index.calibration or {}) == ["copies"]
        root = Path(index.root)
    Image.open(root / "05.png").save(tmp_path / "copy.jpg", quality=80)
    scene(1234).save(tmp_path / "other.png")
    with Search.open(photos) as search:
        copy, other = search.query([tmp_path / "copy.jpg", tmp_path / "other.png"])
    assert copy[0].path == "05.png" and copy.no_copy is False
    assert copy[0].copy is not None and other[0].copy is not None and copy[0].copy > max(0.5, other[0].copy)
    assert {hit.probability for hit in copy} == {None} and copy.no_match is None and copy.fold is None
    assert main(["query", str(photos), str(tmp_path / "copy.jpg")]) == 0
    assert "P(copy)" in capsys.readouterr().out.splitlines()[1]
    assert main(["query", str(photos), str(tmp_path / "copy.jpg"), "--matches"]) == 1
    assert "no calibration that could tell matches" in capsys.readouterr().err


def test_too_few_pictures_to_alter(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    made = build(tiny.folder(tmp_path / "few", ("a",), 3), tmp_path / "i", model=tiny.model(tmp_path_factory))
    with pytest.raises(RetrievalError, match="Only 3 pictures"):
        calibrate(made.index, about="copies")
    with pytest.raises(RetrievalError, match="knows pictures only"):
        calibrate(made.index, about="words")
    with pytest.raises(RetrievalError, match="choose labels, copies, words"):
        calibrate(made.index, about="dogs")


def test_an_index_without_an_encoder_cannot_be_asked(tmp_path: Path) -> None:
    with Index.create(tmp_path / "i", 4, root="p", encoder_hash="imported:1", details={}) as index:
        index.add(np.eye(4, dtype=np.float32), [NewItem(f"{n}.png", "a") for n in range(4)])
        for about in ("copies", "words"):
            with pytest.raises(RetrievalError, match="imported without a model"):
                calibrate(index, about=about)


class Bilingual:
    """Knows pictures as points around a centre for each label, and the labels' names as points farther off."""

    def __init__(self, labels: int) -> None:
        rng = np.random.default_rng(1)
        self.centres = rng.standard_normal((labels, DIM))
        self.centres /= np.linalg.norm(self.centres, axis=1, keepdims=True)
        self.named = [f"red_thing_{number:02d}" for number in range(labels)]

    def pictures(self, each: int) -> np.ndarray:
        noise = np.random.default_rng(2).standard_normal((len(self.centres) * each, DIM))
        vectors = np.repeat(self.centres, each, axis=0) + 1.2 * noise / math.sqrt(DIM)
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    def encode_text(self, texts: list[str]) -> np.ndarray:
        offset = np.random.default_rng(3).standard_normal(DIM) / math.sqrt(DIM)
        rows = [self.centres[self.named.index(text.replace(" ", "_"))] + offset for text in texts]
        found = np.array(rows).reshape(-1, DIM)
        return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def test_words_are_calibrated_by_the_names_of_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = Bilingual(30)
    with Index.create(tmp_path / "i", DIM, root="p", encoder_hash="abc", details={}) as index:
        names = [name for name in model.named for _ in range(12)]
        index.add(model.pictures(12), [NewItem(f"{row}.png", name) for row, name in enumerate(names)])
        monkeypatch.setattr(asking, "encoder_of", lambda _: model)
        pictures, words = calibrate(index), calibrate(index, about="words")
        assert (words.measured.asked, words.measured.labels) == (30, 30)
        assert (words.judged.fitted_labels, words.judged.labels) == (15, 15)
        assert words.threshold < pictures.threshold  # words score otherwise than pictures
        index.record_calibration(pictures.to_json())
        index.record_calibration(words.to_json())
    with Search.open(tmp_path / "i") as search:
        search.__dict__["encoder"] = model
        (answer,) = search.query_texts(["red thing 04"], 40)
        (by_picture,) = search.query_ids([0], 5)
    assert answer.fold is not None and 0 < answer.fold < 40 and answer.no_match is False
    right = [hit.probability for hit in answer if hit.label == "red_thing_04"]
    wrong = [hit.probability for hit in answer if hit.label != "red_thing_04"]
    assert None not in right + wrong and np.mean(np.array(right, float)) > np.mean(np.array(wrong, float)) + 0.3
    assert by_picture[0].probability is not None
    assert {hit.copy for hit in answer} == {None}


def test_words_without_their_own_calibration_have_no_probability(tmp_path: Path) -> None:
    model: Any = Bilingual(8)
    with Index.create(tmp_path / "i", DIM, root="p", encoder_hash="abc", details={}) as index:
        names = [name for name in model.named for _ in range(8)]
        index.add(model.pictures(8), [NewItem(f"{row}.png", name) for row, name in enumerate(names)])
        index.record_calibration(calibrate(index).to_json())
    with Search.open(tmp_path / "i") as search:
        search.__dict__["encoder"] = model
        (answer,) = search.query_texts(["red thing 04"])
    assert {hit.probability for hit in answer} == {None} and answer.no_match is None
