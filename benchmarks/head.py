#!/usr/bin/env python3
"""Heads over stored vectors: what they gain, for known classes and for new ones, and what they cost.

    python benchmarks/head.py gain INDEX ... [--seeds 3]       indexes with labels, or labelled sets with --on ENCODER
    python benchmarks/head.py cost [--sizes 1000 10000 100000 1000000] --work FOLDER

`gain`: of each index, for each seed, a fifth of every class's items asks among the others (known classes), and a third
of the classes asks among itself (new classes), with heads that saw neither. Each row is one way of making a head, with
the mean of P@1 and P@10 over the seeds, and the 95 % interval over queries of the mean difference to the vectors as
they are; the choices of the closed form are made without what is held out.

    as they are    no head
    discriminant   LDA alone, shrinkage 0.3: the usual closed form
    whitened       within-class whitening alone, shrinkage 0.3
    closed form    what `train --net head` makes: shape, mixture and shrinkage chosen by cross-validation
    a loss's name  the layer learned by that loss, shape and mixture chosen likewise

`cost`: to learn a head from drawn vectors of 1,280 numbers in 100 classes (with what is gained on held-out pictures
and held-out classes, as `train` says it), and to map the vectors (of an index that is opened anew, so that its
checksums are compared), beside copying their segments to the disk, and copying those that were made: seconds of the
clock (of the processor), and the most memory of its own that either takes (pages of mapped files, which the system
takes back, are not counted). So are two other shapes of a head: that one *mixed* with the vectors as they are, and
one that is *whitened*, a product with a square matrix. Of more than 200,000 items the head learns from 200,000.
Mapping is timed without the structure for fast search, which an index of any origin gets. A million takes 18 GB of
`--work` for a while; the drawn index stays there for the next time.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from command import options, show, status

from retrieval import Encoder, HeadRecipe, Index, NewItem, RetrievalError, measures, train_head
from retrieval.encoder import EncoderConfig, head_map, save_trained
from retrieval.training.head.choosing import Choice, Learner, choose
from retrieval.training.head.gain import CLASSES, held_out
from retrieval.training.head.gradient import by_loss
from retrieval.training.head.labelled_source import labelled

DIM, KINDS = 1280, 100
TELLING = slice(32, 64)
SHRINKAGE = 0.3
ROUNDS = 3
MEASURES = ("P@1", "P@10")

Make = Callable[[np.ndarray, np.ndarray], Any]
Seconds = tuple[float, float]
Done = TypeVar("Done")


def ways(losses: list[str], seed: int) -> dict[str, Make]:
    """What makes a head of vectors and labels, by name."""

    def closed(vectors: np.ndarray, labels: np.ndarray) -> Any:
        learner = Learner(vectors, labels)
        return learner.made(choose(learner, seed=seed)[0])

    def of_loss(loss: str) -> Make:
        def make(vectors: np.ndarray, labels: np.ndarray) -> Any:
            learner = Learner(vectors, labels, by_loss(vectors, labels, HeadRecipe(loss=loss, seed=seed)))
            return learner.made(choose(learner, seed=seed)[0])

        return make

    def fixed(part: Any) -> Make:
        return lambda vectors, labels: Learner(vectors, labels).made(Choice(part, None, 0.0, SHRINKAGE))

    return {
        "as they are": lambda vectors, labels: np.asarray,
        "discriminant": fixed("learned"),
        "whitened": fixed("white"),
        "closed form": closed,
        **{loss: of_loss(loss) for loss in losses},
    }


def gained(source: str, on: str | None, losses: list[str], seeds: int, work: Path) -> list[dict[str, Any]]:
    """The rows of one index."""
    found = labelled(source, on, work, 0)
    known = found.labels >= 0
    vectors, (_, labels) = found.vectors[known], np.unique(found.labels[known], return_inverse=True)
    labels = labels.astype(np.int64)
    scores: dict[str, dict[str, list[np.ndarray]]] = {}
    seconds: dict[str, list[float]] = {}
    for seed in range(seeds):
        held = held_out(labels, seed)
        aside = np.random.default_rng(seed).permutation(labels.max() + 1)[: (labels.max() + 1) // CLASSES]
        unseen = np.isin(labels, aside)
        for name, make in ways(losses, seed).items():
            start = time.process_time()
            head = make(vectors[~held], labels[~held])
            seconds.setdefault(name, []).append(time.process_time() - start)
            ranked = measures.rank(head(vectors[held]), labels[held], head(vectors[~held]), labels[~held], ks=(1, 10))
            parts = {"known": ranked}
            if len(aside) > 1:
                _, own = np.unique(labels[~unseen], return_inverse=True)
                head = make(vectors[~unseen], own.astype(np.int64))
                parts["new"] = measures.rank(head(vectors[unseen]), labels[unseen], ks=(1, 10))
            for part, one in parts.items():
                for measure in MEASURES:
                    scores.setdefault(name, {}).setdefault(f"{part} {measure}", []).append(one.values[measure])
    rows = []
    for name, columns in scores.items():
        row: dict[str, Any] = {
            "set": found.name,
            "pictures": len(labels),
            "classes": int(labels.max()) + 1,
            "head": name,
        }
        for column, values in columns.items():
            value = np.mean([one.mean() for one in values])
            base = scores["as they are"][column]
            if name == "as they are":
                row[column] = f"{value:.3f}"
                continue
            gap = measures.compare(np.concatenate(values), np.concatenate(base)).difference
            row[column] = f"{value:.3f} ({gap.low:+.3f} to {gap.high:+.3f})"
        row["seconds to learn"] = round(float(np.median(seconds[name])), 2)
        rows.append(row)
    return rows


def cost(items: int, work: Path, seed: int) -> dict[str, Any]:
    """The row of one size."""
    folder = work / f"drawn-{items}"
    if not folder.exists():
        fill(folder, items, seed)
    run, out, copy, again = (work / f"{what}-{items}" for what in ("head", "mapped", "copied", "copied-again"))
    for old in (run, out, copy, again):
        shutil.rmtree(old, ignore_errors=True)
    os.sync()
    with most_memory() as learning:
        trained, learned = timed(lambda: train_head(folder, run, HeadRecipe(seed=seed)))
    found = Encoder.load(run).head()
    assert found is not None
    head = found[1]
    square = np.random.default_rng(seed).standard_normal((DIM, DIM), dtype=np.float32), np.zeros(DIM, np.float32)
    others = {"mixed": head_map.HeadMap(head.weight, head.bias, None, 1.0), "whitened": head_map.HeadMap(*square)}
    # What each writes, and what goes after it, so that the source stays in the system's cache.
    means: dict[str, tuple[Callable[[], None], list[Path]]] = {
        "copy": (lambda: copied(folder / "segments", copy), [copy]),
        "map": (lambda: mapped(folder, out, head), []),
        "copy of what was made": (lambda: copied(out / "segments", again), [out, again]),
    }
    for name, other in others.items():
        into = work / f"{name}-{items}"
        means[name] = partial(mapped, folder, into, other), [into]
    rounds: dict[str, list[Seconds]] = {name: [] for name in means}
    with most_memory() as mapping:
        for _ in range(ROUNDS):
            for name, (work_on, gone) in means.items():
                rounds[name].append(timed(work_on)[1])
                for old in gone:
                    shutil.rmtree(old)
                os.sync()
    medians = {name: np.median(some, axis=0) for name, some in rounds.items()}
    gains = {gain.what: gain.measures["P@10"] for gain in trained.gains}
    return {
        "items": items,
        "learn, s": f"{learned[0]:.1f} ({learned[1]:.1f})",
        "GiB to learn": round(learning[0], 2),
        "head": str(trained.choice),
        "numbers": trained.dim,
        **{f"P@10, {what}": f"{one.second.value:.3f} → {one.first.value:.3f}" for what, one in gains.items()},
        **{f"{name}, s": f"{some[0]:.2f} ({some[1]:.2f})" for name, some in medians.items()},
        **{f"{name} ÷ copy": round(float(medians[name][0] / medians["copy"][0]), 2) for name in ("map", *others)},
        "GiB to map": round(mapping[0], 2),
    }


def timed(work: Callable[[], Done]) -> tuple[Done, Seconds]:
    """What work gives, and the seconds of the clock and of the processor that it takes."""
    start, before = time.perf_counter(), time.process_time()
    done = work()
    return done, (time.perf_counter() - start, time.process_time() - before)


def mapped(folder: Path, out: Path, head: head_map.HeadMap) -> None:
    """An index of an index's vectors through a head, without a structure."""
    with Index.open(folder) as index:
        index.copy_mapped(
            out,
            lambda segments: [segment.write(head, None) for segment in segments],
            dim=head.dim,
            encoder_hash="0" * 64,
            details={},
        )


