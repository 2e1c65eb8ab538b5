"""All that people's disks hold, in one folder, through the command line: every picture read, nothing lost or blamed."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import odd_tree
import pytest
import tiny
import verbs

from retrieval.cli import main
from retrieval.index import Index

MEGABYTE = 10**6

TRAINING = ("--epochs", 1, "--widths", "8,8", "--size", 32, "--dim", 16, "--validation", 9, "--device", "cpu")
"""One epoch of a few steps."""


BY_NAME = ("dog/up", "dog/itself.png", "dog/socket.jpg", "eel/caf\\xe9.png")
"""What is left out of a walk, and followed or called otherwise where a person names it."""


class Disk:
    """The odd folder, an index of it, and a shell."""

    def __init__(self, place: Path, commands: verbs.Commands, model: Path) -> None:
        self.place, self.model = place, model
        self.root = odd_tree.grow(place / "p")
        self.before = odd_tree.everything(self.root)
        self.index = place / "index"
        self._commands = commands

    def run(self, *arguments: object, code: int = 0, sentence: bool = True, memory: int = 400) -> verbs.Done:
        """Run a verb, which must end in time, within so many megabytes, and with no more than sentences.

        Args:
            arguments: the verb and what it is given.
            code: with which it must end.
            sentence: an error is one, and not a line for each file.
            memory: megabytes.
        """
        done = self._commands.run(*arguments, cwd=self.place, seconds=120)
        assert done.code == code, (arguments, done)
        assert not done.traceback, done.err
        assert done.peak < memory * MEGABYTE, (arguments, done.peak)
        assert "\x1b" not in done.err and "\r" not in done.err.replace("\r\n", "\n"), done.err
        if code and sentence:
            assert [line.startswith("retrieval: ") for line in done.err.splitlines()].count(True) == 1, done.err
        return done


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    place = tmp_path_factory.mktemp("odd")
    with verbs.Commands(place / "printed") as commands:
        disk = Disk(place, commands, tiny.model(tmp_path_factory))
        disk.run("build", disk.root, "--out", disk.index, "--model", disk.model, "--threads", 1)
        yield disk


def test_every_picture_is_read_and_the_rest_is_named(disk: Disk) -> None:
    out = disk.place / "another"
    done = disk.run("build", disk.root, "--out", out, "--model", disk.model, "--threads", 1, "--json")
    report = json.loads(done.out)
    assert {one["path"]: one["reason"] for one in report["skipped"]} == odd_tree.left_out()
    assert report["passed"] == odd_tree.PASSED
    assert "6 system folders" in done.err and "2 videos" in done.err
    assert report["copied"] == 3  # a link, a hard link and a copy
    assert report["labels"].startswith("folders") and report["classes"] == 3
    assert any("'cover.png'" in note for note in report["notes"])
    assert any("'cat/thumbs/small.png'" in note for note in report["notes"])
    with Index.open(out) as index:
        items = {item.path: item for item in index.items(index.ids())}
        assert {path: (item.width, item.height) for path, item in items.items()} == odd_tree.read()
        labels = {path: path.partition("/")[0] for path in items}
        assert {path: item.label for path, item in items.items()} == {**labels, "cover.png": None}
        alike = index.vectors([items[f"dog/{name}"].id for name in odd_tree.SAME])
        assert (alike @ alike.T).min() > 0.999  # none of them black, white or a negative
        blacks = index.vectors([items[f"eel/black {n}.png"].id for n in range(6)])
        assert np.abs(blacks - blacks[0]).max() < 1e-6
        for path in ("eel/0.png", "eel/1.png"):  # a file system may know fewer years than were asked of it
            when = (disk.root / path).stat().st_mtime_ns
            assert items[path].mtime_ns == max(-(2**63), min(when, 2**63 - 1))


def test_a_second_sync_reads_nothing(disk: Disk) -> None:
    disk.run("sync", disk.index)
    files = [
        disk.root / name for name in (*odd_tree.read(), "dog/zeros.jpg", "dog/text.jpg", "cat/README", "dog/nothing")
    ]
    probe = disk.place / "probe"
    probe.write_text("read")
    for file in (probe, *files):
        os.utime(file, ns=(0, file.stat().st_mtime_ns))
    probe.read_text()
    if not probe.stat().st_atime_ns:
        pytest.skip("the times at which files are read are not kept here")
    report = json.loads(disk.run("sync", disk.index, "--json").out)
    assert (report["kept"], report["total"]) == (len(odd_tree.read()), len(odd_tree.read()))
    assert not any(report[what] for what in ("added", "replaced", "renamed", "touched", "removed", "relabelled"))
    assert {one["path"]: one["reason"] for one in report["skipped"]} == odd_tree.left_out()
    assert [str(file) for file in files if file.stat().st_atime_ns] == []
    found = json.loads(disk.run("verify", disk.index, "--json").out)
    assert found["problems"] == [] and found["counts"]["items"] == len(odd_tree.read())


def test_every_name_can_be_asked_and_is_printed_whole(disk: Disk) -> None:
    asked = [disk.root / "eel" / name for name in odd_tree.NAMES]
    shown = disk.run("query", disk.index, *asked, "-k", 100)
    assert "\x1b" not in shown.out and "\r" not in shown.out and "\u202e" not in shown.out
    everything = set(odd_tree.read())
    rows = list(csv.DictReader(io.StringIO(disk.run("query", disk.index, *asked, "-k", 100, "--csv").out, newline="")))
    for picture, name in zip(asked, odd_tree.NAMES, strict=True):
        assert {row["path"] for row in rows if row["query"] == str(picture)} == everything - {f"eel/{name}"}
    answer = disk.run("query", disk.index, "--path", "eel/line\nbreak.png", "-k", 100, "--json").out
    assert {hit["path"] for hit in json.loads(answer)["answers"][0]["hits"]} == everything - {"eel/line\nbreak.png"}
    refused = {disk.root / name: why for name, why in odd_tree.left_out().items() if name not in BY_NAME}
    told = disk.run("query", disk.index, *refused, code=1, sentence=False)
    assert told.out == ""
    assert set(told.err.splitlines()) == {f"'{path}' is left out: {why}" for path, why in refused.items()}
    disk.run("info", disk.index)


def test_copies_are_found_moved_and_put_back(disk: Disk) -> None:
    """Never a link or the file behind it, a picture without content, or a part of a photograph in several files."""
    listed = disk.place / "copies.csv"
    dry = disk.run("dedup", disk.root, "--move-to", disk.place / "moved", "--dry-run", "--list", listed)
    assert odd_tree.everything(disk.root) == disk.before and not (disk.place / "moved").exists()
    assert "1 photographs are several files" in dry.out and "2 names are other names (links)" in dry.out
    with listed.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    alike = {f"dog/{name}" for name in odd_tree.SAME}
    offered = {row["path"] for row in rows if row["kind"]}
    assert offered == (alike & offered) | {"cat/copy of 1.png", "cat/2.png"}
    assert len(alike - offered) == 1
    disk.run("dedup", disk.root, "--move-to", disk.place / "moved")
    moved = {os.fsencode(path) for path in offered}
    after = odd_tree.everything(disk.root)
    assert set(disk.before) - set(after) == moved
    assert all(after[path] == disk.before[path] for path in after)
    (undo,) = (disk.place / "moved").glob("undo-*.json")
    disk.run("dedup", "--undo", undo)
    assert odd_tree.everything(disk.root) == disk.before
    told = disk.run("dedup", disk.index, "--page", disk.place / "page.html", "--json", memory=600)
    could_go = {
        copy["path"]
        for group in json.loads(told.out)["groups"]
        for copy in group["copies"]
        if copy["kind"] != "vectors"
    }
    assert not {path for path in could_go if "icon" in path or "black" in path or "IMG_7" in path}
    assert disk.run("sync", disk.index).code == 0


@pytest.mark.usefixtures("lean")
def test_it_is_measured_and_trained_on(disk: Disk, capsys: pytest.CaptureFixture[str]) -> None:
    """The page and the training within this process, which has the libraries for them already."""
    count = len(odd_tree.read())
    found = json.loads(disk.run("evaluate", disk.index, "--json", memory=600).out)
    assert str(count - 1) in json.dumps(found)
    assert main(["report", str(disk.index), "-o", str(disk.place / "report.html"), "--no-explain"]) == 0
    assert "</html>" in (disk.place / "report.html").read_text(encoding="utf-8")
    listed = json.loads(disk.run("data", disk.root, "--export", disk.place / "exported", "--json").out)
    assert listed["classes"] == list(odd_tree.CLASSES)
    exported = [path for path in (disk.place / "exported").rglob("*") if path.is_file()]
    assert len(exported) == listed["export"]["written"]
    names = {path.relative_to(disk.place / "exported/train").as_posix() for path in exported}
    assert names == set(odd_tree.read())  # and no text, no holes, nothing cut off
    disk.run("data", disk.root, "--to", disk.place, code=1)
    capsys.readouterr()
    assert main(["train", str(disk.root), "--out", str(disk.place / "run"), *map(str, TRAINING), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) and "\x1b" not in err and "Traceback" not in err
    assert (disk.place / "run/encoder/weights.safetensors").exists()
    assert odd_tree.everything(disk.root) == disk.before
