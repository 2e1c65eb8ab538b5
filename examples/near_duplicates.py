"""Find pictures that are in a folder more than once, and put those that could go aside.

    python examples/near_duplicates.py ~/Pictures                        # look first: what was found changes nothing
    python examples/near_duplicates.py ~/Pictures --aside ~/could_go     # then move them out of the way

The largest of each group stays. Only --aside moves files, and nothing is deleted. `retrieval dedup ~/Pictures --page
look.html` shows the groups as pictures.
"""

import argparse
import shutil
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
        print(f"could go {copy.path} ({copy.kind})")
        if args.aside:
            target = args.aside / copy.path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(found.root / copy.path, target)
