"""All verbs at once on one index, some of them killed, beside readers that check every answer.

A program of its own, since a process with threads cannot be forked safely; ``test_soak.py`` starts it:

    python soak.py FOLDER MODEL MODEL STEPS SECONDS SEED

Pictures come from a pool whose vectors are computed before. A history, which is written before anything changes, says
which pictures may lie under which name, so that a reader can judge whatever state it finds; pictures in `stay` never
change, and are in every answer. It ends when so many steps are done and so many seconds are over. Counts and what was
wrong are printed as JSON.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import random
import re
import shutil
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tiny
import verbs

from retrieval.index import Index
from retrieval.ingest import memory_limits
from retrieval.search import Search

POOL = 96
STAY, CHURN = 24, 28
"""Pictures that stay, and at most about so many others."""
ASKING = ("query", "export", "verify", "info", "dedup")
"""Verbs that change no index; one that is asked for an id alone may be refused."""
CLOSE = 2e-5
"""Scores and vectors of two runtimes or two orders of summing."""

memory_limits.COMMIT_PICTURES = 4  # a run is killed between its commits, too

REFUSED = re.compile(r"is being written by (another )?process|has no item \d|There is no picture 'go|has no labels")
"""What a verb that came at a bad moment may say: somebody else writes, or what it names is not there."""


class World:
    """Where everything lies, and what may be where.

    Args:
        folder: holds `pictures`, the folder of the index; `elsewhere`, pictures from outside it; `indexes/it`.
    """

    def __init__(self, folder: Path, models: list[Path]) -> None:
        self.folder = folder
        self.pictures, self.elsewhere = folder / "pictures", folder / "elsewhere"
        self.index = folder / "indexes" / "it"
        self.models = models
        self.files: list[bytes] = []
        for number in range(POOL):
            file = io.BytesIO()
            tiny.picture(1000 + number).save(file, "PNG")
            self.files.append(file.getvalue())
        self.number = {hashlib.sha256(data).hexdigest(): n for n, data in enumerate(self.files)}
        self.vectors: list[np.ndarray] = []
        self.hashes: list[str] = []
        self._history = folder / "history"
        self._read = 0
        self._seen: dict[str, set[int]] = {}
        self._lock = threading.Lock()

    def encode(self) -> None:
        """Find every picture's vector by either model, in a child: what computes them starts threads."""
        child = os.fork()
        if child == 0:
            code = 1
            try:
                self._encode()
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        found = np.load(self.folder / "vectors.npz")
        self.vectors, self.hashes = [found["0"], found["1"]], [str(one) for one in found["hashes"]]

    def _encode(self) -> None:
        from retrieval import images
        from retrieval.encoder import Encoder

        encoders = [Encoder.load(model) for model in self.models]
        rows = []
        for encoder in encoders:
            read = [images.read(io.BytesIO(data), encoder.config.preprocessing) for data in self.files]
            rows.append(encoder.encode(np.stack(read)))
        np.savez(
            self.folder / "vectors.npz",
            **{"0": rows[0], "1": rows[1]},
            hashes=np.array([encoder.hash for encoder in encoders]),
        )

    def allow(self, path: str, number: int) -> None:
        """Say that this picture may be found under this name from now on."""
        with self._history.open("a") as file:
            file.write(f"{path}\t{number}\n")

    def allowed(self, path: str) -> set[int]:
        """Pictures that ever lay under this name."""
        with self._lock:
            with self._history.open() as file:
                file.seek(self._read)
                whole = file.read()
                whole = whole[: whole.rfind("\n") + 1]
            self._read += len(whole)
            for line in whole.splitlines():
                name, number = line.split("\t")
                self._seen.setdefault(name, set()).add(int(number))
            return self._seen.get(path, set())

    def staying(self) -> dict[str, int]:
        """Name and number of each picture that stays."""
        return {f"stay{number % 3}/{number:02d}.png": number for number in range(STAY)}

    def label(self, path: str, rule: str) -> str | None:
        """What the rule calls a picture of this name."""
        return path.split("/")[0] if rule == "folders" and not path.startswith("/") else None


class WrongError(Exception):
    """An answer that is not right."""


