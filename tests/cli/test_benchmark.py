"""`retrieval benchmark`: what it takes and prints, with a model and on pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import official_layouts
import pytest
import tiny

from retrieval import cli, datasets
from retrieval.protocols import PROTOCOLS


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.model(tmp_path_factory)


def test_list_names_every_protocol(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["benchmark", "--list"]) == 0
    shown = capsys.readouterr().out
    assert [line.split()[0] for line in shown.splitlines()[1:]] == list(PROTOCOLS)
    assert cli.main(["benchmark", "--list", "--json"]) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)["benchmarks"]] == list(PROTOCOLS)


def test_a_model_is_measured_on_pictures(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    official_layouts.cars196(tmp_path / "set")
    saved = tmp_path / "measured.json"
    arguments = ["benchmark", "cars196", str(tmp_path / "set"), "--model", str(model), "--traps", "--save", str(saved)]
    assert cli.main([*arguments, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(saved.read_text())
    # the sixth picture's file is missing: of class 2, which trains
    assert printed["counts"]["queries"] == 8 and printed["counts"]["unreadable"] == 0
    assert {"R@1", "R@2", "R@4", "R@8", "MAP@R", "NMI"} <= printed["measures"].keys()
    assert any("training set" in finding["sentence"] for finding in printed["findings"])
    assert cli.main(["compare", str(saved), str(saved)]) == 0


def test_a_missing_file_is_counted(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    official_layouts.cub200(tmp_path / "set")
    (tmp_path / "set" / datasets.load(tmp_path / "set").names[-1]).unlink()
    assert cli.main(["benchmark", "cub200", str(tmp_path / "set"), "--model", str(model), "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)["counts"]
    assert counts["queries"] == counts["gallery"] == 7 and counts["unreadable"] == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["cub200"], "give the name of a benchmark and the folder"),
        (["cub300", "FOLDER", "--model", "m"], "There is no benchmark 'cub300'"),
        (["cub200", "FOLDER"], "give one of --model, --vectors"),
        (["cub200", "FOLDER", "--model", "m", "--vectors", "v.npy"], "give one of --model, --vectors"),
        (["cub200", "EMPTY", "--vectors", "v.npy"], "is no folder of CUB-200-2011, which holds images.txt"),
        (["cub200", "FOLDER", "--vectors", "v.npy"], "v.npy' are not there"),
        (
            ["cub200", "FOLDER", "--vectors", "v.npy", "--duplicate-score", "0.9"],
            "without --duplicates drop",
        ),
        (["cub200", "FOLDER", "--vectors", "v.npy", "--rerank", "x"], "There is no re-ranker 'x'"),
        (
            ["cub200", "FOLDER", "--vectors", "v.npy", "--rerank", "aqe", "--traps"],
            "--traps says nothing beside",
        ),
        (["cub200", "FOLDER", "--vectors", "v.npy", "--rerank-top", "9"], "--rerank-top says nothing without --rerank"),
        (["cub200", "FOLDER", "--vectors", "v.npy", "--memory", "1GB"], "--memory is for the scores of distractors"),
        (["--list", "--limit", "3"], "--list lists the benchmarks"),
    ],
)
def test_mistakes_are_one_sentence(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    official_layouts.cub200(tmp_path / "set")
    (tmp_path / "empty").mkdir()
    places = {"FOLDER": str(tmp_path / "set"), "EMPTY": str(tmp_path / "empty")}
    assert cli.main(["benchmark", *(places.get(one, one) for one in arguments)]) == 1
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_codes_are_ranked_by_hamming_distance(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    official_layouts.sop(tmp_path / "set")
    np.save(tmp_path / "codes.npy", np.repeat(np.array([[0], [15], [255]], np.uint8), 3, axis=0))
    arguments = [
        "benchmark",
        "sop",
        str(tmp_path / "set"),
        "--vectors",
        str(tmp_path / "codes.npy"),
        "--codes",
        "--json",
    ]
    assert cli.main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["measures"]["R@1"]["value"] == 1
