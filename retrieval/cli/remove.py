"""``retrieval remove``."""

from __future__ import annotations

import argparse
import json

from retrieval.base.text import printable

HELP = "Take pictures out of an index. Their files stay: a sync adds again what lies in the index's folder."
EXAMPLES = """
retrieval remove indexes/photos --id 3 7
retrieval remove indexes/photos --path 2019/IMG_0042.jpg /mnt/camera/1.jpg
retrieval remove indexes/photos --where "label = 'blurred'" --dry-run
"""

SHOWN = 10
"""Pictures that are named; --json names all."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the verb takes."""
    parser.add_argument("index", metavar="INDEX", help="the index's folder, or its address")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--id", type=int, nargs="+", default=[], metavar="N", help="pictures by id")
    which.add_argument("--path", nargs="+", default=[], metavar="P", help="pictures by path, as the index has it")
    which.add_argument("--where", metavar="EXPR", help="pictures that match an expression")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be taken out")
    parser.add_argument("--yes", action="store_true", help="also if nothing is left then")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    """Remove, and say what was taken out."""
    from retrieval.ingest import remove_pictures  # here, so that --help and wrong arguments do not wait for it

    done = remove_pictures(
        args.index, ids=args.id, paths=args.path, where=args.where, dry_run=args.dry_run, everything=args.yes
    )
    if args.json:
        print(json.dumps(done.to_json(), indent=2, ensure_ascii=False))
        return 0
    verb = "would be taken out" if args.dry_run else "taken out"
    print(f"{printable(done.index)}: {len(done.items):,} {verb}, {done.total:,} left")
    for item in done.items[:SHOWN]:
        print(f"  {item.id}  {item.path!r}")
    if len(done.items) > SHOWN:
        print(f"  and {len(done.items) - SHOWN:,} more")
    return 0
