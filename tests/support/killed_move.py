"""Moves copies out of a folder, and back, in a process that is killed, or whose disk fails, at every call that changes
anything.

A program of its own, since a process with threads cannot be forked safely; ``test_move.py`` starts it:

    python killed_move.py WORK OTHER HOW STEP

WORK holds the pictures. OTHER is the target; if HOW is "link", the file system is one that can only link. Every STEP-th
call is one that fails, and with 1 the calls also fail with errors. After each failure every file must be whole in one
of its two places and nothing else may have changed; undoing must bring all of them back, also if it is killed itself.
What is wrong is printed as JSON.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import faults

from retrieval.errors import RetrievalError
from retrieval.traps.duplicates import move as moving
from retrieval.traps.duplicates.photographs import Seen
from retrieval.traps.duplicates.report import Copy, Duplicates, Group

ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def fresh(root: Path, target: Path) -> Duplicates:
    """A folder with two copies, one of them of three files; one of its names is taken in the target."""
    for folder in (root, target):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    (root / "in" / "side").mkdir(parents=True)
    (root / "kept.jpg").write_bytes(b"kept" * 1000)
    (root / "in" / "copy.jpg").write_bytes(b"kept" * 1000)
    (root / "in" / "side" / "small.jpg").write_bytes(b"small" * 500)
    (root / "in" / "side" / "small.mov").write_bytes(b"moves" * 700)
    (root / "in" / "side" / "small.xmp").write_bytes(b"noted")
    (root / "taken.jpg").write_bytes(b"kept" * 1000)
    (target / "taken.jpg").write_bytes(b"somebody else's")

    def seen(path: str) -> Seen:
        return Seen.of(path, (root / path).lstat())

    def copy(*paths: str) -> Copy:
        files = tuple(map(seen, paths))
        sha256 = hashlib.sha256((root / paths[0]).read_bytes()).hexdigest()
        return Copy(paths[0], files[0].size, 9, 9, "hash", seen=files, exactly=(), sha256=sha256)

    kept = Copy("kept.jpg", 4000, 9, 9, seen=(seen("kept.jpg"),))
    exact = [Copy(**{**vars(copy(path)), "exactly": (seen(path),)}) for path in ("in/copy.jpg", "taken.jpg")]
    several = copy("in/side/small.jpg", "in/side/small.mov", "in/side/small.xmp")
    return Duplicates(root, 4, (Group(kept, (*exact, several)),), (), (), None, 10)


def lost(before: dict[str, bytes], root: Path, target: Path) -> Iterator[str]:
    """What does not hold after a failure: each file is whole in one of its places, and nothing else changed."""
    here, there = contents(root), contents(target)
    if there.get("taken.jpg") != b"somebody else's":
        yield "a file of the target was written over"
    for path, content in before.items():
        waiting = [value for name, value in here.items() if name.endswith(".going")]
        if content not in (here.get(path), there.get(path), *waiting):
            yield f"{path} is lost"
    for path, content in here.items():
        if not Path(path).name.startswith(".") and content != before.get(path):
            yield f"{path} is new or changed in the pictures' folder"


def undone(before: dict[str, bytes], root: Path, target: Path) -> Iterator[str]:
    """What does not hold after an undo."""
    if contents(root) != before:
        yield f"the folder has {sorted(contents(root))}"
    rest = [name for name in contents(target) if not name.startswith("undo-")]
    if rest != ["taken.jpg"]:
        yield f"{rest} are left in the target"


def run(root: Path, target: Path, how: str, step: int) -> dict[str, object]:
    problems: list[str] = []
    counts = {"move": 0, "undo": 0}
    if how == "link":
        moving._renameat2 = lambda: None  # type: ignore[assignment]

    def attempt(work: Callable[[], object], fatal: int | None, fate: int) -> faults.Outcome:
        def watched(arm: faults.Arm) -> str:
            with arm:
                try:
                    work()
                except RetrievalError as error:
                    return f"refused: {error}"
            return "done"

        return faults.supervised(watched, Path("/"), lambda number, _: fate if number == fatal else faults.GO_ON)

    def back() -> None:
        for file in sorted(target.glob("undo-*.json")):
            moving.undo_move(file)

    def judge(what: str, outcome: faults.Outcome, before: dict[str, bytes]) -> None:
        if not outcome.killed and not outcome.report.startswith(("done", "refused")):
            problems.append(f"{what}: {outcome.report[-500:]}")
        problems.extend(f"{what}: {problem}" for problem in lost(before, root, target))

    def settled(what: str, before: dict[str, bytes]) -> None:
        if list(target.glob("undo-*.json")):
            back()
            problems.extend(f"{what}, then undone: {problem}" for problem in undone(before, root, target))
        elif contents(root) != before:
            problems.append(f"{what}: something was moved without an undo file")

    found = fresh(root, target)
    straight = attempt(lambda: moving.move_copies(found, target), None, 0)
    for number in range(0, len(straight.calls), step):
        kinds = [faults.KILL] + [ERRORS[number % len(ERRORS)]] * (step == 1)
        kinds += [faults.TEAR] if straight.calls[number].name == "write" else []
        for fate in kinds:
            found = fresh(root, target)
            before = contents(root)
            what = f"{straight.calls[number].name} {number} of the move, {fate}"
            judge(what, attempt(lambda: moving.move_copies(found, target), number, fate), before)  # noqa: B023
            settled(what, before)
            counts["move"] += 1
    moving.move_copies(fresh(root, target), target)
    whole = attempt(back, None, 0)
    for number in range(0, len(whole.calls), step):
        for fate in [faults.KILL] + [ERRORS[number % len(ERRORS)]] * (step == 1):
            found = fresh(root, target)
            before = contents(root)
            moving.move_copies(found, target)
            what = f"{whole.calls[number].name} {number} of the undo, {fate}"
            outcome = attempt(back, number, fate)
            if not list(target.glob("undo-*.json")):
                problems.append(f"{what}: the undo file is gone")
            if not outcome.killed and not outcome.report.startswith(("done", "refused")):
                problems.append(f"{what}: {outcome.report[-500:]}")
            there = contents(target)
            waiting = [content for name, content in there.items() if name.endswith(".going")]
            for path, content in before.items():
                if content not in (contents(root).get(path), there.get(path), *waiting):
                    problems.append(f"{what}: {path} is lost")
            settled(what, before)
            counts["undo"] += 1
    return {"problems": problems, **counts}


if __name__ == "__main__":
    work, other, how, every = sys.argv[1:]
    print(json.dumps(run(Path(work).resolve(), Path(other).resolve(), how, int(every))), flush=True)
    os._exit(0)
