#!/usr/bin/env python3
"""The family of networks and losses in one table: each system beside what was published.

    python benchmarks/family.py DATA                        a few minutes a system on two cores
    python benchmarks/family.py DATA --size small           all of it in about two minutes: what the tests run
    python benchmarks/family.py DATA --size full            the published sizes, for a GPU
    python benchmarks/family.py DATA --only energy drlim    these systems alone
    python benchmarks/family.py DATA --into docs/family.md  and put the table between the marks of that file

DATA is a folder with `att_faces.zip`, `mnist/`, `omniglot/` and `cifar10.h5`; the rows of what is missing are left out.
A row is kept in OUT/NAME-SIZE.json as soon as it is measured, with the trainings behind it in OUT, and what is there is
not measured again. The table goes to stdout, as Markdown or --json.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from ending import status
from systems import codes, drlim, energy, one_shot, pairs, probes, triplets
from systems.rows import Measure, MissingDataError, Row, Size, keep, kept, table

from retrieval.base.machine import describe
from retrieval.errors import RetrievalError

SYSTEMS: dict[str, Measure] = {
    **energy.SYSTEMS,
    **drlim.SYSTEMS,
    **pairs.SYSTEMS,
    **triplets.SYSTEMS,
    **codes.SYSTEMS,
    **probes.SYSTEMS,
    **one_shot.SYSTEMS,
}
"""In the table's order."""
MARKS = ("<!-- table: python benchmarks/family.py DATA -->", "<!-- end of the table -->")


def rows(data: Path, out: Path, size: Size, names: list[str]) -> Iterator[Row]:
    """The rows, one after another as they are measured."""
    for name in names:
        path = out / f"{name}-{size}.json"
        if not path.exists():
            out.mkdir(parents=True, exist_ok=True)
            try:
                keep(SYSTEMS[name](data, out, size), path)
            except MissingDataError as missing:
                print(f"{name} is left out: {missing}", file=sys.stderr)
                continue
        yield kept(path)


def put(text: str, page: Path) -> None:
    """Replace what stands between the marks of a page.

    Raises:
        RetrievalError: the page has no such marks.
    """
    before, first, rest = page.read_text(encoding="utf-8").partition(MARKS[0])
    _, second, after = rest.partition(MARKS[1])
    if not first or not second:
        raise RetrievalError(f"{page} has no lines {MARKS[0]!r} and {MARKS[1]!r} to put the table between.")
    page.write_text(f"{before}{first}\n{text}\n{second}{after}", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with the data sets")
    parser.add_argument("--out", type=Path, default=Path("runs/family"), help="where rows and trainings are kept")
    parser.add_argument("--size", choices=("small", "medium", "full"), default="medium")
    parser.add_argument("--only", nargs="+", choices=SYSTEMS, metavar="NAME", help=", ".join(SYSTEMS))
    parser.add_argument("--into", type=Path, metavar="PAGE", help="a page of the documentation to put the table into")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    found = list(rows(args.data, args.out, args.size, args.only or list(SYSTEMS)))
    if args.into is not None:
        put(table(found), args.into)
    about = {"machine": describe(), "size": args.size}
    print(json.dumps({**about, "rows": [asdict(row) for row in found]}, indent=2) if args.json else table(found))
    return 0


if __name__ == "__main__":
    sys.exit(status(main))
