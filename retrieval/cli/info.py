"""`retrieval info`: what an index or a model is."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from retrieval.base.text import printable
from retrieval.encoder.pair_config import describe, pair_folder
from retrieval.errors import RetrievalError
from retrieval.index.catalog import FILE as CATALOG
from retrieval.index.folder import ENCODER, is_index

HELP = "Say what an index, a model or a pair network is. Nothing is loaded: it takes a moment, whatever the size."

EXAMPLES = """
retrieval info indexes/photos
retrieval info runs/cifar10
retrieval info runs/pair
retrieval info indexes/photos --json
"""

CONFIG = "config.json"
WIDTH = 14


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `retrieval info`."""
    parser.add_argument("path", type=Path, metavar="PATH", help="the folder of an index, a training or a model")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def run(args: argparse.Namespace) -> int:
    """Describe it."""
    folder: Path = args.path
    if is_index(folder):
        described, lines = _index(folder)
    elif (pair := pair_folder(folder)) is not None:
        described, lines = _pair(pair)
    else:
        described, lines = _model(folder)
    if args.json:
        print(json.dumps(described, indent=2, ensure_ascii=False))
    else:
        print("\n".join(f"{name:<{WIDTH}}{value}" for name, value in lines if value is not None))
    return 0


def _index(folder: Path) -> tuple[dict[str, Any], list[tuple[str, object]]]:
    from retrieval.index import Index

    with Index.open(folder) as index:
        described = index.info()
        described["skipped_files"] = [{"path": path, "reason": reason} for path, reason in index.skipped()]
    classes = ", ".join(f"{label} {count:,}" for label, count in described["largest"].items())
    more = ", ..." if described["labels"] > len(described["largest"]) else ""
    structure = described["structure"]
    removed = f" (and {described['removed']:,} that were removed)" if described["removed"] else ""
    return described, [
        ("index", printable(folder)),
        ("pictures", f"{described['items']:,}{removed}"),
        ("left out", f"{described['skipped']:,} (--json lists them)" if described["skipped"] else None),
        ("labels", f"{described['labels']:,}: {classes}{more}" if described["labels"] else "none"),
        ("unlabelled", _if_any(described["items"] - described["labelled"] if described["labels"] else 0)),
        ("vectors", f"{described['dim']:,} numbers each ({described['storage']}), in {described['segments']:,} files"),
        ("attributes", ", ".join(map(printable, described["attributes"])) or None),
        ("search", "exact" if structure is None else _searched(structure)),
        ("encoder", _encoder(described["encoder"])),
        ("decoder", described["decoder"]),
        ("root", printable(described["root"])),
        ("on disk", _size(described["bytes"])),
        ("created", described["created"]),
    ]


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


def _pair(folder: Path) -> tuple[dict[str, Any], list[tuple[str, object]]]:
    described = describe(folder)
    preprocessing, options = described["preprocessing"], described["options"]
    lines: list[tuple[str, object]] = [
        ("pair network", printable(folder)),
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
        lines.append(("measured", f"{printable(name)} {figures}"))
    lines += [("warning", printable(warning)) for warning in described["warnings"]]
    lines += [("on disk", _size(described["bytes"])), ("created", described["created"] or None)]
    return described, lines


def _input(preprocessing: dict[str, Any]) -> str:
    side = f"{preprocessing['size']}×{preprocessing['size']} {preprocessing['mode']}"
    return f"{side}, fitted by {preprocessing['fit']}"


def _model(folder: Path) -> tuple[dict[str, Any], list[tuple[str, object]]]:
    place = next((place for place in (folder, folder / ENCODER) if (place / CONFIG).is_file()), None)
    if place is None:
        raise RetrievalError(
            f"{printable(folder)!r} is neither an index (no {CATALOG}) nor a model (no {CONFIG}); give the folder "
            "that `retrieval build` or `retrieval train` wrote."
        )
    try:
        config = json.loads((place / CONFIG).read_text(encoding="utf-8"))
        size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
        described = {"kind": "model", "folder": printable(place), "bytes": size, **config}
        preprocessing = config["preprocessing"]
        classes = config["classes"]
        lines: list[tuple[str, object]] = [
            ("model", printable(place)),
            ("network", config["network"]),
            ("vectors", f"{config['dim']:,} numbers each"),
            ("input", _input(preprocessing)),
            ("texts", "understood" if config.get("text") else None),
            ("classes", f"{len(classes):,}: {', '.join(classes[:5])}{', ...' if len(classes) > 5 else ''}"),
            ("trained on", config.get("trained_on") or None),
            ("on disk", _size(size)),
            ("created", config.get("created") or None),
        ]
    except OSError as error:
        raise RetrievalError(
            f"{printable(place / CONFIG)!r} cannot be read ({error.strerror}); check its permissions."
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RetrievalError(
            f"{printable(place / CONFIG)!r} does not describe an encoder of this program; give the folder that "
            "`retrieval train` wrote."
        ) from error
    return described, [line for line in lines if line != ("classes", "0: ")]


def _if_any(count: int) -> str | None:
    return f"{count:,}" if count else None


def _size(count: int) -> str:
    """Bytes, in the unit that a person would use."""
    value = float(count)
    for unit in ("bytes", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"
