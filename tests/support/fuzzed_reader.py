"""Damages copies of an index at random, and uses each in a process of its own, which may refuse and must not crash.

A program of its own, since a process with threads cannot be forked safely; ``test_fuzz.py`` starts it:

    python fuzzed_reader.py random INDEX WORK FIRST COUNT
    python fuzzed_reader.py given INDEX...

With "random", INDEX is whole, WORK an empty folder, and damages number FIRST to FIRST + COUNT are tried. Printed as
JSON is how often an index was refused and how often it was right all the same, and what went wrong. With "given", each
index is damaged already; printed is for each the sentence with which it was refused, or what it did instead.

What may come of a damaged index is one sentence, a :class:`RetrievalError`, or the right answers. SQLite's pages carry
no checksums, so damage in the catalog can stay unseen where it changes a text or a number; then no vector may be taken
for another item's. And whatever is worked around is found by verify.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py  # noqa: F401  # here, so that no child has to import it
import numpy as np
from index_model import clustered, named

from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.index.integrity import verify

DIM = 16
QUERIES = clustered(3, DIM, seed=8)
MEMORY = 1 << 29
"""Bytes by which a process may grow, whatever a damaged file says."""
SECONDS = 60


def files(index: Path) -> list[str]:
    """What can be damaged."""
    names = sorted(path.relative_to(index).as_posix() for path in index.rglob("*") if path.is_file())
    return [name for name in names if not name.endswith(".lock")]


def damage(index: Path, rng: np.random.Generator) -> str:
    """Do one thing to one file; its name."""
    names = files(index)
    kind = str(rng.choice(["catalog", "segments", "ann"], p=[0.6, 0.2, 0.2]))  # most can happen to the catalog
    name = str(rng.choice([name for name in names if name.startswith(kind)]))
    path = index / name
    content = bytearray(path.read_bytes())
    how = str(rng.choice(["flip", "head", "bytes", "cut", "garbage", "zeros", "swap", "lose", "longer", "page"]))
    if how == "flip":
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    elif how == "head":  # where most of what a format says about itself stands
        content[rng.integers(min(len(content), 2048))] ^= int(rng.integers(1, 256))
    elif how == "bytes":
        for place in rng.integers(0, len(content), 8):
            content[place] ^= int(rng.integers(1, 256))
    elif how == "cut":
        del content[rng.integers(len(content)) :]
    elif how == "garbage":
        content[:] = rng.bytes(len(content))
    elif how == "zeros":
        start = int(rng.integers(len(content)))
        content[start : start + 512] = bytes(len(content[start : start + 512]))
    elif how == "swap":
        content[:] = (index / str(rng.choice(names))).read_bytes()
    elif how == "longer":
        content += rng.bytes(int(rng.integers(1, 5000)))
    elif how == "page":  # one page of the file where another one belongs
        pages = max(1, len(content) // 4096)
        one, other = (4096 * int(page) for page in rng.integers(0, pages, 2))
        content[one : one + 4096] = content[other : other + 4096]
    if how == "lose":
        path.unlink()
    else:
        path.write_bytes(content)
    return f"{how} {name}"


def use(folder: Path, *, write: bool, mapped: bool) -> dict[str, Any]:
    """Every way of reading: the ids, the vectors, the answers."""
    with Index.open(folder, write=write, mapped=mapped) as index:
        ids, vectors = index.all_vectors()
        for item in index.items(ids):
            assert isinstance(item.path, str) and isinstance(item.size, int) and isinstance(item.label, str | None)
        for attributes in index.attributes(ids):
            assert all(isinstance(value, str | int | float) for value in attributes.values())
        scores, found = index.search(QUERIES, 5)
        index.range_search(QUERIES, 0.5)
        index.search(QUERIES, 5, exclude=[[1], [], [2]], where="label = 'class3'")
        index.items(found[found >= 0])
        index.labels(), index.known(), index.skipped(), index.find("class1/00001.png"), json.dumps(index.info())
        if write:
            index.add(clustered(2, DIM, seed=9), named(2, 900))
            index.remove(index.all_vectors()[0][:2])
            index.compact()
        return {"ids": ids, "vectors": vectors, "scores": scores, "found": found}


def judge(folder: Path, number: int, what: str, expected: dict[str, Any]) -> tuple[str, str | None]:
    """In the child: "refused" or "right", and what is wrong with that."""
    refused = False
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for write, mapped in ((False, number % 2 == 0), *([(True, False)] if number % 3 == 0 else [])):
        try:
            got = use(folder, write=write, mapped=mapped)
            at = np.isin(got["ids"], expected["ids"])
            same = got["vectors"][at], expected["vectors"][np.isin(expected["ids"], got["ids"])]
            if same[0].tobytes() != same[1].tobytes():
                return "", "a vector is another item's"
            if "catalog" not in what and not all(np.array_equal(got[name], expected[name]) for name in expected):
                return "", "the answers are wrong"
        except RetrievalError as error:
            refused = True
            if len(str(error).splitlines()) != 1:
                return "", f"more than one line: {error}"
    try:
        found = verify(folder)
        if not found.ok and any("\n" in problem.what for problem in found.problems):
            return "", f"more than one line: {found.problems}"
        if refused and found.ok:
            return "", "refused, and verify finds nothing"
    except RetrievalError as error:
        if "no catalog.sqlite" not in str(error):
            return "", f"verify: {error}"
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    if grown > MEMORY:
        return "", f"it took {grown:,} bytes of memory"
    return "refused" if refused else "right", None


def apart(work: Callable[[], Any]) -> Any:
    """What a function returns, in a process of its own; a text that says how it ended if it returned nothing."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(SECONDS)
            outcome = work()
        except BaseException:
            outcome = traceback.format_exc()
        os.write(writing, json.dumps(outcome).encode()[:60_000])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    return json.loads(said) if said else f"the process ended with status {status}"


def run(index: Path, work: Path, first: int, count: int) -> dict[str, Any]:
    """Try random damages."""
    expected = use(index, write=False, mapped=False)
    seen: Counter[str] = Counter()
    problems = []
    for number in range(first, first + count):
        case = work / str(number)
        shutil.copytree(index, case)
        what = damage(case, np.random.default_rng(number))
        outcome = apart(lambda case=case, number=number, what=what: judge(case, number, what, expected))
        if isinstance(outcome, str):
            outcome = "", outcome
        seen[outcome[0]] += 1
        if outcome[1]:
            problems.append(f"damage {number}, {what}: {outcome[1]}")
        shutil.rmtree(case)
    return {"refused": seen["refused"], "right": seen["right"], "problems": problems}


def refuse(folder: Path) -> dict[str, Any]:
    """In the child: how a damaged index is refused, and what else came of it."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    said = []
    for write, mapped in ((False, False), (False, True), (True, False)):
        try:
            use(folder, write=write, mapped=mapped)
            said.append(None)
        except RetrievalError as error:
            said.append(str(error))
    found = verify(folder)
    return {
        "said": said,
        "problems": [f"{problem.where} {problem.what}" for problem in found.problems],
        "grown": 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before),
    }


if __name__ == "__main__":
    mode, *arguments = sys.argv[1:]
    if mode == "random":
        result: Any = run(Path(arguments[0]), Path(arguments[1]), int(arguments[2]), int(arguments[3]))
    else:
        # Here, so that it is not each child that loads FAISS.
        from retrieval.index import nearest  # noqa: F401

        result = [apart(lambda folder=folder: refuse(Path(folder))) for folder in arguments]
    print(json.dumps(result), flush=True)
    os._exit(0)
