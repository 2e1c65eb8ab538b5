#!/usr/bin/env python3
"""The table of docs/hashing.md: every code that benchmarks/family.py has measured so far.

    python benchmarks/codes.py --out runs/family

One line a length and loss, kNN error and mAP in percent with 95 % intervals, as Markdown on stdout.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from command import markdown
from systems.codes import BITS, DATA, LOSSES, NAMES


def rows(out: Path, size: str) -> list[dict[str, Any]]:
    """What stands in the folder, the pictures one after the other."""
    found = []
    for data in DATA:
        for bits in BITS:
            for loss in LOSSES:
                path = out / f"{loss}-{data}-{bits}-{size}" / "figures.json"
                if path.is_file():
                    figures = json.loads(path.read_text(encoding="utf-8"))
                    shown = {name: _percent(figures[name]) for name in ("kNN error", "mAP")}
                    seconds = round(figures["seconds"])
                    found.append(
                        {"data": NAMES[data], "bits": bits, "--loss": f"`{loss}`", **shown, "seconds": seconds}
                    )
    return found


def _percent(measured: list[float]) -> str:
    value, low, high = (f"{100 * share:.2f}" for share in measured)
    return f"{value} ({low}–{high})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/family"), help="where family.py kept its trainings")
    parser.add_argument("--size", choices=("small", "medium", "full"), default="medium")
    args = parser.parse_args()
    found = rows(args.out, args.size)
    if not found:
        print(f"{args.out} holds no codes of this size; run benchmarks/family.py first.", file=sys.stderr)
        return 1
    print(markdown(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
