"""Find pictures that are in a folder more than once, and put those that could go aside.

    python examples/near_duplicates.py ~/Pictures                        # look first: that changes nothing
    python examples/near_duplicates.py ~/Pictures --aside ~/could_go     # then move them out of the way
    python examples/near_duplicates.py --undo ~/could_go/undo-....json   # and back

Nothing is deleted, and nothing is written over. `retrieval dedup ~/Pictures --page look.html` shows the groups as
pictures; docs/traps.md says which picture of a group stays.
"""

import argparse
from pathlib import Path

import retrieval

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", type=Path, nargs="?")
parser.add_argument("--aside", type=Path, help="a folder outside of the pictures, for what could go")
parser.add_argument("--undo", type=Path, help="the list that a move has left in that folder")
parser.add_argument("--list", type=Path, default=Path("duplicates.csv"), help="what was found, a picture a line")
args = parser.parse_args()

if args.undo:
    print(retrieval.undo_move(args.undo).table())
else:
    found = retrieval.find_duplicates(args.folder)
    print(found.table())
    found.write_list(args.list)
    for group in found.groups:
        print(f"\nkeep     {group.kept.path}")
        for copy in group.copies:
            print(f"{'stays   ' if copy.keep else 'could go'} {copy.path} ({copy.stays or copy.kind})")
    if args.aside:
        print()
        print(retrieval.move_copies(found, args.aside).table())
