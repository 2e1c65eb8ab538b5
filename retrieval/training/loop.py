"""The training loop: batches, loss, schedule, checkpoints, and what is kept of it all.

Everything random is drawn from the seed and the number of the epoch or step, never from a running state. So a training
that was stopped goes on bit for bit (on a CPU, with as many threads) from its last checkpoint.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import safetensors.torch
import torch

from retrieval import networks
from retrieval.base.files import write_durably
from retrieval.base.progress import bar
from retrieval.datasets import PictureSet
from retrieval.encoder import EncoderConfig, save_trained
from retrieval.errors import RetrievalError
from retrieval.images import Preprocessing
from retrieval.training import losses, run_folder, sampling
from retrieval.training.batches import Batches
from retrieval.training.build_network import build_network
from retrieval.training.card import card
from retrieval.training.compiling import compile_again, try_compiled
from retrieval.training.engine import Engine
from retrieval.training.hardware import choose_device, choose_precision, seconds_per_step, threads
from retrieval.training.history import Board, Monitor, Reading, write_history
from retrieval.training.losses.classification import SoftmaxLoss
from retrieval.training.processes import World, join
from retrieval.training.recipe import Recipe, epochs_for
from retrieval.training.run_folder import CHECKPOINT, Saved, open_run, same_recipe
from retrieval.training.training_set import Source, fingerprint, readable
from retrieval.training.validation import Validation
from retrieval.training.warm_start import Initial

CLASSIFIER = "classifier.safetensors"
"""Beside the encoder of a run with the softmax loss: ``weight`` (classes, dim) and ``bias`` (classes,); the logits are
``unit_embeddings @ weight.T + bias``."""
CHECKPOINT_SECONDS = 60.0


@dataclass(frozen=True)
class Trained:
    """What came of a training. ``precision_at_1`` is the last one on the validation pictures (NaN without any)."""

    folder: Path
    recipe: Recipe
    history: list[Reading]
    warnings: list[str]
    seconds: float

    @property
    def precision_at_1(self) -> float:
        known = [reading.precision_at_1 for reading in self.history if not math.isnan(reading.precision_at_1)]
        return known[-1] if known else math.nan


def train(
    pictures: PictureSet,
    out: str | Path,
    recipe: Recipe | None = None,
    *,
    resume: bool = False,
    tensorboard: bool = False,
    warn: Callable[[str], None] = lambda message: None,
    tell: Callable[[str], None] = lambda message: None,
) -> Trained:
    """Train an embedding on the pictures of the ``train`` split and keep it in a folder.

    Started by ``torchrun``, several processes train together, and the first writes the files.

    Args:
        pictures: a labelled set. Its ``val`` split watches the training; without one, a part of ``train`` is held out.
        out: the run's folder: ``encoder/``, ``recipe.json``, ``curves.csv``, ``curves.png``.
        recipe: what to do; if None, what the checkpoint began with, or the defaults.
        resume: go on from the folder's checkpoint; a finished run is left as it is.
        tensorboard: write event files for TensorBoard into the run's folder ``tensorboard/``, too.
        warn: told of a collapse when it is noticed.
        tell: told what it began with, where the recipe names a trained run.

    Raises:
        RetrievalError: nothing to learn from, a folder that holds a run already, a checkpoint of another run, or a loss
            that is no longer a number; or another recipe than the checkpoint began with; or a run to go on from that is
            missing, damaged, or of another architecture.
    """
    out = Path(out)
    saved = open_run(out, resume)
    if saved is not None:
        recipe = same_recipe(out, recipe, Recipe(**saved.about["asked"]))
    recipe = recipe or Recipe()
    device = choose_device(recipe.device)
    world = join(device)
    if recipe.compile and world.size > 1:
        raise RetrievalError("--compile goes with one process; leave it out, or start the training without torchrun.")
    with threads(recipe.threads), torch.random.fork_rng(devices=[]):
        run = _Run(pictures, out, recipe, warn, device, world)
        world.wait()  # all have looked at the folder before the first writes to it
        run.prepare(saved)
        if run.began and saved is None and world.first:
            tell(run.began)
        with run.logged(tensorboard):
            run.go()
        return run.finish()


class _Run:
    """One training from its first step to its last."""

    def __init__(
        self,
        pictures: PictureSet,
        out: Path,
        recipe: Recipe,
        warn: Callable[[str], None],
        device: torch.device,
        world: World,
    ) -> None:
        self.world = world
        self.asked = recipe
        self.out = out
        self.warn = warn
        self.warnings: list[str] = []
        self.history: list[Reading] = []
        self.step = 0
        self.seconds = 0.0
        self.device = device
        self.dtype = choose_precision(recipe.precision, self.device)
        self.fingerprint = fingerprint(pictures)
        self.name = pictures.name
        self.classes = pictures.classes
        pictures = readable(pictures, self._report)
        held_out = recipe.validation / max(1, int((pictures.splits == "train").sum()))
        if held_out:
            pictures = pictures.split_validation(min(0.1, held_out), recipe.seed)
        self.train = pictures.select((pictures.splits == "train") & (pictures.labels >= 0))
        self.validation = pictures.select((pictures.splits == "val") & (pictures.labels >= 0))
        if len(self.train) == 0:
            raise RetrievalError(
                f"{pictures.name} has no labelled training pictures; give class folders, or a CSV with a label column."
            )

    def prepare(self, saved: Saved | None) -> None:
        """Network, loss, optimizer and schedule, new or as a checkpoint left them."""
        asked = self.asked
        # a checkpoint has all weights: the run that the training went on from need not be there any more
        initial = Initial.open(asked.init) if asked.init is not None and saved is None else None
        known = {} if saved is None else saved.about.get("network", {})  # format 2 may lack it
        torch.manual_seed(asked.seed)
        options = known.get("options") if initial is None else initial.options(asked)
        network, self.options = build_network(asked, self.train, options)
        self.began: str = known.get("began", "") if initial is None else initial.hand_over(network)
        if known:
            network.preprocessing = Preprocessing(**known["preprocessing"])
        pretrained = networks.pretrained(asked.net) or asked.init is not None
        self.recipe = asked.resolve(channels=network.preprocessing.channels, pretrained=pretrained)
        turns = 4 if asked.quarter_turns else 1
        labels = np.concatenate([self.train.labels + turn * len(self.classes) for turn in range(turns)])
        sampler = sampling.create(
            self.recipe, labels, None if self.train.levels is None else [*self.train.levels] * turns
        )
        source = Source(self.train, network.preprocessing, turns)
        self.batches = Batches(sampler, source, labels, self.recipe.accumulate, self.world)
        if hasattr(network, "fit_to") and initial is None and not known:
            network.fit_to(source.sample(5000, asked.seed))
        self.preprocessing: Preprocessing = network.preprocessing
        self.dim = int(network.dim)
        self.engine = Engine(
            network.to(self.device, memory_format=torch.channels_last),
            losses.create(self.recipe, self.dim, turns * len(self.classes)).to(self.device),
            self.recipe,
            self.preprocessing,
            self.device,
            self.dtype,
            self.world,
        )
        self.quality = Validation(source, self.train.labels, self.validation, self.preprocessing, self.recipe.seed)
        self.monitor = Monitor(self.recipe, self.recipe.lr or 0)
        if saved is None:
            if self.recipe.compile:
                try_compiled(self.engine, lambda: self.batches.epoch(0), self._first_rate(), self._report)
            self.epochs = int(self.world.agreed(self._epochs()))
            if self.world.first:
                self.out.mkdir(parents=True, exist_ok=True)
            return
        if saved.about["fingerprint"] != self.fingerprint:
            raise RetrievalError(
                f"{self.out / CHECKPOINT} was trained on other pictures than {self.name}; "
                "give the same data, or train anew."
            )
        self.engine.restore(saved.tensors)
        if saved.about.get("compiled"):
            compile_again(self.engine, self.batches.epoch(0), self._first_rate())
        self.step, self.epochs = saved.step, saved.about["epochs"]
        self.seconds, self.warnings = saved.about["seconds"], saved.about["warnings"]
        self.history = run_folder.unpack_history(saved.about["history"])

    @contextmanager
    def logged(self, wanted: bool) -> Iterator[None]:
        """Logs for TensorBoard, if wanted."""
        self.board = Board(self.out, self.step) if wanted and self.world.first else None
        try:
            yield
        finally:
            if self.board is not None:
                self.board.close()

    def go(self) -> None:
        """All the epochs that are left."""
        steps = len(self.batches)
        started = time.perf_counter() - self.seconds
        written = time.perf_counter()
        first = self.step // steps
        with bar(steps * self.epochs, "Training", "steps", initial=self.step) as progress, held_back() as stopped:
            for epoch in range(first, self.epochs):
                for i, batches in enumerate(self.batches.epoch(epoch, skip=self.step - epoch * steps)):
                    last = self.step + 1 == (epoch + 1) * steps
                    lr = self.recipe.rate(self.step, steps * self.epochs)
                    measured = self.engine.step(self.step, batches, lr)
                    self.step += 1
                    self.seconds = time.perf_counter() - started
                    quality = self._quality() if last else math.nan
                    self.history.append(Reading(self.step, epoch, *measured, lr, self.seconds, quality))
                    if self.board is not None:
                        self.board.write(self.history[-1])
                    self._watch(self.history[-1])
                    if i % 10 == 0 or last:
                        progress.set_postfix(self._numbers(), refresh=False)
                    progress.update(1)
                    stop = self.world.anywhere(stopped())
                    if last or stop or time.perf_counter() - written > CHECKPOINT_SECONDS:
                        self.save()
                        written = time.perf_counter()
                    if stop:
                        raise KeyboardInterrupt

    def finish(self) -> Trained:
        """Write the curves and the encoder; the checkpoint goes last, so that a kill in between loses nothing."""
        trained = Trained(self.out, self.recipe.replace(epochs=self.epochs), self.history, self.warnings, self.seconds)
        if not self.world.first:
            return trained
        write_history(self.history, self.out, f"{self.name}: {self.recipe.net}, {self.recipe.loss}")
        choices = json.dumps(dataclasses.asdict(trained.recipe), indent=2) + "\n"
        write_durably(self.out / "recipe.json", choices.encode())
        with self.engine.averaged():
            self._write_encoder(trained)
        (self.out / CHECKPOINT).unlink(missing_ok=True)
        return trained

    def save(self) -> None:
        """Write the checkpoint."""
        if not self.world.first:
            return
        about = {
            "asked": dataclasses.asdict(self.asked),
            "network": {
                "options": self.options,
                "preprocessing": dataclasses.asdict(self.preprocessing),
                "began": self.began,
            },
            "epochs": self.epochs,
            "compiled": self.engine.compiled is not None,
            "fingerprint": self.fingerprint,
            "seconds": self.seconds,
            "warnings": self.warnings,
            "history": run_folder.pack_history(self.history),
        }
        run_folder.write(self.out / CHECKPOINT, self.step, self.engine.state(), about)

    def _write_encoder(self, trained: Trained) -> None:
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
        save_trained(self.out / "encoder", network, config, self._card(trained))

    def _watch(self, reading: Reading) -> None:
        if not math.isfinite(reading.loss):
            raise RetrievalError(
                f"The loss is no longer a number at step {reading.step}: the learning rate is too high; "
                f"train anew with --lr {(self.recipe.lr or 0) / 5:g}."
            )
        message = self.monitor.look(reading.loss, reading.spread, reading.active)
        if message is not None:
            self._report(message)

    def _report(self, message: str) -> None:
        self.warnings.append(message)
        if self.world.first:
            self.warn(message)

    def _quality(self) -> float:
        return self.world.agreed(self.quality.precision_at_1(self.engine) if self.world.first else math.nan)

    def _numbers(self) -> dict[str, str]:
        now = self.history[-1]
        numbers = {"loss": f"{now.loss:.3f}", "spread": f"{now.spread:.2f}"}
        if not math.isnan(now.active):
            numbers["active"] = f"{now.active:.1%}"
        known = [r.precision_at_1 for r in self.history[-2 * len(self.batches) :] if not math.isnan(r.precision_at_1)]
        return numbers | ({"P@1": f"{known[-1]:.3f}"} if known else {})

    def _card(self, trained: Trained) -> str:
        return card(
            trained.recipe,
            pictures=self.name,
            fingerprint=self.fingerprint,
            labels=self.train.labels,
            validation=self.quality.queries,
            gallery=self.quality.gallery,
            precision_at_1=trained.precision_at_1,
            steps=self.step,
            seconds=trained.seconds,
            dtype=str(self.dtype).removeprefix("torch."),
            began=self.began,
            warnings=trained.warnings,
        )

    def _first_rate(self) -> float:
        return self.recipe.rate(0, len(self.batches) * epochs_for(self.recipe, len(self.batches)))

    def _epochs(self) -> int:
        """The number of epochs, fewer than asked for where the recipe limits the minutes."""
        steps = len(self.batches)
        wanted = epochs_for(self.recipe, steps)
        if self.recipe.minutes is None:
            return wanted
        step = seconds_per_step(self.engine, self.batches.epoch(0), self._first_rate())
        start = time.perf_counter()
        self._quality()
        epoch = step * steps + time.perf_counter() - start
        return min(wanted, max(1, int(self.recipe.minutes * 60 / epoch)))


@contextmanager
def held_back() -> Iterator[Callable[[], bool]]:
    """Hold a Ctrl-C back until the program asks for it.

    A step that is cut off has moved some of the weights and not others, and a checkpoint of that could not be resumed
    bit for bit. A second Ctrl-C is not held back. Nothing changes where Ctrl-C was not Python's to handle: in other
    threads than the main one, and in a process that ignores it.

    Yields:
        Whether there was one.
    """
    came = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal came
        if came:
            raise KeyboardInterrupt
        came = True

    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield lambda: False
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: came
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
