#!/usr/bin/env python3
"""What one query.py process costs, beside the imports that it stands on.

    python benchmarks/query.py                      an index of 500 photographs that it makes, EfficientNet-Lite0
    python benchmarks/query.py --index DIR          an index of yours
    python benchmarks/query.py --json

Whole processes, start to end, in turns: query.py by picture against `python -c "import torch, faiss"`, and by id
against `python -c "import numpy"`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from textures import write_photos
from turns import markdown, take_turns

from retrieval.base.machine import describe
from retrieval.index import Index
from retrieval.ingest import build

TOP = Path(__file__).parent.parent


def process(*arguments: object) -> Callable[[], object]:
    """A Python process to be run, silently."""
    command = [sys.executable, *map(str, arguments)]
    env = {**os.environ, "PYTHONPATH": str(TOP)}
    return lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=env)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        index = args.index
        if index is None:
            write_photos(Path(name) / "photos", 500, args.seed, 320, 240)
            index = build(Path(name) / "photos", Path(name) / "index").index
        with Index.open(index) as opened:
            (item,) = opened.items([0])
            pictures, picture = len(opened), Path(opened.root) / item.path
        script = TOP / "query.py"
        by_picture = take_turns(
            {
                'python -c "import torch, faiss"': process("-c", "import torch, faiss"),
                "query.py by picture": process(script, index, picture),
            },
            args.rounds,
        )
        by_id = take_turns(
            {
                'python -c "import numpy"': process("-c", "import numpy"),
                "query.py by id": process(script, index, "--id", 0),
            },
            args.rounds,
        )
    rows = [{"process": what, **row} for part in (by_picture, by_id) for what, row in part.items()]
    if args.json:
        about = {"machine": describe(), "seed": args.seed, "rounds": args.rounds, "pictures": pictures}
        print(json.dumps({**about, "rows": rows}, indent=2))
    else:
        print(
            f"{describe()}; seed {args.seed}, {args.rounds} rounds, an index of {pictures:,}; ratios to the row above\n"
        )
        print(markdown(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
