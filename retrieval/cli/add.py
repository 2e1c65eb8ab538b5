"""``retrieval add``."""

from __future__ import annotations

import argparse
import sys

from retrieval.cli.build import add_means, print_report

HELP = "Add pictures to an index; those that are in it and have changed are replaced."
EXAMPLES = """
retrieval add indexes/photos ~/Pictures/new.jpg
retrieval add indexes/photos scan.png /mnt/camera     # pictures from elsewhere keep their absolute path
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the verb takes."""
    parser.add_argument("index", metavar="INDEX", help="the index's folder")
    parser.add_argument(
        "pictures",
        metavar="PICTURE",
        nargs="+",
        help="a picture, or a folder, all of whose pictures are meant; what lies outside the index's own folder of "
        "pictures has no label, and no build or sync looks after it",
    )
    add_means(parser)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    """Add, and say what was done."""
    from retrieval.ingest import add_pictures  # here, so that --help and wrong arguments do not wait for it

    report = add_pictures(args.index, args.pictures, threads=args.threads, batch=args.batch, memory=args.memory)
    for path, reason in report.skipped:
        print(f"{path!r} is left out: {reason}", file=sys.stderr)
    print_report(report, as_json=args.json, listed=False)
    return 0
