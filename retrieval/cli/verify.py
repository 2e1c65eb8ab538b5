"""``retrieval verify``."""

from __future__ import annotations

import argparse
import json

from retrieval.base.text import printable
from retrieval.base.units import show_bytes

HELP = "Check every checksum, count and reference of an index; say what is damaged, and what to do about it."
EXAMPLES = """
retrieval verify indexes/cifar10                      # exit code 1 if anything is wrong
retrieval verify indexes/cifar10 --json
retrieval verify postgresql://db.example.org/pictures/photos    # and what its graph finds, against exact search
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the verb takes."""
    parser.add_argument("index", metavar="INDEX", help="the index's folder, or its address")
    parser.add_argument("--json", action="store_true", help="print what was found as JSON")


def run(args: argparse.Namespace) -> int:
    """Check it, and say what was found."""
    from retrieval.ingest.verify_index import verify  # here, so that --help does not wait for it

    found = verify(args.index)
    if args.json:
        print(json.dumps(found.to_json(), indent=2, ensure_ascii=False))
        return 0 if found.ok else 1
    for problem in found.problems:
        print(f"DAMAGED {printable(problem.where)} {printable(problem.what)}.\n  {problem.remedy}")
    for note in found.notes:
        print(f"note: {printable(note)}")
    state = "whole" if found.ok else "1 problem" if len(found.problems) == 1 else f"{len(found.problems):,} problems"
    counts = [f"{found.counts[name]:,} {name}" for name in ("items", "vectors", "attributes") if name in found.counts]
    print(", ".join([f"{printable(found.folder)}: {state}", *counts, show_bytes(found.counts.get("bytes", 0))]))
    return 0 if found.ok else 1
