"""build_index.py and query.py as people run them, on real files, good and bad: each as a process, too."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny
from PIL import Image

from retrieval.cli import main

TOP = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.model(tmp_path_factory)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """A folder with `pictures`, and `indexes/pictures` made from it by the script."""
    here = tmp_path_factory.mktemp("scripts")
    tiny.folder(here / "pictures", each=5)
    done = process("build_index.py", "pictures", "--model", model, cwd=here)
    assert done.returncode == 0, done.stderr
    assert "indexes/pictures: 10 pictures (10 new)" in done.stdout
    assert "labels: 2, from folders" in done.stdout
    return here


def process(name: str, *args: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a script as people do; a second or two go by until everything is imported."""
    command = [sys.executable, str(TOP / name), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120, check=False)


def script(name: str, *args: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """What a script does, within this process."""
    verb = {"build_index.py": "build", "query.py": "query"}[name]
    out, err = io.BytesIO(), io.StringIO()
    with (
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(io.TextIOWrapper(out, encoding="utf-8", write_through=True)) as kept,
        contextlib.redirect_stderr(err),
    ):
        code = main([verb, *map(str, args)], prog=name)
    kept.flush()
    return subprocess.CompletedProcess(args, code, out.getvalue().decode(), err.getvalue())


def items(index: Path) -> int:
    """How many items a catalog has, asked of SQLite itself."""
    with sqlite3.connect(f"file:{index}/catalog.sqlite?mode=ro", uri=True) as connection:
        return int(connection.execute("SELECT count(*) FROM items WHERE removed IS NULL").fetchone()[0])


def test_a_second_build_has_nothing_to_do(built: Path, model: Path) -> None:
    done = process("build_index.py", "pictures", "--model", model, cwd=built)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "indexes/pictures: nothing to do, all 10 pictures are in it"


def test_every_kind_of_bad_file(tmp_path: Path, model: Path) -> None:
    root = tiny.folder(tmp_path / "pictures", each=2)
    whole = (root / "cat" / "0.png").read_bytes()
    photo = io.BytesIO()
    tiny.picture(1, 300, 200).save(photo, "JPEG")
    bad = root / "bad"
    bad.mkdir()
    (bad / "cut.png").write_bytes(whole[:-20])
    (bad / "cut.jpg").write_bytes(photo.getvalue()[:900])
    (bad / "empty.jpg").touch()
    (bad / "text.jpg").write_text("no picture")
    (bad / "lost.png").symlink_to("nowhere")
    (bad / "loop.png").symlink_to("loop.png")
    Image.new("1", (20_000, 20_000)).save(bad / "huge.png")
    Path(os.fsdecode(os.fsencode(bad) + b"/\xff\xfe.png")).write_bytes(whole)
    done = script("build_index.py", "pictures", "--model", model, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["total"], report["added"], report["index"]) == (4, 4, "indexes/pictures")
    reasons = {entry["path"].removeprefix("bad/"): entry["reason"] for entry in report["skipped"]}
    assert reasons == {
        "cut.png": "truncated",
        "cut.jpg": "truncated",
        "empty.jpg": "empty file",
        "text.jpg": "not a picture",
        "lost.png": "broken link",
        "loop.png": "broken link",
        "huge.png": "too many pixels (20000×20000)",
        "\\xff\\xfe.png": "name is not UTF-8",
    }
    with (tmp_path / "indexes/pictures/skipped.csv").open(newline="", encoding="utf-8") as stream:
        assert {row["path"].removeprefix("bad/"): row["reason"] for row in csv.DictReader(stream)} == reasons
    again = script("build_index.py", "pictures", cwd=tmp_path)
    assert "nothing to do, all 4 pictures are in it" in again.stdout
    assert "left out: 8 (" in again.stdout
    assert "2 truncated" in again.stdout


def as_anybody() -> list[str]:
    """What a command must begin with so that permissions hold for it; root has to give up its right to ignore them."""
    if os.geteuid() != 0:
        return []
    right = "-dac_override,-dac_read_search"
    command = ["setpriv", f"--bounding-set={right}", f"--inh-caps={right}"]
    if shutil.which("setpriv") is None or subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("root may read everything, and setpriv cannot take that from it here")
    return command


def test_files_without_permission(tmp_path: Path, model: Path) -> None:
    command = [*as_anybody(), sys.executable, str(TOP / "build_index.py")]
    root = tiny.folder(tmp_path / "pictures", each=2)
    (root / "cat/0.png").chmod(0)
    (root / "dog").chmod(0)
    try:
        done = subprocess.run(
            [*command, "pictures", "--model", str(model), "--json"], capture_output=True, text=True, cwd=tmp_path
        )
    finally:
        (root / "dog").chmod(0o755)
    assert done.returncode == 0, done.stderr
    skipped = {entry["path"]: entry["reason"] for entry in json.loads(done.stdout)["skipped"]}
    assert skipped == {"cat/0.png": "no permission", "dog": "folder: no permission"}


SLOW = """
import sys, time
from retrieval.encoder import file_encoding
from retrieval.ingest import memory_limits
from retrieval.cli import main
memory_limits.COMMIT_PICTURES = 5
read = file_encoding.read_picture
def slowly(*args, **options):
    time.sleep(0.05)
    return read(*args, **options)
file_encoding.read_picture = slowly
sys.exit(main(["build", *sys.argv[1:]]))
"""
"""The same program, on a slower disk and with shorter commits, so that it can be stopped in the middle."""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_stopped_in_the_middle_and_run_again(tmp_path: Path, model: Path, how: signal.Signals) -> None:
    tiny.folder(tmp_path / "pictures", each=40)
    arguments = ["pictures", "--model", str(model), "--threads", "1"]
    running = subprocess.Popen(
        [sys.executable, "-c", SLOW, *arguments, "--batch", "1"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(TOP)},
        stderr=subprocess.PIPE,
        text=True,
    )
    index = tmp_path / "indexes/pictures"
    until = time.monotonic() + 60
    while not (index / "catalog.sqlite").exists() or items(index) < 10:
        assert running.poll() is None
        assert time.monotonic() < until
        time.sleep(0.02)
    running.send_signal(how)
    _, said = running.communicate(timeout=60)
    before = items(index)
    assert 10 <= before < 80
    if how is signal.SIGINT:
        assert running.returncode == 130
        assert "the same command goes on from there" in said
        assert "Traceback" not in said
    done = script("build_index.py", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"80 pictures ({80 - before} new, {before} kept)" in done.stdout
    assert "nothing to do" in script("build_index.py", *arguments, cwd=tmp_path).stdout
    assert sorted(path.name for path in (tmp_path / "indexes").iterdir()) == ["pictures"]


def test_a_mistake_is_answered_in_one_sentence(
    built: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tiny.model(tmp_path_factory, seed=1)
    for done, words in (
        (script("build_index.py", "absent", cwd=tmp_path), "There is no folder 'absent'"),
        (script("query.py", "indexes/pictures", "pictures/cat", "--model", other, cwd=built), "another model"),
    ):
        assert (done.returncode, done.stdout) == (1, "")
        assert words in done.stderr
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["build", "empty"], "There is no picture in"),
        (["build", "pictures", "--out", "mine"], "'mine' exists and is no index"),
        (["build", "pictures", "--model", "absent"], "absent"),
        (["build", "pictures", "--threads", "0"], "threads is 0"),
        (["query", "index"], "There is nothing to look for"),
        (["query", "index", "--cursor", "a.png"], "put the picture before it"),
        (["query", "pictures", "a.png"], "is not an index"),
        (["query", "index", "--path", "cat/99.png"], "There is no picture 'cat/99.png' in the index"),
        (["query", "index", "--id", "99"], "99"),
        (["query", "index", "--vectors", "pictures/cat/0.png"], "cannot be read as a .npy file"),
        (["query", "index", "--text", "a cat"], "pictures only"),
        (["query", "index", "--id", "0", "-k", "0"], "k is 0"),
        (["query", "index", "--id", "0", "--save", "grid.docx"], "could not be written"),
    ],
)
def test_more_mistakes(
    built: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    (tmp_path / "pictures").symlink_to(built / "pictures")
    (tmp_path / "index").symlink_to(built / "indexes/pictures")
    before = sorted(tmp_path.iterdir())
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_a_table(built: Path) -> None:
    done = process("query.py", "indexes/pictures", "pictures/cat/0.png", "pictures/dog/1.png", "-k", 3, cwd=built)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) == 2 * 5 + 1
    assert lines[0] == "pictures/cat/0.png  (label cat, id 0)"
    assert lines[1].split() == ["rank", "score", "id", "label", "path"]
    where = lines[1].index("path")
    for rank, line in enumerate(lines[2:5], 1):
        assert line.split()[0] == str(rank)
        assert line[where:].startswith(line.split()[3] + "/")
    assert lines[5] == ""
    assert lines[6].startswith("pictures/dog/1.png")


