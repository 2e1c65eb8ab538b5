"""The packaging, and what holds for every verb."""

from __future__ import annotations

import ast
import configparser
import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from retrieval.cli import VERBS
from retrieval.version import __version__

ROOT = Path(__file__).parents[1]
SCRIPTS = {"train_triplet.py": "train", "build_index.py": "build", "query.py": "query"}


def run(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, env=environment, cwd=ROOT, check=False
    )


@pytest.fixture(scope="module")
def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


@pytest.fixture(scope="module")
def declared(setup_cfg: configparser.ConfigParser) -> list[Requirement]:
    """Every requirement of setup.cfg, the extras' included."""
    texts = [setup_cfg["options"]["install_requires"], *setup_cfg["options.extras_require"].values()]
    return [Requirement(line) for text in texts for line in text.splitlines() if line]


@pytest.fixture(scope="module")
def pins() -> dict[str, list[Requirement]]:
    """The lines of constraints.txt by name; a package may have several, for different Pythons."""
    found: dict[str, list[Requirement]] = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            pin = Requirement(line)
            found.setdefault(canonicalize_name(pin.name), []).append(pin)
    return found


def test_every_pin_is_exact_and_public(pins: dict[str, list[Requirement]]) -> None:
    for pin in (pin for lines in pins.values() for pin in lines):
        assert re.fullmatch(r"==[0-9][0-9a-z.]*", str(pin.specifier)), pin  # exact, and no local part like "+cpu"
        assert pin.url is None, pin


def test_constraints_name_no_host_and_no_option() -> None:
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        assert "://" not in line
        assert not line.startswith("-")


def test_torch_is_pinned_and_nothing_that_drags_another_one_in(pins: dict[str, list[Requirement]]) -> None:
    assert [str(pin) for pin in pins["torch"]] == ["torch==2.13.0"]
    assert not {"torchvision", "torchaudio", "timm"} & pins.keys()


def test_every_declared_dependency_is_pinned_within_its_range(
    declared: list[Requirement], pins: dict[str, list[Requirement]]
) -> None:
    assert len(declared) > 10
    for requirement in declared:
        versions = [next(iter(pin.specifier)).version for pin in pins[canonicalize_name(requirement.name)]]
        assert all(requirement.specifier.contains(version) for version in versions), requirement


def test_the_closure_is_pinned(declared: list[Requirement], pins: dict[str, list[Requirement]]) -> None:
    """Everything that the installed packages ask for, down to the last one."""
    ask, seen = list(declared), set()
    while ask:
        requirement = ask.pop()
        name = canonicalize_name(requirement.name)
        if (name, *requirement.extras) in seen:
            continue
        seen.add((name, *requirement.extras))
        assert name in pins, f"{name} is not in constraints.txt; `make pins` writes it anew."
        try:
            deeper = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:  # an extra that is not installed here
            continue
        for child in map(Requirement, deeper):
            environments = [{"extra": extra} for extra in ("", *requirement.extras)]
            if child.marker is None or any(map(child.marker.evaluate, environments)):
                ask.append(child)
    assert len(seen) > 30


def test_every_import_is_declared(declared: list[Requirement]) -> None:
    """Nothing works only because another package happens to bring it along."""
    imported = {
        name.split(".")[0]
        for path in (ROOT / "retrieval").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in _imported(node)
    }
    distributions = importlib.metadata.packages_distributions()
    names = {canonicalize_name(requirement.name) for requirement in declared}
    for module in sorted(imported - sys.stdlib_module_names - {"retrieval"}):
        # What only the extra `serve` brings need not be installed here, and is called as its distribution is.
        found = distributions.get(module, [module])
        assert names & set(map(canonicalize_name, found)), f"setup.cfg does not name {module}"


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []


def test_version_is_the_packages(setup_cfg: configparser.ConfigParser) -> None:
    assert setup_cfg["metadata"]["version"] == "attr: retrieval.version.__version__"
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)
    assert run("-m", "retrieval", "--version").stdout == f"retrieval {__version__}\n"


