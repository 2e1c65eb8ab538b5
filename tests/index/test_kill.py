"""Nothing is lost: processes killed at any moment, disks that fail or are full, readers beside a writer."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from types import FrameType

import failing_writer
import numpy as np
import pytest
import tiny
from index_model import Model, clustered, create, named, random_verb, state
from index_reader import read, summary

from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.index.integrity import verify

SUPPORT = Path(__file__).resolve().parents[1] / "support"
PLACES = [str(SUPPORT.parents[1]), str(SUPPORT), *filter(None, [os.environ.get("PYTHONPATH")])]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(PLACES), "OMP_NUM_THREADS": "1"}

VERBS = ("create", "open", "add", "remove", "compact", "set_structure")
LONG = ("merge", "upsert", "update", "attach", "drop_structure", "set_binary_structure", "set_rabitqlib_structure")
"""Those that do with other rows what one of the others does."""


def run(program: str, *arguments: object, timeout: float = 1800) -> object:
    """What a program of this folder prints as JSON."""
    done = subprocess.run(
        [sys.executable, SUPPORT / program, *map(str, arguments)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def supervision() -> None:
    """Skip where system calls cannot be supervised."""
    reason = run("faults.py")
    if reason is not None:
        pytest.skip(f"system calls cannot be supervised: {reason}")


# Every call by which the index changes its folder


@pytest.mark.parametrize("verb", [*VERBS, *(pytest.param(verb, marks=pytest.mark.long) for verb in LONG)])
def test_every_call_may_go_wrong(tmp_path, supervision, long, verb):
    if verb == "set_rabitqlib_structure":
        pytest.importorskip("rabitqlib")
    found = run("failing_writer.py", tmp_path, verb, "every", *(["--all"] if long else []))
    assert found["problems"] == []
    done = {name for name, _ in found["calls"]}  # it did go wrong, and in the places that matter
    assert found["tried"] >= 10 and {"write", "unlink" if verb == "open" else "fsync"} <= done
    if verb in ("create", "add", "merge", "upsert", "compact", "set_structure"):
        assert {"create", "rename"} <= done


@pytest.mark.parametrize("verb", ["add", pytest.param("compact", marks=pytest.mark.long)])
def test_a_commit_in_doubt(tmp_path, supervision, long, verb):
    """The disk fails when a commit is to be made durable, the writer tries something else and is killed at any call."""
    found = run("failing_writer.py", tmp_path, verb, "doubt", *(["--all"] if long else []))
    assert found["problems"] == [] and found["tried"] >= 20


# Random moments


def test_killed_writers_finish_as_if_nobody_had_been_killed(tmp_path, long):
    for seed in range(20 if long else 1):
        assert run("killed_writer.py", tmp_path / str(seed), 10, seed) == []


def test_a_killed_build_finishes_as_if_nobody_had_been_killed(tmp_path, tmp_path_factory, supervision, long):
    pictures = tiny.folder(tmp_path / "pictures", each=6)
    (tmp_path / "indexes").mkdir()
    model = tiny.model(tmp_path_factory)
    found = run("killed_build.py", pictures, model, tmp_path / "indexes", 200 if long else 10, 0)
    assert found["problems"] == [] and found["killed"] >= 10


# Full disks


FULL_DISK = """
import resource, sys
from pathlib import Path
from types import FrameType
from index_model import Model, clustered, create, named, state
from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.index.integrity import verify

folder, hard = Path(sys.argv[1]), resource.getrlimit(resource.RLIMIT_FSIZE)[1]
index, model, refused = create(folder, 64), Model(64), 0
for limit in [0, 1, 100, 2000, 5000, 9000, 20_000, 40_000, 60_000, 80_000, 100_000, 150_000, 10**6] * 2:
    arguments = clustered(80, 64, seed=limit), named(80, model.next_id)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))  # no file may become larger: EFBIG
    try:
        index.add(*arguments)
        model.add(*arguments)
    except RetrievalError as error:
        refused += 1
        assert len(str(error).splitlines()) == 1, error
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert state(index) == state(model), limit
    assert verify(folder).ok, (limit, verify(folder).problems)
assert 5 <= refused < 26, refused
index.close()
with Index.open(folder) as reader:
    assert state(reader) == state(model)
"""


def test_files_that_may_not_grow(tmp_path):
    subprocess.run([sys.executable, "-c", FULL_DISK, tmp_path / "index"], env=ENVIRONMENT, check=True)


FULL_TMPFS = """
import subprocess, sys
from pathlib import Path
from types import FrameType
from index_model import Model, clustered, create, named, state
from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.index.integrity import verify

disk = Path(sys.argv[1])
if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], check=False).returncode:
    sys.exit(77)
