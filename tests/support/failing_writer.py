"""Runs one verb on an index, once for each system call by which it changes the folder, and lets that call go wrong.

A program of its own, since a process with threads cannot be forked safely; ``test_kill.py`` starts it:

    python failing_writer.py FOLDER VERB every|doubt [--all]

What becomes of the call is, one after the other:

- kill: the process is killed before it, and another time in the middle of it, if it is a write;
- error: it fails once with an input/output error, and then the verb is tried again by the same process;
- full: it finds the disk full, as do all calls that take room from there on, until the verb has failed; then there is
  room again, and the verb is tried again;
- die: it fails as in "error", and then the process ends as it stands.

With "doubt", the verb's commit fails when it is to be brought to the disk, so that nobody knows whether it will be
there after a crash; then the process adds other items, and is killed at the call.

Of calls in a row that do the same in one folder the first and the last are tried, and of the ways to be killed and the
ways to fail one each, by turns, unless ``--all`` is given. Printed is a JSON object: the calls of an undisturbed run,
how many runs there were, and what was wrong with them.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import faults
import h5py  # noqa: F401  # here, so that no child has to import it
from index_model import clustered, create, named, state

from retrieval.errors import RetrievalError
from retrieval.index import Index, NewItem
from retrieval.index.integrity import verify
from retrieval.index.nearest import kinds

DIM = 8
VECTORS = clustered(70, DIM)
TAKES_ROOM = {"write", "create", "mkdir"}


def prepare(folder: Path, verb: str) -> None:
    """What a verb finds: some segments, removed items, attributes, a structure."""
    folder.mkdir(parents=True)
    if verb == "create":
        return
    with create(folder, DIM) as index:
        index.add(VECTORS[:20], named(20))
        step = 1 if verb == "merge" else 15  # so many small segments that the next one takes them in
        for start in range(20, 35, step):
            index.add(VECTORS[start : start + step], named(step, start))
        index.attach({id_: {"price": id_ / 4, "shop": f"shop {id_ % 3}"} for id_ in range(10)})
        set_structure(index, "HNSW8,Flat")
        index.remove([3, 25])
        number = index.info()["segments"] + 1
    if verb == "open":  # what a killed writer leaves
        (folder / "segments" / f"{number:08d}.h5").write_bytes(b"not committed")
        (folder / "segments" / f"{number:08d}.h5.tmp").write_bytes(b"half")
        (folder / "ann" / "00000099.ann").write_bytes(b"not committed")


def set_structure(index: Index, factory: str) -> None:
    """Build a structure over all vectors and use it."""
    vectors = index.all_vectors()[1]
    index.set_structure(kinds.build(factory, vectors), kinds.efforts(factory, len(vectors))[0])


CHANGES: dict[str, Callable[[Index], object]] = {
    "add": lambda index: index.add(VECTORS[40:60], named(20, 40)),
    "merge": lambda index: index.add(VECTORS[60:65], named(5, 60)),
    "remove": lambda index: index.remove([0, 7, 21, 34]),
    "upsert": lambda index: index.upsert(VECTORS[30:40], named(10, 30, seed=1)),
    "update": lambda index: index.update({1: NewItem("moved/1.png", "moved"), 2: NewItem("moved/2.png", None)}),
    "attach": lambda index: index.attach({1: {"price": None, "colour": "red"}, 30: {"price": 3}}),
    "compact": lambda index: index.compact(),
    "set_structure": lambda index: set_structure(index, "HNSW4,Flat"),
    "set_binary_structure": lambda index: set_structure(index, "BHNSW8"),
    "set_rabitqlib_structure": lambda index: set_structure(index, "SymphonyQG32"),
    "drop_structure": lambda index: index.set_structure(None),
}


def do(folder: Path, verb: str, index: Index | None = None) -> Index:
    """The verb, on an index that is open for writing; the open index."""
    if verb == "create":
        return create(folder, DIM)
    index = index or Index.open(folder, write=True)
    if verb != "open":
        CHANGES[verb](index)
    return index


def whole(index: Index) -> str:
    """All that a verb can change."""
    found = index.info()["structure"]
    return state(index) + str(found and found["factory"])


def seen(folder: Path) -> str:
    """The same, by somebody who only reads."""
    if not (folder / "catalog.sqlite").exists():
        return "no index"
    with Index.open(folder) as reader:
        return whole(reader)


def stray_files(folder: Path) -> list[str]:
    """What lies in the folder although the catalog, read by SQLite alone, does not name it."""
    with closing(sqlite3.connect(folder / "catalog.sqlite")) as connection:
        rows = connection.execute("SELECT file FROM segments UNION SELECT file FROM structures").fetchall()
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    ours = {"writer.lock", "readers.lock", "catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm"}
    return sorted(there - {file for (file,) in rows} - ours)


def attempt_another(folder: Path, verb: str, arm: faults.Arm) -> str:
    """In the child: the verb, and another one whether it failed or not."""
    index = Index.open(folder, write=True)
    with arm:
        with contextlib.suppress(RetrievalError):
            CHANGES[verb](index)
        index.add(VECTORS[65:], named(5, 65))
    return whole(index)


def attempt(folder: Path, verb: str, arm: faults.Arm, before: str, again: bool) -> str:
    """In the child: the verb, and once more if it failed and `again`; what came of it."""
    index = Index.open(folder, write=True) if verb in CHANGES else None
    told = None
    try:
        with arm:
            index = do(folder, verb, index)
    except RetrievalError as error:
        told = str(error)
    report = {"told": told, "now": whole(index) if index is not None else seen(folder)}
    if again:
        if told is not None and report["now"] == before:
            index = do(folder, verb, index)
        report["then"] = whole(index) if index is not None else None
        if index is not None:
            index.close()
    return json.dumps(report)  # without `again` it ends here as a killed one does, with everything open


def unsynced(calls: list[faults.Call]) -> Iterator[str]:
    """What a power cut could take back after a commit that counts on it: contents of files, and their names."""
    dirty: set[str] = set()
    for call in calls:
        if call.path == "writer.lock":  # what stands in it is for people
            continue
        if Path(call.path).name.startswith("catalog.sqlite-"):  # SQLite's own
            if call.name == "fsync":
                yield from (f"{path} was not on the disk when a transaction was committed" for path in sorted(dirty))
        elif call.name == "fsync":
            dirty.discard(call.path)
        elif call.name in ("write", "truncate"):
            dirty.add(call.path)
        elif call.name == "rename":
            dirty.add(str(Path(call.path).parent))


def chosen(calls: list[faults.Call], everything: bool) -> Iterator[int]:
    """Which calls to try: of those in a row that are alike, the first and the last."""
    for _, group in itertools.groupby(enumerate(calls), lambda pair: (pair[1].name, Path(pair[1].path).parent)):
        numbers = [number for number, _ in group]
        yield from numbers if everything or len(numbers) <= 2 else (numbers[0], numbers[-1])


def fate(kind: str, number: int) -> Callable[[int, faults.Call], int]:
    """What becomes of the calls if number `number` goes wrong."""
    if kind == "full":
        return lambda n, call: errno.ENOSPC if n >= number and call.name in TAKES_ROOM else faults.GO_ON
    becomes = {"kill": faults.KILL, "tear": faults.TEAR}.get(kind, errno.EIO)
    return lambda n, call: becomes if n == number else faults.GO_ON


def run(folder: Path, verb: str, everything: bool) -> dict[str, object]:
    """Let each call of a verb go wrong in each way."""
    base, case = folder / "base", folder / "case"
    prepare(base, verb)
    before = seen(base)

    def supervised(decide: Callable[[int, faults.Call], int], again: bool) -> faults.Outcome:
        shutil.rmtree(case, ignore_errors=True)
        shutil.copytree(base, case)
        return faults.supervised(lambda arm: attempt(case, verb, arm, before, again), case, decide)

    plain = supervised(lambda number, call: faults.GO_ON, again=True)
    if plain.status:
        return {"calls": [], "tried": 0, "problems": [plain.report]}
    after = json.loads(plain.report)["then"]
    problems, tried = list(unsynced(plain.calls)), 0
    for number in chosen(plain.calls, everything):
        call = plain.calls[number]
        ends, fails = ["kill", *(["tear"] if call.name == "write" else [])], ["error", "full", "die"]
        if not everything:
            ends, fails = [ends[number % len(ends)]], [fails[number % 3]]
        for kind in (*ends, *fails):
            tried += 1
            outcome = supervised(fate(kind, number), again=kind in ("error", "full"))
            place = f"{kind} at call {number}, {call.name} {call.path}"
            problems += [f"{place}: {problem}" for problem in judge(case, verb, outcome, before, after)]
    return {"calls": [(call.name, call.path) for call in plain.calls], "tried": tried, "problems": problems}


def run_in_doubt(folder: Path, verb: str, everything: bool) -> dict[str, object]:
    """Let a verb's commit fail, and kill the process at each call of what it does next."""
    base, case = folder / "base", folder / "case"
    prepare(base, verb)
    states = {seen(base)}

    def supervised(decide: Callable[[int, faults.Call], int]) -> faults.Outcome:
        shutil.rmtree(case, ignore_errors=True)
        shutil.copytree(base, case)
        return faults.supervised(lambda arm: attempt_another(case, verb, arm), case, decide)

    for changes in ((verb,), (verb, "another"), ("another",)):
        shutil.rmtree(case, ignore_errors=True)
        shutil.copytree(base, case)
        with Index.open(case, write=True) as index:
            for change in changes:
                index.add(VECTORS[65:], named(5, 65)) if change == "another" else CHANGES[change](index)
            states.add(whole(index))
    calls = supervised(lambda number, call: faults.GO_ON).calls
    syncs = [number for number, call in enumerate(calls) if call == faults.Call("fsync", "catalog.sqlite-wal")]
    # The first one is SQLite's for a new log, and commits nothing.
    commit = next(number for number in syncs[1:] if number > 0)
    doubtful = supervised(lambda number, call: errno.EIO if number == commit else faults.GO_ON)
    if doubtful.status:
        return {"calls": [], "tried": 0, "problems": [doubtful.report]}
    problems, tried = [], 0
    for number in chosen(doubtful.calls, everything):
        if number <= commit:
            continue
        for way in (faults.KILL, faults.TEAR):
            tried += 1
            becomes = {commit: errno.EIO, number: way}
            supervised(lambda n, call, becomes=becomes: becomes.get(n, faults.GO_ON))
            call = doubtful.calls[number]
            try:
                found = seen(case)
                wrong = [] if found in states else ["a reader finds another state"]
                wrong += [str(problem) for problem in verify(case).problems]
                Index.open(case, write=True).close()
                wrong += [f"{stray} was left behind" for stray in stray_files(case)]
            except RetrievalError as error:
                wrong = [str(error)]
            problems += [f"killed at call {number}, {call.name} {call.path}: {problem}" for problem in wrong]
    return {"calls": [], "tried": tried, "problems": problems}


