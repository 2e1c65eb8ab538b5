"""Keeping an index up to date while its folder changes."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny
from built import contents

from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.ingest import BuildReport, build, watch_folder
from retrieval.ingest.watch_folder import network_kind, watch

LONG = 60
"""Seconds after which a test gives up."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.model(tmp_path_factory)


@pytest.fixture
def root(tmp_path: Path, model: Path) -> Path:
    """Four pictures, and their index inside the folder, where its own changes must not count."""
    root = tiny.folder(tmp_path / "pictures", each=2)
    build(root, root / "index", model=model)
    return root


def put(file: Path, seed: int) -> None:
    """A picture that comes whole."""
    made = file.parents[2] / file.name
    tiny.picture(seed).save(made)
    made.rename(file)


class Watched:
    """A watch in a thread: the next report, and how it ended."""

    def __init__(self, root: Path) -> None:
        self.stop = threading.Event()
        self.error: BaseException | None = None
        self._reports: queue.Queue[BuildReport] = queue.Queue()
        self._thread = threading.Thread(target=self._run, args=(root / "index",))
        self._thread.start()

    def _run(self, index: Path) -> None:
        try:
            watch(index, done=self._reports.put, threads=1, stop=self.stop)
        except BaseException as error:
            self.error = error

    def next(self, seconds: float = LONG) -> BuildReport:
        return self._reports.get(timeout=seconds)

    def nothing(self, seconds: float = 2.5) -> bool:
        """Whether no report comes in a while."""
        try:
            self.next(seconds)
        except queue.Empty:
            return True
        return False

    def end(self) -> None:
        self.stop.set()
        self._thread.join(LONG)
        assert not self._thread.is_alive()


@pytest.fixture(params=["told", "walked"])
def start(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], Watched]]:
    """Starts a watch, by what the system tells or by walking."""
    monkeypatch.setattr(watch_folder, "QUIET", 0.3)
    monkeypatch.setattr(watch_folder, "EVERY", 0.5)
    if request.param == "told":
        pytest.importorskip("watchfiles")
    else:
        monkeypatch.setattr(watch_folder, "_not_told", lambda root: "a test wants it")
    started: list[Watched] = []

    def begin(root: Path) -> Watched:
        started.append(Watched(root))
        return started[-1]

    yield begin
    for one in started:
        one.end()


def test_each_change_is_synced_once(root: Path, start: Callable[[Path], Watched], tmp_path: Path) -> None:
    watched = start(root)
    assert watched.next().kept == 4
    assert watched.nothing()  # its own writing into the folder is no change
    (tiny.folder(tmp_path / "made", classes=("fox",), each=3) / "fox").rename(root / "fox")
    report = watched.next()
    assert (report.added, report.kept) == (3, 4)
    (root / "fox/0.png").rename(root / "dog/moved.png")
    assert watched.next().renamed == 1
    (root / "fox/1.png").unlink()
    report = watched.next()
    assert (report.removed, report.total) == (1, 6)
    assert watched.nothing()
    watched.end()
    assert watched.error is None


def test_a_burst_takes_fewer_syncs_than_changes(root: Path, start: Callable[[Path], Watched]) -> None:
    watched = start(root)
    total, syncs = watched.next().total, 0
    for number in range(20):
        put(root / f"cat/new{number}.png", 60 + number)
    while total < 24:
        total = watched.next().total
        syncs += 1
    assert syncs < 20


def test_a_writer_at_work_is_waited_for(root: Path, start: Callable[[Path], Watched]) -> None:
    watched = start(root)
    watched.next()
    with Index.open(root / "index", write=True) as index:  # nothing is locked between syncs
        put(root / "cat/new.png", 70)
        assert watched.nothing()
        assert len(index) == 4
    assert watched.next().added == 1


def test_a_folder_that_vanishes_takes_nothing_out(
    tmp_path: Path, model: Path, start: Callable[[Path], Watched], capfd: pytest.CaptureFixture[str]
) -> None:
    root = tiny.folder(tmp_path / "work/pictures", each=2)
    build(root, tmp_path / "work/index", model=model)
    watched = start(tmp_path / "work")
    watched.next()
    root.rename(tmp_path / "away")
    assert watched.nothing()
    root.mkdir()  # the place where a disk is mounted
    assert watched.nothing()
    assert len(contents(tmp_path / "work/index")) == 4
    root.rmdir()
    tiny.picture(80).save(tmp_path / "away/cat/new.png")
    (tmp_path / "away").rename(root)
    report = watched.next()
    assert (report.added, report.kept, report.removed) == (1, 4, 0)
    err = capfd.readouterr().err
    assert err.count("is not there") in (1, 2)  # gone, and perhaps seen once more between the two others
    assert err.count("There is no picture") == 1
    put(root / "cat/newer.png", 81)
    assert watched.next().added == 1


def test_without_its_index_it_ends(root: Path, start: Callable[[Path], Watched]) -> None:
    watched = start(root)
    watched.next()
    shutil.rmtree(root / "index")
    tiny.picture(90).save(root / "cat/new.png")
    watched._thread.join(LONG)
    assert isinstance(watched.error, RetrievalError)


def test_the_first_sync_fails_as_any_other(root: Path, tmp_path: Path, model: Path) -> None:
    build(root / "cat", tmp_path / "cats", model=model)
    (root / "cat").rename(tmp_path / "away")
    with pytest.raises(RetrievalError, match="is not there"):
        watch(tmp_path / "cats", done=print)


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_ctrl_c_ends_the_command(root: Path, form: list[str]) -> None:
    command = [sys.executable, "-m", "retrieval", "sync", root / "index", "--watch", *form]
    here = str(Path(__file__).parents[2])
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": here}
    ) as process:
        timer = threading.Timer(2 * LONG, process.kill)
        timer.start()
        assert process.stdout is not None and process.stderr is not None
        first = process.stdout.readline()
        put(root / "cat/new.png", 91)
        second = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
        timer.cancel()
    assert process.returncode == 130, err
    assert "Stopped" in err and "Traceback" not in err
    if form:
        assert (json.loads(first)["kept"], json.loads(second)["added"], json.loads(out)) == (4, 1, {"syncs": 2})
    else:
        assert "nothing to do" in first and "1 new, 4 kept" in second and out == "syncs: 2\n"


def test_a_missing_library_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    monkeypatch.setattr(watch_folder, "network_kind", lambda root: None)
    assert "retrieval[watch]" in str(watch_folder._not_told(tmp_path))


MOUNTS = r"""
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:40 / /net rw - nfs4 server:/net rw
24 23 8:2 / /net/local rw - xfs /dev/sdb rw
25 22 0:41 / /my\040share rw shared:7 master:2 - cifs //server/share rw
26 22 0:42 / /far rw - fuse.sshfs me@there: rw
27 22 0:43 / /twice rw - nfs server:/a rw
28 27 8:3 / /twice rw - ext4 /dev/sdc rw
""".lstrip()


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/home/me", None),
        ("/net", "nfs4"),
        ("/net/pictures", "nfs4"),
        ("/network", None),
        ("/net/local/x", None),
        ("/my share/2024", "cifs"),
        ("/far/a", "fuse.sshfs"),
        ("/twice/a", None),
    ],
)
def test_network_folders_are_known(tmp_path: Path, folder: str, kind: str | None) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert network_kind(Path(folder), mounts) == kind
    assert network_kind(Path(folder), tmp_path / "nothing") is None
