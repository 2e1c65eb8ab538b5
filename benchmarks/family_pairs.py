#!/usr/bin/env python3
"""Pair networks and the siamese network with an energy, each beside what was published.

    python benchmarks/family_pairs.py DATA               small sizes: about 100 seconds of one core
    python benchmarks/family_pairs.py DATA --full        the published sizes

DATA is a folder with `att_faces.zip` and `omniglot/` (images_background.zip, images_evaluation.zip,
images_background_small1.zip, images_background_small2.zip). Nothing is trained on what is tested: the test pairs are of
characters in alphabets, and of people, that no training picture shows. The small sizes test on background alphabets, so
that Omniglot's evaluation alphabets are seen by `--full` alone. The table goes to stdout, as Markdown or --json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from retrieval import datasets
from retrieval.cli.train import print_warning
from retrieval.datasets import PictureSet
from retrieval.errors import RetrievalError
from retrieval.losses import EnergyLoss
from retrieval.machine import describe
from retrieval.measures.intervals import Interval, bootstrap
from retrieval.measures.pairs import Pairs
from retrieval.measures.verification import verify
from retrieval.pairs.measuring import balanced_pairs, scored
from retrieval.pairs.recipes import PairRecipe
from retrieval.pairs.scoring import PairScorer
from retrieval.pairs.training import train_pair
from retrieval.sampling import ClassBatches
from retrieval.training.augmentation import augment

SEED = 0
FPR = "FPR at 95 % recall"
PATCHES = "on patches of photographs, FPR at 95 % recall {} (Zagoruyko and Komodakis 2015, mean of their six tests)"
PUBLISHED = {
    "two-channel": PATCHES.format("5.5 %"),
    "two-stream": PATCHES.format("4.2 %"),
    "siamese": PATCHES.format("10.0 %"),
    "pseudo-siamese": "not in the table of the authors' models",
}
"""Other pictures than ours: what compares is the order of the networks, not the figures."""


@dataclass(frozen=True)
class Row:
    """One system's figures.

    Attributes:
        system, data, published: in words.
        ours: measure → value and the ends of its 95 % interval, shares from 0 to 1.
        seconds: of training and testing.
        command: what repeats it.
    """

    system: str
    data: str
    published: str
    ours: dict[str, list[float]]
    seconds: float
    command: str


def patch_networks(folder: Path, full: bool, name: str) -> Row:
    """One of the four networks that were published for patches, on Omniglot's characters at 64×64."""
    train, test, data = omniglot(folder, full)
    widths = {"two-stream": "24,48"}.get(name, "24,48,64")
    recipe = PairRecipe(net=name, size=64, widths=None if full else widths, epochs=30 if full else 3, validation=0)
    return trained(name, train, test, recipe, f"{data} at 64×64", PUBLISHED[name], 20_000 if full else 2000)


def comparison(folder: Path, full: bool) -> Row:
    """The learned comparison: over VGG16 at 105×105 in full, over a small convnet else."""
    train, test, data = omniglot(folder, full)
    small = PairRecipe(net="comparison", trunk="convnet", size=32, widths="32,64,64", dim=128, epochs=5, validation=0)
    recipe = PairRecipe(net="comparison", trunk="vgg16", size=105, epochs=30, validation=0) if full else small
    published = "error in one-shot trials, not of pairs: 8.0 % (Koch, Zemel, Salakhutdinov 2015: one weight a feature)"
    system = f"learned comparison over {recipe.trunk}"
    return trained(
        system, train, test, recipe, f"{data} at {recipe.size}×{recipe.size}", published, 20_000 if full else 2000
    )


def energy(folder: Path, full: bool) -> Row:
    """The siamese network of Chopra, Hadsell and LeCun 2005 on faces of people that it has not seen."""
    started = time.perf_counter()
    faces = datasets.load(folder / "att_faces.zip")
    # 112×92 to 56×46 by the mean of 2×2 pixels; float32 (n, 1, 56, 46), about 0 ± 1
    pixels = faces.pixels[..., 0].reshape(-1, 56, 2, 46, 2).mean((2, 4), dtype=np.float32)
    x = torch.from_numpy(pixels)[:, None] / 127.5 - 1
    subjects = np.array([int(faces.classes[label][1:]) for label in faces.labels])
    known, new = np.flatnonzero(subjects <= 35), np.flatnonzero(subjects > 35)
    torch.manual_seed(SEED)
    network = energy_network()
    learn(network, x[known], subjects[known].astype(np.int64), steps=1500 if full else 150)
    with torch.inference_mode():
        outputs = network.eval()(x[new]).double().numpy()
    first, second = np.triu_indices(len(new), 1)
    energies = np.abs(outputs[first] - outputs[second]).sum(1)
    classes = np.stack([subjects[new][first], subjects[new][second]], axis=1).astype(np.int32)
    genuine = classes[:, 0] == classes[:, 1]
    pairs = Pairs((-energies).astype(np.float32), genuine, classes, (int(genuine.sum()), int((~genuine).sum())))
    measured = verify(pairs, false_match_rates=(0.05, 0.075, 0.1))
    ours = {name: values(measured[name]) for name in ("EER", FPR)}
    for rate in (0.05, 0.075, 0.1):
        recall = measured[f"TPR at FPR {rate:g}"]
        ours[f"FR at FA {rate:.1%}"] = [1 - recall.value, 1 - recall.high, 1 - recall.low]
    return Row(
        "siamese, energy loss (Chopra, Hadsell, LeCun 2005)",
        f"AT&T faces at 56×46: subjects 1–35 trained, all {len(genuine):,} pairs of 36–40 tested",
        "FR 1.0 % at FA 5 %, 1.0 % at 7.5 %, 0.0 % at 10 %",
        ours,
        time.perf_counter() - started,
        command("energy", full),
    )


