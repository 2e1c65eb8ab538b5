"""``retrieval dedup``."""

from __future__ import annotations

import argparse

HELP = "Find pictures that are there more than once. It shows and lists them; it never deletes or moves anything."
EXAMPLES = """
retrieval dedup my_photos --page look.html --list copies.csv
retrieval dedup my_photos --model default            # also crops and other versions, by a network's vectors
retrieval dedup indexes/photos --page look.html      # an index has vectors
retrieval dedup my_photos --bits 4 --json            # only what is almost the same file
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the verb takes."""
    from retrieval.traps.near_duplicates import BITS, SCORE

    parser.add_argument("source", metavar="FOLDER|INDEX", help="a folder of pictures, or an index")
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help="for a folder: also compare the vectors of this model (runs/NAME, default, hf:NAME)",
    )
    parser.add_argument(
        "--score",
        type=float,
        metavar="S",
        help=f"least score of vectors, up to 1 ({SCORE:g}; where a model gives that to whole classes, only with hashes "
        "that are near)",
    )
    parser.add_argument(
        "--bits",
        type=int,
        default=BITS,
        metavar="N",
        help=f"most bits in which each of two 64-bit hashes differs ({BITS})",
    )
    parser.add_argument("--page", metavar="FILE.html", help="write a page to look through the groups")
    parser.add_argument(
        "--list",
        metavar="FILE.csv",
        help="write a list to act on: what could stay and what could go, one picture a line",
    )
    parser.add_argument("--json", action="store_true", help="print the groups as JSON")


def run(args: argparse.Namespace) -> int:
    """Look for duplicates, and say what was found."""
    from retrieval.traps.duplicates import find_duplicates, output, write_page

    for file, ending in ((args.page, ".html"), (args.list, ".csv")):  # before the work, not after it
        if file is not None:
            output(file, ending)
    found = find_duplicates(args.source, model=args.model, score=args.score, bits=args.bits)
    if args.page is not None:
        write_page(found, args.page)
    if args.list is not None:
        found.write_list(args.list)
    print(found.shown(as_json=args.json))
    return 0
