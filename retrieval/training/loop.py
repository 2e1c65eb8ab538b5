"""Training an embedding on labelled pictures."""

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor

from retrieval import networks
from retrieval.base.files import write_durably
from retrieval.base.given import seeded
from retrieval.datasets import PictureSet
from retrieval.encoder import EncoderConfig, save_trained
from retrieval.errors import RetrievalError
from retrieval.images import Preprocessing
from retrieval.measures.intervals import wilson
from retrieval.training import for_minutes, losses, sampling
from retrieval.training.build_network import build_network, build_optimizer, usual_side
from retrieval.training.engine import Engine, Measured
from retrieval.training.hardware import choose_device, precisions, seconds_per_step, threads
from retrieval.training.history import Monitor, Reading
from retrieval.training.losses.classification import SoftmaxLoss
from retrieval.training.processes import join
from retrieval.training.recipe import Recipe
from retrieval.training.run_folder import Saved, open_run
from retrieval.training.training_run import Outcome, Run, what_to_do
from retrieval.training.training_set import Batch, Batches, Source
from retrieval.training.warm_start import Initial

CLASSIFIER = "classifier.safetensors"
"""Beside the encoder of a run with the softmax loss: ``weight`` (classes, dim) and ``bias`` (classes,); the logits are
``unit_embeddings @ weight.T + bias``."""

STEPS, TIMED = 4, 60
"""Steps of a network that are timed where the minutes choose one, and the pictures of each."""

CHOOSING = 0.02
"""The share of the minutes after which no other one is tried."""

GALLERY, QUERIES = 5000, 1000
"""At most so many training and validation pictures are compared."""


@dataclass(frozen=True)
class Trained(Outcome[Recipe, Reading]):
    """What came of a training. ``precision_at_1`` is that at the end, on the validation pictures (NaN without any)."""

    @property
    def precision_at_1(self) -> float:
        return self.history[-1].precision_at_1 if self.history else math.nan


def train(
    pictures: PictureSet,
    out: str | Path,
    recipe: Recipe | None = None,
    *,
    plan: str | Path | None = None,
    resume: bool = False,
    tensorboard: bool = False,
    warn: Callable[[str], None] = lambda message: None,
    tell: Callable[[str], None] = lambda message: None,
    begun: float | None = None,
) -> Trained:
    """Train an embedding on the pictures of the ``train`` split and keep it in a folder.

    Started by ``torchrun``, several processes train together, and the first writes the files.

    Args:
        pictures: a labelled set. Its ``val`` split watches the training; without one, a part of ``train`` is held out.
        out: the run's folder: ``encoder/``, ``recipe.json``, ``curves.csv``, ``curves.png``, and with minutes
            ``plan.json``.
        recipe: what to do; if None, what the plan or the checkpoint began with, or the defaults.
        plan: the ``plan.json`` of a training that had minutes, to repeat it without a clock.
        resume: go on from the folder's checkpoint; a finished run is left as it is.
        tensorboard: write event files for TensorBoard into the run's folder ``tensorboard/``, too.
        warn: told of a collapse when it is noticed.
        tell: told what was chosen for the minutes, and what it began with, where the recipe names a trained run.
        begun: when its minutes began, by ``time.perf_counter()``; by default now.

    Raises:
        RetrievalError: nothing to learn from, a folder that holds a run already, a checkpoint of another run, or a loss
            that is no longer a number; or another recipe than the checkpoint began with; or a run to go on from that is
            missing, damaged, or of another architecture.
    """
    out = Path(out)
    saved = open_run(out, resume)
    recipe, known = what_to_do(saved, recipe, plan, Recipe)
    device = choose_device(recipe.device)
    world = join(device)
    if recipe.compile and world.size > 1:
        raise RetrievalError("--compile goes with one process; leave it out, or start the training without torchrun.")
    with threads(recipe.threads), torch.random.fork_rng(devices=[]):
        run = EmbeddingRun(pictures, out, recipe, warn, device, world, known, begun)
        world.wait()  # all have looked at the folder before the first writes to it
        run.prepare(saved)
        for fact in (run.chosen, run.began):
            if fact and saved is None and world.first:
                tell(fact)
        with run.logged(tensorboard):
            run.go()
        run.finish()
        return run.outcome()


