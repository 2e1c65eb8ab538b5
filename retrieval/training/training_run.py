"""One training from its first step to its last: the steps, the checkpoints, and what is kept of it all.

Everything random is drawn from the seed and the number of the epoch or step, never from a running state. So a training
that was stopped goes on bit for bit (on a CPU, with as many threads) from its last checkpoint. Where minutes are given,
a clock decides how many steps there are and how far along the schedule each is; what it decides is written down
(:mod:`retrieval.training.plan`), and with the same decisions the training is the same.
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
from retrieval.training.hardware import choose_device, choose_precision, compile_again, try_compiled
from retrieval.training.history import Board, PairReading, Reading, write_history
from retrieval.training.pair_recipe import PairRecipe
from retrieval.training.plan import FILE, Decision, Pace, Plan
from retrieval.training.processes import World
from retrieval.training.recipe import Recipe, epochs_for
from retrieval.training.run_folder import RESULTS, Saved
from retrieval.training.training_set import Batch, Batches, fingerprint, readable, taught

CHECKPOINT_SECONDS = 60.0

VALIDATIONS = 5
"""In the course of a training that has minutes: each takes time from the steps."""

DEAR = 15
"""Times a validation that such a training must be long, to have one before its end."""

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
        recipe: what to do; it stays as ``given``.
        warn: told what goes wrong on the way.
        device: where to; by default what the recipe says.
        world: the processes that train together.
        plan: the decisions of an earlier training, to repeat it without a clock.
        begun: when its minutes began, by ``time.perf_counter()``; by default now.

    Attributes:
        train, validation: labelled pictures.
        plan: how many steps there are, and how far the training is at each.
        planned: whether that was or is decided by a clock.
        chosen: a sentence on what was chosen for the minutes, if anything was.
        asked: the recipe with what was chosen for its minutes.
        recipe, network, options, batches, engine: set by :meth:`make`; the recipe with all settled, the options that
            make the network again.
    """

    result: ClassVar[str]
    """What it leaves behind, one of :data:`retrieval.training.run_folder.RESULTS`."""

    kind: type[AnyReading]
    """What its history is of."""

    given: AnyRecipe
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
        plan: Plan | None = None,
        begun: float | None = None,
    ) -> None:
        self.seconds = 0.0
        self._begun = time.perf_counter() if begun is None else begun
        self._pace: Pace | None = None
        self.world = world or World()
        self.given = self.asked = recipe
        self.chosen = ""
        self.planned = plan is not None or recipe.minutes is not None
        self.plan = plan or Plan([])
        self.out = out
        self.warn = warn
        self.warnings: list[str] = []
        self.history: list[AnyReading] = []
        self.step = 0
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

    def choose(self) -> None:
        """Settle in ``asked`` what is left to its minutes."""

    @abstractmethod
    def quality(self) -> float:
        """On the held-out pictures, of the weights that would be saved now; NaN without any, or where it is too late
        for them."""

    @property
    @abstractmethod
    def watched(self) -> int:
        """How many pictures :meth:`quality` looks at."""

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

    def gone(self) -> float:
        """Seconds since the training began, without those between a stop and a start."""
        return time.perf_counter() - self._begun

    def late(self) -> bool:
        """Whether its minutes are over by so much that it looks at no held-out pictures any more."""
        return self._pace is not None and self._pace.over(self.gone())

    def prepare(self, saved: Saved | None) -> None:
        """Everything for the first step, or for the one after a checkpoint."""
        if saved is not None:
            self._recall(saved)
        elif self.asked.minutes is not None:
            self.choose()
        torch.manual_seed(self.asked.seed)
        self.make(saved)
        batch = self.batches.accumulate * len(next(iter(self.batches.sampler.epoch(0))))
        self._validation_steps = self.watched / (3 * batch)  # whose pictures go forward alone
        if saved is not None:
            self._restore(saved)
        else:
            self._begin()
        if self.asked.minutes is not None and self.planned:
            self._pace = Pace(
                60 * self.asked.minutes,
                step=self.step,
                share=self.plan.share(self.step),
                gone=self.gone(),
                ending=self._validation_steps,
            )

    def _begin(self) -> None:
        if self.plan.decisions and self.plan.fingerprint != self.fingerprint:
            raise RetrievalError(
                f"The plan was made with other pictures than {self.name}; give the same data, or train anew."
            )
        if self.engine.recipe.compile and self.plan.decisions:
            compile_again(self.engine, self.batches.epoch(0), self._first_rate())
        elif self.engine.recipe.compile:
            try_compiled(self.engine, lambda: self.batches.epoch(0), self._first_rate(), self.report)
        if self.world.first:
            self.out.mkdir(parents=True, exist_ok=True)
        if not self.plan.decisions:
            settled = self.recipe.replace(
                minutes=None,
                precision=str(self.dtype).removeprefix("torch."),
                **({"compile": self.engine.compiled is not None} if self.engine.recipe.compile else {}),
            )
            self.plan = Plan([], self.result, self.asked.minutes, self.fingerprint, dataclasses.asdict(settled))
            steps = len(self.batches) * epochs_for(self.engine.recipe, len(self.batches))
            self._decide(Decision(0, 0.0, steps))
        elif self.world.first:
            self.plan.write(self.out)

    def _recall(self, saved: Saved) -> None:
        """What was decided before the checkpoint, and after it."""
        self.planned = saved.about.get("planned", False)
        if self.planned:
            self.plan = Plan.read(self.out / FILE)
            self.asked = self.plan.repeated(type(self.given)).replace(minutes=self.given.minutes)
            self.dtype = choose_precision(self.asked.precision, self.device)

    def _restore(self, saved: Saved) -> None:
        about = saved.about
        if about.get("fingerprint") != self.fingerprint:
            raise RetrievalError(
                f"{self.checkpoint} was trained on other pictures than {self.name}; give the same data, or train anew."
            )
        try:
            self.engine.restore(saved.tensors)
            self.step, self.warnings = saved.step, about["warnings"]
            self._begun -= about["seconds"]
            if not self.planned:
                self.plan = Plan([Decision(0, 0.0, about["epochs"] * len(self.batches))])
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
        """All the steps that are left."""
        written = time.perf_counter()
        steps = self.plan.at(self.step).steps
        with bar(steps, "Training", "steps", initial=self.step) as progress, held_back() as stopped:
            for epoch, batches in self._left():
                lr = self.engine.recipe.rate(*self.plan.at(self.step).place(self.step))
                measured = self.engine.step(self.step, batches, lr)
                self.step += 1
                self._ask_the_clock()
                marked = self._marked()
                quality = self._timed_quality() if marked else math.nan
                self.seconds = self.gone()
                self.history.append(self.reading(epoch, measured, lr, quality))
                if self.board is not None:
                    self.board.write(self.history[-1])
                self.watch(self.history[-1])
                if self.step % 10 == 0 or marked:
                    progress.set_postfix(self.numbers(), refresh=False)
                progress.total = self.plan.at(self.step).steps
                progress.update(1)
                stop = self.world.anywhere(stopped())
                if marked or stop or time.perf_counter() - written > CHECKPOINT_SECONDS:
                    self.save()
                    written = time.perf_counter()
                if stop:
                    raise KeyboardInterrupt

    def _left(self) -> Iterator[tuple[int, list[Batch]]]:
        """The number of the epoch and the batches of each step that is left, however many they come to be."""
        steps = len(self.batches)
        while not self._over():
            epoch = self.step // steps
            for batches in self.batches.epoch(epoch, skip=self.step % steps):
                yield epoch, batches
                if self._over():
                    return

    def _over(self) -> bool:
        return self.step >= self.plan.at(self.step).steps

    def _marked(self) -> bool:
        """Whether the step that was just done is one to validate and write down: the last one; else the last of an
        epoch, where there is a clock the first such one of each fifth of a training that is long enough."""
        if self._over() or self.step % len(self.batches):
            return self._over()
        then, now = (int(VALIDATIONS * self.plan.share(step)) for step in (self.step - len(self.batches), self.step))
        # by what stands in the plan alone, so that a repetition looks when this training does
        long = self.plan.at(self.step).steps >= DEAR * self._validation_steps
        return (now > then and long) or not self.planned

    def _ask_the_clock(self) -> None:
        """Decide anew how many steps are left, where there is a clock that has something to say.

        What was decided and written down before a stop holds as it was; the clock comes after it.
        """
        last = self.plan.decisions[-1]
        if self._pace is None or last.step >= self.step:
            return
        gone = self.gone()
        if not self.world.agreed(self._pace.due(self.step, last.steps, gone)):
            return
        share, steps = self._pace.look(self.step, gone)
        share = max(share, self.plan.share(self.step))
        most = len(self.batches) * (self.engine.recipe.epochs or 0)
        if most and steps >= most:  # there is time for all of them: so it is as if there were no clock
            share, steps = self.plan.share(self.step), most
        share, steps = self.world.agreed(share), int(self.world.agreed(steps))
        if (share, steps) != (self.plan.share(self.step), last.steps):
            self._decide(Decision(self.step, share, steps))

    def _decide(self, decision: Decision) -> None:
        at_end = decision.step == decision.steps
        lr = 0.0 if at_end else self.engine.recipe.rate(*decision.place(decision.step))
        self.plan.decisions.append(decision._replace(lr=lr))
        if self.planned and self.world.first:
            self.plan.write(self.out)

    def finish(self) -> None:
        """Write curves and network; the checkpoint goes last, so that a kill in between loses nothing."""
        if not self.planned:
            self.recipe = self.recipe.replace(epochs=self.plan.at(self.step).steps // len(self.batches))
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
            "asked": dataclasses.asdict(self.given),
            "planned": self.planned,
            "epochs": self.plan.at(self.step).steps // len(self.batches),
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

    def _timed_quality(self) -> float:
        start = time.perf_counter()
        quality = self.world.agreed(self.quality() if self.world.first else math.nan)
        if self._pace is not None:
            self._pace.validated(time.perf_counter() - start)
        return quality

    def _first_rate(self) -> float:
        recipe, steps = self.engine.recipe, len(self.batches)
        return recipe.rate(0, steps * epochs_for(recipe, steps))


def what_to_do(
    saved: Saved | None, recipe: AnyRecipe | None, plan: str | Path | None, kind: type[AnyRecipe]
) -> tuple[AnyRecipe, Plan | None]:
    """The recipe of a training, and the decisions that it repeats, if any.

    Args:
        saved: the checkpoint to go on from, which knows both.
        recipe: what is asked for. plan: the plan of an earlier training. Without either it is all defaults.
        kind: of recipe.

    Raises:
        RetrievalError: a plan that is none, or of another kind of training, or with choices beside it.
    """
    if saved is not None:
        return run_folder.same_recipe(saved, recipe, kind), None
    if plan is None:
        return recipe or kind(), None
    if recipe is not None:
        raise RetrievalError(f"The plan {str(plan)!r} has all choices of the training that it repeats; give no others.")
    known = Plan.read(Path(plan))
    return known.repeated(kind), known


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
