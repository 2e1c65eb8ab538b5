"""``retrieval export``."""

from __future__ import annotations

import argparse
import json

from retrieval.base.text import for_terminal
from retrieval.engines.address import is_address
from retrieval.errors import RetrievalError

HELP = "Write the vectors of an index, and what they belong to, for other programs; or all of it into a database."
EXAMPLES = """
retrieval export indexes/photos --to photos.npy                  # and photos.jsonl beside it
retrieval export indexes/photos --to photos.npy --list photos.parquet
retrieval export indexes/photos --to photos.faiss                # ids and vectors, for faiss.read_index
retrieval export indexes/photos --to graph.faiss --structure     # the structure that makes it fast
retrieval export indexes/photos --to photos_clip/                # a folder as clip-retrieval writes it
retrieval export indexes/photos --to photos.hdf5 --seed 7        # a benchmark, with true neighbours
retrieval export indexes/photos --to postgresql://db.example.org/pictures/photos    # which stands for the folder then
retrieval export indexes/photos --to milvus:http://milvus.example.org:19530/photos
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the verb takes."""
    parser.add_argument("index", metavar="INDEX", help="the index's folder")
    parser.add_argument(
        "--to",
        required=True,
        metavar="PATH",
        help="a file ending in .npy, .fvecs, .faiss or .hdf5 (ann-benchmarks), or a folder (clip-retrieval); or an "
        "address postgresql://HOST:PORT/DATABASE/NAME or milvus:http://HOST:PORT/NAME, which then stands wherever the "
        "index's folder may",
    )
    parser.add_argument(
        "--format",
        choices=("faiss", "npy", "clip-retrieval", "fvecs", "ann-benchmarks"),
        help="what PATH is, if its name does not say so",
    )
    parser.add_argument(
        "--list",
        metavar="FILE",
        help="where to list what the vectors belong to: .jsonl, .json, .csv or .parquet (PATH with .jsonl)",
    )
    parser.add_argument("--structure", action="store_true", help="the approximate structure instead of the vectors")
    parser.add_argument(
        "--queries",
        metavar="FILE",
        help="for .hdf5: a .npy or .fvecs file of queries (a tenth of the index, at most 10,000, is held out)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="by which those held out are drawn (0)")
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    """Export, and say what was written."""
    from retrieval.exchange import export_index  # here, so that --help does not wait for it

    if is_address(args.to):
        return _to_engine(args)
    report = export_index(
        args.index,
        args.to,
        format=args.format,
        list_file=args.list,
        structure=args.structure,
        queries=args.queries,
        seed=args.seed,
        overwrite=args.overwrite,
    )
    if args.json:
        print(json.dumps(report.to_json(), indent=2, ensure_ascii=False))
        return 0
    what = f"{report.items:,} vectors"
    if report.structure:
        what = f"the structure {report.structure} over {what}"
    if report.queries:
        what += f" and {report.queries:,} queries"
    print(f"{report.files[0]}: {what} ({report.format})")
    if len(report.files) > 1:
        print(f"{report.files[1]}: what they belong to")
    for note in report.notes:
        print(f"note: {for_terminal(note)}")
    return 0


def _to_engine(args: argparse.Namespace) -> int:
    """Copy an index into a database, and say what was done."""
    from retrieval.engines.exporting import export_to_engine
    from retrieval.index import Index

    for name in ("format", "list", "structure", "queries"):
        if getattr(args, name):
            raise RetrievalError(f"--{name} is for files, and --to names a database; leave it out.")
    with Index.open(args.index, mapped=True) as index:
        report = export_to_engine(index, args.to, overwrite=args.overwrite)
    if args.json:
        print(json.dumps(report.to_json(), indent=2, ensure_ascii=False))
        return 0
    found = "exact search" if report.recall is None else f"{report.structure}, recall@10 {report.recall:.4f}"
    print(f"{report.to}: {report.items:,} pictures, {report.copied:,} copied in {report.seconds:,.1f} s ({found})")
    return 0
