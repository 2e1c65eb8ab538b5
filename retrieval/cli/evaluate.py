"""``retrieval evaluate``."""

from __future__ import annotations

import argparse
from pathlib import Path

from retrieval.errors import RetrievalError

HELP = (
    "Measure how good the answers are: of a model on labelled pictures, of an index by its own labels, or of vectors "
    "that any program made."
)
EXAMPLES = """
retrieval evaluate runs/cifar10 data/cifar10.h5
retrieval evaluate runs/cifar10 data/cifar10.h5 --classifier runs/classifier --save measured.json
retrieval evaluate runs/cifar10 data/cifar10.h5 --within test --clustering --like pml
retrieval evaluate default my_photos/ --within train --limit 2000
retrieval evaluate indexes/cifar10
retrieval evaluate indexes/cifar10 --queries new_photos/ --duplicates drop --json
retrieval evaluate indexes/cifar10 --rerank alpha-qe         # what re-ranking gains
retrieval evaluate runs/omniglot all_runs.zip --oneshot      # Lake's official runs
retrieval evaluate runs/omniglot images_evaluation.zip --oneshot --ways 20 --shots 1 --within-groups
retrieval evaluate vectors.npy --labels labels.csv
retrieval evaluate vectors.npy --labels labels.npy --queries asked.npy --query-labels asked.csv
retrieval evaluate vectors.h5                                # data sets vectors and labels, maybe split
retrieval evaluate codes.npy --labels labels.npy --codes     # binary codes, by Hamming distance
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the verb takes."""
    parser.add_argument(
        "subject", metavar="SUBJECT", help="a model (runs/NAME, default, hf:NAME), an index, or vectors (.npy, .h5)"
    )
    parser.add_argument(
        "data", nargs="?", metavar="DATA", help="for a model: labelled pictures, as `retrieval train` takes them"
    )
    parser.add_argument(
        "--queries",
        metavar="DATA",
        help="who asks, in place of DATA's test split or of the subject's own: labelled pictures, or vectors if the "
        "subject is vectors",
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
        "--few-shot",
        nargs=2,
        type=int,
        metavar=("N", "K"),
        help="also tell a query's class from N classes by K examples of each (N-way K-shot)",
    )
    parser.add_argument(
        "--rerank",
        metavar="HOW",
        help="of an index: what this re-ranker gains at the top, as `retrieval query --rerank` takes it "
        "(1,000 queries; --limit)",
    )
    parser.add_argument("--rerank-top", type=int, metavar="N", help="how many hits it looks at (100)")
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
    parser.add_argument(
        "--traps",
        action="store_true",
        help="also look for near-duplicates between queries and gallery, a collapsed embedding, hubs and label errors",
    )
    parser.add_argument(
        "--duplicates",
        choices=("keep", "drop"),
        default="keep",
        help="drop: leave near-duplicates of a query out of its ranking, and count them (default: keep)",
    )
    parser.add_argument(
        "--duplicate-score",
        type=float,
        metavar="S",
        help="the score from which on a picture is a near-duplicate of the query (default: 0.999)",
    )
    parser.add_argument(
        "--limit", type=int, metavar="N", help="draw at most N pictures a side; N queries if not a model"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of everything that is drawn (default: 0)")
    trials = parser.add_argument_group("one-shot and few-shot trials")
    trials.add_argument(
        "--oneshot",
        action="store_true",
        help="only trials: tell a picture's class from N classes by K examples of each; or Lake's runs (all_runs.zip)",
    )
    trials.add_argument("--ways", type=int, nargs="+", metavar="N", help="N, or several (5 20)")
    trials.add_argument("--shots", type=int, nargs="+", metavar="K", help="K, or several (1 5)")
    trials.add_argument("--trials", type=int, metavar="N", help="how many of each kind (2,000)")
    trials.add_argument(
        "--within-groups",
        action="store_true",
        help="the classes of a trial are of one group, such as an alphabet of Omniglot (default: of any)",
    )
    trials.add_argument(
        "--average",
        type=int,
        metavar="N",
        help="a picture's vector is the mean over N views of it, each shifted, turned and scaled a little (1)",
    )
    vectors = parser.add_argument_group("vectors that any program made")
    vectors.add_argument("--labels", metavar="FILE", help="theirs: .npy, .csv, .txt, .json or .jsonl, in their order")
    vectors.add_argument("--query-labels", metavar="FILE", help="those of the vectors of --queries")
    vectors.add_argument("--codes", action="store_true", help="they are binary codes, uint8, eight bits a byte")
    vectors.add_argument(
        "--graded", action="store_true", help="where pictures have several labels, NDCG counts how many are shared"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument(
        "--save", metavar="FILE.json", help="also write the report, and what each query scored to FILE.queries.npz"
    )
    parser.add_argument("--save-per-query", metavar="FILE.npz", help="also write what each query scored, for NumPy")


def run(args: argparse.Namespace) -> int:
    """Measure, and print the report."""
    for name in (args.save, args.save_per_query):
        if name is not None and not Path(name).absolute().parent.is_dir():  # said now, not after ten minutes
            raise RetrievalError(f"there is no folder {str(Path(name).parent)!r} to write {name!r} to: make it first")
    if args.duplicate_score is not None and args.duplicates == "keep":
        raise RetrievalError(f"--duplicate-score {args.duplicate_score:g} says nothing without --duplicates drop")

    if args.rerank is not None:
        return _rerank(args)
    if args.oneshot:
        return _one_shot(args)
    for name, flag in (("rerank_top", "--rerank"), *((name, "--oneshot") for name in _TRIALS)):
        if getattr(args, name) not in (None, False):
            raise RetrievalError(f"--{name.replace('_', '-')} says nothing without {flag}: give both, or neither")

    from retrieval.evaluation.by_name import evaluate
    from retrieval.evaluation.run import DUPLICATE

    what = ("data", "queries", "within", "classifier", "labels", "query_labels", "codes", "graded")
    how = ("probe", "clustering", "like", "over", "traps", "limit", "seed")
    options = {name: getattr(args, name) for name in (*what, *how)}
    if args.few_shot is not None:
        options["few_shot"] = tuple(args.few_shot)
    if args.duplicates == "drop":
        options["duplicate_score"] = DUPLICATE if args.duplicate_score is None else args.duplicate_score
    report = evaluate(args.subject, **options)
    if args.save is not None:
        report.save(args.save)
    if args.save_per_query is not None:
        report.save_per_query(args.save_per_query)
    print(report.text() if args.json else report.table())
    return 0


def _rerank(args: argparse.Namespace) -> int:
    """Measure what a re-ranker gains, and print that."""
    _refuse(args, "--rerank", _RERANK_TAKES)
    from retrieval.evaluation.by_name import evaluate_gain

    gain = evaluate_gain(
        args.subject,
        args.rerank,
        top=args.rerank_top,
        queries=args.queries,
        limit=args.limit,
        over=args.over,
        seed=args.seed,
    )
    if args.save is not None:
        gain.save(args.save)
    print(gain.text() if args.json else gain.table())
    return 0


def _one_shot(args: argparse.Namespace) -> int:
    """Measure a model by trials, and print the errors."""
    _refuse(args, "--oneshot", {"subject", "data", "oneshot", "seed", "json", "save", *_TRIALS})
    from retrieval.evaluation.by_name import evaluate_one_shot

    options = {name: getattr(args, name) for name in _TRIALS if getattr(args, name) is not None}
    found = evaluate_one_shot(args.subject, args.data, seed=args.seed, **options)
    if args.save is not None:
        found.save(args.save)
    print(found.text() if args.json else found.table())
    return 0


_TRIALS = ("ways", "shots", "trials", "within_groups", "average")
_RERANK_TAKES = {"subject", "rerank", "rerank_top", "queries", "limit", "over", "seed", "json", "save"}


def _refuse(args: argparse.Namespace, flag: str, takes: set[str]) -> None:
    """Refuse what says nothing beside a flag."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    for name, value in vars(args).items():
        if name not in takes and value != parser.get_default(name):
            said = name if name == "data" else "--" + name.replace("_", "-")
            raise RetrievalError(f"{said} says nothing beside {flag}: leave it out")