def copied(folder: Path, out: Path) -> None:
    """Copy a folder's files, and see to it that they are on the disk, as an index's are."""
    shutil.copytree(folder, out)
    for path in out.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


@contextmanager
def most_memory() -> Iterator[list[float]]:
    """The most GiB of its own that this process has in the block, looked at every 20 ms; in place 0 of the list."""
    most, done = [0.0], threading.Event()

    def look() -> None:
        while True:
            own = re.search(r"RssAnon:\s*(\d+) kB", Path("/proc/self/status").read_text())
            most[0] = max(most[0], int(own[1]) / 2**20 if own else 0.0)
            if done.wait(0.02):
                return

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield most
    finally:
        done.set()
        watcher.join()


def fill(folder: Path, items: int, seed: int) -> None:
    """An index of drawn vectors; its encoder is a network of that length, which nobody asks."""
    from retrieval import networks

    network = networks.create("convnet", dim=DIM, widths=[8, 8])
    config = EncoderConfig("convnet", {"dim": DIM, "widths": [8, 8]}, DIM, network.preprocessing)
    save_trained(folder / "encoder", network, config, "Drawn.")
    generator = np.random.default_rng(seed)
    # Some directions tell classes apart, and louder ones drown them, as in vectors of photographs.
    loud = (1 + np.arange(DIM, dtype=np.float32)) ** -0.5
    centres = np.zeros((KINDS, DIM), np.float32)
    centres[:, TELLING] = 1.5 * loud[TELLING] * generator.standard_normal(centres[:, TELLING].shape, dtype=np.float32)
    encoder = Encoder.load(folder)
    with Index.create(folder, DIM, root=".", encoder_hash=encoder.hash, details={}) as index:
        for start in range(0, items, 50_000):
            kinds = generator.integers(0, KINDS, min(50_000, items - start))
            drawn = centres[kinds] + loud * generator.standard_normal((len(kinds), DIM), dtype=np.float32)
            index.add(
                head_map.unit(drawn),
                [NewItem(f"{kind}/{start + row}.png", str(kind)) for row, kind in enumerate(kinds.tolist())],
            )