class EmbeddingRun(Run[Recipe, Reading]):
    """The training of an embedding network."""

    result = "encoder"
    kind = Reading

    @property
    def title(self) -> str:
        return f"{super().title}, {self.recipe.loss}"

    def choose(self) -> None:
        asked = self.asked
        if not for_minutes.leaves_open(asked):
            return
        # torch imports its compiler for the first optimizer, which takes seconds that tell nothing of a network
        build_optimizer(asked.resolve(channels=3, pretrained=False), torch.nn.Linear(1, 1))
        begun = self.gone()
        seconds = 60 * (asked.minutes or 0) - begun
        chosen = for_minutes.pick(
            asked,
            usual_side(self.train),
            precisions(asked.precision, self.device),
            self._seconds_of,
            lambda: self.world.anywhere(self.gone() - begun > CHOOSING * seconds),
            seconds,
            math.inf if asked.epochs is None else asked.epochs * len(self.train),
        )
        self.dtype = chosen.precision
        precision = str(chosen.precision).removeprefix("torch.")
        self.asked = asked.replace(**chosen.settings, precision=precision)
        self.chosen = str(chosen)

    def _seconds_of(self, recipe: Recipe, precision: torch.dtype) -> float:
        """The seconds of a picture in a small batch of made-up ones."""
        network, _ = build_network(recipe, self.train)
        channels, size = network.preprocessing.channels, network.preprocessing.size
        recipe = recipe.resolve(channels=channels, pretrained=False)
        labels = torch.arange(TIMED) // 6 % len(self.classes)
        rows = self.world.rows(TIMED)
        pixels = torch.randint(0, 256, (rows.stop - rows.start, size, size, channels), dtype=torch.uint8)
        engine = Engine(
            network.to(self.device, memory_format=torch.channels_last),
            losses.create(recipe, network.dim, len(self.classes)).to(self.device),
            recipe,
            network.preprocessing,
            self.device,
            precision,
            self.world,
        )
        steps = itertools.repeat([Batch(pixels, labels, labels % 2 == 0, rows.start)])
        return self.world.agreed(seconds_per_step(engine, steps, 0.0, STEPS) / TIMED)

    def make(self, saved: Saved | None) -> None:
        asked = self.asked
        if len(self.train) == 0:
            raise RetrievalError(
                f"{self.name} has no labelled training pictures; give class folders, or a CSV with a label column."
            )
        # a checkpoint has all weights: the run that the training went on from need not be there any more
        initial = Initial.open(asked.init) if asked.init is not None and saved is None else None
        known = {} if saved is None else saved.about.get("network", {})  # format 2 may lack it
        options = known.get("options") if initial is None else initial.options(asked)
        self.network, self.options = build_network(asked, self.train, options)
        self.began: str = known.get("began", "") if initial is None else initial.hand_over(self.network)
        if known:
            self.network.preprocessing = Preprocessing(**known["preprocessing"])
        pretrained = networks.pretrained(asked.net) or asked.init is not None
        self.recipe = asked.resolve(channels=self.network.preprocessing.channels, pretrained=pretrained)
        source = Source(self.train, self.network.preprocessing, 4 if asked.quarter_turns else 1, asked.mirrored_classes)
        labels = np.concatenate([self.train.labels + pose * len(self.classes) for pose in range(source.poses)])
        sampler = sampling.create(
            self.recipe, labels, None if self.train.levels is None else [*self.train.levels] * source.poses
        )
        self.batches = Batches(sampler, source, labels, self.recipe.accumulate, asked.seed, self.world)
        if hasattr(self.network, "fit_to") and initial is None and not known:
            self.network.fit_to(source.sample(5000, asked.seed))
        self.preprocessing: Preprocessing = self.network.preprocessing
        self.dim = int(self.network.dim)
        self.engine = Engine(
            self.network.to(self.device, memory_format=torch.channels_last),
            losses.create(self.recipe, self.dim, source.poses * len(self.classes)).to(self.device),
            self.recipe,
            self.preprocessing,
            self.device,
            self.dtype,
            self.world,
        )
        self.held_out = Validation(source, self.train.labels, self.validation, self.preprocessing, self.recipe.seed)
        self.monitor = Monitor(self.recipe, self.recipe.lr or 0)

    @property
    def watched(self) -> int:
        return self.held_out.queries and self.held_out.queries + self.held_out.gallery

    def quality(self) -> float:
        return self.held_out.precision_at_1(self.engine, self.late)

    def reading(self, epoch: int, measured: Measured, lr: float, quality: float) -> Reading:
        return Reading(self.step, epoch, *measured, lr, self.seconds, quality)

    def look(self, reading: Reading) -> str | None:
        return self.monitor.look(reading.loss, reading.spread, reading.active)

    def numbers(self) -> dict[str, str]:
        now = self.history[-1]
        numbers = {"loss": f"{now.loss:.3f}", "spread": f"{now.spread:.2f}"}
        if not math.isnan(now.active):
            numbers["active"] = f"{now.active:.1%}"
        known = [r.precision_at_1 for r in self.history[-2 * len(self.batches) :] if not math.isnan(r.precision_at_1)]
        return numbers | ({"P@1": f"{known[-1]:.3f}"} if known else {})

    def about(self) -> dict[str, Any]:
        preprocessing = dataclasses.asdict(self.preprocessing)
        return {"network": {"options": self.options, "preprocessing": preprocessing, "began": self.began}}

    def keep(self) -> None:
        network: Any = self.engine.network
        network = copy.deepcopy(network).eval().to("cpu", memory_format=torch.contiguous_format)
        loss = self.engine.loss
        if isinstance(loss, SoftmaxLoss):
            known = slice(len(self.classes))  # without those that are turned
            head = {"weight": loss.weight.detach()[known].cpu(), "bias": loss.bias.detach()[known].cpu()}
            write_durably(self.out / CLASSIFIER, safetensors.torch.save(head))
        config = EncoderConfig(
            network=self.recipe.net,
            options=self.options,
            dim=self.dim,
            preprocessing=self.preprocessing,
            classes=self.classes,
            trained_on=self.name,
        )
        save_trained(self.out / "encoder", network, config, self.card(self._facts()))

    def _facts(self) -> list[str]:
        precision, held_out = self.outcome().precision_at_1, self.held_out
        quality = f"not measured ({'the time was up' if held_out.queries else 'no validation pictures'})"
        if not math.isnan(precision):
            low, high = wilson(precision, held_out.queries)
            quality = (
                f"{precision:.3f} (95 % interval {low:.3f} to {high:.3f}; {held_out.queries:,} validation pictures "
                f"among {held_out.gallery:,} training pictures)"
            )
        classes = len(np.unique(self.train.labels))
        return [
            f"Trained on: {self.name}, {len(self.train):,} pictures of {classes:,} classes",
            *(fact for fact in (self.chosen, self.began) if fact),
            f"P@1 at the end: {quality}",
        ]

    def outcome(self) -> Trained:
        """What came of it so far."""
        return Trained(self.out, self.recipe, self.history, self.warnings, self.seconds)


