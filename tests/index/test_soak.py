"""Every verb of the command line on one index at once, writers killed at random, readers that check every answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny

SUPPORT = Path(__file__).resolve().parents[1] / "support"
PLACES = [str(SUPPORT.parents[1]), str(SUPPORT), *filter(None, [os.environ.get("PYTHONPATH")])]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(PLACES), "OMP_NUM_THREADS": "1"}

SHORT, LONG = (12, 0, 0), (0, 240, 1)
"""Writers that are started, seconds that it takes at least, seed."""


@pytest.mark.parametrize("plan", [SHORT, pytest.param(LONG, marks=pytest.mark.long)], ids=["short", "long"])
def test_nothing_is_lost_doubled_or_answered_wrongly(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, plan: tuple[int, int, int]
) -> None:
    models = [tiny.model(tmp_path_factory, seed) for seed in (0, 1)]
    done = subprocess.run(
        [sys.executable, SUPPORT / "soak.py", tmp_path / "soak", *models, *map(str, plan)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(json.dumps(found))  # the counts, with -s
    assert found["problems"] == []
    # How many are killed before they are done is up to the machine.
    assert sum(found["killed"].values()) + sum(found["done"].values()) >= 5
    assert found["opened"] >= 2 and found["answers"] >= 50
