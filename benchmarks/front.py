#!/usr/bin/env python3
"""What a training reaches with how much arithmetic: the table that `retrieval train --minutes` chooses from.

    python benchmarks/front.py measure data/cifar10.h5 --out runs/front                    every point of the table
    python benchmarks/front.py measure data/cifar10.h5 --out runs/front --only 24,64,128   those of one width
    python benchmarks/front.py show                                                        the table and the plot

Each point is a training of its own, of so many pictures with the learning rate down to 0, on CIFAR-10's training
pictures without 5,000 of them, which are then asked for among the rest; the test pictures are never looked at.
`measure` takes the points of retrieval/training/for_minutes.py, skips what stands in --out already, and keeps what it
finds in benchmarks/logs/minutes/front.json. `show` prints that as Markdown and draws docs/images/front.png, with the
records.
"""

from __future__ import annotations

import dataclasses
import io
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

from command import markdown, once, options, status
from recipes import HELD_OUT, by_validation, figures, with_validation
from records import LOGS, arithmetic

from retrieval import datasets
from retrieval.base.files import write_durably
from retrieval.base.machine import describe
from retrieval.cli.train import print_warning
from retrieval.datasets import PictureSet
from retrieval.encoder import Encoder
from retrieval.training.for_minutes import CANDIDATES, Candidate
from retrieval.training.loop import train
from retrieval.training.plan import FILE, Decision, Plan
from retrieval.training.recipe import Recipe
from retrieval.training.run_folder import finished
from retrieval.training.training_set import fingerprint

KEPT = LOGS / "minutes" / "front.json"
PLOT = Path(__file__).parents[1] / "docs" / "images" / "front.png"
RECORDS = ("cifar10", "cifar10-hour")
KNN = "kNN accuracy (k=10)"
MEASURES = (KNN, "P@10", "mAP")


def point(candidate: Candidate, thousands: float, precision: str, known: PictureSet, run: Path) -> dict[str, Any]:
    """One training of a candidate on so many thousand pictures."""
    recipe = candidate.settled(Recipe(validation=0, precision=precision))
    steps = round(1000 * thousands / (recipe.classes_per_batch * recipe.pictures_per_class))
    learned = known.select("train")
    plan = Plan([Decision(0, 0.0, steps)], "encoder", None, fingerprint(learned), dataclasses.asdict(recipe))
    run.parent.mkdir(parents=True, exist_ok=True)
    plan.write(run.parent)
    if not finished(run):
        train(learned, run, plan=run.parent / FILE, resume=True, warn=print_warning)
    found = figures(by_validation(run, known))
    return {
        "widths": candidate.widths,
        "loss": candidate.rest["loss"],
        "thousand pictures": thousands,
        "PFLOP": round(arithmetic(Encoder.load(run), recipe, steps), 4),
        **{name: found[name] for name in MEASURES},
        "asked": f"{HELD_OUT:,} held out, among {len(learned):,} others",
        "steps": steps,
        "recipe": json.loads((run / "recipe.json").read_text()),
        "machine": describe(),
    }


def keep(rows: list[dict[str, Any]]) -> None:
    """Put rows among those that are kept, in place of those of the same points."""
    kept = {place(row): row for row in [*read(), *rows]}
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    ordered = sorted(kept.values(), key=lambda row: (row["loss"], row["PFLOP"]))
    write_durably(KEPT, (json.dumps(ordered, indent=1) + "\n").encode())


def read() -> list[dict[str, Any]]:
    """The rows that are kept."""
    rows: list[dict[str, Any]] = json.loads(KEPT.read_text()) if KEPT.is_file() else []
    return rows


def place(row: dict[str, Any]) -> tuple[str, str, float]:
    """What tells one point from another."""
    return row["widths"], row["loss"], row["thousand pictures"]


def table(rows: list[dict[str, Any]]) -> str:
    """The kept rows for people."""
    names = ("widths", "loss", "thousand pictures", "PFLOP", *MEASURES, "asked")
    return markdown([{name: row.get(name) for name in names} for row in rows])


def front(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points (arithmetic, accuracy) that no other one beats with as little, by their arithmetic."""
    found: list[tuple[float, float]] = []
    for spent, reached in sorted(points, key=lambda one: (one[0], -one[1])):
        if not found or reached > found[-1][1]:
            found.append((spent, reached))
    return found


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """kNN accuracy against arithmetic: a line for each recipe, those that are best so far, and the records."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.8), layout="constrained")
    axes = figure.subplots()
    points = []
    for widths, loss in sorted({(row["widths"], row["loss"]) for row in rows}):
        own = [row for row in rows if (row["widths"], row["loss"]) == (widths, loss)]
        x, (y, low, high) = [row["PFLOP"] for row in own], zip(*(row[KNN] for row in own), strict=True)
        points += list(zip(x, y, strict=True))
        spread = [[b - a for a, b in zip(low, y, strict=True)], [b - a for a, b in zip(y, high, strict=True)]]
        axes.errorbar(x, [*y], yerr=spread, marker="o", markersize=4, label=f"{widths}, {loss}", capsize=2)
    for name in RECORDS:
        log = json.loads((LOGS / f"{name}.json").read_text())
        points.append((log["PFLOP"], log["figures"][KNN][0]))
        axes.plot(*points[-1], "k^")
        axes.annotate(
            f"{name} (test)", points[-1], textcoords="offset points", xytext=(-6, -12), ha="right", fontsize=8
        )
    axes.plot(*zip(*front(points), strict=True), color="grey", linewidth=4, alpha=0.3, zorder=0, label="best so far")
    axes.set(xscale="log", xlabel="arithmetic of the training, PFLOP", ylabel="kNN accuracy (k = 10)")
    axes.set_title("CIFAR-10 from scratch, pictures held out of the training")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    write_durably(path, file.getvalue())


def main() -> int:
    parser = options(__doc__, seed=False)
    parser.add_argument("what", choices=("measure", "show"))
    parser.add_argument("data", nargs="?", help="measure: what `retrieval data cifar10 --to data` wrote")
    parser.add_argument("--out", type=Path, default=Path("runs/front"), help="folder for the trainings")
    parser.add_argument("--precision", default="auto", help="of the trainings, as `retrieval train` takes it (auto)")
    parser.add_argument("--only", choices=sorted({c.widths for c in CANDIDATES}), help="these widths alone")
    parser.add_argument("--thousands", type=float, help="trainings of so many thousand pictures alone")
    args = parser.parse_args()
    if args.what == "measure":
        if args.data is None:
            parser.error("measure needs the data")
        known = with_validation(datasets.load(args.data))
        for candidate in CANDIDATES:
            for thousands in candidate.reached:
                if args.only in (None, candidate.widths) and args.thousands in (None, thousands):
                    run = args.out / f"{candidate.rest['loss']}-{candidate.widths}-{thousands}" / "run"
                    keep(
                        [
                            once(
                                run.parent / "result.json",
                                partial(point, candidate, thousands, args.precision, known, run),
                            )
                        ]
                    )
    rows = read()
    if args.what == "show":
        draw(rows, PLOT)
    print(json.dumps(rows, indent=2) if args.json else table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(status(main))
