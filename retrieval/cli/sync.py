"""``retrieval sync``."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from retrieval.cli.build import add_checksum, add_means, cluster_of, print_report, summary

if TYPE_CHECKING:
    from retrieval.ingest import BuildReport

HELP = "Bring an index up to date with its folder: new, changed, renamed and deleted pictures."
EXAMPLES = """
retrieval sync indexes/photos
retrieval sync indexes/photos /mnt/disk/photos        # the folder was moved there; nothing is encoded again
retrieval sync indexes/shoes --labels shoes.csv       # the list has grown
retrieval sync indexes/photos --checksum              # trusts neither size nor time of change
retrieval sync indexes/photos --watch                 # again after each change, until Ctrl-C
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the verb takes."""
    parser.add_argument("index", metavar="INDEX", help="the index's folder, or its address")
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
    parser.add_argument(
        "--watch",
        action="store_true",
        help="go on after the first sync, with another one a second after each burst of changes, until Ctrl-C",
    )
    add_checksum(parser)
    add_means(parser)
    parser.add_argument("--json", action="store_true", help="print the report as JSON; with --watch one a line")


def run(args: argparse.Namespace) -> int:
    """Sync, and say what was done."""
    from retrieval.ingest import sync  # here, so that --help and wrong arguments do not wait for it

    options = {name: getattr(args, name) for name in ("labels", "checksum", "threads", "batch", "memory")}
    options["on"] = cluster_of(args)
    if args.watch:
        return _watch(args, options)
    print_report(sync(args.index, args.images, **options), as_json=args.json)
    return 0


def _watch(args: argparse.Namespace, options: dict[str, Any]) -> int:
    """Sync until Ctrl-C, with a line for each, and say how many there were."""
    from retrieval.ingest.watch_folder import watch

    syncs = 0

    def done(report: BuildReport) -> None:
        nonlocal syncs
        syncs += 1
        left_out = f", {len(report.skipped):,} left out" if report.skipped else ""
        print(json.dumps(report.to_json()) if args.json else summary(report) + left_out, flush=True)

    try:
        watch(args.index, args.images, done=done, **options)
    finally:
        print(json.dumps({"syncs": syncs}) if args.json else f"syncs: {syncs:,}")
    return 0
