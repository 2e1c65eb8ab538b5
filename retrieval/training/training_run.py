"""One training from its first step to its last: the steps, the checkpoints, and what is kept of it all.

Everything random is drawn from the seed and the number of the epoch or step, never from a running state. So a training
that was stopped goes on bit for bit (on a CPU, with as many threads) from its last checkpoint.
"""

from __future__ import annotations

import dataclasses
import json
import math
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar, Generic, TypeVar

import torch

from retrieval.base.files import write_durably
from retrieval.base.progress import bar
from retrieval.datasets import PictureSet
from retrieval.errors import RetrievalError
from retrieval.training import run_folder
from retrieval.training.card import card
from retrieval.training.engine import Engine, Measured
from retrieval.training.hardware import choose_device, choose_precision, compile_again, seconds_per_step, try_compiled
from retrieval.training.history import Board, PairReading, Reading, write_history
from retrieval.training.pair_recipe import PairRecipe
from retrieval.training.processes import World
from retrieval.training.recipe import Recipe, epochs_for
from retrieval.training.run_folder import RESULTS, Saved
from retrieval.training.training_set import Batches, fingerprint, readable, taught

CHECKPOINT_SECONDS = 60.0

AnyRecipe = TypeVar("AnyRecipe", Recipe, PairRecipe)
AnyReading = TypeVar("AnyReading", Reading, PairReading)


@dataclass(frozen=True)
class Outcome(Generic[AnyRecipe, AnyReading]):
    """What came of a training: the run's folder, the recipe as it was settled, and a reading for each step."""

    folder: Path
    recipe: AnyRecipe
    history: list[AnyReading]
    warnings: list[str]
    seconds: float


