#!/usr/bin/env python3
"""What a training reaches with how much arithmetic: the table that `retrieval train --minutes` chooses from.

    python benchmarks/front.py measure data/cifar10.h5 --out runs/front                    what was not measured yet
    python benchmarks/front.py measure data/cifar10.h5 --out runs/front --only 24,64,128   anew, those of one width
    python benchmarks/front.py show                                                        the table and the plot

Each point is a training of its own, of so many pictures with the learning rate down to 0, on CIFAR-10's training
pictures without 5,000 of them, which are then asked for among the rest; the test pictures are never looked at.
`measure` trains what is missing of POINTS, from the fewest pictures on, and puts each row into
retrieval/training/minutes.json as soon as it is known; what stands in --out is not trained again. `show` prints the
table as Markdown and draws docs/images/front.png. Rows of test pictures are the records (benchmarks/records.py).
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
from records import arithmetic

from retrieval import datasets
from retrieval.base.files import write_durably
from retrieval.base.machine import describe
from retrieval.cli.train import print_warning
from retrieval.datasets import PictureSet
from retrieval.encoder import Encoder
from retrieval.training import for_minutes
from retrieval.training.for_minutes import CLASSIFIER, KNN, TRIPLETS, Candidate
from retrieval.training.loop import train
from retrieval.training.plan import FILE, Decision, Plan
from retrieval.training.recipe import Recipe
from retrieval.training.run_folder import finished
from retrieval.training.training_set import fingerprint

PLOT = Path(__file__).parents[1] / "docs" / "images" / "front.png"
SIDE = 32
"""Of CIFAR-10's pictures."""

SMALL = {**CLASSIFIER, "pictures_per_class": 12}
"""A batch of 120 in place of 250."""

PLAIN = {"loss": TRIPLETS["loss"]}
"""Triplets without what was chosen for the classifier."""

POINTS: tuple[tuple[Candidate, tuple[float, ...]], ...] = (
    (Candidate("24,64,128", CLASSIFIER, {}), (51, 90, 190)),
    (Candidate("24,64,128", CLASSIFIER, {}, 0.75), (90,)),
    (Candidate("24,64,128", SMALL, {}), (190,)),
    (Candidate("24,64,128", SMALL, {}, 0.75), (90, 340)),
    (Candidate("32,64", CLASSIFIER, {}), (190,)),
    (Candidate("24,64,128,128", CLASSIFIER, {}), (190,)),
    (Candidate("32,128,128", CLASSIFIER, {}), (180,)),
    (Candidate("32,128,128", CLASSIFIER, {}, 0.5), (100,)),
    (Candidate("32,128,128", SMALL, {}, 0.75), (180,)),
    (Candidate("64,128,128", CLASSIFIER, {}), (450,)),
    (Candidate("64,128,128", CLASSIFIER, {}, 0.75), (800,)),
    (Candidate("64,128,128", SMALL, {}), (450,)),
    (Candidate("64,128,256", CLASSIFIER, {}), (400,)),
    (Candidate("24,64,128", TRIPLETS, {}), (90,)),
    (Candidate("64,128,256", PLAIN, {}), (288,)),
)
"""What is measured, with so many thousand pictures each, beside the rows that other commands left."""

MEASURES = (KNN, "P@10", "mAP")
PLACE = ("widths", "size", "batch", "loss", "thousand pictures")


def point(candidate: Candidate, thousands: float, precision: str, known: PictureSet, run: Path) -> dict[str, Any]:
    """One training of a candidate on so many thousand pictures."""
    recipe = candidate.settled(Recipe(validation=0, precision=precision), SIDE)
    steps = round(1000 * thousands / batch_of(recipe))
    learned = known.select("train")
    plan = Plan([Decision(0, 0.0, steps)], "encoder", None, fingerprint(learned), dataclasses.asdict(recipe))
    run.parent.mkdir(parents=True, exist_ok=True)
    plan.write(run.parent)
    if not finished(run):
        train(learned, run, plan=run.parent / FILE, resume=True, warn=print_warning)
    found = figures(by_validation(run, known))
    return {
        **dict(zip(PLACE, place_of(candidate, thousands), strict=True)),
        "PFLOP": round(arithmetic(Encoder.load(run), recipe, steps), 4),
        **{name: found[name] for name in MEASURES},
        "asked": f"{HELD_OUT:,} held out, among {len(learned):,} others",
        "machine": describe(),
        "share": candidate.share,
        "rest": candidate.rest,
    }


def batch_of(recipe: Recipe) -> int:
    """Pictures a step."""
    return recipe.classes_per_batch * recipe.pictures_per_class


def place_of(candidate: Candidate, thousands: float) -> tuple[Any, ...]:
    """What tells a training from others, and stands in the columns :data:`PLACE`."""
    recipe = candidate.settled(Recipe(), SIDE)
    return candidate.widths, recipe.size or SIDE, batch_of(recipe), recipe.loss, thousands


def keep(rows: list[dict[str, Any]]) -> None:
    """Put rows among those of the table, in place of those of the same points."""
    kept = {place(row): row for row in [*read(), *rows]}
    ordered = sorted(kept.values(), key=lambda row: (row["loss"], row["PFLOP"]))
    lines = ",\n".join(json.dumps(row) for row in ordered)
    write_durably(for_minutes.TABLE, f"[\n{lines}\n]\n".encode())


def read() -> list[dict[str, Any]]:
    """The rows of the table."""
    rows: list[dict[str, Any]] = json.loads(for_minutes.TABLE.read_text())
    return rows


def place(row: dict[str, Any]) -> tuple[Any, ...]:
    """What tells one point from another."""
    return tuple(row[name] for name in PLACE)


def table(rows: list[dict[str, Any]]) -> str:
    """The kept rows for people."""
    names = (*PLACE, "PFLOP", *MEASURES, "asked")
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
    for recipe in sorted({place(row)[:-1] for row in rows}, key=str):
        own = [row for row in rows if place(row)[:-1] == recipe]
        x, (y, low, high) = [row["PFLOP"] for row in own], zip(*(row[KNN] for row in own), strict=True)
        points += list(zip(x, y, strict=True))
        spread = [[b - a for a, b in zip(low, y, strict=True)], [b - a for a, b in zip(y, high, strict=True)]]
        axes.errorbar(
            x, [*y], yerr=spread, marker="o", markersize=4, capsize=2, label="{}, {} px, {}, {}".format(*recipe)
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
    parser.add_argument("--only", choices=sorted({point.widths for point, _ in POINTS}), help="these widths alone")
    parser.add_argument("--thousands", type=float, help="trainings of so many thousand pictures alone")
    args = parser.parse_args()
    if args.what == "measure":
        if args.data is None:
            parser.error("measure needs the data")
        known = with_validation(datasets.load(args.data))
        kept = {place(row) for row in read()}
        chosen = args.only is not None or args.thousands is not None
        points = [(candidate, thousands) for candidate, counts in POINTS for thousands in counts]
        for candidate, thousands in sorted(points, key=lambda one: one[1]):
            own = place_of(candidate, thousands)
            if args.only not in (None, candidate.widths) or args.thousands not in (None, thousands):
                continue
            if chosen or own not in kept:
                run = args.out / "-".join(map(str, own)) / "run"
                work = partial(point, candidate, thousands, args.precision, known, run)
                keep([once(run.parent / "result.json", work)])
    rows = read()
    if args.what == "show":
        draw(rows, PLOT)
    print(json.dumps(rows, indent=2) if args.json else table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(status(main))
