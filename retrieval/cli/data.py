"""`retrieval data`: get a labelled set of pictures, or turn one into another form."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from retrieval import datasets
from retrieval.base.progress import bar
from retrieval.base.text import for_terminal
from retrieval.base.units import show_bytes
from retrieval.datasets import SPLITS, PictureSet, fetch
from retrieval.datasets.formats import UNDERSTOOD
from retrieval.datasets.get_data import FOLDER, get_data
from retrieval.errors import RetrievalError
from retrieval.images import Skipped

HELP = "Get a labelled set of pictures, or turn one into another form."

EXAMPLES = """
retrieval data cifar10 --to data
retrieval data cifar10 --to data --from cifar-10-python.tar.gz
retrieval data data/cifar10.h5 --export data/cifar10-test --split test
retrieval data faces.zip --to data --json
retrieval data my_photos
"""

LINE = 80


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `retrieval data`."""
    parser.add_argument(
        "set",
        metavar="NAME_OR_SOURCE",
        help=f"one of {', '.join(fetch.NAMES)}, which is fetched and checked; or a path: {UNDERSTOOD}",
    )
    parser.add_argument(
        "--to",
        type=Path,
        metavar="DIR",
        help=f"write the set as DIR/NAME.h5 (for a name, {FOLDER} unless given)",
    )
    parser.add_argument(
        "--from",
        dest="source",
        metavar="PATH",
        help="a copy of the named set, as a folder or an archive, instead of the network",
    )
    parser.add_argument("--export", type=Path, metavar="FOLDER", help="write the pictures as split/class/name")
    parser.add_argument("--split", choices=SPLITS, help="export only this split, as class/name")
    parser.add_argument("--limit", type=int, metavar="N", help="export at most N pictures, spread over the set")
    parser.add_argument(
        "--anywhere",
        action="store_true",
        help="export pictures that lie outside of the list's folder, or that links lead to outside of the folder, too",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def run(args: argparse.Namespace) -> int:
    """Do what the arguments say, and print what there is now."""
    if args.source is not None and args.set not in fetch.NAMES:
        raise RetrievalError(f"--from is for the named sets ({', '.join(fetch.NAMES)}); give {args.set!r} alone.")
    if args.export is None and (args.split is not None or args.limit is not None or args.anywhere):
        raise RetrievalError("--split, --limit and --anywhere say what to export; add --export FOLDER.")
    pictures, path, already = get_data(args.set, args.to, copy=args.source)
    report = _summary(pictures)
    left_out: tuple[Skipped, ...] = ()
    if path is not None:
        report["file"] = {"path": str(path), "bytes": path.stat().st_size, "already_there": already}
    if args.export is not None:
        report["export"], left_out = _exported(pictures, args)
    print(json.dumps(report, indent=2) if args.json else _text(report))
    for skipped in (*pictures.skipped, *left_out):
        print(for_terminal(f"left out: {skipped.path}: {skipped.reason}"), file=sys.stderr)
    return 0


def _exported(pictures: PictureSet, args: argparse.Namespace) -> tuple[dict[str, Any], tuple[Skipped, ...]]:
    """What the report says of the export, and what it left out."""
    total = len(pictures) if args.split is None else int((pictures.splits == args.split).sum())
    count = total if args.limit is None else min(total, args.limit)
    with bar(count, "Exporting", "pictures") as progress:
        done = datasets.export(
            pictures, args.export, split=args.split, limit=args.limit, anywhere=args.anywhere, progress=progress.update
        )
    skipped = [one._asdict() for one in done.skipped]
    said = {"path": str(args.export), "written": done.written, "already_there": done.kept, "skipped": skipped}
    return said, done.skipped


def _summary(pictures: PictureSet) -> dict[str, Any]:
    splits, counts = np.unique(pictures.splits, return_counts=True)
    shape = None if pictures.pixels is None else pictures.pixels.shape[1:]
    return {
        "name": pictures.name,
        "pictures": len(pictures),
        "splits": dict(sorted(zip(splits.tolist(), counts.tolist(), strict=True), key=lambda s: SPLITS.index(s[0]))),
        "classes": list(pictures.classes),
        "unlabelled": int((pictures.labels < 0).sum()),
        "size": None if shape is None else {"width": shape[1], "height": shape[0], "channels": shape[2]},
        "skipped": [skipped._asdict() for skipped in pictures.skipped],
    }


def _text(report: dict[str, Any]) -> str:
    """The summary for people: aligned, one line a fact."""
    size, classes = report["size"], report["classes"]
    shape = f"{size['width']}×{size['height']}, {'colour' if size['channels'] == 3 else 'grey'}" if size else "files"
    lines = [
        (report["name"], f"{report['pictures']:,} pictures ({shape})"),
        ("splits", ", ".join(f"{split} {count:,}" for split, count in report["splits"].items())),
    ]
    lines.append(("classes", f"{len(classes):,} ({_some(classes)})" if classes else "none"))
    if classes and report["unlabelled"]:
        lines.append(("unlabelled", f"{report['unlabelled']:,}"))
    if report["skipped"]:
        lines.append(("left out", f"{len(report['skipped']):,} files"))
    if "file" in report:
        state = "was there already" if report["file"]["already_there"] else "written"
        lines.append(("file", f"{report['file']['path']} ({show_bytes(report['file']['bytes'])}, {state})"))
    if "export" in report:
        done = report["export"]
        kept = f", {done['already_there']:,} were there already" if done["already_there"] else ""
        without = f", {len(done['skipped']):,} left out" if done["skipped"] else ""
        lines.append(("folder", f"{done['path']} ({done['written']:,} pictures written{kept}{without})"))
    width = max(len(key) for key, _ in lines) + 2
    return "\n".join(for_terminal(f"{key:<{width}}{value}") for key, value in lines)


def _some(classes: list[str]) -> str:
    """As many class names as fit into a line."""
    shown = [for_terminal(name) for name in classes]
    while len(", ".join(shown)) > LINE and len(shown) > 1:
        shown = shown[: max(1, len(shown) // 2)]
    return ", ".join(shown) + ("" if len(shown) == len(classes) else ", …")
