"""``retrieval compact``."""

from __future__ import annotations

import argparse
import json

from retrieval.base.text import printable
from retrieval.base.units import show_bytes

HELP = "Rewrite an index's vectors as one file, and forget for good what was removed from it."
EXAMPLES = """
retrieval compact indexes/photos
retrieval compact indexes/photos --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the verb takes."""
    parser.add_argument("index", metavar="INDEX", help="the index's folder")
    parser.add_argument("--json", action="store_true", help="print what it was and is as JSON")


def run(args: argparse.Namespace) -> int:
    """Compact it, and say what was gained."""
    from retrieval.ingest.compact import compact

    done = compact(args.index)
    if args.json:
        print(json.dumps(done.to_json(), indent=2, ensure_ascii=False))
        return 0
    before, after = done.before, done.after
    was = (
        f"{show_bytes(before['bytes'])} in {_files(before['segments'])}, {before['removed']:,} removed vectors in them"
    )
    now = f"{show_bytes(after['bytes'])} in {_files(after['segments'])} of vectors"
    print(f"{printable(args.index)}: {done.items:,} items, {now} (before: {was})")
    return 0


def _files(count: int) -> str:
    return f"{count:,} file{'s' if count != 1 else ''}"
