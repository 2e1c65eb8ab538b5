"""``retrieval report``."""

from __future__ import annotations

import argparse
import json
import sys

from retrieval.base.units import show_bytes

HELP = "Write one page about an index: what is in it, how good its answers are, how sure, and what may be wrong."
EXAMPLES = """
retrieval report indexes/cifar10 -o report.html
retrieval report indexes/cifar10 -o report.html --run runs/cifar10     # with the curves of its training
retrieval report indexes/cifar10 --json > report.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("index", metavar="INDEX", help="indexes/NAME, or an address")
    parser.add_argument("-o", "--out", metavar="FILE.html", help="the page to write (report.html, unless --json)")
    parser.add_argument("--run", metavar="RUN", help="the training run of its model, for the curves")
    parser.add_argument(
        "--limit", type=int, metavar="N", help="measure at most N queries, drawn at random (5000; fewer of a million)"
    )
    parser.add_argument(
        "--exact", action="store_true", help="let all pictures ask, however many: hours for a million (some are drawn)"
    )
    parser.add_argument(
        "--explain",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="show which regions of query and hit carry the similarity (default: yes, where the pictures are there)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of everything that is drawn (0)")
    parser.add_argument("--json", action="store_true", help="print the same content as JSON")


def run(args: argparse.Namespace) -> int:
    """Measure, and write the page."""
    from retrieval import report  # here, so that --help does not wait for it

    options = {"run": args.run, "limit": args.limit, "exact": args.exact, "explain": args.explain, "seed": args.seed}
    if args.json and args.out is None:
        contents = report.gather(args.index, **options)
    else:
        page = report.write_report(args.index, args.out or "report.html", **options)
        contents = page.contents
        size = show_bytes(page.file.stat().st_size)
        print(f"{page.file}: {size}", file=sys.stderr if args.json else sys.stdout)
    if args.json:
        print(json.dumps(contents.to_json(), indent=2, ensure_ascii=False))
    return 0
