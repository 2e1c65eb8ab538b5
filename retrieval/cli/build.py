"""``retrieval build``."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from retrieval.base.text import for_terminal, printable
from retrieval.base.units import parse_bytes, parse_seconds
from retrieval.errors import RetrievalError
from retrieval.places.roots import root_at

if TYPE_CHECKING:
    from retrieval.cluster import RayCluster
    from retrieval.ingest import BuildReport

HELP = "Fill an index from a folder of pictures; the same command again brings it up to date."
EXAMPLES = """
build_index.py my_photos                              # into indexes/my_photos, works at once
build_index.py data/cifar10/test --model runs/cifar10 --out indexes/cifar10
retrieval build s3://bucket/photos                    # of an object store (docs/object-storage.md)
build_index.py shoes --labels shoes.csv               # a list with the columns path, label
build_index.py my_photos --model clip-base --overwrite
build_index.py /mnt/photos --out /mnt/indexes/photos --ray auto --workers 8 --gpus-per-worker 1   # on a Ray cluster
build_index.py --vectors-of indexes/my_photos --model runs/head --out indexes/mine   # after train --net head
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the verb takes."""
    parser.add_argument(
        "images",
        metavar="IMAGES",
        nargs="?",
        help="a folder of pictures, nested as it may be, or its address in an object store (s3://BUCKET/FOLDER)",
    )
    parser.add_argument(
        "--vectors-of",
        metavar="INDEX",
        help="in place of IMAGES: map the vectors of this index with --model, a head over its encoder; ids, labels and "
        "attributes come along, and nothing is encoded",
    )
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help="a trained run (runs/NAME), a word of `retrieval encoders`, hf:NAME_OR_FOLDER for one of transformers, "
        "onnx:FILE, default: EfficientNet-Lite1 for photographs, or fast: EfficientNet-Lite0 (without --model an index "
        "that exists keeps its own)",
    )
    parser.add_argument("--out", metavar="INDEX", help="the index's folder (indexes/ and the folder's name)")
    parser.add_argument(
        "--labels",
        default="auto",
        metavar="FROM",
        help="folders: the name of the folder a picture lies in; none; a table with the columns path and label; "
        "or auto: folders, if most pictures lie in some, all at the same depth (auto)",
    )
    parser.add_argument(
        "--decoder",
        choices=["auto", "pillow", "simplejpeg"],
        default="auto",
        help="what decodes JPEGs; an index keeps to one (auto: simplejpeg where it is installed)",
    )
    parser.add_argument(
        "--vectors",
        choices=["float32", "float16", "binary"],
        help="what vectors are kept as; an index keeps to one (float32; float16 is half the size; binary: the sign of "
        "each number, for models trained to make codes)",
    )
    parser.add_argument(
        "--outside",
        action="store_true",
        help="take in, and show, what links in the folder lead to outside of it",
    )
    parser.add_argument(
        "--hidden",
        action="store_true",
        help="take in hidden files, recycle bins, caches of thumbnails and other folders of systems and programs",
    )
    parser.add_argument(
        "--gps",
        action="store_true",
        help="keep where pictures were taken, too, as the attributes latitude and longitude",
    )
    add_checksum(parser)
    add_means(parser)
    parser.add_argument(
        "--recall", type=float, metavar="R", help="tune for this recall@10 afterwards: `retrieval tune`"
    )
    parser.add_argument("--latency", type=parse_seconds, metavar="TIME", help="tune for this time of a query, as 5ms")
    parser.add_argument(
        "--overwrite", action="store_true", help="build anew; an old index is replaced when the new one is done"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def add_checksum(parser: argparse.ArgumentParser) -> None:
    """Declare how files are compared."""
    parser.add_argument(
        "--checksum",
        action="store_true",
        help="compare every file by its content, also where size and time of change are what they were",
    )


def add_means(parser: argparse.ArgumentParser) -> None:
    """Declare what every verb that encodes pictures may use."""
    parser.add_argument("--threads", type=int, metavar="N", help="cores to use (all)")
    parser.add_argument("--batch", type=int, metavar="N", help="pictures read at a time by each thread")
    parser.add_argument(
        "--memory",
        type=parse_bytes,
        metavar="SIZE",
        help="what the process may take, such as 500MB or 2GB; pictures too large for it are left out (no limit but "
        "one of 2 GB for decoding)",
    )
    add_cluster(parser, "encode", "; --threads, --batch and --memory are then for each of its workers")


def add_cluster(parser: argparse.ArgumentParser, what: str, more: str = "") -> None:
    """Declare what every verb takes that may encode on a cluster.

    Args:
        what: the cluster does. more: is said of that.
    """
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        help=f"{what} on the Ray cluster of this address, HOST:PORT, or auto: the one that this machine belongs to"
        + more,
    )
    parser.add_argument("--workers", type=int, metavar="N", help="processes that encode there (one for each node)")
    parser.add_argument(
        "--gpus-per-worker", type=float, metavar="G", help="GPUs that each of them has; 0.5: two share one (none)"
    )


def cluster_of(args: argparse.Namespace) -> RayCluster | None:
    """Where pictures are encoded, if not here.

    Raises:
        RetrievalError: something is said about workers, and no cluster is named.
    """
    if args.ray is None:
        for name in ("workers", "gpus_per_worker"):
            if getattr(args, name) is not None:
                raise RetrievalError(f"--{name.replace('_', '-')} says nothing without --ray, the cluster; give both.")
        return None
    from retrieval.cluster import RayCluster

    return RayCluster(args.ray, args.workers, args.gpus_per_worker or 0.0)


def run(args: argparse.Namespace) -> int:
    """Build, and say what was done."""
    if (args.images is None) == (args.vectors_of is None):
        raise RetrievalError("Give a folder of pictures, or --vectors-of an index: one of the two.")
    if args.vectors_of is not None:
        return _map(args)
    from retrieval.ingest import build  # here, so that --help and wrong arguments do not wait for it

    out = Path(args.out) if args.out is not None else _default_out(args.images)
    report = build(
        args.images,
        out,
        model=args.model,
        labels=args.labels,
        decoder=args.decoder,
        threads=args.threads,
        batch=args.batch,
        vectors=args.vectors,
        checksum=args.checksum,
        memory=args.memory,
        on=cluster_of(args),
        hidden=args.hidden,
        outside=args.outside,
        gps=args.gps,
        overwrite=args.overwrite,
    )
    print_report(report, as_json=args.json)
    return _tuned(args, out)


def _map(args: argparse.Namespace) -> int:
    """Make an index of another one's vectors, and say so."""
    if args.model is None or args.out is None:
        raise RetrievalError("--vectors-of goes with --model, a head, and --out, the new index; give both.")
    for name in ("labels", "decoder", "outside", "hidden", "gps", "checksum", "threads", "batch", "memory"):
        if getattr(args, name) not in (None, False, "auto"):
            raise RetrievalError(f"--{name} says nothing with --vectors-of, which reads no pictures; leave it out.")
    from retrieval.ingest.map_index import map_index

    count = map_index(
        args.vectors_of,
        args.out,
        model=args.model,
        vectors=args.vectors,
        on=cluster_of(args),
        overwrite=args.overwrite,
    )
    if args.json:
        print(
            json.dumps(
                {"index": printable(args.out), "total": count, "vectors_of": printable(args.vectors_of)}, indent=2
            )
        )
    else:
        print(f"{printable(args.out)}: {count:,} pictures, with the vectors of {printable(args.vectors_of)} mapped")
    return _tuned(args, Path(args.out))


