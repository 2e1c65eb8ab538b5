"""``retrieval dedup``."""

from __future__ import annotations

import argparse
import sys

from retrieval.base.text import json_text, printable
from retrieval.errors import RetrievalError

HELP = (
    "Find pictures that are there more than once, and say which could stay and which could go. It never deletes "
    "anything, and moves only with --move-to."
)
EXAMPLES = """
retrieval dedup my_photos --page look.html --list copies.csv
retrieval dedup my_photos --model default            # both looks must agree; crops and the like are shown
retrieval dedup indexes/photos --page look.html      # an index has vectors
retrieval dedup card --against my_photos             # which of the new ones are there already?
retrieval dedup my_photos --keep my_photos/sorted --move-to copies --dry-run
retrieval dedup my_photos --keep oldest --move-to copies
retrieval dedup --undo copies/undo-20260501-120000.json
retrieval dedup my_photos --bits 4 --json            # only what is almost the same file
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the verb takes."""
    from retrieval.traps.near_duplicates import BITS, SCORE

    parser.add_argument("source", metavar="FOLDER|INDEX", nargs="?", help="a folder of pictures, or an index")
    parser.add_argument(
        "--against",
        metavar="REFERENCE",
        help="a folder or an index that stays as it is: find only new pictures that are in it",
    )
    parser.add_argument(
        "--keep",
        default="largest",
        metavar="RULE",
        help="which of several stays: largest, oldest, or a folder whose pictures are preferred (largest)",
    )
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
    parser.add_argument(
        "--exact",
        action="store_true",
        help="compare all vectors of an index of more than 100,000 pictures with all (a structure names the near ones)",
    )
    parser.add_argument(
        "--outside", action="store_true", help="of folders: look at what links in them lead to outside of them, too"
    )
    parser.add_argument("--page", metavar="FILE.html", help="write a page to look through the groups")
    parser.add_argument(
        "--list",
        metavar="FILE.csv",
        help="write a list to act on: what could stay and what could go, one picture a line",
    )
    parser.add_argument(
        "--move-to",
        metavar="FOLDER",
        help="move what could go there, with its sidecars; an undo file is written there first",
    )
    parser.add_argument("--dry-run", action="store_true", help="with --move-to: only say what would be moved")
    parser.add_argument("--undo", metavar="FILE", help="move back what a move listed in this file, and nothing else")
    parser.add_argument("--json", action="store_true", help="print the groups, and what was moved, as JSON")


def run(args: argparse.Namespace) -> int:
    """Look for duplicates, say what was found, and move it if that was asked; 1 if something was left alone."""
    if args.undo is not None:
        return _undo(args)
    if args.source is None:
        raise RetrievalError("There is nothing to look at; give a folder of pictures, an index, or --undo FILE.")
    if args.dry_run and args.move_to is None:
        raise RetrievalError("--dry-run says what --move-to FOLDER would do; give that, too, or neither.")
    from retrieval.traps.duplicates.find import find_duplicates, is_an_index
    from retrieval.traps.duplicates.move import checked_target, move_copies
    from retrieval.traps.duplicates.page import write_page
    from retrieval.traps.duplicates.report import output

    for file, ending in ((args.page, ".html"), (args.list, ".csv")):  # before the work, not after it
        if file is not None:
            output(file, ending)
    if args.move_to is not None:
        checked_target(args.move_to, *(folder for folder in (args.source, args.against) if folder is not None))
    found = find_duplicates(
        args.source,
        against=args.against,
        keep=args.keep,
        model=args.model,
        score=args.score,
        bits=args.bits,
        exact=args.exact,
        outside=args.outside,
    )
    if args.page is not None:
        write_page(found, args.page)
    if args.list is not None:
        found.write_list(args.list)
    if args.move_to is None:
        print(found.shown(as_json=args.json))
        return 0
    if not args.dry_run and found.could_go:
        where = printable(args.move_to)
        print(f"What is moved is listed in {where!r} first, in a file for --undo.", file=sys.stderr)
    moved = move_copies(found, args.move_to, dry_run=args.dry_run)
    if args.json:
        print(json_text({**found.to_json(), "move": moved.to_json()}))
    else:
        print("\n".join([found.headline, "", moved.table(), *(["", *found.notes] if found.notes else [])]))
        if moved.undo is not None and is_an_index(args.source):
            print(f"The index does not know of it yet: retrieval sync {printable(args.source)!r}.")
    return 1 if moved.left else 0


def _undo(args: argparse.Namespace) -> int:
    given = [
        name
        for name, value in (("a folder", args.source), ("--against", args.against), ("--move-to", args.move_to))
        if value is not None
    ]
    if given:
        raise RetrievalError(f"--undo needs nothing but its file, and {given[0]} was given, too; leave that out.")
    from retrieval.traps.duplicates.move import undo_move

    undone = undo_move(args.undo)
    print(undone.shown(as_json=args.json))
    return 1 if undone.left else 0
