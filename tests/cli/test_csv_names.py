"""Names with line ends, quotes and separators in them, in every CSV that names files."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import tiny

from retrieval.cli import main
from retrieval.ingest import build

NAMES = ["a\rb.png", "c\nd.png", 'e",f.png', " g .png", "h\u2028i.png", "j;k\tl.png"]


def read(file: Path, name: str) -> list[str]:
    with file.open(encoding="utf-8", newline="") as opened:
        return [row[name] for row in csv.DictReader(opened)]


def test_names_come_back_from_every_csv(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, capfd: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "pictures"
    root.mkdir()
    for number, name in enumerate(NAMES):
        tiny.picture(number).save(root / name)
        (root / f"bad {name}").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
        (root / f"copy {name}").write_bytes((root / name).read_bytes())
    build(root, tmp_path / "index", model=tiny.model(tmp_path_factory))
    assert sorted(read(tmp_path / "index/skipped.csv", "path")) == sorted(f"bad {name}" for name in NAMES)
    assert main(["query", str(tmp_path / "index"), "--id", "0", "-k", "99", "--include-self", "--csv"]) == 0
    with (tmp_path / "hits.csv").open("w", encoding="utf-8", newline="") as file:
        file.write(capfd.readouterr().out)
    both = sorted([*NAMES, *(f"copy {name}" for name in NAMES)])
    assert sorted(read(tmp_path / "hits.csv", "path")) == both
    assert main(["dedup", str(root), "--list", str(tmp_path / "copies.csv")]) == 0
    assert sorted(read(tmp_path / "copies.csv", "path")) == both
    assert (
        main(["export", str(tmp_path / "index"), "--to", str(tmp_path / "v.npy"), "--list", str(tmp_path / "v.csv")])
        == 0
    )
    assert sorted(read(tmp_path / "v.csv", "path")) == both
    assert main(["import", str(tmp_path / "v.npy"), "--out", str(tmp_path / "back")]) == 0
