"""Opens an index again and again while it is being changed; ``test_kill.py`` starts several:

    python index_reader.py FOLDER TIMES mapped|loaded

Printed is a line for each time: the generation, and a checksum of what it held, or what was wrong.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable
from pathlib import Path

from index_model import clustered, state

from retrieval.index import Index


def summary(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def read(folder: Path, times: int, report: Callable[[int, str], object], mapped: bool) -> None:
    """Ask the same several times while a writer works: nothing may change until the index is opened again."""
    queries = clustered(4, 16, seed=1)
    for _ in range(times):
        with Index.open(folder, mapped=mapped) as index:
            answers = set()
            for _ in range(3):
                scores, ids = index.search(queries, 7)
                answers.add((state(index), scores.tobytes(), ids.tobytes()))
                time.sleep(0.005)
            report(index.generation, summary(state(index)) if len(answers) == 1 else f"{len(answers)} answers")


if __name__ == "__main__":
    read(Path(sys.argv[1]), int(sys.argv[2]), lambda *seen: print(*seen, flush=True), sys.argv[3] == "mapped")
