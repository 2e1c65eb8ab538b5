#!/usr/bin/env python3
"""How long the routes of `retrieval serve` take by the number of items, and whether others are answered meanwhile.

    python benchmarks/routes.py                                 10,000, 100,000 and 1,000,000 items
    python benchmarks/routes.py --sizes 10000 --work FOLDER     FOLDER keeps the indexes, for another time
    python benchmarks/routes.py --only facets sorted --again    rows whose names have these words, anew
    python benchmarks/routes.py table                           write the table of docs/scale.md from what is kept

The items are made up as for benchmarks/scale.py: 128 numbers each around 1,000 centres, which are their labels, in as
many folders, with a text of eight, a number, a year and, of every other one, the second when it was taken; without
picture files, and without a search structure, so that each question looks at every vector. The service is a process
of its own, started with nothing of the index in the system's cache and with an empty cache folder, and is asked for
everything that the page asks for, in that order.

Of each row, *first* is what the first who asks waits; *again* the median of the next --rounds; *a search meanwhile*
the longest that somebody else's question took who asked for the neighbours of an item five times a second, from
before the first asking to its end (in parentheses how many were answered). *said* is, of what is made in the
background, the longest that one waited to hear how far it is. *processor* is what the service needed for the first,
*MB* the most that it held (10⁶ bytes) meanwhile. Each row is kept in benchmarks/logs/routes/ as it is measured; what
takes longer than --minutes is kept as that.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import re
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from build import TOP
from clients import processor_seconds
from command import markdown, put, status
from scale import CENTRES, DIM, SEED, SIZES, _forget
from service_process import serve

from retrieval.base.files import write_durably
from retrieval.base.machine import describe
from retrieval.errors import RetrievalError
from retrieval.index import Index, NewItem

LOGS = TOP / "benchmarks/logs/routes"
PAGE = TOP / "docs/scale.md"
MARKS = "<!-- benchmarks/routes.py table: begin -->", "<!-- benchmarks/routes.py table: end -->"

HIT, K = 5, 60
"""The item that is asked with, and the pictures of a page."""

CLOSE = 0.4
"""A score as a calibration would have it: most of those of the same centre reach it, one in a thousand of all."""

PAUSE = 0.2
"""Seconds between two questions of who else is there."""

WRITTEN = 1_000
"""Pictures that are written at once."""

LASSO = 10_000
"""Pictures that are selected on the map."""


class Asked(NamedTuple):
    """One request.

    Attributes:
        path: with what stands behind it. body: of a POST or a PATCH; None of a GET.
        page: which page of the answer is meant; those before it are asked for first, and not counted.
        made: whether the answer may be that it is still being made, so that one asks again.
        method: of one with a body. once: it changes something, so that it is not asked again.
    """

    path: str
    body: dict[str, Any] | None = None
    page: int = 1
    made: bool = False
    method: str = "POST"
    once: bool = False


def _where(path: str, where: str) -> str:
    from urllib.parse import quote

    return f"{path}{'&' if '?' in path else '?'}filter={quote(where)}"


SOME = "camera = 'a' and price < 50"
QUESTION = {"like": [f"id:{HIT}"], "k": K}
WORDS = " or ".join(f'{name} contains "777"' for name in ("path", "label", "camera", "taken"))
IDS = list(range(0, 3 * WRITTEN, 3))

ROUTES: dict[str, Asked] = {
    "what there is": Asked("/info"),
    "the wall": Asked("/wall?k=120"),
    "facets of all": Asked("/facets"),
    "an item": Asked(f"/items/{HIT}"),
    "like an item": Asked("/search", {**QUESTION, "facets": True}),
    "like an item, 50th page": Asked("/search", {**QUESTION, "cursor": ""}, page=50),
    "like a vector": Asked("/search", {"vector": [0.1] * DIM, "k": K}),
    "like an item, filtered": Asked("/search", {**QUESTION, "filter": SOME}),
    "matches, sorted": Asked("/search", {**QUESTION, "above": CLOSE, "sort": "taken:desc"}),
    "matches, grouped": Asked("/search", {**QUESTION, "above": CLOSE, "group": "camera"}),
    "facets of matches": Asked("/search", {**QUESTION, "above": CLOSE, "k": 1, "details": 0, "facets": True}),
    "by id, 50th page": Asked(f"/items?k={K}", page=50),
    "filtered": Asked(_where(f"/items?k={K}", SOME)),
    "filtered, 50th page": Asked(_where(f"/items?k={K}", SOME), page=50),
    "facets, filtered": Asked(_where("/facets", SOME)),
    "filtered by date": Asked(_where(f"/items?k={K}", "taken >= 2012-03-01 and taken < 2012-05-01")),
    "facets, filtered by date": Asked(_where("/facets", "taken >= 2012-03-01 and taken < 2012-05-01")),
    "of a folder": Asked(_where(f"/items?k={K}", 'path under "c7"')),
    "facets of a folder": Asked(_where("/facets", 'path under "c7"')),
    "words in names": Asked(_where(f"/items?k={K}", WORDS)),
    "facets of words in names": Asked(_where("/facets", WORDS)),
    "sorted by number": Asked(f"/items?k={K}&sort=price"),
    "sorted by date": Asked(f"/items?k={K}&sort=taken:desc"),
    "sorted by date, 50th page": Asked(f"/items?k={K}&sort=taken:desc", page=50),
    "sorted by name": Asked(f"/items?k={K}&sort=path"),
    "sorted by label": Asked(f"/items?k={K}&sort=label"),
    "sorted and filtered": Asked(_where(f"/items?k={K}&sort=price:desc", "camera = 'b'")),
    "map": Asked("/map", made=True),
    "map, points": Asked("/map/points"),
    "map, by label": Asked("/map/colours?by=label"),
    "map, by number": Asked("/map/colours?by=price"),
    "map, by date": Asked("/map/colours?by=taken"),
    "map, lasso": Asked("/map/items", {"ids": list(range(LASSO))}),
    "table of a lasso": Asked("/export/csv", {"ids": list(range(LASSO))}),
    "label errors": Asked("/label-errors", made=True),
    "label errors, more": Asked("/label-errors?cursor=20"),
    "a label is written": Asked("/items", {"ids": IDS, "label_corrected": "c1"}, method="PATCH", once=True),
    "label errors after that": Asked("/label-errors"),
    "pictures are hidden": Asked("/items", {"ids": IDS, "hidden": True}, method="PATCH", once=True),
    "what there is after that": Asked("/info"),
    "facets of all after that": Asked("/facets"),
    "the wall after that": Asked("/wall?k=120"),
    "like an item after that": Asked("/search", QUESTION),
    "sorted by date after that": Asked(f"/items?k={K}&sort=taken:desc"),
    "map after that": Asked("/map", made=True),
    "map, points after that": Asked("/map/points"),
    "map, by date after that": Asked("/map/colours?by=taken"),
}
"""The rows, in the order of asking."""


def make(folder: Path, n: int) -> None:
    """An index of so many items."""
    generator = np.random.default_rng(SEED)
    centres = generator.standard_normal((CENTRES, DIM), np.float32)
    start = np.datetime64("2005-01-01T00:00:00")
    with Index.create(folder, DIM, root=str(folder.parent), encoder_hash="imported:benchmark", details={}) as index:
        for first in range(0, n, 50_000):
            marks = generator.integers(0, CENTRES, min(50_000, n - first))
            block = centres[marks] + generator.standard_normal((len(marks), DIM), np.float32)
            prices = (generator.random(len(marks)) * 100).round(2).tolist()
            seconds = generator.integers(0, 20 * 365 * 86_400, len(marks))
            taken = (start + seconds.astype("timedelta64[s]")).astype(str).tolist()
            items, attributes = [], []
            for place, (mark, price, when) in enumerate(zip(marks.tolist(), prices, taken, strict=True), first):
                items.append(NewItem(f"c{mark}/{place:08}.jpg", label=f"c{mark}"))
                more = {"taken": when} if place % 2 else {}
                attributes.append({"camera": "abcdefgh"[place % 8], "price": price, "year": 2000 + place % 25, **more})
            index.add(block / np.linalg.norm(block, axis=1, keepdims=True), items, attributes)
            print(f"\r{first + len(marks):,} items made", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


class Running:
    """A service in a process of its own, which may write.

    Attributes:
        port, pid: its.
    """

    def __init__(self, port: int, pid: int) -> None:
        self.port = port
        self.pid = pid

    def most(self, anew: bool = False) -> float:
        """The most that it held, in megabytes; `anew`: from now on."""
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{self.pid}/status").read_text())
        if anew:
            Path(f"/proc/{self.pid}/clear_refs").write_text("5")
        return 1024 * int(found[1]) / 1e6 if found else 0.0

    def ask(self, path: str, body: dict[str, Any] | None = None, method: str = "POST", wait: float = 600) -> bytes:
        """An answer.

        Raises:
            RetrievalError: it is an error. TimeoutError: there is none.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=wait)
        sent = None if body is None else json.dumps(body).encode()
        connection.request("GET" if body is None else method, path, sent, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        found = answer.read()
        connection.close()
        if answer.status >= 300:
            raise RetrievalError(f"{path} was answered {answer.status}: {found[:300]!r}.")
        return found


@contextlib.contextmanager
def somebody(running: Running, items: int) -> Iterator[list[float]]:
    """Somebody who looks for the neighbours of an item, again and again: the seconds of each."""
    end, seconds = threading.Event(), list[float]()

    def go() -> None:
        place = items // 2
        while not end.is_set():
            began = time.perf_counter()
            running.ask("/search", {"like": [f"id:{place}"], "k": 10})
            seconds.append(time.perf_counter() - began)
            place = (place + 997) % items
            end.wait(PAUSE)

    thread = threading.Thread(target=go)
    thread.start()
    try:
        yield seconds
    finally:
        end.set()
        thread.join()


def measured(running: Running, items: int, asked: Asked, rounds: int, minutes: float) -> dict[str, Any]:
    """The figures of one row."""
    path, body = asked.path, asked.body
    for _ in range(asked.page - 1):
        told = json.loads(running.ask(path, body))
        if told["cursor"] is None:
            break  # of fewer items there are fewer pages
        if body is None:
            path = f"{asked.path}&cursor={told['cursor']}"
        else:
            body = {**body, "cursor": told["cursor"]}
    running.most(anew=True)
    said: list[float] = []
    with somebody(running, items) as others:
        time.sleep(2 * PAUSE)
        before, began = processor_seconds(running.pid), time.perf_counter()
        while True:
            asking = time.perf_counter()
            answer = running.ask(path, body, asked.method)
            said.append(time.perf_counter() - asking)
            first = time.perf_counter() - began
            if not asked.made or json.loads(answer)["state"] != "making" or first > 60 * minutes:
                break
            time.sleep(0.5)
        used = processor_seconds(running.pid) - before
    state = json.loads(answer) if asked.made else {}
    if state.get("state") == "failed":
        raise RetrievalError(f"{path} failed: {state['error']}")
    again = []
    for _ in range(0 if asked.once or state.get("state") == "making" else rounds):
        asking = time.perf_counter()
        running.ask(path, body, asked.method)
        again.append(time.perf_counter() - asking)
    return {
        "first": first,
        "ended": state.get("state") != "making",
        "again": statistics.median(again) if again else None,
        "said": max(said) if asked.made else None,
        "meanwhile": max(others),
        "others": len(others),
        "processor": used,
        "megabytes": running.most(),
        "bytes": len(answer),
    }


@contextlib.contextmanager
def begun(index: Path, cache: Path) -> Iterator[tuple[Running, dict[str, Any]]]:
    """A service of an index of which the system has nothing in its cache; and the row of its start."""
    _forget(index)
    paths = os.pathsep.join([str(TOP), *filter(None, sys.path)])
    began = time.perf_counter()
    with serve(index, "--write", environment={"XDG_CACHE_HOME": str(cache), "PYTHONPATH": paths}) as (_, port, pid):
        seconds, running = time.perf_counter() - began, Running(port, pid)
        yield running, {"first": seconds, "processor": processor_seconds(pid), "megabytes": running.most()}


def kept() -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(LOGS.glob("*.json"))]


