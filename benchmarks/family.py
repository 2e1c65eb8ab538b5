#!/usr/bin/env python3
"""The family of networks and losses in one table: each system beside what was published.

    python benchmarks/family.py DATA                        a few minutes a system on two cores
    python benchmarks/family.py DATA --size small           all of it in about two minutes: what the tests run
    python benchmarks/family.py DATA --size full            the published sizes, for a GPU
    python benchmarks/family.py DATA --only energy drlim    these systems alone

    python benchmarks/family.py DATA --out benchmarks/logs/family --into docs/family.md --plots docs/images

puts the tables between the marks of that file and draws its plots; those rows are kept, so that nothing is measured.

DATA is a folder with `att_faces.zip`, `mnist/`, `omniglot/` and `cifar10.h5`; the rows of what is missing are left out.
A row is kept in OUT/NAME-SIZE.json as soon as it is measured, with the trainings behind it in OUT, and what is there is
not measured again. The table goes to stdout, as Markdown or --json.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from command import options, put, status
from systems import codes, drlim, energy, one_shot, pairs, probes, triplets
from systems.page import everything, table
from systems.rows import Measure, MissingDataError, Row, Size, keep, kept

from retrieval.base.machine import describe

FAMILIES = (
    energy.FAMILY,
    drlim.FAMILY,
    pairs.FAMILY,
    triplets.FAMILY,
    codes.FAMILY,
    probes.FAMILY,
    one_shot.FAMILY,
)
"""In the page's order."""

SYSTEMS: dict[str, Measure] = {name: measure for family in FAMILIES for name, measure in family.systems.items()}
"""In the table's order."""

MARKS = ("<!-- table: python benchmarks/family.py DATA -->", "<!-- end of the table -->")
ALL = ("<!-- every figure: python benchmarks/family.py DATA -->", "<!-- end of every figure -->")


def rows(data: Path, out: Path, size: Size, names: list[str]) -> Iterator[tuple[str, Row]]:
    """The rows by name, one after another as they are measured."""
    for name in names:
        path = out / f"{name}-{size}.json"
        if not path.exists():
            out.mkdir(parents=True, exist_ok=True)
            try:
                keep(SYSTEMS[name](data, out, size), path)
            except MissingDataError as missing:
                print(f"{name} is left out: {missing}", file=sys.stderr)
                continue
        yield name, kept(path)


def main() -> int:
    parser = options(__doc__, seed=False)
    parser.add_argument("data", type=Path, help="folder with the data sets")
    parser.add_argument("--out", type=Path, default=Path("runs/family"), help="where rows and trainings are kept")
    parser.add_argument("--size", choices=("small", "medium", "full"), default="medium")
    parser.add_argument("--only", nargs="+", choices=SYSTEMS, metavar="NAME", help=", ".join(SYSTEMS))
    parser.add_argument("--into", type=Path, metavar="PAGE", help="a page of the documentation to put the tables into")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="where to draw one plot a family")
    args = parser.parse_args()
    found = dict(rows(args.data, args.out, args.size, args.only or list(SYSTEMS)))
    text = table(found, FAMILIES)
    if args.into is not None:
        put(args.into, (text, MARKS), (everything(found, FAMILIES), ALL))
    if args.plots is not None:
        for family in FAMILIES:
            there = {name: row for name, row in found.items() if name in family.systems}
            if there:
                family.draw(there, args.plots / f"family-{family.name}.png")
    about = {"machine": describe(), "size": args.size}
    measured = [asdict(row) for row in found.values()]
    print(json.dumps({**about, "rows": measured}, indent=2) if args.json else text)
    return 0


if __name__ == "__main__":
    sys.exit(status(main))