class Validation:
    """P@1 of validation pictures among training pictures, on a fixed part of both.

    Args:
        source: the training pictures, which have ``labels`` int64 (n,).
        validation: the others; without any, nothing is measured.
    """

    def __init__(
        self,
        source: Source,
        labels: NDArray[np.int64],
        validation: PictureSet,
        preprocessing: Preprocessing,
        seed: int,
    ) -> None:
        random = seeded(seed)
        self._source = source
        self._labels = labels
        self._gallery = random.permutation(len(labels))[:GALLERY]
        self._validation = validation.select(random.permutation(len(validation))[:QUERIES])
        self._preprocessing = preprocessing

    @property
    def queries(self) -> int:
        return len(self._validation)

    @property
    def gallery(self) -> int:
        return len(self._gallery)

    @functools.cached_property
    def _queries(self) -> Source:
        return Source(self._validation, self._preprocessing)

    def precision_at_1(self, engine: Engine, late: Callable[[], bool] = lambda: False) -> float:
        """In [0, 1]; NaN without validation pictures, or where it gets too late meanwhile."""
        if self.queries == 0:
            return math.nan
        with engine.averaged():
            queries = self._embed(engine, self._queries, np.arange(self.queries), late)
            gallery = self._embed(engine, self._source, self._gallery, late)
        if queries is None or gallery is None:
            return math.nan
        similar = queries @ gallery.T
        found = self._labels[self._gallery][similar.argmax(1).cpu().numpy()]
        return float((found == self._validation.labels).mean())

    def _embed(
        self, engine: Engine, source: Source, indices: NDArray[np.int64], late: Callable[[], bool]
    ) -> Tensor | None:
        embedded = []
        for part in np.array_split(indices, max(1, len(indices) // 500)):
            if late():
                return None
            embedded.append(engine.embed(source.read(part)))
        return torch.cat(embedded)