filler = disk / "filler"
filler.write_bytes(bytes(500_000))
folder = disk / "index"
index, model, refused = create(folder, 32), Model(32), 0
for batch in range(400):
    arguments = clustered(20, 32, seed=batch), named(20, model.next_id)
    try:
        index.add(*arguments)
        model.add(*arguments)
    except RetrievalError as error:
        assert len(str(error).splitlines()) == 1, error
        refused += 1
        if refused == 3:
            break
    assert state(index) == state(model), batch
assert refused == 3 and len(model) > 200, (refused, len(model))
with Index.open(folder) as reader:
    assert state(reader) == state(model)
filler.unlink()  # somebody makes room
index.add(*arguments)
model.add(*arguments)
index.remove([0, 1])
model.remove([0, 1])
assert state(index) == state(model)
index.close()
Index.open(folder, write=True).close()
assert verify(folder).ok and not verify(folder).notes, verify(folder)
"""


LEFT = ("whole", "a killed writer's log")

READING_NEEDS_NO_ROOM = """
import os, subprocess, sys
from pathlib import Path
from index_model import Model, clustered, create, named, state
from retrieval.index import Index
from retrieval.index.integrity import verify

disk = Path(sys.argv[1])
if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], check=False).returncode:
    sys.exit(77)
folder = disk / "index"
index, model = create(folder, 32), Model(32)
arguments = clustered(200, 32, seed=1), named(200, 0)
index.add(*arguments)
model.add(*arguments)
if sys.argv[2] == "a killed writer's log":
    if os.fork() == 0:
        index.remove([5])
        os._exit(0)  # what it committed stands in the log alone
    os.wait()
    model.remove([5])
    assert (folder / "catalog.sqlite-wal").stat().st_size
else:
    index.close()
with (disk / "filler").open("wb") as filler:
    try:
        while True:
            os.write(filler.fileno(), bytes(512))
    except OSError:
        pass
for mapped in (False, True):
    with Index.open(folder, mapped=mapped) as reader:
        assert state(reader) == state(model)
