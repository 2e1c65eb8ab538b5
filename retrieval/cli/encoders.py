"""``retrieval encoders``."""

from __future__ import annotations

import argparse

from retrieval.errors import RetrievalError

HELP = "List the models that go by one word; with labelled pictures, measure those that are at hand on them."
EXAMPLES = """
retrieval encoders                                  # the table: what each is best for, size, licence
retrieval encoders my_photos                        # folders are labels: which encoder suits these?
retrieval encoders shoes.csv --also runs/shoes --also onnx:mine.onnx
retrieval encoders data/cifar10.h5 --limit 500 --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the verb takes."""
    parser.add_argument(
        "data", metavar="DATA", nargs="?", help="labelled pictures: class folders, a list, or a set of `retrieval data`"
    )
    parser.add_argument(
        "--also",
        action="append",
        default=[],
        metavar="MODEL",
        help="measure this one, too (runs/NAME, hf:NAME, onnx:FILE, a word of the table, which is then downloaded); "
        "may be repeated",
    )
    parser.add_argument(
        "--limit", type=int, default=None, metavar="N", help="draw at most N pictures a side, the same for all (2000)"
    )
    parser.add_argument("--seed", type=int, default=None, metavar="S", help="of what is drawn (0)")
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def run(args: argparse.Namespace) -> int:
    """List or measure, and print."""
    from retrieval.evaluation import encoders

    if args.data is None:
        for name, value in (("--also", args.also), ("--limit", args.limit), ("--seed", args.seed)):
            if value not in (None, []):
                raise RetrievalError(f"{name} says nothing without pictures: give DATA to measure on")
        print(encoders.known().shown(as_json=args.json))
        return 0
    limit = encoders.LIMIT if args.limit is None else args.limit
    found = encoders.measure_encoders(args.data, args.also, limit=limit, seed=args.seed or 0)
    print(found.shown(as_json=args.json))
    return 0
