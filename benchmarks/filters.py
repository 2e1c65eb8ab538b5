#!/usr/bin/env python3
"""Filtered search: recall and time by how many items the filter lets through.

    python benchmarks/filters.py                         60,000 clustered vectors of 128 numbers
    python benchmarks/filters.py --items 250000
    python benchmarks/filters.py --plot docs/images/filters.png
    python benchmarks/filters.py --json

Two filters of each selectivity: one lets items through that lie scattered among the others, one whole clusters, which
most queries are far from. Three ways of searching, one query at a time on one thread, take turns:

    ours          the index with its structure
    after search  the usual makeshift: ask without the filter, drop what does not match, and ask for four times as many
                  until k are left or everything was asked for
    exact         the same index without a structure

`ours` is well chosen where it is about as fast as the faster of the other two, and loses no recall to `after search`.

Recall@10 is against `exact`. The filter's own cost, its SQL, is paid once and stands in a column of its own. Times are
the processor's, per query, ratios against `exact`.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from command import options, show
from index import clustered, fill, give_graph
from turns import take_turns

from retrieval.index import Index

K = 10
SELECTIVITIES = (0.001, 0.003, 0.01, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
WAYS = ("exact", "after search", "ours")
FINE = 1_000_000
"""The numbers that filters are made of go from 0 up to this."""


def attach(index: Index, vectors: np.ndarray, seed: int) -> None:
    """Give every item a random number, and one by the nearest of a thousand random items."""
    rng = np.random.default_rng(seed)
    scattered = rng.permutation(len(vectors)) * FINE // len(vectors)
    centres = vectors[rng.permutation(len(vectors))[:1000]]
    near = np.concatenate([np.argmax(part @ centres.T, axis=1) for part in np.array_split(vectors, 100)])
    order = np.lexsort((scattered, rng.permutation(1000)[near]))
    together = np.empty(len(vectors), np.int64)
    together[order] = np.arange(len(vectors)) * FINE // len(vectors)
    index.attach(
        {row: {"scattered": int(scattered[row]), "together": int(together[row])} for row in range(len(vectors))}
    )


def after_search(index: Index, query: np.ndarray, matches: np.ndarray) -> np.ndarray:
    """Search without the filter until k of what is found match."""
    width = K
    while True:
        _, ids = index.search(query, width)
        found = ids[0][ids[0] >= 0]
        found = found[matches[found]][:K]
        if len(found) == K or width >= len(index):
            return found
        width = min(4 * width, len(index))


def recall(found: list[np.ndarray], truth: list[np.ndarray]) -> float:
    """Share of the true neighbours that were found, the mean over queries."""
    return float(np.mean([len(np.intersect1d(a, b)) / len(b) for a, b in zip(found, truth, strict=True)]))


def measure(
    graph: Index, exact: Index, queries: np.ndarray, where: str, rounds: int, a_round: int
) -> dict[str, dict[str, float]]:
    """For each way its recall, and what :func:`take_turns` says of its time."""
    matches = np.zeros(len(graph), bool)
    matches[graph.select(where)] = True

    def search(index: Index, query: np.ndarray) -> np.ndarray:
        _, ids = index.search(query, K, where=where)
        return ids[0][ids[0] >= 0]

    ways: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "exact": lambda query: search(exact, query),
        "after search": lambda query: after_search(graph, query, matches),
        "ours": lambda query: search(graph, query),
    }
    found = {name: [way(query) for query in queries[:, None]] for name, way in ways.items()}

    def some(way: Callable[[np.ndarray], np.ndarray]) -> Callable[[], None]:
        def run() -> None:
            for query in queries[:a_round, None]:
                way(query)

        return run

    times = take_turns({name: some(way) for name, way in ways.items()}, rounds, time.process_time)
    return {
        name: {
            "recall": recall(found[name], found["exact"]),
            "ms": 1000 * times[name]["seconds"] / a_round,
            **{key: times[name][key] for key in ("ratio", "least", "most")},
        }
        for name in WAYS
    }


def main() -> int:
    """Measure, and print."""
    parser = options(__doc__, rounds=7)
    parser.add_argument("--items", type=int, default=60_000, help="vectors in the index (60,000)")
    parser.add_argument("--dim", type=int, default=128, help="numbers in a vector (128)")
    parser.add_argument("--queries", type=int, default=200, help="of which recall is the mean (200)")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw it, too")
    args = parser.parse_args()
    faiss.omp_set_num_threads(1)
    both = clustered(args.items + args.queries, args.dim, args.seed)
    chosen = np.random.default_rng(args.seed).permutation(len(both))
    vectors, queries = both[chosen[: args.items]], both[chosen[args.items :]]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        with fill(Path(folder) / "index", vectors) as index:
            attach(index, vectors, args.seed)
        with Index.open(Path(folder) / "index") as exact, Index.open(Path(folder) / "index", write=True) as graph:
            give_graph(graph, args.seed)
            for name in ("scattered", "together"):
                for selectivity in [share for share in SELECTIVITIES if share * args.items >= 1]:
                    where = f"{name} < {round(selectivity * FINE)}"
                    select = take_turns({"select": lambda where=where: graph.select(where)}, 3, time.process_time)
                    measured = measure(graph, exact, queries, where, args.rounds, min(20, args.queries))
                    row: dict[str, Any] = {"filter": name, "selectivity": selectivity}
                    row["select ms"] = 1000 * select["select"]["seconds"]
                    rows.append({**row, "ways": measured})
                    print(f"{where}: done", file=sys.stderr)
            structure = graph.info()["structure"]
    if args.plot is not None:
        draw(rows, args.plot)
    show(args, rows, [_flat(row) for row in rows], items=args.items, dim=args.dim, structure=structure)
    return 0


def draw(rows: list[dict[str, Any]], file: Path) -> None:
    """Time and recall by selectivity, a column for each kind of filter."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    names = list(dict.fromkeys(row["filter"] for row in rows))
    figure, axes = pyplot.subplots(2, len(names), sharex=True, sharey="row", figsize=(4.5 * len(names), 6))
    for column, name in enumerate(names):
        some = [row for row in rows if row["filter"] == name]
        for way in WAYS:
            for line, measure_ in enumerate(("ms", "recall")):
                values = [row["ways"][way][measure_] for row in some]
                axes[line, column].plot(
                    [row["selectivity"] for row in some],
                    values,
                    label=way,
                    marker=".",
                    linewidth=2.5 if way == "ours" else 1.2,
                    zorder=3 if way == "ours" else 2,
                )
        axes[0, column].set(xscale="log", yscale="log", title=f"matching items lie {name}")
        axes[1, column].set(xscale="log", xlabel="share of items that match")
    least = min(row["ways"][way]["recall"] for row in rows for way in WAYS)
    axes[1, 0].set_ylim(min(0.9, least) - 0.01, 1.005)
    axes[0, 0].set_ylabel("milliseconds a query")
    axes[1, 0].set_ylabel("recall@10")
    axes[0, 0].legend(frameon=False)
    for axis in axes.flat:
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(file, dpi=130)


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    flat = {name: value for name, value in row.items() if name != "ways"}
    for way in WAYS:
        flat[f"{way}: recall"] = f"{row['ways'][way]['recall']:.3f}"
        flat["ms" + " " * len(flat)] = f"{row['ways'][way]['ms']:.3f}"
    return flat


if __name__ == "__main__":
    sys.exit(main())
