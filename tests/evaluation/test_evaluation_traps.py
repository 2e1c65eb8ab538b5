"""Traps in an evaluation: what is planted between and within its sides is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny
from PIL import Image
from vectors import unit

from retrieval import ingest
from retrieval.cli import main
from retrieval.encoder import encoder
from retrieval.evaluation import trap_search
from retrieval.evaluation.labelled_vectors import Labelled


@pytest.fixture(scope="module")
def sets(tmp_path_factory) -> Path:
    """Training and test pictures, of which one is in both, written anew and a little darker."""
    root = tmp_path_factory.mktemp("sets")
    tiny.folder(root / "train", ("cat", "dog"), each=15)
    for number in range(10):
        name = ("cat", "dog")[number % 2]
        (root / "test" / name).mkdir(parents=True, exist_ok=True)
        tiny.picture(1000 + number).save(root / "test" / name / f"{number}.png")
    copy = np.asarray(Image.open(root / "train" / "dog" / "3.png"), np.float32) * 0.97
    Image.fromarray(copy.astype(np.uint8)).save(root / "test" / "dog" / "copy.jpg", quality=93)
    return root


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return tiny.model(tmp_path_factory)


def findings(capsys, *arguments: str) -> dict[str, dict]:
    assert main(["evaluate", *arguments, "--traps", "--json", "--no-probe"]) == 0
    return {found["name"]: found for found in json.loads(capsys.readouterr().out)["findings"]}


def test_a_test_picture_that_was_trained_on_is_named(sets, model, capsys):
    found = findings(capsys, str(model), str(sets))
    assert set(found) == {"leakage", "collapse", "small classes"}
    assert found["leakage"]["severity"] != "fine"
    (pair,) = [example["names"] for example in found["leakage"]["worst"] if example["bits"] is not None][:1]
    assert pair[0].endswith("copy.jpg") and pair[1].endswith("dog/3.png")


def test_the_table_names_them(sets, model, capsys):
    assert main(["evaluate", str(model), str(sets), "--traps", "--no-probe"]) == 0
    out = capsys.readouterr().out
    assert "near-duplicate" in out and "copy.jpg, " in out
    assert main(["evaluate", str(model), str(sets), "--no-probe"]) == 0
    assert "near-duplicate: a picture" not in capsys.readouterr().out


def test_within_one_split(sets, model, capsys):
    found = findings(capsys, str(model), str(sets), "--within", "train")
    assert {"leakage", "collapse", "hubs", "labels", "small classes"} == set(found)


def test_of_an_index_and_of_queries_to_it(sets, model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(encoder, "compare", tiny.only_vectors)
    ingest.build(sets / "train", tmp_path / "index", model=model)
    own = findings(capsys, str(tmp_path / "index"))
    assert "hubs" in own and own["leakage"]["worst"][0]["names"][0].startswith(("cat/", "dog/"))
    asked = findings(capsys, str(tmp_path / "index"), "--queries", str(sets / "test"))
    assert "hubs" not in asked and set(asked) >= {"leakage", "collapse"}


def test_of_vectors_alone(tmp_path, capsys):
    vectors = unit(60, 16)
    vectors[7] = vectors[41]
    np.save(tmp_path / "v.npy", vectors)
    (tmp_path / "l.csv").write_text("label\n" + "".join(f"{'ab'[i % 2]}\n" for i in range(60)))
    found = findings(capsys, str(tmp_path / "v.npy"), "--labels", str(tmp_path / "l.csv"))
    assert found["leakage"]["worst"][0]["ids"] == [7, 41]
    some = findings(capsys, str(tmp_path / "v.npy"), "--labels", str(tmp_path / "l.csv"), "--limit", "20")
    assert some["leakage"]["worst"][0]["ids"] == [7, 41]
    other = unit(10, 16, seed=3)
    other[4] = vectors[9]
    np.save(tmp_path / "q.npy", other)
    (tmp_path / "ql.csv").write_text("label\n" + "a\nb\n" * 5)
    asked = findings(
        capsys, str(tmp_path / "v.npy"), "--labels", str(tmp_path / "l.csv"),
        "--queries", str(tmp_path / "q.npy"), "--query-labels", str(tmp_path / "ql.csv"),
    )  # fmt: skip
    assert asked["leakage"]["worst"][0]["ids"] == [4, 9]


def test_codes_are_compared_by_their_scores():
    """Of the products of ±1 every one above 1 would pass for a score of 1, and every picture for a copy."""
    generator = np.random.default_rng(0)

    def drawn(n: int) -> Labelled:
        codes = generator.integers(0, 256, (n, 8), np.uint8)
        return Labelled(np.array([f"{row}.png" for row in range(n)]), ("a", "b"), np.arange(n) % 2, codes, np.arange(n))

    queries, gallery = drawn(60), drawn(80)
    gallery.vectors[41] = queries.vectors[7]
    leakage = next(found for found in trap_search.look(queries, gallery, seed=0) if found.name == "leakage")
    assert leakage.figures["pictures"] == 60 and leakage.figures["with_near_duplicate"] == 1
    assert leakage.worst[0].ids == (7, 41)
