#!/usr/bin/env python3
"""What one query.py process costs, beside the imports that it stands on.

    python benchmarks/query.py                      an index of 500 photographs that it makes, EfficientNet-Lite0
    python benchmarks/query.py --index DIR          an index of yours
    python benchmarks/query.py --json

Whole processes, start to end, in turns: query.py by picture against `python -c "import torch, faiss"`, and by id
against `python -c "import numpy"`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from command import options, show
from textures import write_photos
from turns import take_turns

from retrieval.index import Index
from retrieval.ingest import build

TOP = Path(__file__).parent.parent


def process(*arguments: object) -> Callable[[], object]:
    """A Python process to be run, silently."""
    command = [sys.executable, *map(str, arguments)]
    env = {**os.environ, "PYTHONPATH": str(TOP)}
    return lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=env)


def main() -> int:
    parser = options(__doc__, rounds=15)
    parser.add_argument("--index", type=Path)
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
    show(args, rows, pictures=pictures, ratios="to the row above")
    return 0


if __name__ == "__main__":
    sys.exit(main())