def check(condition: object, what: str) -> None:
    if not condition:
        raise WrongError(what)


# What an open index says


def look(world: World, index: Index, rng: random.Random) -> tuple[int, list[tuple[Any, ...]]]:
    """Check all that an index holds, and some of its answers, against the pool.

    Returns:
        How many answers were checked, and what it holds.
    """
    rule, which = index.details["labels"], world.hashes.index(index.encoder_hash)
    ids, rows = index.all_vectors()
    items = index.items(ids)
    attributes = index.attributes(ids)
    check(len(set(ids.tolist())) == len(ids) == len(index) == len(rows), "ids are there twice")
    paths = [item.path for item in items]
    check(len(set(paths)) == len(paths), f"names are there twice: {[p for p, n in Counter(paths).items() if n > 1]}")
    missing = set(world.staying()) - set(paths)
    check(not missing or not index.details["complete"], f"lost: {sorted(missing)}")
    numbers = []
    for item, row, own in zip(items, rows, attributes, strict=True):
        number = world.number.get(item.sha256)
        check(number is not None and number in world.allowed(item.path), f"{item.path} is number {number}")
        assert number is not None
        numbers.append(number)
        check(item.label == world.label(item.path, rule), f"{item.path} is called {item.label!r} by {rule}")
        check(np.abs(row - world.vectors[which][number]).max() < CLOSE, f"{item.path} has another picture's vector")
        check(item.size == len(world.files[number]), f"{item.path} has {item.size} bytes")
        check(set(own) <= {"tag"} and str(own.get("tag", "t")).startswith("t"), f"{item.path} has {own}")
    known = world.vectors[which][numbers] if numbers else np.empty((0, 16), np.float32)
    asked = rng.sample(range(POOL), 3)
    queries, k = world.vectors[which][asked], rng.choice([1, 5, len(ids) + 3])
    scores, found = index.search(queries, k)
    limits, _, within = index.range_search(queries, 0.9)
    place = {int(id_): n for n, id_ in enumerate(ids)}
    for n, exact in enumerate((known @ queries.T).T):
        answer = [int(one) for one in found[n] if one >= 0]
        check(len(set(answer)) == len(answer) == min(k, len(ids)), f"{len(answer)} hits of {k}, {len(ids)} are there")
        own_scores = exact[[place[one] for one in answer]]
        check(np.abs(own_scores - scores[n][: len(answer)]).max(initial=0) < CLOSE, "a score is another vector's")
        if index.structure is None:
            best = np.sort(exact)[::-1][: len(answer)]
            check(np.abs(best - scores[n][: len(answer)]).max(initial=0) < CLOSE, "there are better hits")
        near = set(within[limits[n] : limits[n + 1]].tolist())
        sure = {int(ids[place_]) for place_ in np.flatnonzero(exact > 0.9 + CLOSE)}
        perhaps = {int(ids[place_]) for place_ in np.flatnonzero(exact > 0.9 - CLOSE)}
        check(sure <= near <= perhaps, "hits above a score are others")
    chosen = [(item, tuple(sorted(own.items()))) for item, own in zip(items, attributes, strict=True)]
    return 6 + len(ids), [(*one, *map(float, answer)) for one, answer in zip(chosen, rows, strict=True)]


def keep_reading(world: World, stop: Path, report: Path, seed: int) -> None:
    """Open, look, stay open for a while, look again: the same must be there; until there is a file `stop`."""
    rng = random.Random(seed)
    opened = answers = 0
    problems: list[str] = []
    while not stop.exists() and len(problems) < 5:
        try:
            with Search.open(world.index, mapped=rng.random() < 0.5) as search:
                opened += 1
                count, before = look(world, search.index, rng)
                time.sleep(rng.choice([0, 0.02, 0.3]))
                again, after = look(world, search.index, rng)
                answers += count + again
                check(before == after, "what is open has changed")
                if rng.random() < 0.3:  # its own model's answer, also where another has its place by now
                    which = world.hashes.index(search.index.encoder_hash)
                    path, number = rng.choice(list(world.staying().items()))
                    (answer,) = search.query(world.pictures / path, 5, include_self=True)
                    check(answer.hits, "a picture has no hit")
                    best = (
                        world.vectors[which][number]
                        @ world.vectors[which][sorted(world.allowed(answer.hits[0].path))].T
                    )
                    check(np.abs(best - answer.hits[0].score).min() < CLOSE, "a picture's first hit is not it")
                    check(
                        answer.hits[0].score > 1 - CLOSE or search.index.structure is not None, "it is not its own hit"
                    )
                    answers += 1
        except Exception as error:
            problems.append(
                f"reading: {error}" if isinstance(error, WrongError) else f"reading: {traceback.format_exc()}"
            )
        time.sleep(rng.uniform(0.1, 0.5))
    with report.open("a") as file:
        file.write(json.dumps({"opened": opened, "answers": answers, "problems": problems}) + "\n")


