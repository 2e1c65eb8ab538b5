#!/usr/bin/env python3
"""Seconds and peak memory of every verb by the number of items; how a search structure grows; what a billion takes.

    python benchmarks/scale.py verbs                             10,000, 100,000 and 1,000,000 items, hours
    python benchmarks/scale.py verbs --sizes 10000 100000
    python benchmarks/scale.py verbs --only info query --again   these rows anew
    python benchmarks/scale.py growth                            structures over 10,000, 100,000 and 1,000,000 vectors
    python benchmarks/scale.py growth --long                     and over 10,000,000 of 64 numbers
    python benchmarks/scale.py table                             write the tables of docs/scale.md from what is kept
    python benchmarks/scale.py billion --rate 30                 what an index of a billion pictures takes, by that

`verbs`:

The items are made up: 128 numbers each around 1,000 centres, which are their labels, and three attributes (a text of
eight, a number, a year). What decodes files has 32 × 32 pictures, as many as 100,000 at most, and the small untrained
network of the other benchmarks; of more items its figures are extrapolated, in proportion.

Each verb is a process of its own, the program's command line, from its start to its end; its peak is what Linux counts
for that child. What prepares it (a copy of the index) is not counted. Each row is kept in benchmarks/logs/scale/ as it
is measured, so that the same command goes on where it was stopped; a verb that takes longer than --minutes is kept as
that. In the end the table of docs/scale.md is written.

`growth`: vectors of 128 numbers, a centre for every 500 of them. Each structure is built with all cores, and asked one
query at a time on one core with the least effort whose recall@10 reaches 0.95 over 300 queries that are none of the
vectors; seconds of building and asking are the processor's, all others the clock's. Graphs are built of up to two
million.

`billion`: the costs of `growth`, each by its power of the number of vectors, at --items of --numbers, on machines of
--cores and --gigabytes of which four fifths may be filled; --rate is pictures that one core decodes and encodes in a
second (`benchmarks/build.py photos` measures it, "build" over its cores), --price that of a core for an hour.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import growth
import numpy as np
from build import TOP, small_network
from command import markdown, put, status
from textures import write_tiny

from retrieval.base.files import write_durably
from retrieval.base.machine import describe

LOGS = TOP / "benchmarks/logs/scale"
PAGE = TOP / "docs/scale.md"
GROWTH = LOGS / "growth"
VERBS_MARKS = ("<!-- benchmarks/scale.py table: begin -->", "<!-- end -->")
GROWTH_MARKS = ("<!-- benchmarks/scale.py growth: begin -->", "<!-- end of growth -->")
BILLION_MARKS = ("<!-- benchmarks/scale.py billion: begin -->", "<!-- end of billion -->")

SIZES = (10_000, 100_000, 1_000_000)
PICTURES = 100_000
"""Pictures that are made at most; what is said of more is extrapolated."""

DIM, CENTRES, SEED = 128, 1000, 0
REMOVED = 1000
DAY = 86_400.0

CHILD = """
import json, resource, subprocess, sys, time
began = time.perf_counter()
done = subprocess.run(sys.argv[2:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=float(sys.argv[1]))
seconds = time.perf_counter() - began
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps({
    "code": done.returncode, "said": done.stderr.decode(errors="replace")[-500:], "seconds": seconds,
    "processor": usage.ru_utime + usage.ru_stime, "megabytes": 1024 * usage.ru_maxrss / 1e6}))
