"""``retrieval sync``."""

from __future__ import annotations

import argparse

from retrieval.cli.build import add_checksum, add_means, print_report

HELP = "Bring an index up to date with its folder: new, changed, renamed and deleted pictures."
EXAMPLES = """
retrieval sync indexes/photos
retrieval sync indexes/photos /mnt/disk/photos        # the folder was moved there; nothing is encoded again
retrieval sync indexes/shoes --labels shoes.csv       # the list has grown
retrieval sync indexes/photos --checksum              # trusts neither size nor time of change
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the verb takes."""
    parser.add_argument("index", metavar="INDEX", help="the index's folder")
    parser.add_argument(
        "images",
        metavar="FOLDER",
        nargs="?",
        help="where its folder of pictures lies now, if it was moved; at least half of its pictures must be there "
        "(where it was)",
    )
    parser.add_argument(
        "--labels",
        default="auto",
        metavar="LIST",
        help="the CSV file, for an index whose labels come from one; without it pictures keep theirs, and new ones "
        "have none",
    )
    add_checksum(parser)
    add_means(parser)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    """Sync, and say what was done."""
    from retrieval.ingest import sync  # here, so that --help and wrong arguments do not wait for it

    report = sync(
        args.index,
        args.images,
        labels=args.labels,
        checksum=args.checksum,
        threads=args.threads,
        batch=args.batch,
        memory=args.memory,
    )
    print_report(report, as_json=args.json)
    return 0