def test_json_csv_and_files_say_the_same(built: Path, tmp_path: Path) -> None:
    ask = ("query.py", built / "indexes/pictures", built / "pictures/cat", "-k", 4)
    told = json.loads(script(*ask, "--json", cwd=built).stdout)
    assert [answer["query"] for answer in told["answers"]] == [f"{built}/pictures/cat/{n}.png" for n in range(5)]
    hits = [(answer["query"], hit) for answer in told["answers"] for hit in answer["hits"]]
    assert len(hits) == 20
    for _, hit in hits:
        assert hit["relevant"] == (hit["label"] == "cat")

    rows = list(csv.DictReader(io.StringIO(script(*ask, "--csv", cwd=built).stdout)))
    for row, (query, hit) in zip(rows, hits, strict=True):
        assert (row["query"], int(row["rank"]), int(row["id"])) == (query, hit["rank"], hit["id"])
        assert (row["path"], row["label"], row["relevant"]) == (hit["path"], hit["label"], str(int(hit["relevant"])))
        assert float(row["score"]) == pytest.approx(hit["score"], abs=1e-6)

    for here in (built, tmp_path):  # above the pictures, and elsewhere
        files = script(*ask, "-f", cwd=here).stdout.splitlines()
        assert [(here / file).resolve() for file in files] == [built / "pictures" / hit["path"] for _, hit in hits]
    assert not Path(files[0]).is_relative_to(tmp_path)