def test_changelog_has_the_version() -> None:
    assert __version__ in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_overview_names_every_verb() -> None:
    result = run("-m", "retrieval", "--help")
    assert result.returncode == 0
    for verb, help_ in VERBS.items():
        assert re.search(rf"^  {verb} +{re.escape(help_)}$", result.stdout, re.MULTILINE)


HELP_OF_EACH = """
import contextlib, io, json, sys
from retrieval.cli import main
said = {}
for verb in sys.argv[1:]:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            code = main([verb, "--help"])
        except SystemExit as ended:
            code = ended.code
    said[verb] = [code, out.getvalue(), "torch" in sys.modules]
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def helps() -> dict[str, tuple[int, str, bool]]:
    """Of each verb: the code that its help ends with, what it says, and whether torch has been imported by then."""
    result = run("-c", HELP_OF_EACH, *VERBS)
    assert result.returncode == 0, result.stderr[-2000:]
    return {verb: tuple(said) for verb, said in json.loads(result.stdout).items()}


@pytest.mark.parametrize("verb", VERBS)
def test_verb_explains_itself_with_examples(helps: dict[str, tuple[int, str, bool]], verb: str) -> None:
    code, said, torch = helps[verb]
    assert code == 0
    assert said.startswith(f"usage: retrieval {verb} ")
    examples = said.split("examples:\n", 1)[1]
    names = [f"retrieval {verb}", *(script for script, its in SCRIPTS.items() if its == verb)]
    assert re.search(rf"^  ({'|'.join(map(re.escape, names))}) ", examples, re.MULTILINE)
    assert not torch, "help waits for torch"


@pytest.mark.parametrize(("script", "verb"), SCRIPTS.items())
def test_script_stands_for_its_verb(helps: dict[str, tuple[int, str, bool]], script: str, verb: str) -> None:
    result = run(script, "--help")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"usage: {script} ")
    assert result.stdout.split("examples:")[1] == helps[verb][1].split("examples:")[1]


@pytest.mark.parametrize("arguments", [("draw",), (), ("query", "--no-such-flag")])
def test_wrong_arguments_are_told_and_exit_2(arguments: tuple[str, ...]) -> None:
    result = run("-m", "retrieval", *arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert re.search(r"^(retrieval.*: error|usage): ", result.stderr, re.MULTILINE)
    if arguments == ("draw",):
        assert "draw" in result.stderr
        assert "query" in result.stderr  # what there is instead


def test_import_waits_for_nothing_heavy() -> None:
    """One process imports one after another: what is still missing at the end was brought along by none."""
    modules = [
        "",
        ".images",
        ".datasets",
        ".index",
        ".measures",
        ".encoder",
        ".search",
        ".ingest",
        ".cluster",
        ".evaluation",
        ".exchange",
        ".tuning",
        ".search.calibration",
        ".search.explain",
        ".search.results_picture",
        ".traps",
        ".traps.duplicates",
    ]
    heavy = {"torch", "sklearn", "matplotlib", "transformers", "onnxruntime", "tqdm", "ray", "psycopg"}
    code = (
        "import importlib, sys\n"
        "for module in sys.argv[1:]:\n"
        "    importlib.import_module(module)\n"
        f"    print(*(f'{{module}} imports {{name}}' for name in {heavy!r} & sys.modules.keys()))"
    )
    result = run("-c", code, *(f"retrieval{module}" for module in modules))
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == ""
    assert len(result.stdout.splitlines()) == len(modules)


def test_faiss_is_imported_in_one_package() -> None:
    importing = [
        path.relative_to(ROOT).as_posix()
        for path in sorted((ROOT / "retrieval").rglob("*.py"))
        if re.search(r"^\s*(import faiss|from faiss)", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert importing and all(name.startswith("retrieval/index/nearest/") for name in importing)
