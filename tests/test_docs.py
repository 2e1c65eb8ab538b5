"""The documentation: what it names is there, what it imports is public, what is made from the code is up to date."""

from __future__ import annotations

import ast
import importlib.util
import re
import textwrap
from pathlib import Path
from types import ModuleType

import pytest

import retrieval
from retrieval import networks
from retrieval.cli import VERBS
from retrieval.exchange import FORMATS
from retrieval.networks import pairs
from retrieval.protocols import PROTOCOLS
from retrieval.training import losses

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
TEXTS = [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "indexes" / "README.md"]
PROGRAMS = sorted((ROOT / "examples").glob("*.py"))
FOR_DEVELOPERS = ("architecture.md", "CONTRIBUTING.md")
"""Texts that speak of what is private."""


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    """The program that writes the reference."""
    spec = importlib.util.spec_from_file_location("write_reference", ROOT / "docs" / "write_reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_that_of_the_parsers(reference: ModuleType) -> None:
    written = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert written == reference.page() + "\n", "a flag has changed: run `python docs/write_reference.py`"


def test_the_reference_has_every_flag(reference: ModuleType) -> None:
    page = reference.page()
    for verb in VERBS:
        _, parser = reference.parser_of(verb)
        for action in parser._actions:
            for flag in action.option_strings:
                assert flag in ("-h", "--help") or f"`{flag}" in page, flag


def imported(code: str) -> list[str]:
    """What a piece of Python takes from this package, as dotted names below it."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "retrieval":
            found += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.startswith("retrieval.")]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "retrieval":
            found.append(f"retrieval.{node.attr}")
    return [dotted.removeprefix("retrieval.") for dotted in found]


def blocks(text: str) -> list[str]:
    """The pieces of Python of a page, fenced or indented."""
    fenced = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    indented = re.findall(r"(?:^    .*\n|^\n)+", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    python = [block for block in map(textwrap.dedent, indented) if re.search(r"^(import|from) retrieval", block, re.M)]
    return [*fenced, *python]


def public(dotted: str) -> bool:
    """Whether a name below the package is offered: in its list, or of one of its public modules."""
    first, _, rest = dotted.partition(".")
    if first not in retrieval.__all__:
        return False
    module = getattr(retrieval, first)
    return not rest or not isinstance(module, ModuleType) or hasattr(module, rest)


def test_the_checks_below_see_what_is_private() -> None:
    assert not public("index.Index") and not public("training.train") and not public("measures.nothing")
    assert public("Index") and public("measures.bootstrap")
    page = "    from retrieval.index import Index\n\n    retrieval.nets\n"
    assert imported(blocks(page)[0]) == ["index.Index", "nets"]


@pytest.mark.parametrize("path", [*TEXTS, *PROGRAMS], ids=name)
def test_only_what_is_public_is_imported(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for code in blocks(text) if path.suffix == ".md" else [text]:
        assert [dotted for dotted in imported(code) if not public(dotted)] == []
    if path.name not in FOR_DEVELOPERS:
        named = re.findall(r"`retrieval\.(\w+(?:\.\w+)*)", text)
        assert [dotted for dotted in named if not public(dotted)] == []


@pytest.mark.parametrize("path", TEXTS, ids=name)
def test_files_that_are_named_are_there(path: Path) -> None:
    """Links, and every path of this repository; NAME stands for any name."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)#\s]+)[^)\s]*\)", text):
        if "://" not in link:
            assert (path.parent / link).exists(), link
    for named in re.findall(r"`((?:retrieval|tests|benchmarks|docs|examples|\.ci)/[\w./-]*)", text):
        if "NAME" not in named:
            assert (ROOT / named).exists(), named


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_links_into_a_page_hit_a_heading(path: Path) -> None:
    for target, anchor in re.findall(r"\]\(([\w./-]*)#([\w-]+)\)", path.read_text(encoding="utf-8")):
        page = (path.parent / target) if target else path
        headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert anchor in anchors, f"{target}#{anchor}"


def test_the_index_page_has_every_page_and_example() -> None:
    text = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    for path in PAGES:
        assert path.name == "README.md" or f"]({path.name})" in text, path.name
    for path in PROGRAMS:
        assert f"](../examples/{path.name})" in text, path.name


def test_a_contributor_is_told_of_every_room_and_every_test_above_them() -> None:
    architecture = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for path in sorted((ROOT / "retrieval").iterdir()):
        if path.name != "__pycache__" and path.suffix != ".typed":
            assert f"`{path.name}{'/' * path.is_dir()}`" in architecture, path.name
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for path in sorted((ROOT / "tests").glob("test_*.py")):
        assert f"`{name(path)}`" in contributing, path.name


def test_the_rooms_stand_in_their_order() -> None:
    """Those of tests/test_rooms.py, ground first."""
    tree = ast.parse((ROOT / "tests" / "test_rooms.py").read_text(encoding="utf-8"))
    (rooms,) = (n.value for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == "ROOMS")
    table = (
        (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").split("| room | holds |")[1].split("\n\n")[0]
    )
    first = re.findall(r"^\| (.*?) \|", table, re.MULTILINE)
    named = [name for cell in first for name in re.findall(r"`(\w+)(?:\.py|/)`", cell) if not name.startswith("__")]
    assert named == list(ast.literal_eval(rooms))


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("losses", losses.NAMES),
        ("training", networks.NAMES),
        ("pairs", pairs.NAMES),
        ("exchange", FORMATS),
        ("benchmarks", PROTOCOLS),
    ],
)
def test_what_can_be_chosen_is_documented(page: str, names: tuple[str, ...]) -> None:
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    assert [name for name in names if name not in text] == []


def test_pre_commit_checks_what_make_lint_does() -> None:
    lint = (ROOT / "Makefile").read_text(encoding="utf-8").split("\nlint:")[1].split("\n\n")[0]
    commands = [line.strip().removeprefix("$(BIN)/") for line in lint.splitlines()[1:]]
    hooks = re.findall(r"entry: \.venv/bin/(.*)", (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert len(commands) == 3 and [hook.removesuffix(" --force-exclude") for hook in hooks] == commands
