"""``retrieval tune``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from retrieval.base.units import parse_bytes, parse_seconds
from retrieval.errors import RetrievalError

HELP = "Measure what suits an index on this machine, and make the best its search structure."
EXAMPLES = """
retrieval tune indexes/photos --recall 0.95
retrieval tune indexes/photos --recall 0.99 --memory 200MB
retrieval tune indexes/photos --latency 5ms                       # the highest recall within that
retrieval tune indexes/photos --recall 0.95 --queries asked.npy --minutes 20
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the verb takes."""
    parser.add_argument("index", metavar="INDEX", help="the index's folder; nobody else can write it meanwhile")
    parser.add_argument(
        "--recall", type=float, metavar="R", help="least recall@k, up to 1 (0.99, if no --latency is given either)"
    )
    parser.add_argument(
        "--memory", type=parse_bytes, metavar="SIZE", help="most memory, such as 200MB, of structure and vectors"
    )
    parser.add_argument(
        "--latency",
        type=parse_seconds,
        metavar="TIME",
        help="most time for a query on one thread, such as 5ms, that 95 of 100 must keep to; within it the highest "
        "recall is chosen",
    )
    parser.add_argument("-k", type=int, default=10, metavar="K", help="neighbours that a query asks for (10)")
    parser.add_argument(
        "--queries",
        metavar="FILE.npy",
        help="vectors (n, dim) to ask with, none of them in the index (some of the index's, held out)",
    )
    parser.add_argument("--minutes", type=float, default=5.0, metavar="N", help="how long it may take, about (5)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    """Tune, and say what was found."""
    return tune_index(**vars(args))


def tune_index(index: str, *, json: bool, queries: str | None = None, **wishes: Any) -> int:
    """Tune an index folder, and print what was found; the arguments are the command line's."""
    from retrieval.base.npy import mapped
    from retrieval.index import Index
    from retrieval.tuning.tune_index import tune

    asked = None if queries is None else mapped(Path(queries))
    with Index.open(index, write=True) as opened:
        report = tune(opened, queries=asked, **wishes)
    print(report.shown(as_json=json))
    if report.problem is not None:
        raise RetrievalError(report.problem)
    return 0
