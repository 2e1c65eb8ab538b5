"""``retrieval import``; the module has an underscore because the word is Python's own."""

from __future__ import annotations

import argparse
import json
from collections import Counter

from retrieval.base.text import for_terminal

HELP = "Make an index of vectors that another program wrote."
EXAMPLES = """
retrieval import photos.npy --out indexes/photos                 # photos.jsonl beside it says what they are
retrieval import clip_folder/ --out indexes/clip --root /photos  # img_emb/ and metadata/, as clip-retrieval writes them
retrieval import knn.index --out indexes/knn --list names.csv    # any FAISS file that can give its vectors back
retrieval import glove-100-angular.hdf5 --out indexes/glove      # a set of ann-benchmarks
retrieval import sift_base.fvecs --out indexes/sift --storage float16
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the verb takes."""
    parser.add_argument(
        "source",
        metavar="FILE",
        help="a file ending in .npy, .fvecs, .faiss, .index or .hdf5 (ann-benchmarks), or a folder (clip-retrieval)",
    )
    parser.add_argument("--out", required=True, metavar="INDEX", help="the folder of the new index")
    parser.add_argument(
        "--format",
        choices=("faiss", "npy", "clip-retrieval", "fvecs", "ann-benchmarks"),
        help="what FILE is, if its name does not say so",
    )
    parser.add_argument(
        "--list",
        metavar="LIST",
        help="what the vectors belong to, an item for each: a table (the .jsonl, .json, .csv or .parquet beside FILE)",
    )
    parser.add_argument("--root", metavar="FOLDER", help="the folder that paths are relative to (that of the list)")
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help="what made the vectors (runs/NAME, hf:NAME, default): a copy is kept, so that pictures can be queries",
    )
    parser.add_argument(
        "--storage",
        choices=("float32", "float16", "binary"),
        help="what the index keeps of a vector (float32; binary for binary codes)",
    )
    parser.add_argument(
        "--normalise",
        action="store_true",
        help="scale to unit length even vectors that are meant for another distance than the angle",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an index that is there")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    """Import, and say what there is now."""
    from retrieval.exchange import import_index  # here, so that --help does not wait for it

    report = import_index(
        args.source,
        args.out,
        format=args.format,
        list_file=args.list,
        root=args.root,
        model=args.model,
        storage=args.storage,
        normalise=args.normalise,
        overwrite=args.overwrite,
    )
    if args.json:
        print(json.dumps(report.to_json(), indent=2, ensure_ascii=False))
        return 0
    unit = "bits" if report.storage == "binary" else "numbers"
    kept = "" if report.storage == "float32" else f", kept as {report.storage}"
    print(f"{report.index}: {report.items:,} vectors of {report.dim:,} {unit} ({report.format}{kept})")
    if report.scaled:
        print(f"scaled: {report.scaled:,} were not of unit length; an index compares by the angle")
    if report.left_out:
        reasons = Counter(reason for _, reason in report.left_out)
        counts = ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common())
        print(f"left out: {len(report.left_out):,} ({counts})")
    if not report.listed:
        print("paths: made up, as there is no list of what the vectors belong to")
    if report.attributes:
        print(f"attributes: {', '.join(report.attributes)}")
    for note in report.notes:
        print(f"note: {for_terminal(note)}")
    return 0
