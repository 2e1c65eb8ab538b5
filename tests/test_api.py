"""What the package offers, and what its documentation promises of it."""

import ast
import keyword
import re
import subprocess
import sys
from pathlib import Path

import pytest

import retrieval
from retrieval.cli import VERBS

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", retrieval.__all__)
def test_every_name_is_there(name):
    assert getattr(retrieval, name) is not None
    assert getattr(retrieval, name) is getattr(retrieval, name), "a submodule must not take the name over"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = retrieval.nothing_like_it


OF_VERBS = {
    "data": "get_data",
    "train": "train",
    "build": "build",
    "sync": "sync",
    "add": "add_pictures",
    "remove": "remove_pictures",
    "attach": "attach",
    "query": "Search",
    "encoders": "measure_encoders",
    "serve": "serve",
    "mcp": "serve_agents",
    "benchmark": "benchmark",
    "evaluate": "evaluate",
    "compare": "compare_kept",
    "calibrate": "calibrate",
    "report": "write_report",
    "dedup": "find_duplicates",
    "tune": "tune",
    "info": "describe",
    "verify": "verify",
    "compact": "compact",
    "export": "export_index",
    "import": "import_index",
}


def test_every_verb_has_a_function_or_a_class():
    assert OF_VERBS.keys() == VERBS.keys()
    assert set(OF_VERBS.values()) <= set(retrieval.__all__)
    assert all(callable(getattr(retrieval, name)) for name in OF_VERBS.values())


def test_names_clash_with_no_keyword_and_no_room():
    rooms = {path.stem for path in (ROOT / "retrieval").iterdir()} - set(retrieval._MODULES)
    assert len(retrieval.__all__) == len(set(retrieval.__all__))
    assert not set(retrieval.__all__) & (rooms | set(keyword.kwlist))


def test_the_types_are_those_of_the_table():
    """What type checkers read says of each name what is loaded at run time."""
    tree = ast.parse((ROOT / "retrieval" / "__init__.py").read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    typed = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            assert alias.asname == alias.name, f"{alias.name} is not exported without `as {alias.name}`"
            typed[alias.name] = node.module
    modules = dict.fromkeys(retrieval._MODULES, "retrieval")
    assert typed == modules | {name: f"retrieval.{home}" for name, home in retrieval._HOMES.items()}


def test_names_can_be_completed():
    assert set(retrieval.__all__) <= set(dir(retrieval))


def test_importing_the_package_imports_next_to_nothing():
    code = "import sys, retrieval; print(sorted({'numpy', 'torch', 'faiss', 'PIL', 'h5py'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.usefixtures("lean")
def test_the_python_tour_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    """As it stands in the README, but for the digits in place of CIFAR-10 and a shorter training."""
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert "epochs=8" in code and "cat/00000.png" in code
    import numpy as np

    from retrieval import datasets

    digits = datasets.load("digits")
    digits = digits.select(np.arange(len(digits)) % 6 == 0)
    datasets.save(digits, tmp_path / "data" / "digits.h5")
    datasets.export(digits, tmp_path / "data" / "digits-test", split="test")
    query = next((tmp_path / "data" / "digits-test").rglob("*.png")).relative_to(tmp_path)
    code = code.replace("data/cifar10-test/cat/00000.png", query.as_posix())
    code = code.replace("cifar10", "digits").replace("epochs=8", "epochs=1, widths='8,16', threads=1")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()[:5]] == ["1", "2", "3", "4", "5"]
    assert "P@1" in out and "mAP" in out