def test_ids_paths_vectors_and_the_query_itself(built: Path, tmp_path: Path) -> None:
    import numpy as np

    from retrieval.index import Index

    with Index.open(built / "indexes/pictures") as index:
        np.save(tmp_path / "v.npy", index.vectors([7]))
    asked = ("--id", 7, "--path", "dog/2.png", "--vectors", tmp_path / "v.npy", "--include-self", "-k", 3, "--json")
    told = json.loads(script("query.py", "indexes/pictures", *asked, cwd=built).stdout)
    assert [answer["query"] for answer in told["answers"]] == ["id 7", "dog/2.png", "v.npy[0]"]
    ranked = [[hit["id"] for hit in answer["hits"]] for answer in told["answers"]]
    assert ranked[0] == ranked[1] == ranked[2]
    assert ranked[0][0] == 7


def test_names_cannot_play_with_the_terminal(tmp_path: Path, model: Path) -> None:
    root = tiny.folder(tmp_path / "pictures", classes=("cat", "\033[31mdog\n"), each=1)
    assert script("build_index.py", root, "--model", model, "--out", "index", cwd=tmp_path).returncode == 0
    done = script("query.py", "index", "--id", 0, "--id", 1, "--include-self", cwd=tmp_path)
    assert "\033" not in done.stdout
    assert "\\x1b[31mdog\\n/0.png" in done.stdout
    assert script("query.py", "index", "--id", 0, "-f", cwd=tmp_path).stdout == "pictures/cat/0.png\n"


def test_unreadable_queries_are_left_out(built: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("no picture")
    index = built / "indexes/pictures"
    done = script("query.py", index, tmp_path / "bad.png", built / "pictures/cat/0.png", "-f", cwd=tmp_path)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 9
    assert "bad.png' is left out: not a picture" in done.stderr
    done = script("query.py", index, tmp_path / "bad.png", "absent.png", "-f", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 2


def test_the_picture_of_the_results(built: Path, tmp_path: Path) -> None:
    done = script("query.py", "indexes/pictures", "pictures/cat/0.png", "--save", tmp_path / "new/grid.png", cwd=built)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "new/grid.png") as drawn:
        colours = {colour for _, colour in drawn.convert("RGB").getcolors(1 << 24) or ()}
    assert {(28, 143, 70), (214, 48, 49)} <= colours  # right and wrong


def test_an_index_that_was_moved_without_its_pictures_still_answers(built: Path, tmp_path: Path, model: Path) -> None:
    root = tiny.folder(tmp_path / "gone", each=2)
    assert script("build_index.py", root, "--model", model, "--out", tmp_path / "a", cwd=tmp_path).returncode == 0
    (tmp_path / "a").rename(tmp_path / "b")
    shutil.rmtree(root)
    done = script("query.py", tmp_path / "b", built / "pictures/cat/3.png", "--save", "grid.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2 + 4
    assert (tmp_path / "grid.png").stat().st_size > 1000


@pytest.mark.parametrize("name", ["build_index.py", "query.py"])
def test_help_has_examples(name: str, tmp_path: Path) -> None:
    done = process(name, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "examples:" in done.stdout
    assert f"  {name} " in done.stdout
