#!/usr/bin/env python3
"""The map of `retrieval serve`: the seconds that its making takes, and the milliseconds of a frame while one pans.

    python benchmarks/map.py                   100,000 pictures
    python benchmarks/map.py --items 1000000

The index has vectors around a centre for every 500, and no picture files. The page is opened in Chromium without a
window (`pip install '.[serve]' playwright`, and CHROMIUM=FILE where it is not found), 1280 × 800, and moved by keys; it
measures its frames by itself (`performance.measure`), from the first point to the last, one pass over all.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
from command import options, show, status
from contest.data import clustered
from service_process import serve

from retrieval.index import Index, NewItem

MOVES = ("ArrowLeft", "ArrowUp", "ArrowRight", "ArrowDown")


def made(address: str, pid: int) -> tuple[float, float]:
    """The seconds until the map is there, and those of a core that the service needed."""
    began, before = time.perf_counter(), cpu(pid)
    while True:
        with urllib.request.urlopen(f"{address}map") as answer:
            told = json.load(answer)
        if told["state"] == "ready":
            return time.perf_counter() - began, cpu(pid) - before
        if told["state"] == "failed":
            raise SystemExit(told["error"])
        time.sleep(0.2)


def cpu(pid: int) -> float:
    """Seconds of a core that a process has used, as Linux tells."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def frames(address: str, turns: int) -> list[float]:
    """Milliseconds of each frame while the map is moved about, one key after another."""
    from playwright.sync_api import sync_playwright

    browser = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": 1280, "height": 800})
        page.goto(f"{address}?view=map")
        page.wait_for_selector("#frames:not(:empty)", timeout=120_000)
        page.focus("#map .over")
        page.evaluate("performance.clearMeasures('map frame')")
        for turn in range(turns):
            page.keyboard.press(MOVES[turn // 5 % 4])
            page.evaluate("new Promise(requestAnimationFrame)")
        found: list[float] = page.evaluate("performance.getEntriesByName('map frame').map(one => one.duration)")
        chromium.close()
    return found


def measure(args: argparse.Namespace) -> list[dict[str, Any]]:
    """One row: of one index."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        vectors = clustered(args.items, args.dim, args.seed)
        with Index.create(
            root / "index", args.dim, root=folder, encoder_hash="imported:benchmark", details={}
        ) as index:
            for start in range(0, args.items, 50_000):
                part = vectors[start : start + 50_000]
                names = range(start, start + len(part))
                index.add(part, [NewItem(f"{name}.jpg", label=str(name % 10)) for name in names])
        with serve(root / "index", environment={"XDG_CACHE_HOME": str(root / "cache")}) as (address, _, pid):
            seconds, core = made(address, pid)
            found = np.array(frames(address, args.rounds))
    quantiles = np.quantile(found, (0.5, 0.95))
    return [
        {
            "pictures": args.items,
            "made, s": seconds,
            "made, s of a core": core,
            "frame, ms (median)": float(quantiles[0]),
            "frame, ms (95 %)": float(quantiles[1]),
            "frames": len(found),
        }
    ]


def main() -> int:
    parser = options(__doc__, rounds=200)
    parser.add_argument("--items", type=int, default=100_000, help="of the index (100000)")
    parser.add_argument("--dim", type=int, default=128, help="numbers of a vector (128)")
    args = parser.parse_args()
    show(args, measure(args))
    return 0


if __name__ == "__main__":
    sys.exit(status(main))
