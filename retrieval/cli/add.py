"""``retrieval add``."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from retrieval.base.text import printable
from retrieval.cli.build import add_means, cluster_of, print_report
from retrieval.engines.opening import is_index
from retrieval.errors import RetrievalError

if TYPE_CHECKING:
    from retrieval.ingest.add_index import AddedIndex

HELP = "Add pictures, or all of another index, to an index; pictures that are in it and have changed are replaced."
EXAMPLES = """
retrieval add indexes/photos ~/Pictures/new.jpg
retrieval add indexes/photos scan.png /mnt/camera     # pictures from elsewhere keep their absolute path
retrieval add indexes/photos indexes/camera           # an index of the same model: nothing is encoded
retrieval add postgresql://db.example.org/pictures/photos new.jpg    # where `retrieval export` has put it
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the verb takes."""
    parser.add_argument("index", metavar="INDEX", help="the index's folder, or its address")
    parser.add_argument(
        "pictures",
        metavar="PICTURE",
        nargs="+",
        help="a picture, or a folder, all of whose pictures are meant, or another index of the same model, whose "
        "vectors are copied; a picture outside the index's own folder of pictures has no label, and no build or sync "
        "looks after it",
    )
    add_means(parser)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    """Add, and say what was done."""
    indexes = [given for given in args.pictures if _is_index(given)]
    if indexes and len(indexes) < len(args.pictures):
        raise RetrievalError(f"{printable(indexes[0])!r} is an index, and others are pictures; add them one by one.")
    if indexes:
        if args.ray is not None:
            raise RetrievalError(
                "--ray says nothing where an index is added, of which no picture is read; leave it out."
            )
        from retrieval.ingest.add_index import add_index

        for other in indexes:
            _print_added(add_index(args.index, other, memory=args.memory), as_json=args.json)
        return 0

    from retrieval.ingest import add_pictures  # here, so that --help and wrong arguments do not wait for it

    means = {name: getattr(args, name) for name in ("threads", "batch", "memory")}
    report = add_pictures(args.index, args.pictures, on=cluster_of(args), **means)
    for path, reason in report.skipped:
        print(f"{path!r} is left out: {reason}", file=sys.stderr)
    print_report(report, as_json=args.json, listed=False)
    return 0


def _is_index(given: str) -> bool:
    try:
        return is_index(given)
    except (OSError, ValueError):  # whoever adds it says why
        return False


def _print_added(report: AddedIndex, *, as_json: bool) -> None:
    """Say what adding an index did: as JSON a line, since there may be many."""
    for path in report.differing:
        print(f"{path!r} is in the index with another content, which stays", file=sys.stderr)
    for path in report.unplaced:
        print(f"{path!r} is left out: it leads out of the other index's folder of pictures", file=sys.stderr)
    if as_json:
        print(json.dumps(report.to_json()))
        return
    counts = [
        (report.added, "new"),
        (report.kept, "there already"),
        (len(report.differing), "there with another content"),
        (len(report.unplaced), "left out"),
    ]
    done = ", ".join(f"{count:,} {what}" for count, what in counts if count) or "none in the other index"
    print(f"{printable(report.index)}: {report.total:,} pictures ({done}) in {report.seconds:,.1f} s")
