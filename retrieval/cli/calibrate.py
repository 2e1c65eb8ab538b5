"""``retrieval calibrate``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from retrieval.index import Index
    from retrieval.search.calibration.halves import Asking

HELP = "Find out, by the labels of an index or without any, how likely hits are true matches; queries show it then."
EXAMPLES = """
retrieval calibrate indexes/cifar10
retrieval calibrate indexes/photos --fmr 0.001          # a match in 1,000 pairs of two labels, at most
retrieval calibrate indexes/photos --queries new_photos/ --json
retrieval calibrate indexes/photos --copies             # P(copy): needs no labels
retrieval calibrate indexes/photos --words              # for --text, with a CLIP-like model
retrieval query indexes/photos holiday.jpg --matches    # afterwards
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the verb takes."""
    parser.add_argument(
        "index", metavar="INDEX", help="the index's folder, or its address; nobody else can write it meanwhile"
    )
    parser.add_argument(
        "--fmr",
        type=float,
        default=0.01,
        metavar="RATE",
        help="false match rate: the share of the pairs of two labels that may count as matches (0.01)",
    )
    parser.add_argument(
        "--miss",
        type=float,
        default=0.05,
        metavar="RATE",
        help="the share of the queries with a match in the index that may be told there is none (0.05)",
    )
    who = parser.add_mutually_exclusive_group()
    who.add_argument(
        "--copies",
        action="store_true",
        help="not by labels: P(copy), by altered copies of some of the index's own pictures (crops, turns, ...)",
    )
    who.add_argument(
        "--words",
        action="store_true",
        help="for --text: by the names of the labels, where the index's model knows words",
    )
    who.add_argument(
        "--queries",
        metavar="DATA",
        help="labelled pictures that ask, none of them in the index, in place of the index's own",
    )
    parser.add_argument("-k", type=int, default=10, metavar="N", help="hits that a query shows (10)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of everything that is drawn (0)")
    parser.add_argument("--json", action="store_true", help="print what was found as JSON")


def run(args: argparse.Namespace) -> int:
    """Calibrate, keep it in the index, and say what was found."""
    from retrieval.engines.opening import open_index
    from retrieval.search.calibration import calibrate

    with open_index(args.index, write=True) as opened:
        asking = None if args.queries is None else _encoded(opened, args.index, args.queries)
        about = "copies" if args.copies else "words" if args.words else "labels"
        found = calibrate(opened, about=about, queries=asking, fmr=args.fmr, miss=args.miss, k=args.k, seed=args.seed)
        opened.record_calibration(found.to_json())
    print(found.shown(as_json=args.json))
    return 0


def _encoded(index: Index, folder: str, data: str) -> Asking:
    """The vectors of labelled pictures by the encoder of the index."""
    from retrieval import datasets
    from retrieval.evaluation.labelled_vectors import encode
    from retrieval.images.reading import recorded_decoder
    from retrieval.search.calibration.halves import Asking
    from retrieval.search.search import Search

    pictures = datasets.load(data)
    if (pictures.splits == "test").any():
        pictures = pictures.select("test")
    with Search.open(folder) as search:  # which knows whether the index has an encoder, and that it is its own
        found = encode(search.encoder, pictures, "queries", decoder=recorded_decoder(index.decoder))
    labels = tuple(None if label < 0 else found.classes[label] for label in found.labels.tolist())
    return Asking(pictures.name, found.vectors, labels)
