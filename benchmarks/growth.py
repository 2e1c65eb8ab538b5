"""How what an index costs grows with its vectors, and what that comes to for a billion pictures.

Each size and each structure is measured in processes of their own: one draws the vectors and fills an index with them,
one builds the structure, and one opens what lies there, asks, filters and adds. `scale.py` calls them, and keeps what
they find.
"""

from __future__ import annotations

import ctypes
import gc
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from build import TOP
from command import markdown
from contest.data import K, clustered
from contest.ours import EXACT, named

from retrieval.base.machine import describe
from retrieval.index import Index, NewItem
from retrieval.index.nearest import kinds

STRUCTURES = (EXACT, "SymphonyQG32", "RRDIM,IVFLISTS,RaBitQfs", "IVFLISTS,PQHALFx4fs")
DIM, LONG_DIM = 128, 64
LONG = 10_000_000
"""As many vectors have 64 numbers instead of 128, so that they fit a machine of 24 GB."""
GRAPHS_UP_TO = 2_000_000
"""Of more, a graph takes longer to build than anybody measures for a table."""

QUERIES, RECALL, ADDED, LABELS = 300, 0.95, 1000, 100
FILTER = "label = 'c7'"
BLOCK = 100_000

COSTS = {
    "fill": "fill, s",
    "build": "build, s (of one core)",
    "build_peak": "most memory of the build, GB",
    "bytes": "on the disk, GB",
    "open": "open, ms",
    "memory": "memory when asked, GB",
    "query": "a query, ms",
    "filtered": f"with a filter that 1 in {LABELS} passes, ms",
    "add": f"add {ADDED:,}, s",
}
"""What is kept of each size and structure, and the heads of its columns."""

UNITS = {"build_peak": 1e9, "bytes": 1e9, "memory": 1e9, "open": 1e-3, "query": 1e-3, "filtered": 1e-3}


def measure(n: int, structure: str, seed: int, work: Path) -> dict[str, Any]:
    """The row of one size and one structure.

    Args:
        n: vectors. structure: of :data:`STRUCTURES`. seed: of the vectors. work: where the index of this size is kept,
            and made if it is not there.
    """
    dim = LONG_DIM if n >= LONG else DIM
    folder = work / f"{n}x{dim}"
    folder.mkdir(parents=True, exist_ok=True)
    filled = folder / "filled.json"
    if not filled.exists():
        found = _stage("fill", folder, n, dim, seed, threads=None)
        filled.write_text(json.dumps(found))
    row = {"items": n, "dim": dim, "structure": structure, **json.loads(filled.read_text())}
    row |= _stage("build", folder, n, dim, seed, named(structure, n, dim), threads=None)
    row |= _stage("ask", folder, n, dim, seed, named(structure, n, dim), threads=1)
    return {**row, "seed": seed, "load": os.getloadavg()[0], "machine": describe()}


