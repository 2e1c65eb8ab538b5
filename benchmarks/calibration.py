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
from retrieval.search.calibration.halves import Asking
from retrieval.search.search import Search

ITEMS, LABELS, ASKED, FITTED = 10_000, 50, 50, 500


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


def ends(figure: Interval | None, alone: Interval | None = None) -> str:
    """A figure with its interval, behind what the score alone reached."""
    if figure is None:
        return "-"
    before = "" if alone is None else f"{alone.value:.3f} → "
    return f"{before}{figure.value:.3f} ({figure.low:.3f}–{figure.high:.3f})"


def rows_of(name: str, found: Calibration) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of one calibration what is told of hits, and of queries: by the score alone → by what is used."""
    judged = found.judged
    used, alone = judged.by_evidence, judged.by_score
    about = {"data": name, "seed": found.measured.seed}
    hits = {
        "AUC": ends(used.hits.auc, alone.hits.auc),
        "log loss": ends(used.hits.log_loss, alone.hits.log_loss),
        "expected calibration error": ends(judged.reliability.ece),
        "precision of the fold": ends(judged.kept_match),
        "its recall": ends(judged.matches_kept),
    }
    queries = {
        "AUC": ends(used.has_match, alone.has_match),
        "told none, and has a match": ends(used.missed, alone.missed),
        "not told so, and has none": ends(used.false_alarm, alone.false_alarm),
    }
    return about | hits, about | queries


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
                for rows, row in zip((hits, queries), rows_of(name, found), strict=True):
                    rows.append(row)
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
        vectors = clustered(ITEMS + ASKED + FITTED, dim, args.seed)
        vectors = vectors[np.random.default_rng(args.seed).permutation(len(vectors))]
        labels = [f"label {nearest}" for nearest in (vectors @ vectors[:LABELS].T).argmax(axis=1).tolist()]
        asked, known = vectors[ITEMS : ITEMS + ASKED], slice(ITEMS + ASKED, None)
        queries = Asking("others", vectors[known], tuple(labels[known]))
        vectors, labels = vectors[:ITEMS], labels[:ITEMS]
        with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as held:
            ways: dict[str, Callable[[], object]] = {}
            for name in ("without", "with a calibration"):
                with labelled_index(Path(folder) / name, vectors, labels) as index:
                    if name != "without":
                        found = calibrate(index, queries=queries, seed=args.seed)
                        used = {"evidence": found.evidence is not None, "has_match": found.has_match is not None}
                        index.record_calibration(found.to_json())
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
                    **({} if name == "without" else used),
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
