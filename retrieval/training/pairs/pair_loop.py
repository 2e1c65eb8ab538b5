"""Training a pair network on labelled pictures.

Pairs, augmentation and dropout are drawn from the seed and the number of the epoch or step, so that a training that was
stopped goes on bit for bit (on a CPU, with as many threads), as in :mod:`retrieval.training.loop`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from retrieval import networks
from retrieval.base.files import write_durably
from retrieval.base.progress import bar
from retrieval.datasets import PictureSet
from retrieval.encoder import pair_store
from retrieval.encoder.pair_scorer import PairScorer
from retrieval.encoder.score_fusion import Together, fit
from retrieval.errors import RetrievalError
from retrieval.images import Pixels
from retrieval.measures.intervals import Interval
from retrieval.measures.pair_sampling import Pairs
from retrieval.measures.roc import Roc, verify
from retrieval.networks.pairs import siamese
from retrieval.training import run_folder
from retrieval.training.batches import Batches
from retrieval.training.build_network import build_pair_network
from retrieval.training.engine import Engine
from retrieval.training.hardware import choose_device, choose_precision, seconds_per_step, threads
from retrieval.training.loop import held_back
from retrieval.training.pair_recipe import PairRecipe
from retrieval.training.pairs.card import card
from retrieval.training.pairs.encoder_hits import Asked, Hits
from retrieval.training.pairs.objective import objective
from retrieval.training.pairs.validation import Side, balanced_pairs, can_pair, logits, with_classes
from retrieval.training.pairs.watching import Reading, Watch, write_history
from retrieval.training.processes import World
from retrieval.training.run_folder import PAIR_CHECKPOINT, Saved, open_run, same_recipe
from retrieval.training.sampling import BalancedPairs, ClassBatches, Sampler
from retrieval.training.sampling.sampler import Indices
from retrieval.training.training_set import Source, fingerprint, readable

CHECKPOINT_SECONDS = 60.0
VALIDATION_PAIRS = 2000
"""At most so many pairs of validation pictures are scored after each epoch."""

NO_WEIGHT = (
    "No held-out picture has a right and a wrong hit, so that nothing says what the network's score counts beside the "
    "encoder's, and it will put hits into order alone; hold more pictures out (--validation)."
)
NOTHING_NEW = (
    "On the held-out pictures nothing tells that the network knows what the encoder does not, so that its score counts "
    "nothing beside the encoder's and it leaves the order as it is; train longer, or with another --net."
)


@dataclass(frozen=True)
class TrainedPair:
    """What came of a training.

    Attributes:
        folder, recipe, history, warnings, seconds: of the run; the recipe as it was settled.
        measures: of the last weights on the validation pairs, by name, with intervals
            (:func:`retrieval.measures.roc.verify`); empty without validation pairs. With the hits of an
            encoder also that encoder's equal error rate, and that of both together.
    """

    folder: Path
    recipe: PairRecipe
    history: list[Reading]
    warnings: list[str]
    seconds: float
    measures: dict[str, Interval]


def train_pair(
    pictures: PictureSet,
    out: str | Path,
    recipe: PairRecipe | None = None,
    *,
    resume: bool = False,
    warn: Callable[[str], None] = lambda message: None,
) -> TrainedPair:
    """Train a pair network on the pictures of the ``train`` split and keep it in a folder.

    Args:
        pictures: a labelled set. Its ``val`` split watches the training; without one, a part of ``train`` is held out.
        out: the run's folder: ``pair/``, ``recipe.json``, ``curves.csv``, ``curves.png``.
        recipe: what to do; if None, what the checkpoint began with, or the defaults.
        resume: go on from the folder's checkpoint.
        warn: told when the network learns nothing.

    Raises:
        RetrievalError: nothing to learn from, a folder that holds a run already, a checkpoint of another run, or a loss
            that is no longer a number.
    """
    out = Path(out)
    saved = open_run(out, resume, "pair")
    if saved is not None:
        recipe = same_recipe(out, recipe, _began_with(saved, out))
    if torch.distributed.is_torchelastic_launched() and os.environ["WORLD_SIZE"] != "1":
        raise RetrievalError(
            f"A pair network is trained by one process, not by {os.environ['WORLD_SIZE']}; start it without torchrun."
        )
    run = _Run(pictures, out, recipe or PairRecipe(), warn)
    with threads(run.asked.threads), torch.random.fork_rng(devices=[]):
        run.prepare(saved)
        run.go()
        return run.finish()


class _Run:
    """One training from its first step to its last."""

    def __init__(self, pictures: PictureSet, out: Path, recipe: PairRecipe, warn: Callable[[str], None]) -> None:
        self.asked = recipe
        self.out = out
        self.warn = warn
        self.warnings: list[str] = []
        self.history: list[Reading] = []
        self.step = 0
        self.seconds = 0.0
        self.device = choose_device(recipe.device)
        self.dtype = choose_precision(recipe.precision, self.device)
        self.fingerprint = fingerprint(pictures)
        self.name = pictures.name
        pictures = readable(pictures, self._report)
        held_out = recipe.validation / max(1, int((pictures.splits == "train").sum()))
        if held_out:
            pictures = pictures.split_validation(min(0.1, held_out), recipe.seed)
        self.train = pictures.select((pictures.splits == "train") & (pictures.labels >= 0))
        self.validation = pictures.select((pictures.splits == "val") & (pictures.labels >= 0))
        self.drawn = BalancedPairs(self.train.labels, recipe.pairs_per_batch, recipe.seed)  # which says what is missing
        self.answers: Asked | None = None
        self.hits = None if recipe.hits_of is None else Hits(recipe.hits_of, self.train, self.validation, recipe.seed)

    def prepare(self, saved: Saved | None) -> None:
        """Network, engine and validation pairs, new or as a checkpoint left them."""
        asked = self.asked
        torch.manual_seed(asked.seed)
        network, self.options = build_pair_network(asked, self.train)
        source = Source(self.train, network.preprocessing)
        network.fit_to(source.sample(5000, asked.seed))
        self.batches = Batches(self._sampler(), source, self.train.labels, asked.accumulate, World())
        self.recipe = asked.resolve(
            channels=network.preprocessing.channels,
            pretrained=asked.net == "comparison" and networks.pretrained(asked.trunk),
            steps=len(self.batches),
        )
        self.network = network.to(self.device, memory_format=torch.channels_last)
        self.engine = Engine(
            *objective(self.network),
            self.recipe.for_engine(),
            network.preprocessing,
            self.device,
            self.dtype,
            World(),
        )
        self.watch = Watch(self.recipe.lr or 0)
        self.held_out = self._validation_pairs(source)
        if saved is not None:
            self._restore(saved)
        else:
            self._limit_epochs()
            self.out.mkdir(parents=True, exist_ok=True)

    def _validation_pairs(self, train: Source) -> tuple[Side, Side] | None:
        """As many genuine pairs as impostors, in turns: with the hits of an encoder, a right and a wrong one of each of
        some held-out pictures."""
        labels = self.validation.labels
        count = min(VALIDATION_PAIRS, 2 * len(labels))
        if self.hits is None:
            if not can_pair(labels):
                return None
            held_out = Source(self.validation, train.preprocessing)
            first, second = balanced_pairs(labels, count, self.asked.seed)
            return Side(_reader(held_out), labels, first), Side(_reader(held_out), labels, second)
        self.answers = self.hits.ask(count // 2)
        if self.answers is None:
            return None
        read = _reader(train, Source(self.validation, train.preprocessing))
        sides = np.repeat(self.answers.rows, 2), self.answers.hits.ravel()
        return Side(read, self.hits.labels, sides[0]), Side(read, self.hits.labels, sides[1])

    def _sampler(self) -> Sampler:
        asked = self.asked
        if siamese(asked.net):
            classes = min(asked.classes_per_batch, len(np.unique(self.train.labels)))
            pictures = asked.classes_per_batch * asked.pictures_per_class // classes
            return ClassBatches(self.train.labels, classes, pictures, asked.seed)
        return self.drawn if self.hits is None else self.hits.sampler(asked.pairs_per_batch)

    def _restore(self, saved: Saved) -> None:
        about = saved.about
        if about.get("fingerprint") != self.fingerprint:
            raise RetrievalError(
                f"{self.out / PAIR_CHECKPOINT} was trained on other pictures than {self.name}; "
                "give the same data, or train anew."
            )
        if about.get("encoder") != self._encoder():
            raise RetrievalError(
                f"{self.out / PAIR_CHECKPOINT} was trained on the hits of another encoder than the one that is now in "
                f"{self.asked.hits_of}; bring that one back, or train anew."
            )
        try:
            self.engine.restore(saved.tensors)
            self.step, self.seconds, self.warnings = saved.step, about["seconds"], about["warnings"]
            self.recipe = self.recipe.replace(epochs=about["epochs"])
            self.history = [Reading(*row) for row in about["history"]]
        except (KeyError, TypeError, ValueError) as error:
            raise _no_checkpoint(self.out, error) from None
        for reading in self.history:
            self.watch.look(reading.accuracy)

    def _limit_epochs(self) -> None:
        """Fewer epochs where the recipe limits the minutes."""
        if self.recipe.minutes is None:
            return
        step = seconds_per_step(self.engine, self.batches.epoch(0), self.recipe.lr or 0.0)
        fitting = max(1, int(self.recipe.minutes * 60 / (step * len(self.batches))))
        self.recipe = self.recipe.replace(epochs=min(self.epochs, fitting))

    @property
    def epochs(self) -> int:
        return self.recipe.epochs or 0

    def go(self) -> None:
        """All the epochs that are left."""
        steps, rate = len(self.batches), self.recipe.for_engine().rate
        started = time.perf_counter() - self.seconds
        written = time.perf_counter()
        with bar(steps * self.epochs, "Training", "steps", initial=self.step) as progress, held_back() as stopped:
            for epoch in range(self.step // steps, self.epochs):
                for i, step in enumerate(self.batches.epoch(epoch, skip=self.step - epoch * steps)):
                    last = self.step + 1 == (epoch + 1) * steps
                    lr = rate(self.step, steps * self.epochs)
                    loss, accuracy, _ = self.engine.step(self.step, step, lr)
                    self.step += 1
                    self._check(loss)
                    error = self._equal_error() if last else math.nan
                    self.seconds = time.perf_counter() - started
                    self.history.append(Reading(self.step, epoch, loss, accuracy, lr, self.seconds, error))
                    message = self.watch.look(accuracy)
                    if message is not None:
                        self._report(message)
                    if i % 10 == 0 or last:
                        progress.set_postfix({"loss": f"{loss:.3f}", "accuracy": f"{accuracy:.1%}"}, refresh=False)
                    progress.update(1)
                    stop = stopped()
                    if last or stop or time.perf_counter() - written > CHECKPOINT_SECONDS:
                        self.save()
                        written = time.perf_counter()
                    if stop:
                        raise KeyboardInterrupt

    def finish(self) -> TrainedPair:
        """Write curves and network; the checkpoint goes last, so that a kill in between loses nothing."""
        write_history(self.history, self.out, f"{self.name}: {self.recipe.net}")
        choices = json.dumps(dataclasses.asdict(self.recipe), indent=2) + "\n"
        write_durably(self.out / "recipe.json", choices.encode())
        with self.engine.averaged():
            measures, together = self._measured()
            config = pair_store.PairConfig(
                self.recipe.net, self.options, self.network.preprocessing, self.name, together=together
            )
            pair_store.save(self.out / pair_store.FOLDER, self.network, config, self._card(measures))
        (self.out / PAIR_CHECKPOINT).unlink(missing_ok=True)
        return TrainedPair(self.out, self.recipe, self.history, self.warnings, self.seconds, measures)

    def _card(self, measures: dict[str, Interval]) -> str:
        return card(
            self.recipe,
            pictures=self.name,
            fingerprint=self.fingerprint,
            labels=self.train.labels,
            measures=measures,
            steps=self.step,
            seconds=self.seconds,
            dtype=str(self.dtype).removeprefix("torch."),
            warnings=self.warnings,
        )

    def save(self) -> None:
        """Write the checkpoint."""
        about = {
            "asked": dataclasses.asdict(self.asked),
            "epochs": self.epochs,
            "fingerprint": self.fingerprint,
            "encoder": self._encoder(),
            "seconds": self.seconds,
            "warnings": self.warnings,
            "history": [list(dataclasses.astuple(reading)) for reading in self.history],
        }
        run_folder.write(self.out / PAIR_CHECKPOINT, self.step, self.engine.state(), about)

    def _check(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise RetrievalError(
                f"The loss is no longer a number at step {self.step}: the learning rate is too high; "
                f"train anew with --lr {(self.recipe.lr or 0) / 5:g}."
            )

    def _report(self, message: str) -> None:
        self.warnings.append(message)
        self.warn(message)

    def _equal_error(self) -> float:
        """On the validation pairs; NaN without any."""
        with self.engine.averaged():
            scores = self._scored()
        return math.nan if scores is None else Roc.of(scores.scores, scores.genuine).equal_error()[0]

    def _scored(self) -> Pairs | None:
        """The validation pairs with the logits of the weights as they are."""
        if self.held_out is None:
            return None
        scorer = PairScorer(self.network, self.device, torch.get_num_threads())
        return with_classes(logits(scorer, *self.held_out), *self.held_out)

    def _measured(self) -> tuple[dict[str, Interval], Together | None]:
        """The measures of the weights as they are, and how their scores go with those of the encoder, if there is one.

        The weight is fitted to the pairs that both are then measured on: one number, to a thousand queries.
        """
        scores = self._scored()
        if scores is None:
            if self.hits is not None:
                self._report(NO_WEIGHT)
            return {}, None
        measures = verify(scores)
        if self.hits is None or self.answers is None:
            return measures, None
        similarities, said = self.answers.similarities, scores.scores.reshape(-1, 2).astype(np.float64)
        together = fit(self.hits.encoder.hash, similarities, said)
        found = {"of the encoder alone": similarities}
        if together is not None:
            found["of both together"] = together(similarities, said)
            if not together.weight:
                self._report(NOTHING_NEW)
        for name, values in found.items():
            pairs = dataclasses.replace(scores, scores=values.ravel().astype(np.float32))
            measures[f"EER {name}"] = verify(pairs)["EER"]
        return measures, together

    def _encoder(self) -> str | None:
        """The hash of the encoder whose hits are learned from."""
        return None if self.hits is None else self.hits.encoder.hash


def _reader(*sources: Source) -> Callable[[Indices], Pixels]:
    """What reads the pictures at some positions, counted through one source after the other."""
    starts = np.cumsum([0, *(len(source.pictures) for source in sources)])

    def read(rows: Indices) -> Pixels:
        p = sources[0].preprocessing
        pixels = np.empty((len(rows), p.size, p.size, p.channels), np.uint8)
        for source, start, end in zip(sources, starts[:-1], starts[1:], strict=True):
            here = (rows >= start) & (rows < end)
            pixels[here] = source.read(rows[here] - start).numpy()
        return pixels

    return read


def _began_with(saved: Saved, out: Path) -> PairRecipe:
    try:
        return PairRecipe(**saved.about["asked"])
    except (TypeError, KeyError) as error:
        raise _no_checkpoint(out, error) from None


def _no_checkpoint(out: Path, error: Exception) -> RetrievalError:
    return RetrievalError(
        f"{out / PAIR_CHECKPOINT} is no checkpoint of a pair network ({type(error).__name__}: {error}); "
        "remove it and train anew."
    )
