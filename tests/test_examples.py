"""The programs in examples/, each run on a few small pictures: one of them as a process, the others in this one."""

from __future__ import annotations

import ast
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tiny
from PIL import Image

import retrieval
from retrieval import datasets
from retrieval.encoder import Encoder

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
SCREEN = 75
"""Lines that a program may have."""


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], lean: None
) -> Callable[..., str]:
    """Runs a program in the test's folder, within this process, which has what it imports; gives what it prints."""
    monkeypatch.chdir(tmp_path)

    def ran(name: str, *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        capsys.readouterr()
        runpy.run_path(str(ROOT / "examples" / name), run_name="__main__")
        return capsys.readouterr().out

    return ran


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders of handwritten digits: three of them, four pictures each."""
    folder = tmp_path_factory.mktemp("examples") / "digits"
    datasets.export(datasets.load("digits"), folder, split="test", limit=80)
    for number, name in enumerate(sorted(path.name for path in folder.iterdir())):
        for picture in sorted((folder / name).iterdir())[4 if number < 3 else 0 :]:
            picture.unlink()
        if number >= 3:
            (folder / name).rmdir()
    return folder


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_each_fits_on_a_screen_and_uses_what_is_public(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= SCREEN
    assert f"python examples/{path.name} " in ast.get_docstring(ast.parse(text))
    assert f'"{path.name}"' in Path(__file__).read_text(encoding="utf-8"), "no test runs it"


def test_a_folder_is_searched(
    run: Callable[..., str],
    digits: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a small network in place of the one for photographs, whose answers are tested elsewhere."""
    small = Encoder.load(tiny.model(tmp_path_factory))
    monkeypatch.setattr(Encoder, "_pretrained", lambda *_: small)
    picture = next(digits.rglob("*.png"))
    for new in ("12 pictures, 12 of them new", "12 pictures, 0 of them new"):
        out = run("search_a_folder.py", digits, picture)
        assert new in out
        assert [line.split()[0] for line in out.splitlines()[1:6]] == ["1", "2", "3", "4", "5"]
    with Image.open(tmp_path / "indexes" / "digits" / "answer.png") as drawn:
        assert drawn.width > 500


def test_classes_are_trained_on_and_measured(
    run: Callable[..., str], digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a network of few filters on small pictures."""
    monkeypatch.setattr(retrieval, "Recipe", partial(retrieval.Recipe, widths="8,16", size=16, threads=1))
    out = run("train_on_your_classes.py", digits, "--epochs", 1)
    assert "12 pictures of 3 classes; 0 cannot be read" in out and "P@1" in out
    assert (tmp_path / "runs" / "mine" / "encoder" / "config.json").is_file()


@pytest.fixture
def export() -> Callable[..., bytes]:
    """The exporter, before `lean` leaves it out."""
    from retrieval.encoder import torch_runtime

    return torch_runtime.export


@pytest.mark.parametrize("kind", ["onnx", pytest.param("pt2", marks=pytest.mark.long)])
def test_a_model_of_ones_own_embeds(
    export: Callable[..., bytes],
    run: Callable[..., str],
    digits: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    """The mean colour of each of 4×4 squares: a picture of the same digit is among the first."""
    model = tmp_path / f"model.{kind}"
    if kind == "onnx":
        import onnx
        from onnx import TensorProto, helper

        nodes = [
            helper.make_node("AveragePool", ["x"], ["pooled"], kernel_shape=[4, 4], strides=[4, 4]),
            helper.make_node("Flatten", ["pooled"], ["vectors"]),
        ]
        ends = [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 16, 16]),
            helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["n", 48]),
        ]
        graph = helper.make_graph(nodes, "mean", ends[:1], ends[1:])
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), model)
    else:
        import torch

        network = torch.nn.Sequential(torch.nn.AvgPool2d(4), torch.nn.Flatten()).eval()
        batch = torch.export.Dim("n", min=1, max=64)
        torch.export.save(
            torch.export.export(network, (torch.zeros(2, 3, 16, 16),), dynamic_shapes=({0: batch},)), model
        )
    monkeypatch.setattr("retrieval.encoder.torch_runtime.export", export)
    out = run("your_own_model.py", digits, model, "--size", 16)
    assert "12 vectors of 48 numbers" in out
    assert len(out.splitlines()) == 7
    first = out.splitlines()[1].removeprefix("most like ").rstrip(":")
    assert first.split("/")[0] in [line.split()[2].split("/")[0] for line in out.splitlines()[2:]]


def test_vectors_are_measured_and_compared(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(5), 12)
    noise = generator.standard_normal((60, 8)).astype(np.float32)
    np.save(tmp_path / "labels.npy", labels)
    np.save(tmp_path / "good.npy", 2 * np.eye(5, 8, dtype=np.float32)[labels] + 0.3 * noise)
    np.save(tmp_path / "noise.npy", noise)
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "measure_vectors.py", "good.npy", "labels.npy", "--against", "noise.npy"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    out = done.stdout
    assert "Of 100 first hits 100.0 are right" in out
    assert out.count("P@1") >= 2


def test_near_duplicates_are_put_aside(run: Callable[..., str], tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    folder = tmp_path / "pictures"
    (folder / "deeper").mkdir(parents=True)
    for name in "ab":
        pixels = np.kron(generator.integers(0, 255, (6, 6, 3), np.uint8), np.ones((16, 16, 1), np.uint8))
        Image.fromarray(pixels).save(folder / f"{name}.png")
    with Image.open(folder / "a.png") as picture:
        picture.resize((48, 48)).save(folder / "deeper" / "small.jpg", quality=90)
    out = run("near_duplicates.py", folder)
    assert "keep     a.png\ncould go deeper/small.jpg (hash)\n" in out
    assert (folder / "deeper" / "small.jpg").is_file()
    assert "deeper/small.jpg" in (tmp_path / "duplicates.csv").read_text()
    run("near_duplicates.py", folder, "--aside", "aside")
    assert (tmp_path / "aside" / "deeper" / "small.jpg").is_file()
    assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == ["a.png", "b.png"]
    (undo,) = (tmp_path / "aside").glob("undo-*.json")
    run("near_duplicates.py", "--undo", undo)
    assert (folder / "deeper" / "small.jpg").is_file()
