"""Training a pair network on labelled pictures."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from retrieval import networks
from retrieval.datasets import PictureSet
from retrieval.encoder import pair_store
from retrieval.encoder.pair_scorer import PairScorer
from retrieval.encoder.score_fusion import Together, fit
from retrieval.errors import RetrievalError
from retrieval.images import Pixels
from retrieval.measures.intervals import Interval
from retrieval.measures.pair_sampling import Pairs
from retrieval.measures.roc import Roc, verify
from retrieval.networks.pairs import is_siamese
from retrieval.training.build_network import build_pair_network
from retrieval.training.engine import Engine, Measured
from retrieval.training.hardware import threads
from retrieval.training.history import PairReading, Watch
from retrieval.training.pair_recipe import PairRecipe
from retrieval.training.pairs.encoder_hits import Asked, Hits
from retrieval.training.pairs.objective import objective
from retrieval.training.pairs.validation import Drawn, accuracy, balanced_pairs, can_pair, logits, with_classes
from retrieval.training.run_folder import Saved, open_run
from retrieval.training.sampling.balanced import ClassBatches
from retrieval.training.sampling.pairs import BalancedPairs
from retrieval.training.sampling.sampler import Indices, Sampler
from retrieval.training.training_run import Outcome, Run, what_to_do
from retrieval.training.training_set import Batches, Source

VALIDATION_PAIRS = 2000
"""At most so many pairs of validation pictures are scored after each epoch."""

ACCURACY = "pair accuracy"
"""The name of the share of balanced pairs that a probability of a half parts rightly."""

NO_WEIGHT = (
    "No held-out picture has a right and a wrong hit, so that nothing says what the network's score counts beside the "
    "encoder's, and it will put hits into order alone; hold more pictures out (--validation)."
)
NOTHING_NEW = (
    "On the held-out pictures nothing tells that the network knows what the encoder does not, so that its score counts "
    "nothing beside the encoder's and it leaves the order as it is; train longer, or with another --net."
)


@dataclass(frozen=True)
class TrainedPair(Outcome[PairRecipe, PairReading]):
    """What came of a training.

    Attributes:
        measures: of the last weights on the validation pairs, by name, with intervals
            (:func:`retrieval.measures.roc.verify`), and the pair accuracy; empty without validation pairs. With the
            hits of an encoder also that encoder's equal error rate, and that of both together.
    """

    measures: dict[str, Interval]


def train_pair(
    pictures: PictureSet,
    out: str | Path,
    recipe: PairRecipe | None = None,
    *,
    plan: str | Path | None = None,
    resume: bool = False,
    warn: Callable[[str], None] = lambda message: None,
    begun: float | None = None,
) -> TrainedPair:
    """Train a pair network on the pictures of the ``train`` split and keep it in a folder.

    Args:
        pictures: a labelled set. Its ``val`` split watches the training; without one, a part of ``train`` is held out.
        out: the run's folder: ``pair/``, ``recipe.json``, ``curves.csv``, ``curves.png``.
        recipe: what to do; if None, what the plan or the checkpoint began with, or the defaults.
        plan: the ``plan.json`` of a training that had minutes, to repeat it without a clock.
        resume: go on from the folder's checkpoint.
        warn: told when the network learns nothing.
        begun: when its minutes began, by ``time.perf_counter()``; by default now.

    Raises:
        RetrievalError: nothing to learn from, a folder that holds a run already, a checkpoint of another run, or a loss
            that is no longer a number.
    """
    out = Path(out)
    saved = open_run(out, resume, "pair")
    recipe, known = what_to_do(saved, recipe, plan, PairRecipe)
    if torch.distributed.is_torchelastic_launched() and os.environ["WORLD_SIZE"] != "1":
        raise RetrievalError(
            f"A pair network is trained by one process, not by {os.environ['WORLD_SIZE']}; start it without torchrun."
        )
    with threads(recipe.threads), torch.random.fork_rng(devices=[]):
        run = PairRun(pictures, out, recipe, warn, plan=known, begun=begun)
        run.prepare(saved)
        run.go()
        run.finish()
        return TrainedPair(out, run.recipe, run.history, run.warnings, run.seconds, run.measures)


class PairRun(Run[PairRecipe, PairReading]):
    """The training of a pair network."""

    result = "pair"
    kind = PairReading

    def make(self, saved: Saved | None) -> None:
        asked = self.asked
        self.measures: dict[str, Interval] = {}
        drawn = BalancedPairs(self.train.labels, asked.pairs_per_batch, asked.seed)  # which says what is missing
        self.answers: Asked | None = None
        self.hits = None if asked.hits_of is None else Hits(asked.hits_of, self.train, self.validation, asked.seed)
        if saved is not None and saved.about.get("encoder") != self._encoder():
            raise RetrievalError(
                f"{self.checkpoint} was trained on the hits of another encoder than the one that is now in "
                f"{asked.hits_of}; bring that one back, or train anew."
            )
        self.network, self.options = build_pair_network(asked, self.train)
        source = Source(self.train, self.network.preprocessing)
        self.network.fit_to(source.sample(5000, asked.seed))
        sampler = self._sampler(drawn)
        self.batches = Batches(sampler, source, self.train.labels, asked.accumulate, asked.seed, self.world)
        self.recipe = asked.resolve(
            channels=self.network.preprocessing.channels,
            pretrained=asked.net == "comparison" and networks.pretrained(asked.trunk),
        )
        self.engine = Engine(
            *objective(self.network.to(self.device, memory_format=torch.channels_last), self.dtype),
            self.recipe.for_engine(),
            self.network.preprocessing,
            self.device,
            self.dtype,
            self.world,
        )
        self.monitor = Watch(self.recipe.lr or 0)
        self.held_out = self._validation_pairs(source)

    def _validation_pairs(self, train: Source) -> Drawn | None:
        """As many genuine pairs as impostors, in turns: with the hits of an encoder, a right and a wrong one of each of
        some held-out pictures."""
        labels = self.validation.labels
        count = min(VALIDATION_PAIRS, 2 * len(labels))
        if self.hits is None:
            if not can_pair(labels):
                return None
            held_out = Source(self.validation, train.preprocessing)
            first, second = balanced_pairs(labels, count, self.asked.seed)
            return Drawn(_reader(held_out), labels, first, second)
        self.answers = self.hits.ask(count // 2)
        if self.answers is None:
            return None
        read = _reader(train, Source(self.validation, train.preprocessing))
        return Drawn(read, self.hits.labels, np.repeat(self.answers.rows, 2), self.answers.hits.ravel())

    def _sampler(self, drawn: BalancedPairs) -> Sampler:
        asked = self.asked
        if is_siamese(asked.net):
            classes = min(asked.classes_per_batch, len(np.unique(self.train.labels)))
            pictures = asked.classes_per_batch * asked.pictures_per_class // classes
            return ClassBatches(self.train.labels, classes, pictures, asked.seed)
        return drawn if self.hits is None else self.hits.sampler(asked.pairs_per_batch)

    def quality(self) -> float:
        with self.engine.averaged():
            scores = self._scored()
        return math.nan if scores is None else Roc.of(scores.scores, scores.genuine).equal_error()[0]

    @property
    def watched(self) -> int:
        return 0 if self.held_out is None else self.held_out.embedded(is_siamese(self.asked.net))

    def reading(self, epoch: int, measured: Measured, lr: float, quality: float) -> PairReading:
        return PairReading(self.step, epoch, measured.loss, measured.active, lr, self.seconds, quality)

    def look(self, reading: PairReading) -> str | None:
        return self.monitor.look(reading.accuracy)

    def numbers(self) -> dict[str, str]:
        return {"loss": f"{self.history[-1].loss:.3f}", "accuracy": f"{self.history[-1].accuracy:.1%}"}

    def about(self) -> dict[str, Any]:
        return {"encoder": self._encoder()}

    def keep(self) -> None:
        self.measures, together = self._measured()
        figures = {  # but for those of so few classes that their interval is open
            name: {"value": m.value, "low": m.low, "high": m.high, "pairs": m.n}
            for name, m in self.measures.items()
            if math.isfinite(m.high - m.low)
        }
        config = pair_store.PairConfig(
            self.recipe.net,
            self.options,
            self.network.preprocessing,
            self.name,
            together=together,
            measures=figures,
            warnings=tuple(self.warnings),
        )
        pair_store.save(self.out / pair_store.FOLDER, self.network, config, self.card(self._facts()))

    def _facts(self) -> list[str]:
        classes = len(np.unique(self.train.labels))
        figures = [
            f"{name}: {m.value:.3f} (95 % interval over classes {m.low:.3f} to {m.high:.3f}; {m.n:,} balanced "
            "validation pairs)"
            for name, m in self.measures.items()
        ]
        return [
            f"Scores pairs of pictures; trained on {self.name}, {len(self.train):,} pictures of {classes:,} classes",
            *(figures or ["Quality: not measured (no validation pairs)"]),
        ]

    def _scored(self) -> Pairs | None:
        """The validation pairs with the logits of the weights as they are."""
        if self.held_out is None:
            return None
        scorer = PairScorer(self.network, self.device, torch.get_num_threads())
        return with_classes(logits(scorer, self.held_out), self.held_out)

    def _measured(self) -> tuple[dict[str, Interval], Together | None]:
        """The measures of the weights as they are, and how their scores go with those of the encoder, if there is one.

        The weight is fitted to the pairs that both are then measured on: one number, to a thousand queries.
        """
        scores = self._scored()
        if scores is None:
            if self.hits is not None:
                self.report(NO_WEIGHT)
            return {}, None
        measures = verify(scores) | {ACCURACY: accuracy(scores, 0.0)}
        if self.hits is None or self.answers is None:
            return measures, None
        similarities, said = self.answers.similarities, scores.scores.reshape(-1, 2).astype(np.float64)
        together = fit(self.hits.encoder.hash, similarities, said)
        found = {"of the encoder alone": similarities}
        if together is not None:
            found["of both together"] = together(similarities, said)
            if not together.weight:
                self.report(NOTHING_NEW)
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
