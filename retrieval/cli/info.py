"""`retrieval info`: what an index or a model is."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from retrieval.base.text import for_terminal, printable
from retrieval.base.units import show_bytes
from retrieval.engines.address import shown
from retrieval.ingest.describe import describe

HELP = "Say what an index, a model or a pair network is. Nothing is loaded: it takes a moment, whatever the size."

EXAMPLES = """
retrieval info indexes/photos
retrieval info runs/cifar10
retrieval info runs/pair
retrieval info indexes/photos --json
"""

Lines = list[tuple[str, object]]

WIDTH = 14


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `retrieval info`."""
    parser.add_argument(
        "path",
        metavar="PATH",
        help="the folder of an index, a training or a model; or an index's address, where a service answers in JSON",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def run(args: argparse.Namespace) -> int:
    """Describe it."""
    served = args.path.startswith(("http://", "https://"))
    if served:
        from retrieval.client import Client  # here, as it brings what speaks HTTP

        described = Client(args.path).info()
    else:
        described = describe(args.path)
    if args.json or served:  # what a service says is of its own shape
        print(json.dumps(described, indent=2, ensure_ascii=False))
    else:
        lines = LINES[described["kind"]](shown(args.path), described)
        print("\n".join(for_terminal(f"{name:<{WIDTH}}{value}") for name, value in lines if value is not None))
    return 0


def _index(place: Path | str, described: dict[str, Any]) -> Lines:
    classes = ", ".join(f"{label} {count:,}" for label, count in described["largest"].items())
    more = ", ..." if described["labels"] > len(described["largest"]) else ""
    structure = described["structure"]
    removed = f" (and {described['removed']:,} that were removed)" if described["removed"] else ""
    return [
        ("index", printable(place)),
        ("pictures", f"{described['items']:,}{removed}"),
        ("left out", f"{described['skipped']:,} (--json lists them)" if described["skipped"] else None),
        ("labels", f"{described['labels']:,}: {classes}{more}" if described["labels"] else "none"),
        ("unlabelled", _if_any(described["items"] - described["labelled"] if described["labels"] else 0)),
        ("vectors", f"{described['dim']:,} numbers each ({described['storage']}){_kept(described)}"),
        ("attributes", ", ".join(map(printable, described["attributes"])) or None),
        ("search", "exact" if structure is None else _searched(structure)),
        ("encoder", _encoder(described["encoder"])),
        ("decoder", described["decoder"]),
        ("root", printable(described["root"])),
        ("on disk", show_bytes(described["bytes"])),
        ("created", described["created"]),
    ]


def _kept(described: dict[str, Any]) -> str:
    return f", in {described['segments']:,} files" if described["segments"] else ""


def _encoder(encoder: dict[str, Any]) -> str:
    from retrieval.index.records import NO_ENCODER

    if encoder["network"] is None and encoder["hash"].startswith(NO_ENCODER):
        return "none (imported)"
    return f"{encoder['network'] or 'unknown'} ({encoder['hash'][:12]})"


def _searched(structure: dict[str, Any]) -> str:
    measured = structure["measured"]
    found = (
        f", recall@{measured['k']} {measured['recall']:.4f} on {measured['queries']:,} queries"
        if {"k", "recall", "queries"} <= measured.keys()
        else ""
    )
    return f"{structure['factory']} over {structure['items']:,}{found}"


def _pair(_: Path | str, described: dict[str, Any]) -> Lines:
    preprocessing, options = described["preprocessing"], described["options"]
    lines: Lines = [
        ("pair network", printable(described["folder"])),
        ("network", described["network"]),
        ("trunk", options.get("trunk")),
        ("input", f"two of {_input(preprocessing)}"),
        ("trained on", described["trained_on"] or None),
    ]
    if described["together"] is not None:
        encoder, weight = described["together"]["encoder"], described["together"]["weight"]
        lines.append(("re-ranks", f"hits of encoder {printable(encoder[:12])} by score + {weight:.3g} · logit"))
    for name, m in described["measures"].items():
        figures = f"{m['value']:.3f} (95 % interval {m['low']:.3f} to {m['high']:.3f}; {m['pairs']:,} validation pairs)"
        lines.append(("measured", f"{name} {figures}"))
    lines += [("warning", printable(warning)) for warning in described["warnings"]]
    lines += [("on disk", show_bytes(described["bytes"])), ("created", described["created"] or None)]
    return lines


def _input(preprocessing: dict[str, Any]) -> str:
    side = f"{preprocessing['size']}×{preprocessing['size']} {preprocessing['mode']}"
    return f"{side}, fitted by {preprocessing['fit']}"


def _model(_: Path | str, described: dict[str, Any]) -> Lines:
    classes = described["classes"]
    some = f"{len(classes):,}: {', '.join(classes[:5])}{', ...' if len(classes) > 5 else ''}"
    return [
        ("model", described["folder"]),
        ("network", described["network"]),
        ("vectors", f"{described['dim']:,} numbers each"),
        ("input", _input(described["preprocessing"])),
        ("texts", "understood" if described.get("text") else None),
        ("classes", some if classes else None),
        ("trained on", described.get("trained_on") or None),
        *(("learned", gain) for gain in described.get("gain", ())),
        ("on disk", show_bytes(described["bytes"])),
        ("created", described.get("created") or None),
    ]


def _if_any(count: int) -> str | None:
    return f"{count:,}" if count else None


LINES = {"index": _index, "pair network": _pair, "model": _model}
"""What is said of each kind, a name and a value a line; nothing where the value is None."""
