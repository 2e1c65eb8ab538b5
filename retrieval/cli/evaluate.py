"""``retrieval evaluate``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from retrieval.errors import RetrievalError

HELP = "Measure how good the answers are: of a model on labelled pictures, or of an index by its own labels."
EXAMPLES = """
retrieval evaluate runs/cifar10 data/cifar10.h5
retrieval evaluate runs/cifar10 data/cifar10.h5 --classifier runs/classifier --save measured.json
retrieval evaluate runs/cifar10 data/cifar10.h5 --within test --clustering --like pml
retrieval evaluate default my_photos/ --within train --limit 2000
retrieval evaluate indexes/cifar10
retrieval evaluate indexes/cifar10 --queries new_photos/ --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("subject", metavar="MODEL_OR_INDEX", help="runs/NAME, default, hf:NAME, or indexes/NAME")
    parser.add_argument(
        "data", nargs="?", metavar="DATA", help="labelled pictures, as `retrieval train` takes them; not for an index"
    )
    parser.add_argument(
        "--queries",
        metavar="DATA",
        help="labelled pictures that ask, in place of DATA's test split or of the index's own",
    )
    parser.add_argument(
        "--within", choices=("train", "val", "test"), help="each picture of this split against the others of it"
    )
    parser.add_argument(
        "--probe",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="fit a linear SVM on the gallery and judge it on the queries (default: yes, where they are apart)",
    )
    parser.add_argument(
        "--classifier", metavar="RUN", help="set the accuracy of this run, trained with --loss softmax, beside"
    )
    parser.add_argument(
        "--clustering", action="store_true", help="also cluster the queries by k-means: NMI and AMI with their labels"
    )
    parser.add_argument(
        "--like",
        choices=("pml", "oml"),
        help="also print what pytorch-metric-learning or open-metric-learning would, by its own definitions",
    )
    parser.add_argument(
        "--over",
        choices=("queries", "classes"),
        help="what the intervals are drawn over (default: queries; classes where the model has seen none of them)",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="draw at most N pictures a side; of an index, N queries")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of everything that is drawn (default: 0)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--save", metavar="FILE.json", help="also write the report to a file")
    parser.add_argument("--save-per-query", metavar="FILE.npz", help="also write what each query scored, for NumPy")


def run(args: argparse.Namespace) -> int:
    for name in (args.save, args.save_per_query):
        if name is not None and not Path(name).absolute().parent.is_dir():  # said now, not after ten minutes
            raise RetrievalError(f"there is no folder {str(Path(name).parent)!r} to write {name!r} to: make it first")

    from retrieval import datasets, evaluation
    from retrieval.encoder import Encoder
    from retrieval.index import Index

    queries = None if args.queries is None else datasets.load(args.queries)
    names = ("probe", "clustering", "like", "limit", "seed", "subject")
    options = {"queries": queries} | {name: getattr(args, name) for name in names}
    if (Path(args.subject) / "catalog.sqlite").is_file():
        for name in ("data", "within", "classifier"):
            if getattr(args, name) is not None:
                raise RetrievalError(
                    f"{args.subject!r} is an index and measured by its own pictures, so {name} {getattr(args, name)!r} "
                    "says nothing: leave it out, or give pictures that ask with --queries"
                )
        encoder = None if queries is None else Encoder.load(args.subject, threads=1 if queries.files else None)
        with Index.open(args.subject) as index:
            report = evaluation.evaluate_index(index, encoder=encoder, over=args.over or "queries", **options)
    else:
        if args.data is None:
            raise RetrievalError(f"{args.subject!r} is no index, so it needs labelled pictures: name them after it")
        pictures = datasets.load(args.data)
        from_files = pictures.files is not None or (queries is not None and queries.files is not None)
        encoder = Encoder.load(args.subject, threads=1 if from_files else None)
        encoder.optimise()
        report = evaluation.evaluate_encoder(
            encoder, pictures, within=args.within, classifier=args.classifier, over=args.over, **options
        )
    if args.save is not None:
        report.save(args.save)
    if args.save_per_query is not None:
        report.save_per_query(args.save_per_query)
    print(json.dumps(report.to_json(), indent=2, ensure_ascii=False) if args.json else report.table())
    return 0
