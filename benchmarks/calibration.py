#!/usr/bin/env python3
"""What calibrating tells on labels that it was not fitted on, and what that costs a query.

    python benchmarks/calibration.py figures indexes/cifar10                     the index of `make demo`
    python benchmarks/calibration.py figures data/cifar10.h5 --limit 2500        a data set, by EfficientNet-Lite0
    python benchmarks/calibration.py figures DATA/att_faces some/class/folders   any labelled pictures
    python benchmarks/calibration.py figures indexes/cifar10 --copies            altered copies; needs an index
    python benchmarks/calibration.py cost                                        10,000 clustered vectors

`figures` prints the tables of docs/calibration.md: for each source and each of three seeds a half of the labels is
fitted to, and the other half judged, by the score alone and by all of the evidence, with 95 % intervals. An index is
asked by its own pictures. Of a data set the test pictures, where it has such, are encoded and ask one another.

`cost` asks an index with a calibration and the same without in turns, one query at a time on one thread. Times are the
processor's.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from command import markdown, show
from index import clustered
from turns import take_turns

from retrieval import datasets
from retrieval.base.machine import describe
from retrieval.encoder import Encoder
from retrieval.evaluation.labelled_vectors import asking_part, encode, some
from retrieval.index import Index, NewItem
from retrieval.index.folder import is_index
from retrieval.measures import Interval
from retrieval.search.calibration import Calibration, calibrate
from retrieval.search.search import Search

ITEMS, LABELS, ASKED = 10_000, 50, 50


def labelled_index(folder: Path, vectors: np.ndarray, labels: Sequence[str | None]) -> Index:
    """An index of these."""
    index = Index.create(folder, vectors.shape[1], root="pictures", encoder_hash="", details={})
    index.add(vectors, [NewItem(f"{row}.png", label) for row, label in enumerate(labels)])
    return index


@contextlib.contextmanager
def opened(source: str, model: str | None, limit: int | None) -> Iterator[Index]:
    """An index, or one that is made of a labelled set."""
    if is_index(Path(source)):
        with Index.open(source) as index:
            yield index
        return
    pictures = some(asking_part(datasets.load(source)), limit, np.random.default_rng(0))
    encoder = Encoder.load(model)
    encoder.optimise()
    found = encode(encoder, pictures, Path(source).name)
    labels = [found.classes[label] if label >= 0 else None for label in found.labels.tolist()]
    with (
        tempfile.TemporaryDirectory() as folder,
        labelled_index(Path(folder) / "index", found.vectors, labels) as index,
    ):
        yield index


def ends(figure: Interval | None) -> str:
    """A figure with its interval."""
    if figure is None:
        return "-"
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"


def rows_of(name: str, found: Calibration) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Of one calibration what is told of hits, and of queries: by the score alone, and by all."""
    judged, hits, queries = found.judged, [], []
    for way, told in (("score", judged.by_score), ("evidence", judged.by_evidence)):
        about = {"": name, "seed": found.measured.seed, "by": way}
        row = about | {"AUC": ends(told.hits.auc), "log loss": ends(told.hits.log_loss)}
        if way == "evidence":
            row |= {
                "ECE": ends(judged.reliability.ece),
                "kept hits that match": ends(judged.kept_match),
                "matches that are kept": ends(judged.matches_kept),
            }
        hits.append(row)
        queries.append(
            about
            | {
                "AUC": ends(told.has_match),
                "told none, and has a match": ends(told.missed),
                "not told so, and has none": ends(told.false_alarm),
            }
        )
    return hits, queries


def figures(args: argparse.Namespace) -> int:
    """Calibrate each source with each seed, and print."""
    hits: list[dict[str, Any]] = []
    queries: list[dict[str, Any]] = []
    records = []
    for source in args.sources:
        with opened(source, args.model, args.limit) as index:
            name = f"{Path(source).stem}, {len(index):,} pictures"
            for seed in range(args.seeds):
                found = calibrate(index, about="copies" if args.copies else "labels", seed=seed)
                records.append({"source": source, **found.to_json()})
                for rows, more in zip((hits, queries), rows_of(name, found), strict=True):
                    rows += more
                print(f"{name}, seed {seed}: done", file=sys.stderr)
    if args.json:
        print(json.dumps({"machine": describe(), "records": records}, indent=2))
        return 0
    print(f"{describe()}; {args.seeds} seeds, 95 % intervals\n\nHits:\n\n{markdown(hits)}\n")
    print(f"Is there a match at all?\n\n{markdown(queries)}")
    return 0


def cost(args: argparse.Namespace) -> int:
    """Ask with a calibration and without in turns."""
    faiss.omp_set_num_threads(1)
    rows = []
    for dim in (128, 1280):
        vectors = clustered(ITEMS + ASKED, dim, args.seed)
        order = np.random.default_rng(args.seed).permutation(len(vectors))
        vectors, asked = vectors[order[:ITEMS]], vectors[order[ITEMS:]]
        labels = [f"label {nearest}" for nearest in (vectors @ vectors[:LABELS].T).argmax(axis=1).tolist()]
        with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as held:
            ways: dict[str, Callable[[], object]] = {}
            for name in ("without", "with a calibration"):
                with labelled_index(Path(folder) / name, vectors, labels) as index:
                    if name != "without":
                        index.record_calibration(calibrate(index, seed=args.seed).to_json())
                search = held.enter_context(Search.open(Path(folder) / name))

                def ask(search: Search = search, asked: np.ndarray = asked) -> None:
                    for query in asked:
                        search.query_vectors(query, 10)

                ways[name] = ask
            times = take_turns(ways, args.rounds, time.process_time)
        for name, row in times.items():
            rows.append(
                {
                    "numbers": dim,
                    "": name,
                    "ms a query": 1000 * row["seconds"] / ASKED,
                    "added ms": 1000 * (row["seconds"] - times["without"]["seconds"]) / ASKED,
                    **{key: row[key] for key in ("ratio", "least", "most")},
                }
            )
    show(args, rows, items=ITEMS, k=10)
    return 0


def main() -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(required=True)
    one = parts.add_parser("figures", help="what calibrating tells")
    one.add_argument("sources", nargs="+", metavar="INDEX|DATA")
    one.add_argument("--model", help="what encodes a data set (EfficientNet-Lite0)")
    one.add_argument("--limit", type=int, metavar="N", help="pictures of a data set, drawn at random (all)")
    one.add_argument("--seeds", type=int, default=3, metavar="N", help="seeds, from 0 on (3)")
    one.add_argument("--copies", action="store_true", help="by altered copies instead of labels")
    one.set_defaults(run=figures)
    two = parts.add_parser("cost", help="what it costs a query")
    two.add_argument("--rounds", type=int, default=9)
    two.add_argument("--seed", type=int, default=0)
    two.set_defaults(run=cost)
    for part in (one, two):
        part.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    run: Callable[[argparse.Namespace], int] = args.run
    return run(args)


if __name__ == "__main__":
    sys.exit(main())