def table() -> str:
    """A row a route, for each size what there is to say."""
    found = {(row["route"], row["items"]): row for row in kept()}
    sizes = sorted({items for _, items in found})
    names = ["it starts", *ROUTES]
    rows = [
        {"route": name} | {f"{n:,}": _cell(found.get((name, n))) for n in sizes}
        for name in names
        if any((name, n) in found for n in sizes)
    ]
    loads = [row["load"] for row in found.values()]
    machines = "; ".join(sorted({row["machine"] for row in found.values()}))
    about = f"Measured on: {machines}. Seed {SEED}. The load was {min(loads):.1f} to {max(loads):.1f}."
    return f"{about}\n\n{markdown(rows)}"


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return "–"
    parts = [f"{'' if row.get('ended', True) else '> '}{row['first']:.3g}"]
    if row.get("again") is not None:
        parts[0] += f", {row['again']:.2g}"
    if row.get("said") is not None:
        parts[0] += f" (said {row['said']:.2g})"
    if row.get("meanwhile") is not None:
        parts.append(f"{row['meanwhile']:.2g}")
    return "; ".join([*parts, f"{row['megabytes']:,.0f} MB"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("routes", "table"), default="routes")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="N", help="items")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="rows whose names have one of these")
    parser.add_argument("--again", action="store_true", help="measure also what is kept")
    parser.add_argument("--rounds", type=int, default=5, help="askings after the first (5)")
    parser.add_argument("--minutes", type=float, default=30, help="that a row may take (30)")
    made_up = Path(tempfile.gettempdir()) / "retrieval-routes"
    parser.add_argument("--work", type=Path, default=made_up, metavar="FOLDER", help="for what is made up")
    args = parser.parse_args()
    LOGS.mkdir(parents=True, exist_ok=True)
    for n in args.sizes if args.what == "routes" else ():
        _measure(n, args)
    put(PAGE, (table(), MARKS))
    return 0


def _measure(n: int, args: argparse.Namespace) -> None:
    names = ["it starts", *ROUTES]
    rows = {name: LOGS / f"{place:02}-{n}.json" for place, name in enumerate(names)}
    wanted = [
        name
        for name in names
        if (args.only is None or any(word in name for word in args.only)) and (args.again or not rows[name].exists())
    ]
    if not wanted:
        return
    index = args.work / str(n) / "index"
    if not index.exists():
        index.parent.mkdir(parents=True, exist_ok=True)
        make(index.with_name("new"), n)
        index.with_name("new").rename(index)

    def keep(name: str, found: dict[str, Any]) -> None:
        row = {"route": name, "items": n, **found, "load": os.getloadavg()[0], "seed": SEED, "machine": describe()}
        write_durably(rows[name], (json.dumps(row, indent=2, ensure_ascii=False) + "\n").encode())
        print(f"{n:>9,}  {name:<28} {_cell(row)}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as cache, begun(index, Path(cache)) as (running, start):
        if "it starts" in wanted:
            keep("it starts", start)
        for name in wanted:
            if name in ROUTES:
                keep(name, measured(running, n, ROUTES[name], args.rounds, args.minutes))


if __name__ == "__main__":
    sys.exit(status(main))
