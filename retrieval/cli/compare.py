"""``retrieval compare``."""

from __future__ import annotations

import argparse
from pathlib import Path

from retrieval.errors import RetrievalError

HELP = "Compare two measurements query by query, and say whether the sample can tell them apart."
EXAMPLES = """
retrieval compare before.json after.json                      # as `retrieval evaluate --save` wrote them
retrieval compare before.json after.json --stratify --json
retrieval compare runs/triplet runs/softmax data/cifar10.h5   # two models, measured now
retrieval compare before.json runs/softmax data/cifar10.h5 --within test
retrieval compare indexes/a indexes/b                         # two indexes of the same pictures
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the verb takes."""
    for name in ("A", "B"):
        parser.add_argument(
            name.lower(),
            metavar=name,
            help="a saved report (FILE.json or FILE.queries.npz), or a model or an index to measure now",
        )
    parser.add_argument("data", nargs="?", metavar="DATA", help="for models: labelled pictures to measure them on")
    parser.add_argument(
        "--within", choices=("train", "val", "test"), help="for models: each picture of this split against the others"
    )
    parser.add_argument(
        "--limit", type=int, metavar="N", help="to measure now: draw at most N pictures a side, the same for both"
    )
    parser.add_argument(
        "--stratify", action="store_true", help="let each class keep its number of queries in every resample"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of everything that is drawn (default: 0)")
    parser.add_argument("--json", action="store_true", help="print the comparison as JSON")


def run(args: argparse.Namespace) -> int:
    """Compare, and print the differences."""
    from retrieval.engines.opening import is_index
    from retrieval.evaluation import paired_comparison, per_query
    from retrieval.evaluation.by_name import evaluate
    from retrieval.evaluation.options import EvaluationOptions

    saved = [Path(side).suffix in (".json", ".npz") for side in (args.a, args.b)]
    for name, value in (("DATA", args.data), ("--within", args.within), ("--limit", args.limit)):
        if value is not None and all(saved):
            raise RetrievalError(f"both reports are saved, so {name} {value} says nothing: leave it out")
    # what is saved first, as a file that cannot be read is said at once
    sides = {side: per_query.read(Path(side)) for side, ready in zip((args.a, args.b), saved, strict=True) if ready}
    for side in (args.a, args.b):
        if side not in sides:
            # an index is measured by its own pictures; DATA is for the models
            index = is_index(side)
            options = EvaluationOptions(
                within=None if index else args.within, probe=False, limit=args.limit, seed=args.seed
            )
            sides[side] = evaluate(side, data=None if index else args.data, options=options).kept()
    found = paired_comparison.compare_kept(sides[args.a], sides[args.b], stratify=args.stratify, seed=args.seed)
    print(found.shown(as_json=args.json))
    return 0
