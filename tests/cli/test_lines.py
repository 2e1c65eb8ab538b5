"""A label or a name with a line's end in it takes up one line, whatever is printed."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny

from retrieval.cli import main

BROKEN = "two\nLINES"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lines")
    tiny.folder(folder / "pictures", ("cat", BROKEN, "mouse\u2028LINES"), 5)
    (folder / "pictures" / "cat" / "one\nLINES.png").write_bytes((folder / "pictures" / "cat" / "1.png").read_bytes())
    (folder / "pictures" / "cat" / "bad\nLINES.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    model = tiny.model(tmp_path_factory)
    assert main(["build", str(folder / "pictures"), "--out", str(folder / "index"), "--model", str(model)]) == 0
    (folder / "model").symlink_to(model)
    return folder


@pytest.mark.parametrize(
    "command",
    [
        "info INDEX",
        "query INDEX --id 1 7 -k 5",
        "query INDEX PICTURES/cat/1.png -k 9",
        "query INDEX --id 1 --explain",
        "evaluate INDEX",
        "evaluate MODEL PICTURES",
        "calibrate INDEX",
        "verify INDEX",
        "sync INDEX",
        "data PICTURES",
        "dedup PICTURES",
        "dedup INDEX",
        "report INDEX --out PAGE",
        "add INDEX PICTURES/cat",
        "remove INDEX --id 14",
        "compact INDEX",
    ],
)
def test_no_line_is_broken(folder: Path, command: str, capfd: pytest.CaptureFixture[str]) -> None:
    places = {"INDEX": "index", "PICTURES": "pictures", "MODEL": "model", "PAGE": "page.html"}
    argv = []
    for word in command.split():
        first, _, rest = word.partition("/")
        argv.append(str(folder / places[first] / rest) if first in places else word)
    capfd.readouterr()
    main(argv)
    said = capfd.readouterr()
    for line in (said.out + said.err).splitlines():
        assert not line.startswith("LINES"), said
