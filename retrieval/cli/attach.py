"""``retrieval attach``."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from retrieval.base.text import for_terminal, printable
from retrieval.engines.address import shown

HELP = "Attach numbers, texts and dates from a file to the pictures of an index, to filter queries by."
EXAMPLES = """
retrieval attach indexes/photos camera.csv                  # columns: path, and any number of attributes
retrieval attach indexes/photos camera.jsonl                # {"path": "2019/IMG_0042.jpg", "iso": 400}
query.py indexes/photos holiday.jpg --where 'iso <= 400 and taken >= 2024-05-01'
"""

SHOWN = 3
"""Pictures that are not in the index that are shown, at most."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the verb takes."""
    parser.add_argument(
        "index", metavar="INDEX", help="the index's folder, or its address; nobody else can write it meanwhile"
    )
    parser.add_argument(
        "file", metavar="FILE", help="a table (CSV, TSV, JSON lines, JSON, Parquet); path or id names the picture"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object instead of text")


def run(args: argparse.Namespace) -> int:
    """Attach, and say what was attached."""
    from retrieval.ingest.attach import attach  # here, so that --help and wrong arguments do not wait for it

    report = attach(args.index, args.file)
    if args.json:
        print(json.dumps({"index": printable(shown(args.index)), **asdict(report)}, indent=2, ensure_ascii=False))
        return 0
    print(for_terminal(f"attached   {', '.join(report.names)}"))
    print(f"pictures   {report.attached:,}")
    if report.unknown:
        some = ", ".join(for_terminal(name) for name in report.unknown[:SHOWN])
        more = ", ..." if len(report.unknown) > SHOWN else ""
        print(f"unknown    {len(report.unknown):,} that are not in the index: {some}{more}")
    for note in report.notes:
        print(f"note       {for_terminal(note)}")
    return 0
