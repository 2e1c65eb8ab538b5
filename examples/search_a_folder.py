"""Index a folder of pictures, and ask which of them look like one picture.

    python examples/search_a_folder.py ~/Pictures holiday.jpg

No training and no labels are needed. The second run only does what has changed in the folder.
"""

import argparse
from pathlib import Path

import retrieval

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", type=Path, help="pictures, nested in folders or not")
parser.add_argument("picture", type=Path, help="what to look for")
parser.add_argument("--index", type=Path, help="where the index goes (indexes/NAME)")
args = parser.parse_args()

index = args.index or Path("indexes") / args.folder.resolve().name
report = retrieval.build(args.folder, index)
print(f"{report.total:,} pictures, {report.added:,} of them new, {len(report.skipped):,} left out")

with retrieval.Search.open(index) as search:
    (answer,) = search.query(args.picture, k=5)
    for hit in answer:
        print(f"{hit.rank}  {hit.score:.3f}  {hit.path}")
    retrieval.draw_answers([answer], search.root, index / "answer.png")
print(f"The same as pictures: {index / 'answer.png'}")
