"""``retrieval evaluate``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval.base.found import Found
from retrieval.errors import RetrievalError

if TYPE_CHECKING:
    from retrieval.evaluation.options import EvaluationOptions

HELP = (
    "Measure how good the answers are: of a model on labelled pictures, of an index by its own labels, or of vectors "
    "that any program made."
)
EXAMPLES = """
retrieval evaluate runs/cifar10 data/cifar10.h5
retrieval evaluate runs/cifar10 data/cifar10.h5 --classifier runs/classifier --save measured.json
retrieval evaluate runs/cifar10 data/cifar10.h5 --within test --clustering --as-in pml
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
    """Declare what the verb takes. What is not given is not there, so that what is measured sets every default."""
    parser.argument_default = argparse.SUPPRESS
    parser.add_argument(
        "subject",
        metavar="SUBJECT",
        help="a model (runs/NAME, default, fast, hf:NAME), an index, or vectors (.npy, .h5)",
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
        help="fit a linear SVM on the gallery and judge it on the queries (default: yes, where they are apart)",
    )
    parser.add_argument(
        "--classifier", metavar="RUN", help="set the accuracy of this run, trained with --loss softmax, beside"
    )
    parser.add_argument(
        "--as-in",
        choices=("pml", "oml"),
        help="also print what pytorch-metric-learning or open-metric-learning would, by its own definitions",
    )
    parser.add_argument(
        "--exact",
        action="store_true",
        help="of an index of more than 50,000 pictures: let all ask, which takes hours for a million (5,000 do)",
    )
    add_options(parser)
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
    vectors.add_argument(
        "--graded", action="store_true", help="where pictures have several labels, NDCG counts how many are shared"
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what `retrieval benchmark` takes, too."""
    parser.add_argument(
        "--rerank",
        metavar="HOW",
        help="what this re-ranker gains, as `retrieval query --rerank` takes it: of an index at the top (1,000 "
        "queries; --limit), of a benchmark by its measures",
    )
    parser.add_argument("--rerank-top", type=int, metavar="N", help="how many hits it looks at (100)")
    parser.add_argument(
        "--clustering", action="store_true", help="also cluster the queries by k-means: NMI and AMI with their labels"
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
        help="drop: leave near-duplicates of a query out of its ranking, and count them (default: keep)",
    )
    parser.add_argument(
        "--duplicate-score",
        type=float,
        metavar="S",
        help="the score from which on a picture is a near-duplicate of the query (default: 0.999)",
    )
    parser.add_argument(
        "--limit", type=int, metavar="N", help="draw at most N queries; of a model on pictures N a side"
    )
    parser.add_argument("--seed", type=int, metavar="S", help="of everything that is drawn (default: 0)")
    parser.add_argument("--codes", action="store_true", help="the vectors are binary codes, uint8, eight bits a byte")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument(
        "--save", metavar="FILE.json", help="also write the report, and what each query scored to FILE.queries.npz"
    )


def run(args: argparse.Namespace) -> int:
    """Measure, and print the report."""
    given = dict(vars(args))
    subject = given.pop("subject")
    return shown(given, lambda: _measured(subject, given))


def shown(given: dict[str, Any], measured: Callable[[], Found]) -> int:
    """Measure, keep what came of it where --save says, and print it; both flags are taken out of what was given."""
    save, as_json = given.pop("save", None), given.pop("json", False)
    if save is not None and not Path(save).absolute().parent.is_dir():  # said now, not after ten minutes
        raise RetrievalError(f"there is no folder {str(Path(save).parent)!r} to write {save!r} to: make it first")
    found = measured()
    if save is not None:
        found.save(save)
    print(found.shown(as_json=as_json))
    return 0


def options_of(given: dict[str, Any]) -> EvaluationOptions:
    """The options that flags stand for."""
    from retrieval.evaluation.options import DUPLICATE, EvaluationOptions

    dropped = given.pop("duplicates", "keep") == "drop"
    if dropped:
        given.setdefault("duplicate_score", DUPLICATE)
    elif "duplicate_score" in given:
        raise RetrievalError(f"--duplicate-score {given['duplicate_score']:g} says nothing without --duplicates drop")
    return EvaluationOptions(**given)


def _measured(subject: str, given: dict[str, Any]) -> Found:
    """What was asked for, of the arguments that were given."""
    from retrieval.evaluation import by_name

    if "rerank" in given:
        refuse(given, "rerank", _RERANK)
        return by_name.evaluate_gain(subject, **given)
    if "oneshot" in given:
        refuse(given, "oneshot", ("data", "seed", *_TRIALS))
        del given["oneshot"]
        return by_name.evaluate_one_shot(subject, **given)
    for name, other in (("rerank_top", "rerank"), *((name, "oneshot") for name in _TRIALS)):
        if name in given:
            raise RetrievalError(f"{_flag(name)} says nothing without {_flag(other)}: give both, or neither")
    inputs = {name: given.pop(name) for name in _INPUTS if name in given}
    return by_name.evaluate(subject, **inputs, options=options_of(given))


_INPUTS = ("data", "queries", "labels", "query_labels")
_TRIALS = ("ways", "shots", "trials", "within_groups", "average")
_RERANK = ("rerank_top", "queries", "limit", "over", "seed")


def _flag(name: str) -> str:
    return name if name == "data" else "--" + name.replace("_", "-")


def refuse(given: dict[str, Any], mode: str, takes: Sequence[str]) -> None:
    """Refuse what says nothing beside a flag."""
    for name in given:
        if name not in (mode, *takes):
            said = "--no-" + _flag(name)[2:] if given[name] is False else _flag(name)
            raise RetrievalError(f"{said} says nothing beside {_flag(mode)}: leave it out")