def start_reader(world: World, stop: Path, report: Path, seed: int) -> int:
    """A child with two threads that read."""
    child = os.fork()
    if child == 0:
        try:
            threads = [threading.Thread(target=keep_reading, args=(world, stop, report, seed + n)) for n in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            os._exit(0)
    return child


# Changing the folder


class Folder:
    """The folder of pictures, and what is done to it meanwhile."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self._world, self._rng = world, rng
        self._aside = world.folder / "aside.png"
        self._made = 0
        for path, number in world.staying().items():
            self._put(path, number)
        self.there: dict[str, int] = {}
        for _ in range(CHURN // 2):
            self._new()
        self.outside: dict[str, int] = {}
        for number in range(STAY, STAY + 4):
            path = world.elsewhere / f"{number}.png"
            path.parent.mkdir(exist_ok=True)
            world.allow(str(path), number)
            path.write_bytes(world.files[number])
            self.outside[str(path)] = number

    def _put(self, path: str, number: int) -> None:
        self._world.allow(path, number)
        self._aside.write_bytes(self._world.files[number])
        (self._world.pictures / path).parent.mkdir(parents=True, exist_ok=True)
        self._aside.replace(self._world.pictures / path)

    def _new(self) -> None:
        self._made += 1
        path, number = f"go{self._made % 3}/{self._made % 40:02d}.png", self._rng.randrange(STAY, POOL)
        self._put(path, number)
        self.there[path] = number

    def change(self) -> None:
        """Something, once."""
        what = self._rng.choice(["new", "new", "new", "change", "rename", "swap", "delete", "delete", "copy", "touch"])
        if (what == "new" and len(self.there) < CHURN) or len(self.there) < 4:
            self._new()
            return
        first, second = self._rng.sample(sorted(self.there), 2)
        root = self._world.pictures
        if what == "change":
            self.there[first] = self._rng.randrange(STAY, POOL)
            self._put(first, self.there[first])
        elif what == "rename":
            new = f"go{self._rng.randrange(3)}/moved {self._rng.randrange(30)}.png"
            self._world.allow(new, self.there[first])
            (root / new).parent.mkdir(exist_ok=True)
            (root / first).replace(root / new)
            self.there[new] = self.there.pop(first)
        elif what == "swap":
            for path, other in ((first, second), (second, first)):
                self._world.allow(path, self.there[other])
            (root / first).rename(self._aside)
            (root / second).rename(root / first)
            self._aside.rename(root / second)
            self.there[first], self.there[second] = self.there[second], self.there[first]
        elif what == "copy":
            self.there[second] = self.there[first]
            self._put(second, self.there[first])
        elif what == "touch":
            os.utime(root / first, ns=(0, self._rng.randrange(10**18)))
        else:
            (root / first).unlink()
            del self.there[first]


# Verbs


@dataclass
class Running:
    """A verb that was started; `dies` is when it will be killed, and never where that is infinite."""

    arguments: list[str]
    place: Path
    dies: float
    killed: bool = False

    @property
    def verb(self) -> str:
        return self.arguments[0]

    def text(self, name: str) -> str:
        return (self.place / name).read_text(errors="replace")


class Verbs:
    """Starts verbs, kills some, and judges what the others printed."""

    def __init__(self, world: World, folder: Folder, rng: random.Random) -> None:
        self._world, self._folder, self._rng = world, folder, rng
        self._running: dict[int, Running] = {}
        self._started = 0
        self.problems: list[str] = []
        self.done: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.killed: Counter[str] = Counter()
        self.answers = 0

    def writer(self) -> None:
        """Start one that changes the index, and kill every other one at some moment."""
        index, rng = str(self._world.index), self._rng
        verb = rng.choice(
            ["sync"] * 4 + ["build", "add", "remove", "attach", "compact", "compact", "overwrite", "tune", "calibrate"]
        )
        means = ["--threads", str(rng.choice([1, 2])), "--batch", "3"]
        arguments = {
            "sync": lambda: ["sync", index, *means],
            "build": lambda: ["build", str(self._world.pictures), "--out", index, *means],
            "overwrite": lambda: [
                "build", str(self._world.pictures), "--out", index, "--overwrite", *means,
                "--model", str(rng.choice(self._world.models)), "--labels", rng.choice(["folders", "none"]),
            ],
            "add": lambda: ["add", index, *rng.sample(sorted(self._folder.outside), 2), *means],
            "remove": lambda: ["remove", index, "--path", *rng.sample(sorted(self._folder.there), 3)],
            "attach": self._attach,
            "compact": lambda: ["compact", index],
            "calibrate": lambda: ["calibrate", index, "--fmr", "0.1"],
            "tune": lambda: ["tune", index, "--recall", "0.5", "--minutes", "0.01"],
        }[verb]()  # fmt: skip
        self._begin(arguments, self._rng.random() < 0.4)

    def _attach(self) -> list[str]:
        self._started += 1
        file = self._world.folder / f"tags{self._started}.csv"
        with file.open("w", newline="") as opened:
            rows = csv.writer(opened)
            rows.writerow(["path", "tag"])
            for path in [*self._world.staying(), *self._folder.there]:
                rows.writerow([path, f"t{self._started}"])
        return ["attach", str(self._world.index), str(file)]

    def reader(self) -> None:
        """Start one that only asks; none of them may fail."""
        index, rng = str(self._world.index), self._rng
        path = rng.choice(list(self._world.staying()))
        out = self._world.folder / "exported" / f"{self._started}.npy"
        self._begin(
            rng.choice(
                [
                    ["query", index, "--path", path, "-k", "1000", "--include-self", "--json"],
                    ["query", index, "--id", str(rng.randrange(60)), "-k", "1000", "--include-self", "--json"],
                    ["query", index, str(self._world.pictures / path), "-k", "1000", "--include-self", "--json"],
                    ["export", index, "--to", str(out), "--json"],
                    ["verify", index, "--json"],
                    ["info", index, "--json"],
                    ["dedup", index, "--json"],
                ]
            ),
            False,
        )

    def _begin(self, arguments: list[str], kill: bool) -> None:
        self._started += 1
        place = self._world.folder / "printed" / str(self._started)
        place.mkdir(parents=True)
        child = verbs.begin(arguments, place / "out", place / "err")
        life = 0.004 * 60 ** self._rng.random() if kill else float("inf")  # up to a quarter of a second
        self._running[child] = Running(arguments, place, time.monotonic() + life)

    def count(self, writing: bool) -> int:
        """How many are running that change the index, or that only ask."""
        return sum((one.verb not in ASKING) == writing for one in self._running.values())

    def attend(self) -> None:
        """Kill those whose time has come, and look at what the finished ones printed."""
        for child, one in list(self._running.items()):
            if not one.killed and time.monotonic() > one.dies:
                os.kill(child, signal.SIGKILL)
                one.killed = True
            ended, status = os.waitpid(child, os.WNOHANG)
            if not ended:
                continue
            del self._running[child]
            name = "overwrite" if "--overwrite" in one.arguments else one.verb
            if os.WIFSIGNALED(status) and one.killed:
                self.killed[name] += 1
                continue
            code = os.waitstatus_to_exitcode(status)
            try:
                if code == 0:
                    self.done[name] += 1
                    self._judge(one)
                else:
                    said = one.text("err")
                    line = [text for text in said.splitlines() if text.startswith("retrieval: ")][-1:]
                    check(
                        code == 1 and line and REFUSED.search(line[0]) and "Traceback" not in said,
                        f"ended with {code} and said {said[-1500:] or one.text('out')[-1500:]!r}",
                    )
                    check(one.verb not in ASKING or "--id" in one.arguments, f"was refused: {said}")
                    self.refused[name] += 1
            except (WrongError, KeyError, ValueError, OSError) as error:
                self.problems.append(f"{' '.join(one.arguments)}: {error}")

    def finish(self) -> None:
        """Wait for all."""
        while self._running:
            self.attend()
            time.sleep(0.005)

    def _judge(self, one: Running) -> None:
        world = self._world
        if one.verb == "export":
            to = Path(one.arguments[3])
            rows, listed = np.load(to), [json.loads(line) for line in to.with_suffix(".jsonl").read_text().splitlines()]
            check(len(rows) == len(listed), "the list has another length")
            fits = [
                all(
                    np.abs(known[sorted(world.allowed(item["path"]))] - row).max(1).min() < CLOSE
                    for item, row in zip(listed, rows, strict=True)
                )
                for known in world.vectors
            ]
            check(any(fits), "vectors that are neither model's")
            paths = [item["path"] for item in listed]
            self.answers += len(paths)
        elif one.verb == "query":
            (answer,) = json.loads(one.text("out"))["answers"]
            paths = [hit["path"] for hit in answer["hits"]]
            if "--id" not in one.arguments:
                asked = one.arguments[3] if "--path" in one.arguments else one.arguments[2]
                number = world.staying()["/".join(asked.split("/")[-2:])]
                fits = [
                    all(
                        np.abs(known[sorted(world.allowed(hit["path"]))] @ known[number] - hit["score"]).min() < CLOSE
                        for hit in answer["hits"]
                    )
                    for known in world.vectors
                ]
                check(any(fits), "scores that are neither model's")
            scores = [hit["score"] for hit in answer["hits"]]
            check(scores == sorted(scores, reverse=True), "hits are not in order")
            self.answers += len(paths)
        elif one.verb == "verify":
            check(json.loads(one.text("out"))["problems"] == [], one.text("out"))
            return
        else:
            return
        check(len(set(paths)) == len(paths), "names are there twice")
        check(set(world.staying()) <= set(paths), f"lost: {sorted(set(world.staying()) - set(paths))}")


# The whole


Held = dict[str, tuple[str | None, str, np.ndarray]]


def held(folder: Path) -> Held:
    """Name → label, checksum and vector of everything in an index."""
    with Index.open(folder) as index:
        ids, rows = index.all_vectors()
        return {item.path: (item.label, item.sha256, row) for item, row in zip(index.items(ids), rows, strict=True)}


def others(first: Held, second: Held) -> list[str]:
    """Names of what is only in one of them, or not the same in both."""
    both = first.keys() & second.keys()
    different = {
        path
        for path in both
        if first[path][:2] != second[path][:2] or np.abs(first[path][2] - second[path][2]).max() > CLOSE
    }
    return sorted((first.keys() ^ second.keys()) | different)


def tree(folder: Path) -> dict[str, str]:
    """Name → checksum of every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def run(folder: Path, models: list[Path], steps: int, seconds: float, seed: int) -> dict[str, object]:
    rng = random.Random(seed)
    world = World(folder, models)
    world.encode()
    pictures = Folder(world, rng)
    acting = Verbs(world, pictures, rng)
    problems = acting.problems
    (folder / "exported").mkdir()
    world.index.parent.mkdir()
    stranger = world.index.parent / ".other.new"
    stranger.mkdir()
    (stranger / "mine.txt").write_text("mine")
    elsewhere = tree(world.elsewhere)

    def verb(*arguments: object) -> None:
        """One alone, which must do what it is asked."""
        place = folder / "alone"
        place.mkdir(exist_ok=True)
        child = verbs.begin([str(one) for one in arguments], place / "out", place / "err")
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code:
            problems.append(f"{arguments}: {code}, {(place / 'err').read_text()} {(place / 'out').read_text()}")

    verb("build", world.pictures, "--out", world.index, "--model", models[0], "--labels", "folders", "--threads", 1)
    if problems:
        return {"problems": problems}
    stop, reported = folder / "stop", folder / "reported"
    readers = [start_reader(world, stop, reported, 100 * seed + 10 * n) for n in range(2)]
    began, step = time.monotonic(), 0
    while step < steps or time.monotonic() - began < seconds:
        acting.attend()
        for _ in range(rng.randrange(4)):
            pictures.change()
        if acting.count(writing=True) < (2 if step % 5 == 4 else 1):  # every fifth time two at once
            acting.writer()
            step += 1
        if acting.count(writing=False) < 1 and rng.random() < 0.3:
            acting.reader()
        time.sleep(0.01)
        if len(problems) > 5:
            break
    acting.finish()
    stop.touch()
    for reader in readers:
        os.waitpid(reader, 0)
    opened = answers = 0
    lines = reported.read_text().splitlines() if reported.exists() else []
    for line in lines:
        told = json.loads(line)
        opened += told["opened"]
        answers += told["answers"]
        problems += told["problems"]
    if len(lines) != 2 * len(readers):
        problems.append("a reader died")

    # Nothing lost, nothing doubled, and what is left behind
    verb("verify", world.index)
    verb("add", world.index, *pictures.outside, "--threads", 1)
    verb("sync", world.index, "--threads", 1)
    with Index.open(world.index) as index:
        rule, which = index.details["labels"], world.hashes.index(index.encoder_hash)
    fresh = world.index.parent / "fresh"
    verb("build", world.pictures, "--out", fresh, "--model", models[which], "--labels", rule, "--threads", 1)
    verb("add", fresh, *pictures.outside, "--threads", 1)
    for what in ("after a sync", "after one more build"):
        after, expected = held(world.index), held(fresh)
        if what == "after one more build":  # which knows nothing of pictures from elsewhere
            expected = {path: values for path, values in expected.items() if not path.startswith("/")}
        if wrong := others(after, expected):
            problems.append(f"{what}: other than a fresh build's: {wrong[:5]}")
        numbers = {**world.staying(), **pictures.there}
        if {path: world.number[values[1]] for path, values in after.items() if path[0] != "/"} != numbers:
            problems.append(f"{what}: other pictures than the folder's")
        if what == "after a sync":
            verb(*acting._attach())
            with Index.open(world.index) as index:
                ids = index.ids()
                tags = {item.path: own for item, own in zip(index.items(ids), index.attributes(ids), strict=True)}
            if any(tags[path] != {"tag": f"t{acting._started}"} for path in numbers):
                problems.append("attributes are missing")
            verb("build", world.pictures, "--out", world.index, "--overwrite", "--labels", rule, "--threads", 1)
    verb("verify", world.index)
    verb("compact", world.index)
    verb("verify", world.index)
    if others(held(world.index), after):
        problems.append("compact changed something")
    beside = sorted(path.name for path in world.index.parent.iterdir())
    if beside != [".other.new", "fresh", "it"]:
        problems.append(f"left beside the index: {beside}")
    shutil.rmtree(fresh)
    inside = sorted(path.name for path in (world.index / "segments").iterdir())
    if len(inside) != 1:
        problems.append(f"left in the index: {inside}")
    if tree(world.elsewhere) != elsewhere or (stranger / "mine.txt").read_text() != "mine":
        problems.append("something outside was touched")
    expected_files = {path: hashlib.sha256(world.files[n]).hexdigest() for path, n in numbers.items()}
    if tree(world.pictures) != expected_files:
        problems.append("the folder of pictures was touched")
    return {
        "problems": problems,
        "killed": acting.killed,
        "done": acting.done,
        "refused": acting.refused,
        "opened": opened,
        "answers": answers + acting.answers,
        "steps": step,
    }


if __name__ == "__main__":
    verbs.warm()
    first, second, third, fourth, fifth, sixth = sys.argv[1:]
    place = Path(first)
    place.mkdir(parents=True, exist_ok=True)
    print(json.dumps(run(place, [Path(second), Path(third)], int(fourth), float(fifth), int(sixth))), flush=True)
    os._exit(0)