class Run(ABC, Generic[AnyRecipe, AnyReading]):
    """A training of any kind. What differs from one to the other is what a class of its own says: network and batches,
    the quality on held-out pictures, and what is saved.

    Args:
        pictures: a labelled set. Its ``val`` split watches the training; without one, a part of ``train`` is held out.
        out: the run's folder.
        recipe: what to do; it stays as ``asked``.
        warn: told what goes wrong on the way.
        device: where to; by default what the recipe says.
        world: the processes that train together.

    Attributes:
        train, validation: labelled pictures.
        recipe, network, options, batches, engine: set by :meth:`make`; the recipe with all settled, the options that
            make the network again.
    """

    result: ClassVar[str]
    """What it leaves behind, one of :data:`retrieval.training.run_folder.RESULTS`."""

    kind: type[AnyReading]
    """What its history is of."""

    asked: AnyRecipe
    recipe: AnyRecipe
    network: Any
    options: dict[str, Any]
    batches: Batches
    engine: Engine

    def __init__(
        self,
        pictures: PictureSet,
        out: Path,
        recipe: AnyRecipe,
        warn: Callable[[str], None],
        device: torch.device | None = None,
        world: World | None = None,
    ) -> None:
        self.world = world or World()
        self.asked = recipe
        self.out = out
        self.warn = warn
        self.warnings: list[str] = []
        self.history: list[AnyReading] = []
        self.step = 0
        self.seconds = 0.0
        self.board: Board | None = None
        self.checkpoint = out / RESULTS[self.result]
        self.device = device or choose_device(recipe.device)
        self.dtype = choose_precision(recipe.precision, self.device)
        self.fingerprint = fingerprint(pictures)
        self.name = pictures.name
        pictures = taught(pictures)
        self.classes = pictures.classes
        pictures = readable(pictures, self.report)
        held_out = recipe.validation / max(1, int((pictures.splits == "train").sum()))
        if held_out:
            pictures = pictures.split_validation(min(0.1, held_out), recipe.seed)
        self.train = pictures.select((pictures.splits == "train") & (pictures.labels >= 0))
        self.validation = pictures.select((pictures.splits == "val") & (pictures.labels >= 0))

    @abstractmethod
    def make(self, saved: Saved | None) -> None:
        """Network, batches and engine, from the recipe or as a checkpoint left them."""

    @abstractmethod
    def quality(self) -> float:
        """On the held-out pictures, of the weights that would be saved now; NaN without any."""

    @abstractmethod
    def reading(self, epoch: int, measured: Measured, lr: float, quality: float) -> AnyReading:
        """What the history keeps of a step."""

    @abstractmethod
    def look(self, reading: AnyReading) -> str | None:
        """Watch the training; a warning when there is a new one."""

    @abstractmethod
    def numbers(self) -> dict[str, str]:
        """What stands beside the progress bar."""

    @abstractmethod
    def about(self) -> dict[str, Any]:
        """What a checkpoint has to know besides what it knows of every training (JSON-able)."""

    @abstractmethod
    def keep(self) -> None:
        """Write what the training leaves behind; the network has its averaged weights."""

    @property
    def title(self) -> str:
        """Of card and curves."""
        return f"{self.name}: {self.recipe.net}"

    def prepare(self, saved: Saved | None) -> None:
        """Everything for the first step, or for the one after a checkpoint."""
        torch.manual_seed(self.asked.seed)
        self.make(saved)
        if saved is not None:
            self._restore(saved)
            return
        if self.engine.recipe.compile:
            try_compiled(self.engine, lambda: self.batches.epoch(0), self._first_rate(), self.report)
        self.epochs = int(self.world.agreed(self._epochs()))
        if self.world.first:
            self.out.mkdir(parents=True, exist_ok=True)

    def _restore(self, saved: Saved) -> None:
        about = saved.about
        if about.get("fingerprint") != self.fingerprint:
            raise RetrievalError(
                f"{self.checkpoint} was trained on other pictures than {self.name}; give the same data, or train anew."
            )
        try:
            self.engine.restore(saved.tensors)
            self.step, self.epochs = saved.step, about["epochs"]
            self.seconds, self.warnings = about["seconds"], about["warnings"]
            self.history = [self.kind(*row) for row in about["history"]]
        except (KeyError, TypeError, ValueError) as error:
            raise run_folder.no_checkpoint(self.checkpoint, error) from None
        for reading in self.history:  # which may have been warned of already
            self.look(reading)
        if about.get("compiled"):
            compile_again(self.engine, self.batches.epoch(0), self._first_rate())

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
                    lr = self.engine.recipe.rate(self.step, steps * self.epochs)
                    measured = self.engine.step(self.step, batches, lr)
                    self.step += 1
                    self.seconds = time.perf_counter() - started
                    self.history.append(self.reading(epoch, measured, lr, self._quality() if last else math.nan))
                    if self.board is not None:
                        self.board.write(self.history[-1])
                    self.watch(self.history[-1])
                    if i % 10 == 0 or last:
                        progress.set_postfix(self.numbers(), refresh=False)
                    progress.update(1)
                    stop = self.world.anywhere(stopped())
                    if last or stop or time.perf_counter() - written > CHECKPOINT_SECONDS:
                        self.save()
                        written = time.perf_counter()
                    if stop:
                        raise KeyboardInterrupt

    def finish(self) -> None:
        """Write curves and network; the checkpoint goes last, so that a kill in between loses nothing."""
        self.recipe = self.recipe.replace(epochs=self.epochs)
        if not self.world.first:
            return
        write_history(self.history, self.out, self.title)
        choices = json.dumps(dataclasses.asdict(self.recipe), indent=2) + "\n"
        write_durably(self.out / "recipe.json", choices.encode())
        with self.engine.averaged():
            self.keep()
        self.checkpoint.unlink(missing_ok=True)

    def save(self) -> None:
        """Write the checkpoint."""
        if not self.world.first:
            return
        about = {
            "asked": dataclasses.asdict(self.asked),
            "epochs": self.epochs,
            "compiled": self.engine.compiled is not None,
            "fingerprint": self.fingerprint,
            "seconds": self.seconds,
            "warnings": self.warnings,
            "history": [list(dataclasses.astuple(reading)) for reading in self.history],
            **self.about(),
        }
        run_folder.write(self.checkpoint, self.step, self.engine.state(), about)

    def watch(self, reading: AnyReading) -> None:
        """Stop where the loss is no number, and pass on a warning when there is a new one."""
        if not math.isfinite(reading.loss):
            why = (
                f"The loss is no longer a number at step {reading.step}: the learning rate is too high; "
                f"train anew with --lr {(self.recipe.lr or 0) / 5:g}."
            )
            if self.world.first:
                run_folder.give_up(self.checkpoint, why)
            raise RetrievalError(why)
        message = self.look(reading)
        if message is not None:
            self.report(message)

    def report(self, message: str) -> None:
        """A warning, for whoever waits and for the card."""
        self.warnings.append(message)
        if self.world.first:
            self.warn(message)

    def card(self, facts: Sequence[str]) -> str:
        """The card of what is saved.

        Args:
            facts: a line each, on what it learned from and how good it is.
        """
        return card(
            self.recipe,
            self.title,
            facts,
            took=f"{self.seconds:,.0f} s, {self.step:,} steps, {str(self.dtype).removeprefix('torch.')}",
            fingerprint=self.fingerprint,
            warnings=self.warnings,
        )

    def _quality(self) -> float:
        return self.world.agreed(self.quality() if self.world.first else math.nan)

    def _first_rate(self) -> float:
        recipe, steps = self.engine.recipe, len(self.batches)
        return recipe.rate(0, steps * epochs_for(recipe, steps))

    def _epochs(self) -> int:
        """The number of epochs, fewer than asked for where the recipe limits the minutes."""
        steps = len(self.batches)
        wanted = epochs_for(self.engine.recipe, steps)
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