def main() -> int:
    parser = options(__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    gain = commands.add_parser("gain", help="P@1 and P@10, known classes and new ones")
    gain.add_argument("sources", nargs="+", metavar="INDEX", help="an index with labels, or a labelled set")
    gain.add_argument("--on", help="for sets: the encoder (the one for photographs)")
    gain.add_argument("--seeds", type=int, default=3, help="splits (3)")
    gain.add_argument("--losses", nargs="*", default=["norm-softmax", "supcon"], help="losses to compare with")
    gain.add_argument("--work", type=Path, help="where vectors of sets are kept")
    costs = commands.add_parser("cost", help="seconds and memory by the number of items")
    costs.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000, 1_000_000])
    costs.add_argument("--work", type=Path, required=True, help="a folder with room: 18 GB for a million")
    args = parser.parse_args()
    if args.command == "cost":
        if not args.work.is_dir():
            raise RetrievalError(f"{str(args.work)!r} is no folder; make it first.")
        show(args, [cost(items, args.work, args.seed) for items in args.sizes], dim=DIM, classes=KINDS)
        return 0
    rows = []
    for source in args.sources:
        with tempfile.TemporaryDirectory() as scratch:
            work = Path(scratch) if args.work is None else args.work / Path(source).stem
            rows += gained(source, args.on, args.losses, args.seeds, work)
    show(args, rows, seeds=args.seeds)
    return 0


if __name__ == "__main__":
    sys.exit(status(main))
