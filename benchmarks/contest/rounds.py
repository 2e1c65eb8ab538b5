"""The contest itself: a process for each system, all of them taking turns, and every result kept as it comes."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from queue import Queue
from typing import Any

from contest.data import Task
from contest.system import Setting
from contest.systems import OURS, find
from contest.with_faiss import OWN

RESULTS = "results.jsonl"
PLACES = "places"
"""Folder of the files that libraries work on, which go when the workers end."""

WHOLE = 0.9995
"""Recall that no more thorough setting need improve."""

BEHIND = 1.15
"""How many times slower than another setting of no less recall one must be, not to be measured again."""

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")


class Results:
    """What is known of one task: a file of JSON lines, each written when it is known.

    Attributes:
        built: by system: what its index is and took.
        failed: by system: why there is none.
        measured: by system, round and setting (as JSON): speeds and recalls.
    """

    def __init__(self, task: Task) -> None:
        self._file = task.folder / RESULTS
        self.built: dict[str, dict[str, Any]] = {}
        self.failed: dict[str, str] = {}
        self.machine = ""
        self.measured: dict[str, dict[int, dict[str, dict[str, Any]]]] = {}
        if self._file.is_file():
            lines = self._file.read_bytes()
            whole = lines[: lines.rfind(b"\n") + 1]
            if whole != lines:  # a run was killed while it wrote the last one
                self._file.write_bytes(whole)
            for line in whole.splitlines():
                self._take(json.loads(line))

    def add(self, **line: Any) -> None:
        """Keep one more."""
        with self._file.open("a") as file:
            file.write(json.dumps(line) + "\n")
        self._take(line)

    def _take(self, line: dict[str, Any]) -> None:
        system = line.get("system", "")
        if "machine" in line:
            self.machine = line["machine"]
        elif "built" in line:
            self.built[system] = line["built"]
            self.failed.pop(system, None)
        elif "failed" in line:
            self.failed[system] = line["failed"]
        else:
            self.measured.setdefault(system, {}).setdefault(line["round"], {})[key(line["setting"])] = line["found"]

    def open_settings(self, system: str, turn: int) -> list[Setting]:
        """What is left to measure in this round. More shows up as results come in."""
        settings: list[Setting] = self.built[system]["settings"]
        done = self.measured.get(system, {}).get(turn, {})
        first = self.measured.get(system, {}).get(0, {})
        wanted = [setting for setting in settings if key(setting) not in done]
        if turn:
            return [setting for setting in wanted if key(setting) in first and not beaten(first, key(setting))]
        return [setting for setting in wanted if not idle(setting, done)]


def key(setting: Setting) -> str:
    return json.dumps(setting, sort_keys=True)


def idle(setting: Setting, done: dict[str, dict[str, Any]]) -> bool:
    """Whether a less thorough setting finds everything already, or the last three found no more than one another."""
    if OWN in setting:
        return False
    below = []
    for name, found in done.items():
        other = json.loads(name)
        if other.keys() == setting.keys() and all(other[part] <= setting[part] for part in other):
            below.append((sum(other.values()), found["one"]["recall"]))
    recalls = [recall for _, recall in sorted(below)]
    if any(recall >= WHOLE for recall in recalls):
        return True
    last = recalls[-3:]
    return len(last) == 3 and min(last) > 0.5 and max(last) - min(last) <= 0.0001


def beaten(found: dict[str, dict[str, Any]], name: str) -> bool:
    """Whether another setting is clearly faster in every way at no less recall."""
    if OWN in json.loads(name):
        return False
    mine = found[name]
    return any(
        all(
            theirs[way]["recall"] >= mine[way]["recall"] and theirs[way]["speed"] > BEHIND * mine[way]["speed"]
            for way in ("one", "many")
            if way in mine
        )
        for other, theirs in found.items()
        if other != name and OWN not in json.loads(other)
    )


class Worker:
    """A process with one system in it."""

    def __init__(self, task: Task, system: str, core: int, memory: int) -> None:
        logs, places = task.folder / "logs", task.folder / PLACES
        logs.mkdir(exist_ok=True)
        places.mkdir(exist_ok=True)
        self._log = logs / f"{system.replace(' ', '-').replace(',', '-')}.txt"
        benchmarks = Path(__file__).parent.parent
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "contest.worker", task.folder.resolve(), system, str(core), str(memory)],
                env={**os.environ, **ONE_THREAD, "PYTHONPATH": str(benchmarks)},
                cwd=benchmarks,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # Ctrl-C is for us; we end it
            )

    def answer(self) -> dict[str, Any]:
        """Its next line.

        Raises:
            RuntimeError: it ended; says why.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            found: dict[str, Any] = json.loads(line)
            return found
        code = self._process.wait()
        last = [text for text in self._log.read_text(errors="replace").splitlines() if text.strip()][-1:]
        raise RuntimeError(f"ended with {code}: {''.join(last)[:300]}")

    def measure(self, setting: Setting) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(setting) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # answer() says why
        return self.answer()

    def stop(self) -> None:
        """End it, and wait for it."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()


def hold(
    task: Task, names: Sequence[str], rounds: int, together: int, machine: str, say: Callable[[str], None]
) -> Results:
    """Build and measure what is not known yet.

    Args:
        task: the vectors.
        names: of the systems, ours first.
        rounds: how often each setting is measured, in turns.
        together: how many indexes are built at a time, each on a core of its own.
        machine: what to keep about where this ran.
        say: gets a line about each step.
    """
    results = Results(task)
    results.add(machine=machine)
    there = []
    for name in names:
        system = find(name)
        if importlib.util.find_spec(system.module) is None:
            results.add(system=name, failed=f"missing: {system.package} is not installed")
            say(f"{name}: {results.failed[name]}")
        elif name not in results.built or any(results.open_settings(name, turn) for turn in range(rounds)):
            there.append(name)
    workers: dict[str, Worker] = {}
    try:
        for group in (
            [n for n in there if n.startswith(f"{OURS} ")],
            [n for n in there if not n.startswith(f"{OURS} ")],
        ):
            _build(task, results, group, together, workers, say)
        for turn in range(rounds):
            order = [name for name in names if name in workers]
            for name in order if turn % 2 == 0 else reversed(order):
                _measure(results, name, turn, workers, say)
    finally:
        for worker in workers.values():
            worker.stop()
        shutil.rmtree(task.folder / PLACES, ignore_errors=True)
    return results


def _build(
    task: Task,
    results: Results,
    names: Iterable[str],
    together: int,
    workers: dict[str, Worker],
    say: Callable[[str], None],
) -> None:
    cores: Queue[int] = Queue()
    for core in sorted(os.sched_getaffinity(0))[-together:]:
        cores.put(core)
    memory = memory_of_ours(results, task)
    stopping = threading.Event()

    def build(name: str) -> None:
        core = cores.get()
        try:
            system = find(name)
            workers[name] = Worker(task, name, core, memory)
            report = {**workers[name].answer(), "package": f"{system.package} {version(system.package)}"}
            results.add(system=name, built=report)
            say(f"{name}: built {report['details']} in {report['build_seconds']:.1f} s")
        except RuntimeError as error:
            workers.pop(name).stop()
            if not stopping.is_set():
                results.add(system=name, failed=str(error))
                say(f"{name}: {error}")
        finally:
            cores.put(core)

    with ThreadPoolExecutor(cores.qsize()) as pool:
        try:
            list(pool.map(build, names))
        except BaseException:
            stopping.set()
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in list(workers.values()):
                worker.stop()
            raise


def memory_of_ours(results: Results, task: Task) -> int:
    """Bytes of our first index with a structure, or what a graph of 32 links takes if there is none."""
    for name, built in results.built.items():
        if name.startswith(f"{OURS} ") and name != f"{OURS} exact":
            return int(built["memory"])
    vectors = task.base()
    return int(vectors.nbytes + 300 * len(vectors))


def _measure(results: Results, name: str, turn: int, workers: dict[str, Worker], say: Callable[[str], None]) -> None:
    if name not in workers:
        return
    count = 0
    try:
        while settings := results.open_settings(name, turn):
            results.add(system=name, round=turn, setting=settings[0], found=workers[name].measure(settings[0]))
            count += 1
    except RuntimeError as error:
        workers.pop(name).stop()
        results.add(system=name, failed=str(error))
        say(f"{name}: {error}")
        return
    if count:
        say(f"{name}: round {turn + 1}, {count} settings")