def judge(folder: Path, verb: str, outcome: faults.Outcome, before: str, after: str) -> Iterator[str]:
    """What is wrong with the index now, in the eyes of those who come next."""
    then = None
    if not outcome.killed:
        if outcome.status:
            yield outcome.report
            return
        report = json.loads(outcome.report)
        then = report.get("then")
        if report["now"] not in ((before, after) if report["told"] else (after,)):
            yield "the index object is in another state than before or after"
        if then not in (None, after):
            yield "the second try did not put it right"
        if report["told"] and len(report["told"].splitlines()) != 1:
            yield f"more than one line was told: {report['told']}"
    try:
        found = seen(folder)
        if found not in (before, after) or (then and found != after):
            yield "a reader finds another state"
        if found != "no index":
            yield from (f"verify, before the next writer: {problem}" for problem in verify(folder).problems)
        with do(folder, verb if found == before else "open") as writer:
            if whole(writer) != after:
                yield "the next writer comes to another state"
        if then is None:
            yield from (f"verify, after the next writer: {problem}" for problem in verify(folder).problems)
        Index.open(folder, write=True).close()
        yield from (f"{stray} was left behind" for stray in stray_files(folder))
    except Exception as error:  # whatever it is, it is what the next one would meet
        yield f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    place, change, what, *more = sys.argv[1:]
    work = {"every": run, "doubt": run_in_doubt}[what]
    print(json.dumps(work(Path(place), change, "--all" in more)), flush=True)
    os._exit(0)
