#!/usr/bin/env python3
"""Recall against queries per second, build time and memory: our index beside every library that can be had.

    python benchmarks/neighbours.py fashion --pictures FOLDER       Fashion-MNIST, 60,000 × 784
    python benchmarks/neighbours.py embedding --index FOLDER --queries-from FOLDER      vectors of an index
    python benchmarks/neighbours.py million                         1,000,000 × 128, drawn from clusters
    python benchmarks/neighbours.py report --plot docs/images/neighbours.png     tables and picture of what is known

Every system searches the same unit vectors for the 10 nearest, on one thread. (Fashion-MNIST is usually searched by
the distance of the raw pixels. Our index holds unit vectors, so here they are normalised, for every system alike: it
is another task, if a similar one.) A neighbour counts as found if its score reaches the true tenth one's. Each system
has a process of its own on one core; all build their index first, then they take turns, a round through all their
parameters each, and the order of every other round is reversed. Speeds are queries per second of the processor's time,
medians of the rounds with the least and the most; at a recall the fastest parameters that reach it. What is measured is
kept in --work, so that a run that was stopped goes on. Which library is missing is said in its row. All indexes of a
task are in memory at once: those of a million vectors take 20 GB and an hour to build, so --ours and --peers name some.

The libraries want an environment of their own; four need a C++ compiler, LoRANN's with 6 GB of memory, for ten minutes:

    python3 -m venv runs/peers
    runs/peers/bin/pip install -c constraints.txt -e .
    runs/peers/bin/pip install --no-deps -r benchmarks/neighbours.txt
    runs/peers/bin/python benchmarks/neighbours.py ...

Data: Debian's package `dataset-fashion-mnist` puts its files into /usr/share/datasets/fashion-mnist (without root:
`apt-get download dataset-fashion-mnist && dpkg-deb -x dataset-fashion-mnist_*.deb FOLDER`). `make demo` makes an index
of CIFAR-10's test pictures (indexes/cifar10) for the queries; the training pictures are indexed by

    retrieval data data/cifar10.h5 --export data/cifar10-train --split train
    retrieval build data/cifar10-train --model runs/cifar10 --out indexes/cifar10-train
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from command import markdown, status
from contest.data import Floats, Task, clustered, fashion, indexed, prepare
from contest.report import WAYS, plot, ratio_table, speed_table
from contest.rounds import Results, hold
from contest.systems import FACTORIES, PEERS, ours

from retrieval.base.machine import describe

MILLION_DIM = 128


def prepared(args: argparse.Namespace) -> Task:
    """The vectors that the arguments ask for."""
    request: dict[str, Any] = {"items": args.items, "queries": args.queries, "seed": args.seed}
    if args.what == "fashion":
        request |= {"pictures": str(args.pictures)}
        return prepare(args.work, "fashion", "Fashion-MNIST", request, lambda: fashion(args.pictures))
    if args.what == "embedding":
        request |= {"index": str(args.index), "queries from": str(args.queries_from)}
        return prepare(
            args.work,
            "embedding",
            "embedding of pictures",
            request,
            lambda: indexed(args.index, args.queries_from, args.queries, args.seed),
        )
    items = args.items or 1_000_000

    def drawn() -> tuple[Floats, Floats]:
        both = clustered(items + args.queries, MILLION_DIM, args.seed)
        return both[:items], both[items:]

    return prepare(args.work, "million", "clusters", request, drawn)


def report(found: dict[str, Results], tasks: dict[str, Task], as_json: bool) -> None:
    """Tables on stdout."""
    if as_json:
        everything = {
            title: {
                "machine": r.machine,
                **tasks[title].about,
                "built": r.built,
                "failed": r.failed,
                "measured": r.measured,
            }
            for title, r in found.items()
        }
        print(json.dumps(everything, indent=2))
        return
    for title, results in found.items():
        names = order(results)
        print(f"## {title}\n\n{results.machine}\n")
        for way, words in WAYS.items():
            print(f"Thousand queries per second at recall@10, {words}:\n")
            print(markdown(speed_table(results, names, way)) + "\n")
        print("Our fastest structure against others, times as fast, one query at a time:\n")
        print(markdown(ratio_table(results, names)) + "\n")


def order(results: Results) -> list[str]:
    """The systems that something is known of: ours, then the others as they are listed."""
    known = dict.fromkeys([*results.built, *results.failed])
    return [name for name in known if name not in PEERS] + [name for name in PEERS if name in known]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("fashion", "embedding", "million", "report"))
    parser.add_argument("--work", type=Path, default=Path("runs/neighbours"), help="where vectors and results are kept")
    parser.add_argument(
        "--pictures", type=Path, default=Path("/usr/share/datasets/fashion-mnist"), help="fashion: its files"
    )
    parser.add_argument("--index", type=Path, help="embedding: an index whose vectors are searched")
    parser.add_argument(
        "--queries-from", type=Path, help="embedding: an index whose vectors ask (default: some held out)"
    )
    parser.add_argument("--items", type=int, default=0, help="search only so many vectors")
    parser.add_argument("--queries", type=int, default=1000, help="how many ask (1000)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each system (3)")
    parser.add_argument(
        "--together", type=int, default=1, help="indexes that are built at a time, each on its core (1)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the choice of vectors (0)")
    parser.add_argument("--ours", nargs="*", default=list(FACTORIES), metavar="FACTORY", help="our structures")
    parser.add_argument(
        "--peers", nargs="*", choices=PEERS, default=list(PEERS), metavar="NAME", help=f"others, of {sorted(PEERS)}"
    )
    parser.add_argument("--plot", type=Path, help="report: also draw this file")
    parser.add_argument("--json", action="store_true", help="print everything that was measured as JSON")
    args = parser.parse_args()
    if args.what == "embedding" and args.index is None:
        parser.error("embedding needs --index")
    if args.what == "report":
        folders = sorted(file.parent for file in args.work.glob("*/about.json"))
        tasks = [Task(folder, json.loads((folder / "about.json").read_text())) for folder in folders]
        found = [Results(task) for task in tasks]
    else:
        tasks = [prepared(args)]
        names = [*map(ours, args.ours), *args.peers]
        machine = f"{describe()}; seed {args.seed}, {args.rounds} rounds"
        found = [hold(tasks[0], names, args.rounds, args.together, machine, lambda line: print(line, file=sys.stderr))]
    titles = [task.about["title"] for task in tasks]
    report(dict(zip(titles, found, strict=True)), dict(zip(titles, tasks, strict=True)), args.json)
    if args.plot is not None:
        plot({title: (results, order(results)) for title, results in zip(titles, found, strict=True)}, args.plot)
    return 0


if __name__ == "__main__":
    sys.exit(status(main))