def _tuned(args: argparse.Namespace, out: Path) -> int:
    """Tune, if it is asked for."""
    if args.recall is not None or args.latency is not None:
        from retrieval.cli.tune import tune_index

        return tune_index(str(out), recall=args.recall, memory=args.memory, latency=args.latency, json=args.json)
    return 0


def _default_out(images: str) -> Path:
    name = Path(root_at(images).address).name
    if not name:
        raise RetrievalError(f"The folder {printable(images)!r} has no name; name the index with --out.")
    return Path("indexes") / name


def summary(report: BuildReport) -> str:
    """One line that says what a build, a sync or an addition did."""
    folder = printable(report.index)
    if report.changed or report.touched:
        done = [
            (report.added, "new"),
            (report.replaced, "changed"),
            (report.renamed, "renamed"),
            (report.removed, "gone"),
            (report.touched, "touched"),
            (report.kept, "kept"),
            (report.relabelled, "with another label"),
        ]
        counts = ", ".join(f"{count:,} {what}" for count, what in done if count)
        speed = report.pictures_per_second
        pace = f", {speed:,.0f} pictures/s" if speed and report.added + report.replaced >= 100 else ""
        return f"{folder}: {report.total:,} pictures ({counts}) in {report.seconds:,.1f} s{pace}"
    return f"{folder}: nothing to do, all {report.kept:,} pictures are in it"


def print_report(report: BuildReport, *, as_json: bool, listed: bool = True) -> None:
    """Say what a build, a sync or an addition did."""
    if as_json:
        print(json.dumps(report.to_json(), indent=2))
        return
    folder = printable(report.index)
    print(summary(report))
    if report.copied:
        print(f"not encoded: {report.copied:,}, of the same bytes as others")
    if report.classes:
        print(f"labels: {report.classes:,}, from {'folders' if report.labels == 'folders' else 'the list'}")
    for note in report.notes:
        print(f"note: {for_terminal(note)}")
    if report.skipped:
        reasons = Counter(skipped.reason for skipped in report.skipped)
        print(
            f"left out: {len(report.skipped):,} ("
            + ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common(6))
            + (", ..." if len(reasons) > 6 else "")
            + ")"
            + (f", listed in {folder}/skipped.csv" if listed else "")
        )
    if report.changed and sys.stdout.isatty():
        print(f"ask it: query.py {shlex.quote(folder)} PICTURE --save results.png")