def _stage(what: str, *arguments: object, threads: int | None) -> dict[str, Any]:
    environment = {**os.environ, "PYTHONPATH": f"{TOP}:{TOP / 'benchmarks'}"}
    if threads is not None:
        environment |= {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(
        [sys.executable, __file__, what, *map(str, arguments)], stdout=subprocess.PIPE, text=True, env=environment
    )
    if done.returncode:
        sys.exit(f"{what} ended with {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


# In a process of its own


def fill(folder: Path, n: int, dim: int, seed: int) -> dict[str, Any]:
    """Draw the vectors, keep those that ask, and put the others into an index."""
    vectors = clustered(n + QUERIES, dim, seed)
    np.save(folder / "queries.npy", vectors[n:])
    began, processor = time.perf_counter(), time.process_time()
    with Index.create(folder / "index", dim, root="", encoder_hash="", details={}) as index:
        for start in range(0, n, BLOCK):
            part = vectors[start : min(n, start + BLOCK)]
            rows = range(start, start + len(part))
            index.add(part, [NewItem(f"{row}.png", label=f"c{row % LABELS}") for row in rows])
    return {"fill": time.perf_counter() - began, "fill_processor": time.process_time() - processor}


def build(folder: Path, n: int, dim: int, seed: int, factory: str) -> dict[str, Any]:
    """Give the index its structure, or none."""
    with Index.open(folder / "index", write=True) as index:
        ids, vectors = index.all_vectors()
        processor = time.process_time()
        if factory == EXACT:
            index.set_structure(None)
        else:
            structure = kinds.build(factory, vectors, seed=seed)
            index.set_structure(structure, dict(kinds.efforts(factory, n)[0]), ids=ids)
        seconds = time.process_time() - processor
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return {"build": seconds, "build_peak": 1024 * int(peak.split()[1])}


def ask(folder: Path, n: int, dim: int, seed: int, factory: str) -> dict[str, Any]:
    """Open the index and search it with the least effort that finds enough; then add to it."""
    place, queries = folder / "index", np.load(folder / "queries.npy")
    gc.collect()
    before = _resident()
    began = time.perf_counter()
    index = Index.open(place)
    index.find("17.png")
    found: dict[str, Any] = {"open": time.perf_counter() - began}
    index.search(queries[:1], K)
    found["memory"] = _resident() - before
    truth = _exact(index, queries)
    record = index.structure
    for effort in [{}] if record is None else kinds.efforts(factory, n):
        if record is not None:  # in place: setting it in the catalog would write the structure's file anew
            parameters: Any = record.parameters
            parameters.clear()
            parameters.update(effort)
        recall = _share(index.search(queries, K)[1], truth)
        found |= {"effort": effort, "recall": recall}
        if recall >= RECALL:
            break
    found["query"] = _each(lambda row: index.search(row, K), queries)
    found["filtered"] = _each(lambda row: index.search(row, K, where=FILTER), queries[:100])
    index.close()
    found["bytes"] = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
    new = clustered(ADDED, dim, seed + 1)
    with Index.open(place, write=True) as index:
        began = time.perf_counter()
        index.add(new, [NewItem(f"new-{row}.png") for row in range(ADDED)])
        found["add"] = time.perf_counter() - began
        index.remove(range(n, n + ADDED) if index.next_id == n + ADDED else index.ids()[-ADDED:].tolist())
        index.compact()
    return found


def _exact(index: Index, queries: np.ndarray) -> np.ndarray:
    """The ids of the true neighbours (nq, K)."""
    ids, vectors = index.all_vectors()
    scores = np.empty((len(queries), 0), np.float32)
    near = np.empty((len(queries), 0), np.int64)
    for start in range(0, len(vectors), BLOCK):
        block = queries @ vectors[start : start + BLOCK].T
        scores, near = (
            np.hstack([scores, block]),
            np.hstack([near, np.tile(ids[start : start + BLOCK], (len(queries), 1))]),
        )
        best = np.argpartition(-scores, K, axis=1)[:, :K]
        scores, near = np.take_along_axis(scores, best, 1), np.take_along_axis(near, best, 1)
    return near


def _share(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.mean([len(np.intersect1d(one, other)) for one, other in zip(found, truth, strict=True)]) / K)


def _each(run: Callable[[np.ndarray], object], queries: np.ndarray) -> float:
    """Seconds of the processor for one, by as many as fit three seconds."""
    run(queries[:1])
    began, count = time.process_time(), 0
    while count < len(queries) and time.process_time() - began < 3:
        run(queries[count : count + 1])
        count += 1
    return (time.process_time() - began) / count


def _resident() -> int:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc
    if trim is not None:
        trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# What it says


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """A row for each structure and size, and under each structure how its costs grow."""
    lines: list[dict[str, Any]] = []
    by_structure = grouped(rows)
    for structure, own in by_structure.items():
        for row in own:
            cells = {name: row[key] / UNITS.get(key, 1.0) for key, name in COSTS.items() if applies(key, structure)}
            lines.append({"structure": f"`{structure}`", "vectors": f"{row['items']:,} × {row['dim']}", **cells,
                          f"recall@{K}": f"{row['recall']:.3f}"})  # fmt: skip
        if len(own) > 1:
            powers = {name: f"*n^{power(own, key):.2f}*" for key, name in COSTS.items() if applies(key, structure)}
            lines.append({"structure": "", "vectors": "*grows as*", **powers})
    return markdown(lines)


def applies(cost: str, structure: str) -> bool:
    """Whether a structure has such a cost: where all vectors are looked at, nothing is built."""
    return structure != EXACT or cost != "build"


def grouped(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The rows of each structure by size."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: (STRUCTURES.index(row["structure"]), row["items"])):
        found.setdefault(row["structure"], []).append(row)
    return found


def power(rows: Sequence[Mapping[str, Any]], key: str) -> float:
    """The exponent b of the best a · n^b (least squares over the logarithms), by the sizes of one length of vectors."""
    same = [row for row in rows if row["dim"] == rows[0]["dim"]]
    n = np.log([row["items"] for row in same])
    return float(np.polyfit(n, np.log([max(row[key], 1e-9) for row in same]), 1)[0])


def at(rows: Sequence[Mapping[str, Any]], key: str, items: float, dim: int) -> float:
    """What a cost comes to for more and longer vectors, by its growth up to the largest size of the usual length: in
    proportion to their numbers, and what is held, written or built at least in proportion to the vectors."""
    same = [row for row in rows if row["dim"] == rows[0]["dim"]]
    largest = same[-1]
    grows = power(rows, key) if len(same) > 1 else 1.0
    if key in ("memory", "bytes", "fill", "build", "build_peak"):
        grows = max(1.0, grows)
    return float(largest[key] * (items / largest["items"]) ** grows * (dim / largest["dim"]))


class Machine(NamedTuple):
    """What is to be had many times: its cores, gigabytes of memory, and the price of one core for an hour."""

    cores: int
    gigabytes: float
    price: float


def billion(rows: Iterable[Mapping[str, Any]], items: float, dim: int, rate: float, machine: Machine) -> str:
    """What an index of so many pictures takes, by the growth of what was measured.

    Args:
        rows: as they were measured. items, dim: of the index.
        rate: pictures that one core decodes and encodes in a second.
    """
    cores, gigabytes, price = machine
    encoding = items / rate / 3600
    lines = []
    for structure, own in grouped(rows).items():
        memory = at(own, "memory", items, dim) / 1e9
        building = at(own, "build", items, dim) / 3600
        machines = max(1, math.ceil(memory / (0.8 * gigabytes)))
        # each machine answers every question from its own share
        share = at(own, "query", items / machines, dim)
        lines.append({
            "structure": f"`{structure}`",
            "memory, GB": f"{memory:,.0f}",
            f"machines of {gigabytes:.0f} GB": f"{machines:,}",
            "on the disk, TB": f"{at(own, 'bytes', items, dim) / 1e12:.1f}",
            "build, core hours": f"{building:,.0f}",
            "build, hours on them": f"{building / (machines * cores):,.1f}",
            "a query on each, ms": f"{1000 * share:,.2f}",
            "queries a second, all": f"{cores / share:,.0f}",
        })  # fmt: skip
    about = (
        f"{items:,.0f} pictures of {dim} numbers: decoding and encoding at {rate:g} pictures a second and core takes "
        f"{encoding:,.0f} core hours ({encoding * price:,.0f} at {price:g} an hour): {encoding / cores / 24:,.1f} days "
        f"of one machine of {cores} cores, {encoding / cores / 24 / 32:,.1f} of 32."
    )
    return f"{about}\n\n{markdown(lines)}"


if __name__ == "__main__":
    stage, where, count, numbers, drawn, *rest = sys.argv[1:]
    run: Callable[..., dict[str, Any]] = {"fill": fill, "build": build, "ask": ask}[stage]
    print(json.dumps(run(Path(where), int(count), int(numbers), int(drawn), *rest)))
