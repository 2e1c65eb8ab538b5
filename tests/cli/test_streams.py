"""What is printed, and where: names that would steer a terminal, streams that are closed or full."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
from PIL import Image

from retrieval.base import streams
from retrieval.cli import main
from retrieval.index import Index, NewItem

TOP = Path(__file__).parents[2]

EVIL = "\x1b]0;owned\x07\x1b[31m\u202egnp\x9b2J\r"

AT_ONCE = """
import sys
from retrieval.base import progress
progress.DELAY = 0.0
from retrieval.cli import main
sys.exit(main(sys.argv[1:]))
"""
"""The command, whose progress bars show from the start."""

full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index whose paths, labels and attributes hold what steers terminals."""
    folder = tmp_path_factory.mktemp("hostile") / "index"
    rows = np.random.default_rng(0).normal(size=(12, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    with Index.create(folder, 8, root=str(folder.parent), encoder_hash="0" * 64, details={}, decoder="p") as index:
        index.add(rows, [NewItem(f"{EVIL}{number}.png", f"{EVIL}{number % 2}") for number in range(12)])
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder, and a model."""
    return tiny.folder(tmp_path_factory.mktemp("streams") / "pictures"), tiny.model(tmp_path_factory)


def command(line: str, *arguments: object, program: str = AT_ONCE) -> subprocess.CompletedProcess[str]:
    """The command under a shell that leads its streams as `line` says, as in ``"$@" >/dev/full``."""
    return subprocess.run(
        ["bash", "-c", line, "retrieval", sys.executable, "-c", program, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(TOP)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.parametrize(
    "line",
    [
        ["query", "INDEX", "--id", "1"],
        ["query", "INDEX", "--path", "no" + EVIL],
        ["evaluate", "INDEX", "--duplicates", "keep"],
        ["evaluate", "INDEX", "--per-class"],
        ["dedup", "INDEX"],
        ["verify", "INDEX"],
        ["info", "INDEX"],
        ["compare", EVIL + ".json", EVIL + ".json"],
        ["data", "LIST"],
        ["data", EVIL],
        ["train", EVIL, "--out", EVIL],
        ["tune", EVIL],
        ["sync", EVIL],
        ["report", EVIL],
        ["calibrate", EVIL],
        [EVIL],
        ["query", "INDEX", "--" + EVIL],
        ["query", "INDEX", "--where", "label = " + EVIL],
    ],
)
def test_nothing_that_is_printed_steers_a_terminal(
    hostile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], line: list[str]
) -> None:
    listed = tmp_path / "list.csv"
    listed.write_bytes(f'path,label,split\n1.png,"{EVIL}",train\n2.png,dog,\n'.encode())
    try:
        main([{"INDEX": str(hostile), "LIST": str(listed)}.get(word, word) for word in line])
    except SystemExit as left:
        assert left.code == 2
    out, err = capsys.readouterr()
    assert out or err
    assert not set(out + err) & set(EVIL) - set("]0;owned[31mgnp2J"), out + err


def test_json_holds_what_is_in_the_index_and_steers_nothing(hostile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["query", str(hostile), "--id", "1", "--json"]) == 0
    out = capsys.readouterr().out
    assert not set(out) & set("\x1b\x07\x9b\u202e\r")
    assert {hit["label"] for hit in json.loads(out)["answers"][0]["hits"]} == {f"{EVIL}0", f"{EVIL}1"}


def test_paths_for_programs_are_as_they_are(hostile: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    for flag, end in (("-f", b"\n"), ("-0", b"\0")):
        assert main(["query", str(hostile), "--id", "1", "-k", "3", flag]) == 0
        out = capfdbinary.readouterr().out
        assert out.count(end) == 3
        assert out.count(EVIL.encode()) == 3
        assert out.endswith(b".png" + end)


def test_null_keeps_names_with_newlines_whole(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    names = ["one\n/etc/passwd\n.png", "two.png"]
    folder = tmp_path / "index"
    with Index.create(folder, 2, root="photos", encoder_hash="0" * 64, details={}, decoder="p") as index:
        index.add(np.array([[1, 0], [0, 1]], np.float32), [NewItem(name) for name in names])
    assert main(["query", str(folder), "--id", "1", "-0"]) == 0
    assert capfdbinary.readouterr().out == b"photos/one\n/etc/passwd\n.png\0"


def test_letters_are_spelt_out() -> None:
    said = streams.spelt_out("a\tb\n\x1b[2J\x9f\u2066é日本\udcff")
    assert said == "a\tb\n\\x1b[2J\\x9f\\u2066é日本\\xff"
    text = json.dumps(["\x85\u202e\x7f"], ensure_ascii=False)
    assert json.loads(streams.spelt_out(text, json=True)) == ["\x85\u202e\x7f"]


VERBS = {
    "a table": ["query", "INDEX", "--id", "1"],
    "JSON": ["query", "INDEX", "--id", "1", "--json"],
    "CSV": ["query", "INDEX", "--id", "1", "--csv"],
    "paths": ["query", "INDEX", "--id", "1", "-f"],
    "paths with zeros": ["query", "INDEX", "--id", "1", "-0"],
    "a check": ["verify", "INDEX"],
    "a progress bar": ["dedup", "PICTURES"],
    "help": ["query", "--help"],
    "the version": ["--version"],
}
LIKE_OTHERS = ("CSV", "paths", "the version")
"""What is written as one of the others is."""


@full
@pytest.mark.parametrize(
    ("verb", "lead"),
    [
        *(pytest.param(verb, ">/dev/full", marks=pytest.mark.long if verb in LIKE_OTHERS else []) for verb in VERBS),
        ("a table", ">&-"),
        ("help", ">&-"),
    ],
)
def test_an_output_that_takes_nothing_is_told(hostile: Path, pictures: tuple[Path, Path], verb: str, lead: str) -> None:
    places = {"INDEX": hostile, "PICTURES": pictures[0]}
    done = command(f'"$@" {lead}', *(places.get(word, word) for word in VERBS[verb]))
    assert done.returncode == 1, done.stderr
    said = done.stderr.splitlines()[-1]
    assert said.startswith("retrieval: What was found could not be written to standard output (")
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@full
@pytest.mark.parametrize(
    ("verb", "lead"), [("a progress bar", "2>/dev/full"), ("a progress bar", "2>&-"), ("JSON", "2>&- <&-")]
)
def test_messages_that_nobody_takes_stop_nothing(
    hostile: Path, pictures: tuple[Path, Path], verb: str, lead: str
) -> None:
    places = {"INDEX": hostile, "PICTURES": pictures[0]}
    line = [places.get(word, word) for word in VERBS[verb]]
    usual, done = (command(f'"$@" {way}', *line) for way in ("2>/dev/null", lead))
    assert (done.returncode, done.stdout) == (0, usual.stdout)


@full
@pytest.mark.parametrize("lead", ["2>/dev/full", ">&- 2>&- <&-"])
def test_an_index_is_filled_whatever_becomes_of_the_streams(
    tmp_path: Path, pictures: tuple[Path, Path], lead: str
) -> None:
    out = tmp_path / "index"
    done = command(f'"$@" {lead}', "build", pictures[0], "--model", pictures[1], "--out", out)
    assert done.returncode == (1 if ">" in lead.replace("2>", "") else 0)
    with Index.open(out) as index:
        assert len(index) == 8
    assert main(["verify", str(out)]) == 0


@full
def test_an_error_that_nobody_hears_is_still_one(hostile: Path) -> None:
    done = command('"$@" 2>/dev/full', "query", hostile, "--id", "99")
    assert (done.returncode, done.stdout) == (1, "")


def test_a_reader_that_leaves_is_no_error(hostile: Path) -> None:
    done = command('"$@" | true; echo "${PIPESTATUS[0]}"', "query", hostile, *["--id"] + ["1"] * 3000)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_an_answer_that_fits_no_alphabet_is_told(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "日本.png")
    done = command('PYTHONIOENCODING=ascii "$@"', "data", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 pictures" in done.stdout
