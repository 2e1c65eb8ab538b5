"""The order of the rooms, stated once: imports run downwards only, and nowhere in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

ROOMS = (
    "version",
    "errors",
    "base",
    "places",
    "images",
    "measures",
    "index",
    "engines",
    "tuning",
    "protocols",
    "datasets",
    "networks",
    "encoder",
    "search",
    "traps",
    "ingest",
    "cluster",
    "training",
    "exchange",
    "evaluation",
    "report",
    "client",
    "service",
    "cli",
)
"""Ground first. `retrieval` itself stands above them all but the command line: it names what the others offer."""


def modules(root: Path) -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted((root / "retrieval").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(tree: ast.AST, names: set[str]) -> Iterator[str]:
    """The modules of the package that a module names, at its top, inside a function, or for its types alone."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in names)
        elif isinstance(node, ast.ImportFrom) and node.module in names:
            for alias in node.names:
                deeper = f"{node.module}.{alias.name}"
                yield deeper if deeper in names else node.module


def graph(root: Path) -> dict[str, set[str]]:
    """What each module imports of the package."""
    paths = modules(root)
    found = {}
    for name, path in paths.items():
        found[name] = set(imports(ast.parse(path.read_text(encoding="utf-8")), paths.keys())) - {name}
    return found


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def upward(arrows: dict[str, set[str]]) -> list[str]:
    """The imports that do not run downwards."""
    floors = {name: floor for floor, name in enumerate((*ROOMS[:-1], "retrieval", ROOMS[-1], "__main__"))}
    return [
        f"{module} imports {other}"
        for module, others in arrows.items()
        for other in sorted(others)
        if room(module) != room(other) and floors[room(module)] <= floors[room(other)]
    ]


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """Modules that import one another in a circle, from one round to itself; none where there is no circle."""
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def folder(module: str, paths: dict[str, Path]) -> str:
    """The package that a module lies in."""
    return module if paths[module].name == "__init__.py" else module.rpartition(".")[0]


@pytest.fixture(scope="module")
def arrows() -> dict[str, set[str]]:
    return graph(ROOT)


def test_every_room_has_its_floor(arrows: dict[str, set[str]]) -> None:
    assert {room(module) for module in arrows} - {"retrieval", "__main__"} == set(ROOMS)


def test_imports_run_downwards(arrows: dict[str, set[str]]) -> None:
    assert upward(arrows) == []


def test_no_circle_among_modules(arrows: dict[str, set[str]]) -> None:
    assert circle(arrows) == []


def test_no_circle_among_folders(arrows: dict[str, set[str]]) -> None:
    """A room and the rooms inside it are one above the other too."""
    paths = modules(ROOT)
    between: dict[str, set[str]] = {}
    for module, others in arrows.items():
        if module in ("retrieval", "retrieval.__main__"):
            continue
        here = folder(module, paths)
        for other in others - {"retrieval"}:
            if folder(other, paths) != here:
                between.setdefault(here, set()).add(folder(other, paths))
    assert circle(between) == []


def shadowed(root: Path) -> list[str]:
    """What a package defines itself under the name of one of its modules, which takes its place once it is loaded."""
    names = modules(root)
    return [
        f"{name}.{node.name}"
        for name, path in names.items()
        if path.name == "__init__.py"
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and f"{name}.{node.name}" in names
    ]


def test_no_module_takes_the_place_of_what_its_package_defines() -> None:
    assert shadowed(ROOT) == []


def test_what_would_be_wrong_is_seen(tmp_path: Path) -> None:
    """An import upwards, one inside a function, and a circle within a room."""
    package = tmp_path / "retrieval"
    for name, text in {
        "__init__.py": "",
        "errors.py": "",
        "base/__init__.py": "def b(): ...\n",
        "base/files.py": "def f():\n    from retrieval.index import index\n",
        "base/a.py": "import retrieval.base.b\n",
        "base/b.py": "from retrieval.base import a\n",
        "index/__init__.py": "",
        "index/index.py": "from retrieval.errors import E\nfrom retrieval.base import files\n",
    }.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    found = graph(tmp_path)
    assert upward(found) == ["retrieval.base.files imports retrieval.index.index"]
    assert set(circle(found)) in (
        {"retrieval.base.a", "retrieval.base.b"},
        {"retrieval.base.files", "retrieval.index.index"},
    )
    assert shadowed(tmp_path) == ["retrieval.base.b"]