def energy_network() -> nn.Sequential:
    """C1 15@7×7, S2 2×2, C3 45@6×6, S4 4×3, C5 250@5×5, F6 50, as published, with batch normalisation and tanh; C3 sees
    all maps of S2. float32 (n, 1, 56, 46) → (n, 50)."""
    return nn.Sequential(
        *(nn.Conv2d(1, 15, 7), nn.BatchNorm2d(15), nn.Tanh(), nn.AvgPool2d(2)),
        *(nn.Conv2d(15, 45, 6), nn.BatchNorm2d(45), nn.Tanh(), nn.AvgPool2d((4, 3))),
        *(nn.Conv2d(45, 250, 5), nn.BatchNorm2d(250), nn.Tanh(), nn.Flatten()),
        nn.Linear(250, 50),
    )


def learn(network: nn.Module, x: torch.Tensor, labels: np.ndarray, steps: int) -> None:
    """All pairs of 16 subjects × 4 pictures a step, where genuine and impostor pairs weigh the same; each picture is
    shifted by up to two pixels."""
    sampler, loss = ClassBatches(labels, 16, 4, SEED), EnergyLoss(50, unit=False)
    optimizer = torch.optim.Adam(network.parameters(), 0.002)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.002, steps)
    batches = (indices for epoch in itertools.count() for indices in sampler.epoch(epoch))
    network.train()
    for step, indices in enumerate(itertools.islice(batches, steps)):
        outputs = network(augment(x[indices], ("shift",), torch.Generator().manual_seed(step)))
        value, _ = loss(outputs, torch.from_numpy(labels[indices]))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        schedule.step()


def trained(
    system: str, train: PictureSet, test: PictureSet, recipe: PairRecipe, data: str, published: str, pairs: int
) -> Row:
    """A pair network trained on one set, and its measures on balanced pairs of another."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        train_pair(train, Path(folder) / "run", recipe, warn=print_warning)
        scorer = PairScorer.load(Path(folder) / "run")
    pixels = test.read(scorer.preprocessing)
    first, second = balanced_pairs(test.labels, pairs, SEED)
    found = scored(scorer, lambda rows: pixels[rows], test.labels, first, second)
    measured = verify(found)
    right = (found.scores > 0.5) == found.genuine
    ours = {FPR: values(measured[FPR]), "EER": values(measured["EER"])}
    ours["accuracy"] = values(bootstrap(right, over=found.classes[:, 0])[0])
    return Row(
        system,
        f"{data}; {pairs:,} balanced pairs of unseen alphabets",
        published,
        ours,
        time.perf_counter() - started,
        command(recipe.net, recipe.widths is None),
    )


def omniglot(folder: Path, full: bool) -> tuple[PictureSet, PictureSet, str]:
    """Training and test pictures, of different alphabets, and what they are called."""
    parts = (
        ("images_background", "images_evaluation") if full else ("images_background_small1", "images_background_small2")
    )
    train, test = (datasets.load(folder / "omniglot" / f"{part}.zip") for part in parts)
    # the two small background sets share alphabets
    known = set(train.levels or ())
    test = test.select(np.array([level not in known for level in test.levels or ()]))
    return train, test, f"Omniglot, {len(np.unique(train.labels)):,} characters"


def values(interval: Interval) -> list[float]:
    return [interval.value, interval.low, interval.high]


def command(name: str, full: bool) -> str:
    return f"python benchmarks/family_pairs.py DATA --only {name}" + (" --full" if full else "")


SYSTEMS: dict[str, Callable[[Path, bool], Row]] = {
    **{name: lambda folder, full, name=name: patch_networks(folder, full, name) for name in PUBLISHED},  # type: ignore[misc]
    "comparison": comparison,
    "energy": energy,
}


def rows(folder: Path, full: bool = False, only: list[str] | None = None) -> Iterator[Row]:
    """The rows, one after another as they are measured."""
    for name in only or SYSTEMS:
        yield SYSTEMS[name](folder, full)


def table(found: list[Row]) -> str:
    """Markdown; shares in percent, with their intervals."""
    lines = ["| system | data | published | ours (95 % interval over classes) | seconds |", "|---|---|---|---|---|"]
    for row in found:
        ours = "; ".join("{} {:.1f} % ({:.1f}–{:.1f})".format(n, *(100 * v for v in m)) for n, m in row.ours.items())
        lines.append(f"| {row.system} | {row.data} | {row.published} | {ours} | {row.seconds:.0f} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with att_faces.zip and omniglot/")
    parser.add_argument("--full", action="store_true", help="the published sizes: hours on a CPU")
    parser.add_argument("--only", nargs="+", choices=SYSTEMS, help="these alone")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    try:
        found = list(rows(args.data, args.full, args.only))
    except RetrievalError as error:
        print(error, file=sys.stderr)
        return 1
    about: dict[str, Any] = {"command": " ".join(sys.argv), "machine": describe(), "seed": SEED}
    print(json.dumps({**about, "rows": [asdict(row) for row in found]}, indent=2) if args.json else table(found))
    if not args.json:
        print(f"\n{about}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
