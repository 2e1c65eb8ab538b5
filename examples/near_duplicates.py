"""Find pictures that are in a folder more than once, and put those that could go aside.

    python examples/near_duplicates.py ~/Pictures                        # look first: what was found changes nothing
    python examples/near_duplicates.py ~/Pictures --aside ~/could_go     # then move them out of the way

The largest of each group stays, and so does what is alike without being sure to be a copy. Only --aside moves files:
what belongs to a picture goes with it, nothing is written over, and nothing is deleted. It says how to take it back.
`retrieval dedup ~/Pictures --page look.html` shows the groups as pictures.
"""

import argparse
from pathlib import Path

import retrieval

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", type=Path)
parser.add_argument("--aside", type=Path, help="a folder outside of the pictures, for what could go")
parser.add_argument("--list", type=Path, default=Path("duplicates.csv"), help="what was found, a picture a line")
args = parser.parse_args()

found = retrieval.find_duplicates(args.folder)
print(found.table())
found.write_list(args.list)

for group in found.groups:
    print(f"\nkeep     {group.kept.path}")
    for copy in group.copies:
        print(f"{'stays   ' if copy.keep else 'could go'} {copy.path} ({copy.stays or copy.kind})")

if args.aside:
    print(retrieval.move_copies(found, args.aside).table())