"""
"""Measures one command from a process that has no other children, and that is small: what Linux says of a child counts
what its parent held when it began."""


class Verb(NamedTuple):
    """A row of the table.

    Attributes:
        name: what it is called there.
        command: of the program; INDEX, FRESH (a copy of the index that may be changed), VECTORS, LIST, PICTURES, MODEL,
            BUILT (an index of the pictures), FRESHBUILT and OUT stand for paths.
        decodes: whether it reads pictures, of which there are fewer.
        twice: whether it is asked once before, so that the files are in the system's cache.
    """

    name: str
    command: str
    decodes: bool = False
    twice: bool = False


VERBS = (
    Verb("import", "import VECTORS --list LIST --out INDEX"),
    Verb("info", "info INDEX"),
    Verb("query --id, first", "query INDEX --id 5"),
    Verb("query --id, again", "query INDEX --id 5", twice=True),
    Verb("query --where", "query INDEX --id 5 --where \"camera = 'a' and price < 50\""),
    Verb("attach", "attach FRESH ATTRIBUTES"),
    Verb(f"remove {REMOVED:,}", "remove FRESH --id IDS"),
    Verb("compact", "compact FRESH"),
    Verb("verify", "verify INDEX"),
    Verb("export", "export INDEX --to OUT.npy"),
    Verb("calibrate", "calibrate FRESH"),
    Verb("evaluate", "evaluate INDEX"),
    Verb("report", "report INDEX --out OUT.html"),
    Verb("tune", "tune FRESH"),
    Verb("build", "build PICTURES --out BUILT --model MODEL", decodes=True),
    Verb("sync, nothing new", "sync BUILT", decodes=True),
    Verb("add one", "add FRESHBUILT ONE", decodes=True),
    Verb("dedup", "dedup BUILT", decodes=True),
)


def make_vectors(folder: Path, n: int) -> None:
    """VECTORS and LIST, a block at a time."""
    generator = np.random.default_rng(SEED)
    centres = generator.standard_normal((CENTRES, DIM), np.float32)
    vectors = np.lib.format.open_memmap(folder / "new.npy", "w+", np.float32, (n, DIM))
    with (folder / "items.csv").open("w", newline="") as file, (folder / "attributes.csv").open("w") as other:
        rows, attributes = csv.writer(file), csv.writer(other)
        rows.writerow(["path", "label", "camera", "price", "year"])
        attributes.writerow(["path", "camera", "price", "year"])
        for start in range(0, n, 1 << 16):
            marks = generator.integers(0, CENTRES, min(1 << 16, n - start))
            block = centres[marks] + generator.standard_normal((len(marks), DIM), np.float32)
            vectors[start : start + len(marks)] = block / np.linalg.norm(block, axis=1, keepdims=True)
            prices = generator.random(len(marks)) * 100
            for row, (mark, price) in enumerate(zip(marks.tolist(), prices.tolist(), strict=True), start):
                path, values = f"c{mark}/{row:08}.jpg", ["abcdefgh"[row % 8], round(price, 2), 2000 + row % 25]
                rows.writerow([path, f"c{mark}", *values])
                attributes.writerow([path, *values])
    vectors.flush()
    (folder / "new.npy").rename(folder / "items.npy")


def make_pictures(folder: Path, n: int) -> None:
    """PICTURES and MODEL."""
    small_network(folder / "model", SEED)
    write_tiny(folder / "new", n, SEED)
    (folder / "new").rename(folder / "pictures")


def places(work: Path) -> dict[str, str]:
    """What the words of a command stand for."""
    names = {
        "VECTORS": "items.npy", "LIST": "items.csv", "ATTRIBUTES": "attributes.csv", "INDEX": "index", "FRESH": "fresh",
        "PICTURES": "pictures", "MODEL": "model", "BUILT": "built", "FRESHBUILT": "freshbuilt", "ONE": "one.png",
        "OUT.npy": "out.npy", "OUT.html": "out.html",
    }  # fmt: skip
    return {word: str(work / name) for word, name in names.items()}


def prepare(verb: Verb, n: int, work: Path) -> None:
    """What the verb needs, where it is not there yet."""
    words = verb.command.split()
    for made in ("out.npy", "out.html", "out.jsonl"):
        (work / made).unlink(missing_ok=True)
    if verb.decodes:
        if not (work / "pictures").exists():
            make_pictures(work, n)
        shutil.copy(next((work / "pictures").rglob("*.png")), work / "one.png")
    elif not (work / "items.npy").exists():
        make_vectors(work, n)
    for copy, original, first in (("fresh", "index", VERBS[0]), ("freshbuilt", "built", _named("build"))):
        if words[0] == first.name:
            shutil.rmtree(work / original, ignore_errors=True)
        elif original.upper() in words or copy.upper() in words:
            if not (work / original).exists():
                measured(first, n, work, DAY)
            if copy.upper() in words:
                shutil.rmtree(work / copy, ignore_errors=True)
                shutil.copytree(work / original, work / copy)
    if verb.name == "compact":
        _run(_argv(_named(f"remove {REMOVED:,}"), work), DAY)


def measured(verb: Verb, n: int, work: Path, seconds: float) -> dict[str, Any]:
    """The row of one verb."""
    prepare(verb, n, work)
    argv = _argv(verb, work)
    if verb.twice:
        _run(argv, seconds)
    elif "first" in verb.name:
        _forget(work / "index")
    found = _run(argv, seconds)
    if found["code"]:
        sys.exit(f"{' '.join(argv)}: {found['said']}")
    return {
        "verb": verb.name,
        "items": n,
        "command": f"retrieval {verb.command}",
        "decodes": verb.decodes,
        "seconds": found["seconds"],
        "processor": found["processor"],
        "megabytes": found["megabytes"],
        "load": os.getloadavg()[0],
        "seed": SEED,
        "machine": describe(),
    }


def _named(name: str) -> Verb:
    return next(verb for verb in VERBS if verb.name == name)


def _argv(verb: Verb, work: Path) -> list[str]:
    import shlex

    words, stand = shlex.split(verb.command), places(work)
    ids = [str(id_) for id_ in range(7, 7 + 3 * REMOVED, 3)]
    out = [one for word in words for one in (ids if word == "IDS" else [stand.get(word, word)])]
    return [sys.executable, "-m", "retrieval", *out]


def _run(argv: list[str], seconds: float) -> dict[str, Any]:
    environment = {**os.environ, "PYTHONPATH": str(TOP)}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(seconds), *argv], capture_output=True, text=True, env=environment
    )
    if "TimeoutExpired" in done.stderr:
        return {"code": 0, "seconds": seconds, "processor": None, "megabytes": None}
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _forget(folder: Path) -> None:
    """Have the system forget what it has cached of some files."""
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def kept(folder: Path = LOGS) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("*.json")):
        yield json.loads(path.read_text())


def table() -> str:
    """The table of docs/scale.md, as far as it is measured: a row a verb, for each size seconds and megabytes."""
    found = {(row["verb"], row["items"]): row for row in kept()}
    sizes = sorted({items for _, items in found})
    rows = []
    for verb in VERBS:
        cells: dict[str, str] = {"verb": f"`{verb.name}`"}
        for n in sizes:
            cells[f"{n:,}"] = _cell(found, verb, n)
        rows.append(cells)
    return f"{_about([*found.values()])}\n\n{markdown(rows)}"


def _about(rows: Sequence[Mapping[str, Any]]) -> str:
    machines = sorted({f"{row['machine']}" for row in rows})
    loads = [row["load"] for row in rows]
    return (
        f"Measured on: {'; '.join(machines)}. Seed {SEED}. The load (processes that want to run) was "
        f"{min(loads):.1f} to {max(loads):.1f}."
    )


def _cell(found: dict[tuple[str, int], dict[str, Any]], verb: Verb, n: int) -> str:
    row = found.get((verb.name, n))
    if row is not None:
        if row["megabytes"] is None:
            return f"> {row['seconds']:,.0f} s"
        return f"{_seconds(row['seconds'])} ({_seconds(row['processor'])}), {row['megabytes']:,.0f} MB"
    less = found.get((verb.name, PICTURES))
    if verb.decodes and n > PICTURES and less is not None and less["megabytes"] is not None:
        times = n / PICTURES
        return f"*≈ {_seconds(times * less['seconds'])} ({_seconds(times * less['processor'])})*"
    return "–"


def _seconds(value: float) -> str:
    return f"{value:,.0f} s" if value >= 100 else f"{value:.1f} s" if value >= 10 else f"{value:.2f} s"


def measure_growth(sizes: Sequence[int], only: Sequence[str] | None, again: bool, work: Path) -> None:
    """Every row that is not kept yet."""
    for n in sizes:
        for structure in growth.STRUCTURES:
            row = GROWTH / f"{n}-{structure.replace(',', '-')}.json"
            graph = structure.startswith("Symphony")
            if (only and structure not in only) or (row.exists() and not again) or (graph and n > growth.GRAPHS_UP_TO):
                continue
            began = time.perf_counter()
            found = growth.measure(n, structure, SEED, work)
            write_durably(row, (json.dumps(found, indent=2, ensure_ascii=False) + "\n").encode())
            print(f"{n:>10,}  {structure:<24} {time.perf_counter() - began:8.0f} s", file=sys.stderr, flush=True)


def write_page() -> None:
    """All that is kept into the page."""
    rows = [*kept(GROWTH)]
    parts = [(table(), VERBS_MARKS)] if any(kept()) else []
    if rows:
        parts.append((f"{_about(rows)}\n\n{growth.table(rows)}", GROWTH_MARKS))
    put(PAGE, *parts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("verbs", "growth", "table", "billion"))
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="N", help="items")
    parser.add_argument("--long", action="store_true", help="growth: 10,000,000 as well")
    parser.add_argument("--only", nargs="+", metavar="ROW", help="these verbs, or these structures")
    parser.add_argument("--again", action="store_true", help="measure also what is kept")
    parser.add_argument("--minutes", type=float, default=60, help="that a verb may take (60)")
    made_up = Path(tempfile.gettempdir()) / "retrieval-scale"
    parser.add_argument("--work", type=Path, default=made_up, metavar="FOLDER", help="for what is made up")
    parser.add_argument("--rate", type=float, help="billion: pictures that one core encodes in a second")
    parser.add_argument("--items", type=float, default=1e9, help="billion: pictures (1e9)")
    parser.add_argument("--numbers", type=int, default=256, help="billion: of a vector (256)")
    parser.add_argument("--cores", type=int, default=16, help="billion: of a machine (16)")
    parser.add_argument("--gigabytes", type=float, default=64, help="billion: of a machine's memory (64)")
    parser.add_argument("--price", type=float, default=0.05, help="billion: of a core for an hour (0.05)")
    args = parser.parse_args()
    known = growth.STRUCTURES if args.what == "growth" else [verb.name for verb in VERBS]
    for name in args.only or ():
        if name not in known:
            parser.error(f"--only: there is no {name!r}; choose from {', '.join(known)}")
    if args.what == "billion":
        if args.rate is None:
            parser.error("billion: give --rate, pictures a second and core, as benchmarks/build.py photos measures it")
        machine = growth.Machine(args.cores, args.gigabytes, args.price)
        text = growth.billion(kept(GROWTH), args.items, args.numbers, args.rate, machine)
        put(PAGE, (text, BILLION_MARKS))
        print(text)
        return 0
    if args.what == "verbs":
        LOGS.mkdir(parents=True, exist_ok=True)
        for n in args.sizes:
            work = args.work / str(n)
            work.mkdir(parents=True, exist_ok=True)
            for verb in VERBS:
                row = LOGS / f"{VERBS.index(verb):02}-{n}.json"
                unwanted = args.only is not None and verb.name not in args.only
                if unwanted or (row.exists() and not args.again) or (verb.decodes and n > PICTURES):
                    continue
                began = time.perf_counter()
                found = measured(verb, n, work, 60 * args.minutes)
                write_durably(row, (json.dumps(found, indent=2, ensure_ascii=False) + "\n").encode())
                print(f"{n:>9,}  {verb.name:<20} {found['seconds']:8.2f} s", file=sys.stderr, flush=True)
                print(f"{'':>11}(with what it needed {time.perf_counter() - began:.0f} s)", file=sys.stderr)
    if args.what == "growth":
        GROWTH.mkdir(parents=True, exist_ok=True)
        sizes = [*args.sizes, *([growth.LONG] if args.long else [])]
        measure_growth(sizes, args.only, args.again, args.work / "growth")
    write_page()
    return 0


if __name__ == "__main__":
    sys.exit(status(main))