found = verify(folder)
assert found.ok, found
os._exit(0)
"""


@pytest.mark.parametrize(("program", "how"), [(FULL_TMPFS, ""), *((READING_NEEDS_NO_ROOM, how) for how in LEFT)])
def test_a_full_disk(tmp_path, program, how):
    """A real one: a file system of a few megabytes, mounted in a name space of its own."""
    try:
        done = subprocess.run(
            ["unshare", "--mount", "--map-root-user", sys.executable, "-c", program, tmp_path, how],
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("there is no unshare(1)")
    if done.returncode == 77 or "unshare:" in done.stderr:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr


# Readers beside a writer


def test_each_reader_sees_one_state(tmp_path, long):
    folder = tmp_path / "index"
    model, rng = Model(16), np.random.default_rng(0)
    times = 300 if long else 12
    seen: list[tuple[int, str]] = []
    failures: list[BaseException] = []

    def reader(mapped: bool) -> None:
        try:
            read(folder, times, lambda *pair: seen.append(pair), mapped)
        except BaseException as error:
            failures.append(error)

    with create(folder, 16) as index:
        expected = {index.generation: summary(state(model))}
        threads = [threading.Thread(target=reader, args=(mapped,)) for mapped in (False, True)]
        for thread in threads:
            thread.start()
        processes = [
            subprocess.Popen(
                [sys.executable, SUPPORT / "index_reader.py", folder, str(times), how],
                env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
            for how in ("loaded", "mapped")
        ]  # fmt: skip
        while any(thread.is_alive() for thread in threads) or any(process.poll() is None for process in processes):
            before = index.generation
            verb, arguments = random_verb(rng, model)
            getattr(index, verb)(*arguments)
            getattr(model, verb)(*arguments)
            for generation in range(before + 1, index.generation + 1):  # that files were deleted is one of its own
                expected[generation] = summary(state(model))
        for thread in threads:
            thread.join()
    for process in processes:
        out, errors = process.communicate()
        assert process.returncode == 0, errors
        lines = [line.split(maxsplit=1) for line in out.splitlines()]
        assert len(lines) == times
        seen += [(int(generation), held) for generation, held in lines]
    assert failures == []
    assert len({generation for generation, _ in seen}) > 5
    assert [(generation, held) for generation, held in seen if held != expected[generation]] == []
    assert verify(folder).ok


def test_a_reader_never_waits_for_a_writer(tmp_path, monkeypatch):
    """The writer stops in the middle of its transaction, and before that with a file half written."""
    folder = tmp_path / "index"
    vectors = clustered(60, 16)
    with create(folder, 16) as index:
        for start in (0, 20):
            index.add(vectors[start : start + 20], named(20, start))
        index.remove([3])
        before = state(index)
    for place in ("retrieval.index.database.Database.put", "retrieval.index.segments.name_durably"):
        for verb in ("add", "compact"):
            stopped, go_on = threading.Event(), threading.Event()
            answers: list[object] = []

            def wait(*_: object, stopped: threading.Event = stopped, go_on: threading.Event = go_on) -> None:
                stopped.set()
                go_on.wait(60)
                raise RetrievalError("Enough of that; try again.")

            def write(verb: str = verb) -> None:
                arguments = (vectors[40:], named(20, 40)) if verb == "add" else ()
                with Index.open(folder, write=True) as writer, pytest.raises(RetrievalError, match="Enough"):
                    getattr(writer, verb)(*arguments)

            def ask(answers: list[object] = answers) -> None:
                for mapped in (False, True):
                    with Index.open(folder, mapped=mapped) as reader:
                        answers.append(state(reader) == before and reader.search(vectors[:1], 1)[1][0, 0] == 0)

            with monkeypatch.context() as patch:
                patch.setattr(place, wait)
                writing, reading = threading.Thread(target=write), threading.Thread(target=ask)
                writing.start()
                assert stopped.wait(30), "the writer never came there"
                reading.start()
                reading.join(30)  # the writer would wait for longer
                in_time = not reading.is_alive()
                go_on.set()
                writing.join()
                reading.join()
            assert in_time and answers == [True, True], (place, verb)
    with Index.open(folder) as reader:
        assert state(reader) == before


HOLDER = """
import sys, time
from retrieval.index import Index
index = Index.open(sys.argv[1], write=True)
print("open", flush=True)
time.sleep(600)
"""


def test_a_dead_writer_holds_no_lock_and_a_living_one_is_named(tmp_path):
    folder = tmp_path / "index"
    create(folder, 16).close()
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, folder], env=ENVIRONMENT, stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == b"open\n"
        with pytest.raises(RetrievalError, match=rf"written by process {holder.pid} on \S+ since 2"):
            Index.open(folder, write=True)
    finally:
        holder.kill()
        holder.wait()
    with Index.open(folder, write=True) as index:
        index.add(clustered(2, 16), named(2))


# Ctrl-C


class Interruption:
    """Raises KeyboardInterrupt when the n-th line of the index's own code is about to be run."""

    def __init__(self, at: int | None) -> None:
        self.lines = 0
        self._at = at

    def __enter__(self) -> Interruption:
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, _: object) -> object:
        ours = "/retrieval/index/" in frame.f_code.co_filename or "/retrieval/base/files.py" in frame.f_code.co_filename
        if event == "line" and ours:
            if self.lines == self._at:
                raise KeyboardInterrupt
            self.lines += 1
        return self._trace if ours else None


@pytest.mark.parametrize("verb", ["add", "upsert", "update", "remove", "attach", "compact", "set_structure"])
def test_ctrl_c_at_any_line(tmp_path, long, verb):
    """The index object goes on from before or after, and so does everybody else."""
    failing_writer.prepare(tmp_path / "base", verb)
    change = failing_writer.CHANGES[verb]
    with Index.open(tmp_path / "base") as index:
        before = failing_writer.whole(index)

    def interrupted(name: str, at: int | None) -> tuple[Index, Interruption]:
        shutil.copytree(tmp_path / "base", tmp_path / name)
        index = Index.open(tmp_path / name, write=True)
        with contextlib.suppress(KeyboardInterrupt), Interruption(at) as interruption:
            change(index)
        return index, interruption

    index, plain = interrupted("plain", None)
    after = failing_writer.whole(index)
    index.close()
    assert plain.lines > 30
    wrong = []
    for at in range(plain.lines) if long else np.random.default_rng(0).choice(plain.lines, 8, replace=False).tolist():
        folder = tmp_path / str(at)
        index, _ = interrupted(folder.name, at)
        try:
            found = failing_writer.whole(index)
            if found not in (before, after):
                wrong.append(f"line {at}: the index object is in another state than before or after")
            if found == before:
                change(index)
            if failing_writer.whole(index) != after:
                wrong.append(f"line {at}: the second try comes to another state")
            wrong += [f"line {at}: {problem}" for problem in verify(folder).problems]
            index.close()
            Index.open(folder, write=True).close()
            wrong += [f"line {at}: {stray} was left behind" for stray in failing_writer.stray_files(folder)]
        except RetrievalError as error:
            wrong.append(f"line {at}: {error}")
        finally:
            index.close()
        shutil.rmtree(folder)
    assert wrong == []
