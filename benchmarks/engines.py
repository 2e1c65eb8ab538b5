#!/usr/bin/env python3
"""An index in a folder, in PostgreSQL and in Milvus, side by side: to bring it there, to ask it, and what it then
finds.

    python benchmarks/engines.py                                  20,000 items of 256 numbers
    python benchmarks/engines.py --sizes 20000 100000 --only folder milvus
    python benchmarks/engines.py table                            write the table of docs/engines.md from what is kept

The servers are those of tests/support, on this machine; what is not installed is left out, and said. The items are
around 1,000 centres; the 100 questions are others of the same kind, asked one at a time. Recall is of the ten
nearest, against the folder's exact search. Each row is printed, and kept in benchmarks/logs/engines.jsonl, as it is
measured; the table has the last of each size and place.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from build import TOP
from command import markdown, put, status

sys.path.insert(0, str(TOP / "tests/support"))

import milvus_server
import postgres_server
from index_model import clustered, create, named

from retrieval.base.machine import describe
from retrieval.engines.exporting import export_to_engine
from retrieval.engines.opening import open_index
from retrieval.index import Index

LOG = TOP / "benchmarks/logs/engines.jsonl"
PAGE = TOP / "docs/engines.md"
MARKS = "<!-- benchmarks/engines.py table: begin -->", "<!-- benchmarks/engines.py table: end -->"
DIM, QUESTIONS, K, SEED = 256, 100, 10, 0
TENTH, RARE = "tenth = 3", "rare < 50"
"""Filters that a tenth matches, and fifty items."""

Place = Callable[[Path], "Iterator[tuple[str | Path, dict[str, Any]]]"]


def in_folder(folder: Path) -> Iterator[tuple[str | Path, dict[str, Any]]]:
    yield folder, {}


def in_postgresql(folder: Path) -> Iterator[tuple[str | Path, dict[str, Any]]]:
    yield from _in_engine(folder, postgres_server, postgres_server.PostgresServer)


def in_milvus(folder: Path) -> Iterator[tuple[str | Path, dict[str, Any]]]:
    yield from _in_engine(folder, milvus_server, milvus_server.MilvusServer)


def _in_engine(folder: Path, module: Any, server_class: Any) -> Iterator[tuple[str | Path, dict[str, Any]]]:
    if not module.installed():
        print(f"{module.__name__}: its packages are not installed; left out.", file=sys.stderr)
        return
    server = server_class()
    try:
        address = f"{server.address}/photos"
        with Index.open(folder) as index:
            report = export_to_engine(index, address)
        yield address, {"export_s": report.seconds, "structure": report.structure, "recall_told": report.recall}
    finally:
        server.close()


PLACES = {"folder": in_folder, "postgresql": in_postgresql, "milvus": in_milvus}


def measure(place: str | Path, truth: np.ndarray, queries: np.ndarray) -> dict[str, float]:
    """Milliseconds of a question, by what is asked with it, and the recall without a filter."""
    row: dict[str, float] = {}
    with open_index(place) as index:
        for name, where in (("plain", None), ("tenth", TENTH), ("rare", RARE)):
            index.search(queries[:1], K, where=where)
            began, found = time.perf_counter(), []
            for query in queries:
                found.append(index.search(query[None], K, where=where)[0][0])
            row[f"{name}_ms"] = (time.perf_counter() - began) / len(queries) * 1000
            if where is None:
                row["recall"] = float(np.mean(np.array(found) >= truth))
    return row


@contextmanager
def made(items: int) -> Iterator[tuple[Path, np.ndarray, np.ndarray]]:
    """An index's folder, what the tenth nearest scores, and the questions."""
    queries = clustered(QUESTIONS, DIM, seed=SEED + 1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "index"
        with create(folder, DIM) as index:
            index.add(clustered(items, DIM, seed=SEED), named(items))
            index.attach({id_: {"tenth": id_ % 10, "rare": id_} for id_ in range(items)})
            truth = index.search(queries, K)[0][:, -1:]
        yield folder, truth, queries


def table() -> str:
    """The last row of each size and place."""
    rows = [json.loads(line) for line in LOG.read_text().splitlines()]
    last = {(row["items"], row["place"]): row for row in rows}
    ordered = [last[key] for key in sorted(last, key=lambda key: (key[0], list(PLACES).index(key[1])))]
    machines = "; ".join(sorted({row["machine"] for row in ordered}))
    return f"Measured on: {machines}. Seed {SEED}.\n\n" + markdown(
        [
            {
                "items": f"{row['items']:,}",
                "place": row["place"],
                "structure": row.get("structure", "exact"),
                "export, s": row.get("export_s"),
                "a question, ms": row["plain_ms"],
                "that a tenth match, ms": row["tenth_ms"],
                "that 50 match, ms": row["rare_ms"],
                "recall@10": f"{row['recall']:.3f}",
                "load": row.get("load"),
            }
            for row in ordered
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("measure", "table"), default="measure")
    parser.add_argument("--sizes", type=int, nargs="+", default=[20_000], metavar="N", help="items (20000)")
    parser.add_argument("--only", nargs="+", choices=PLACES, default=[*PLACES], help="places (all)")
    arguments = parser.parse_args()
    for items in arguments.sizes if arguments.what == "measure" else ():
        with made(items) as (folder, truth, queries):
            for name in arguments.only:
                for place, told in PLACES[name](folder):
                    measured = {"place": name, "items": items, "dim": DIM, "k": K, **told}
                    measured |= {**measure(place, truth, queries), "seed": SEED, "machine": describe()}
                    measured["load"] = os.getloadavg()[0]  # of other work, beside which times mean little
                    LOG.parent.mkdir(exist_ok=True)
                    with LOG.open("a") as log:
                        log.write(json.dumps(measured) + "\n")
                    print(json.dumps(measured), flush=True)
    put(PAGE, (table(), MARKS))
    return 0


if __name__ == "__main__":
    sys.exit(status(main))
