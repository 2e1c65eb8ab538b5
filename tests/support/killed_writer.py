"""Carries a plan of random changes out in a process that is killed at random moments, and started again each time.

A program of its own, since a process with threads cannot be forked safely; ``test_kill.py`` starts it:

    python killed_writer.py FOLDER KILLS SEED

After each kill the index must be as the plan has it after the steps that were reported done, or one more; the next
process goes on from there. In the end it must be as if nobody had been killed. What is wrong is printed as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import h5py  # noqa: F401  # here, so that no child has to import it
import numpy as np
from failing_writer import stray_files
from index_model import Model, create, random_verb, state

from retrieval.index import Index
from retrieval.index.integrity import verify

DIM = 16
STEPS = 60
LIFE = 0.08
"""Seconds that a process lives, at most: some steps."""


def live(folder: Path, plan: list[tuple[str, tuple[object, ...]]], done: int, report: int) -> None:
    """In the child: go on with the plan, and say of each step when it is done."""
    with Index.open(folder, write=True) as index:
        for verb, arguments in plan[done:]:
            getattr(index, verb)(*arguments)
            os.write(report, b".")


def start(folder: Path, plan: list[tuple[str, tuple[object, ...]]], done: int, life: float | None) -> tuple[int, int]:
    """A process that goes on from a step and is killed after so many seconds: how far it said it got, its status."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reading)
            live(folder, plan, done, writing)
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    if life is not None:
        time.sleep(life)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as pipe:
        return done + len(pipe.read()), status


def run(folder: Path, kills: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    model = Model(DIM)
    plan, states = [], [state(model)]
    for _ in range(STEPS):
        verb, arguments = random_verb(rng, model)
        getattr(model, verb)(*arguments)
        plan.append((verb, arguments))
        states.append(state(model))
    create(folder, DIM).close()
    done, killed = 0, 0
    while done < STEPS:
        life = float(rng.uniform(0, LIFE)) if killed < kills else None
        told, status = start(folder, plan, done, life)
        killed += os.WIFSIGNALED(status)
        if life is None and status:
            return [f"step {told}, {plan[told][0]}: the process ended with {status}"]
        with Index.open(folder) as reader:
            found = state(reader)
        if found not in states[told : told + 2]:
            return [f"killed after {told} steps, in {plan[told][0]}: the index is in no state of the plan's"]
        problems = [f"after {told} steps: {problem}" for problem in verify(folder).problems]
        if problems:
            return problems
        done = told + (found != states[told])
    Index.open(folder, write=True).close()
    return [f"{stray} was left behind" for stray in stray_files(folder)]


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))), flush=True)
    os._exit(0)
