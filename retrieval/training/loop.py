"""The training loop: batches, loss, schedule, checkpoints, and what is kept of it all.

Everything random is drawn from the seed and the number of the epoch or step, never from a running state. So a training
that was stopped goes on bit for bit (on a CPU, with as many threads) from its last checkpoint.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD

from retrieval import losses, networks, sampling
from retrieval.datasets import PictureSet
from retrieval.encoder import EncoderConfig, save_trained
from retrieval.errors import RetrievalError
from retrieval.files import write_durably
from retrieval.images import Preprocessing
from retrieval.losses import SoftmaxLoss
from retrieval.progress import bar
from retrieval.training import checkpoints
from retrieval.training.augmentation import augment, parse
from retrieval.training.card import card
from retrieval.training.folder import CHECKPOINT, Saved, open_run, same_recipe
from retrieval.training.hardware import choose_device, choose_precision, threads
from retrieval.training.interrupts import held_back
from retrieval.training.monitoring import Monitor, Reading, spread, write_history
from retrieval.training.pictures import Source, fingerprint, readable
from retrieval.training.recipes import Recipe, epochs_for

CLASSIFIER = "classifier.safetensors"
"""Beside the encoder of a run with the softmax loss: ``weight`` (classes, dim) and ``bias`` (classes,); the logits are
``unit_embeddings @ weight.T + bias``."""
CHECKPOINT_SECONDS = 60.0
GALLERY, QUERIES = 5000, 1000
"""At most so many training and validation pictures are compared after each epoch."""


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
    warn: Callable[[str], None] = lambda message: None,
) -> Trained:
    """Train an embedding on the pictures of the ``train`` split and keep it in a folder.

    Args:
        pictures: a labelled set. Its ``val`` split watches the training; without one, a part of ``train`` is held out.
        out: the run's folder: ``encoder/``, ``recipe.json``, ``curves.csv``, ``curves.png``.
        recipe: what to do; if None, what the checkpoint began with, or the defaults.
        resume: go on from the folder's checkpoint; a finished run is left as it is.
        warn: told of a collapse when it is noticed.

    Raises:
        RetrievalError: nothing to learn from, a folder that holds a run already, a checkpoint of another run, or a loss
            that is no longer a number; or another recipe than the checkpoint began with.
    """
    out = Path(out)
    saved = open_run(out, resume)
    if saved is not None:
        recipe = same_recipe(out, recipe, Recipe(**saved.about["asked"]))
    recipe = recipe or Recipe()
    run = _Run(pictures, out, recipe, warn)
    with threads(recipe.threads), torch.random.fork_rng(devices=[]):
        run.prepare(saved)
        run.go()
        return run.finish()


class _Run:
    """One training from its first step to its last."""

    def __init__(self, pictures: PictureSet, out: Path, recipe: Recipe, warn: Callable[[str], None]) -> None:
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
        torch.manual_seed(asked.seed)
        network, self.options = _network(asked, self.train)
        pretrained = asked.net not in networks.FROM_SCRATCH
        channels = network.preprocessing.channels
        self.recipe = asked.resolve(channels=channels, pretrained=pretrained)
        self.augmentation = parse(self.recipe.augment)
        self.sampler = sampling.create(self.recipe, self.train.labels, self.train.levels)
        self.source = Source(self.train, network.preprocessing)
        if hasattr(network, "fit_to"):
            network.fit_to(self.source.sample(5000, asked.seed))
        self.preprocessing: Preprocessing = network.preprocessing
        self.network = network.to(self.device, memory_format=torch.channels_last)
        self.loss = losses.create(self.recipe, int(network.dim), len(self.classes)).to(self.device)
        self.modules = nn.ModuleDict({"network": self.network, "loss": self.loss})
        self.optimizer = self._optimizer()
        # the statistics that the network's input is normalised by, shaped to be broadcast
        self.mean = torch.tensor(self.preprocessing.mean, device=self.device).view(1, -1, 1, 1) * 255
        self.std = torch.tensor(self.preprocessing.std, device=self.device).view(1, -1, 1, 1) * 255
        self.monitor = Monitor(self.recipe, self.recipe.lr or 0)
        if saved is None:
            self.epochs = self._epochs()
            self.out.mkdir(parents=True, exist_ok=True)
            return
        if saved.about["fingerprint"] != self.fingerprint:
            raise RetrievalError(
                f"{self.out / CHECKPOINT} was trained on other pictures than {self.name}; "
                "give the same data, or train anew."
            )
        checkpoints.restore(saved.tensors, self.modules, self.optimizer)
        self.step, self.epochs = saved.step, saved.about["epochs"]
        self.seconds, self.warnings = saved.about["seconds"], saved.about["warnings"]
        self.history = checkpoints.unpack_history(saved.about["history"])

    def go(self) -> None:
        """All the epochs that are left."""
        batches = len(self.sampler)
        started = time.perf_counter() - self.seconds
        written = time.perf_counter()
        first = self.step // batches
        with bar(batches * self.epochs, "Training", "steps", initial=self.step) as progress, held_back() as stopped:
            for epoch in range(first, self.epochs):
                for i, (x, labels) in enumerate(self._batches(epoch, skip=self.step - epoch * batches)):
                    last = self.step + 1 == (epoch + 1) * batches
                    reading = self._one_step(epoch, x, labels)
                    self.seconds = time.perf_counter() - started
                    quality = self._validate() if last else math.nan
                    self.history.append(dataclasses.replace(reading, seconds=self.seconds, precision_at_1=quality))
                    self._watch(self.history[-1])
                    if i % 10 == 0 or last:
                        progress.set_postfix(self._numbers(), refresh=False)
                    progress.update(1)
                    stop = stopped()
                    if last or stop or time.perf_counter() - written > CHECKPOINT_SECONDS:
                        self.save()
                        written = time.perf_counter()
                    if stop:
                        raise KeyboardInterrupt

    def finish(self) -> Trained:
        """Write the curves and the encoder; the checkpoint goes last, so that a kill in between loses nothing."""
        trained = Trained(self.out, self.recipe.replace(epochs=self.epochs), self.history, self.warnings, self.seconds)
        write_history(self.history, self.out, f"{self.name}: {self.recipe.net}, {self.recipe.loss}")
        choices = json.dumps(dataclasses.asdict(trained.recipe), indent=2) + "\n"
        write_durably(self.out / "recipe.json", choices.encode())
        network = self.network.eval().to("cpu", memory_format=torch.contiguous_format)
        if isinstance(self.loss, SoftmaxLoss):
            head = {"weight": self.loss.weight.detach().cpu(), "bias": self.loss.bias.detach().cpu()}
            write_durably(self.out / CLASSIFIER, safetensors.torch.save(head))
        config = EncoderConfig(
            network=self.recipe.net,
            options=self.options,
            dim=int(self.network.dim),
            preprocessing=self.preprocessing,
            classes=self.classes,
            trained_on=self.name,
        )
        save_trained(self.out / "encoder", network, config, self._card(trained))
        (self.out / CHECKPOINT).unlink(missing_ok=True)
        return trained

    def save(self) -> None:
        """Write the checkpoint."""
        about = {
            "asked": dataclasses.asdict(self.asked),
            "epochs": self.epochs,
            "fingerprint": self.fingerprint,
            "seconds": self.seconds,
            "warnings": self.warnings,
            "history": checkpoints.pack_history(self.history),
        }
        checkpoints.write(self.out / CHECKPOINT, self.step, self.modules, self.optimizer, about)

    def _one_step(self, epoch: int, pixels: Tensor, labels: Tensor) -> Reading:
        seed = int(np.random.SeedSequence([self.recipe.seed, self.step]).generate_state(1)[0])
        draws = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)  # what the network itself draws (dropout)
        lr = self.recipe.rate(self.step, len(self.sampler) * self.epochs)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.modules.train()
        x = augment(self._normalised(pixels), self.augmentation, draws)
        raw = self._forward(x).float()
        embeddings = F.normalize(raw)
        loss, active = self.loss(embeddings if self.loss.unit else raw, labels.to(self.device))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.step += 1
        return Reading(self.step, epoch, loss.item(), active.item(), spread(embeddings), lr, 0.0)

    def _forward(self, x: Tensor) -> Tensor:
        with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
            out: Tensor = self.network(x)
        return out

    def _normalised(self, pixels: Tensor) -> Tensor:
        """uint8 (n, h, w, c) → float32 (n, c, h, w), channels last in memory."""
        return (pixels.to(self.device).permute(0, 3, 1, 2).float() - self.mean) / self.std

    def _watch(self, reading: Reading) -> None:
        if not math.isfinite(reading.loss):
            raise RetrievalError(
                f"The loss is no longer a number at step {reading.step}: the learning rate is too high; "
                f"train anew with --lr {(self.recipe.lr or 0) / 5:g}."
            )
        message = self.monitor.look(reading.loss, reading.spread)
        if message is not None:
            self._report(message)

    def _report(self, message: str) -> None:
        self.warnings.append(message)
        self.warn(message)

    def _numbers(self) -> dict[str, str]:
        now = self.history[-1]
        numbers = {"loss": f"{now.loss:.3f}", "spread": f"{now.spread:.2f}"}
        if not math.isnan(now.active):
            numbers["active"] = f"{now.active:.1%}"
        known = [r.precision_at_1 for r in self.history[-2 * len(self.sampler) :] if not math.isnan(r.precision_at_1)]
        return numbers | ({"P@1": f"{known[-1]:.3f}"} if known else {})

    def _batches(self, epoch: int, skip: int) -> Iterator[tuple[Tensor, Tensor]]:
        for i, indices in enumerate(self.sampler.epoch(epoch)):
            if i >= skip:
                yield self.source.read(indices), torch.from_numpy(self.train.labels[indices])

    def _card(self, trained: Trained) -> str:
        return card(
            trained.recipe,
            pictures=self.name,
            fingerprint=self.fingerprint,
            labels=self.train.labels,
            validation=min(QUERIES, len(self.validation)),
            gallery=min(GALLERY, len(self.train)),
            precision_at_1=trained.precision_at_1,
            steps=self.step,
            seconds=trained.seconds,
            dtype=str(self.dtype).removeprefix("torch."),
            warnings=trained.warnings,
        )

    def _optimizer(self) -> SGD:
        learned = [p for p in self.modules.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in learned if p.ndim > 1], "weight_decay": self.recipe.weight_decay},
            {"params": [p for p in learned if p.ndim <= 1], "weight_decay": 0.0},
        ]
        momentum = self.recipe.momentum
        return SGD(groups, lr=1.0, momentum=momentum, nesterov=momentum > 0)

    def _epochs(self) -> int:
        """The number of epochs, fewer than asked for where the recipe limits the minutes.

        A few steps are timed on the network itself, which is then put back as it was.
        """
        wanted = epochs_for(self.recipe, len(self.sampler))
        if self.recipe.minutes is None:
            return wanted
        self.epochs = wanted
        before = {name: tensor.clone() for name, tensor in self.modules.state_dict().items()}
        seconds = []
        with bar(min(20, len(self.sampler)), "Timing", "steps") as progress:
            for x, labels in itertools.islice(self._batches(0, skip=0), 20):
                start = time.perf_counter()
                self._one_step(0, x, labels)
                seconds.append(time.perf_counter() - start)
                progress.update(1)
        self.modules.load_state_dict(before)
        self.optimizer = self._optimizer()
        start = time.perf_counter()
        self._validate()
        validating = time.perf_counter() - start
        self.step = 0
        epoch = float(np.median(seconds[len(seconds) // 4 :])) * len(self.sampler) + validating
        return min(wanted, max(1, int(self.recipe.minutes * 60 / epoch)))

    def _validate(self) -> float:
        """P@1 of validation pictures among training pictures, on a fixed part of both."""
        if len(self.validation) == 0:
            return math.nan
        random = np.random.default_rng(self.recipe.seed)
        gallery = random.permutation(len(self.train))[:GALLERY]
        queries = random.permutation(len(self.validation))[:QUERIES]
        if not hasattr(self, "_queries"):
            self._queries = Source(self.validation.select(queries), self.preprocessing)
        similar = self._embed(self._queries, np.arange(len(queries))) @ self._embed(self.source, gallery).T
        found = self.train.labels[gallery][similar.argmax(1).cpu().numpy()]
        return float((found == self.validation.labels[queries]).mean())

    @torch.no_grad()
    def _embed(self, source: Source, indices: NDArray[np.int64]) -> Tensor:
        self.modules.eval()
        parts = np.array_split(indices, max(1, len(indices) // 500))
        return torch.cat([F.normalize(self._forward(self._normalised(source.read(p))).float()) for p in parts])


def _network(recipe: Recipe, pictures: PictureSet) -> tuple[Any, dict[str, Any]]:
    """The network, and the options that make it again whatever the defaults will be by then."""
    options: dict[str, Any] = {} if recipe.dim is None else {"dim": recipe.dim}
    if recipe.net in networks.FROM_SCRATCH:
        grey = pictures.pixels is not None and pictures.pixels.shape[3] == 1
        side = max(pictures.pixels.shape[1:3]) if pictures.pixels is not None else 64
        options |= {"channels": 1 if grey else 3, "size": recipe.size or min(max(side, 16), 128)}
        if recipe.widths is not None:
            options["widths"] = [int(width) for width in recipe.widths.split(",")]
    elif recipe.size is not None:
        raise RetrievalError(f"--size does not go with --net {recipe.net}, whose input has a size of its own.")
    network: Any = networks.create(recipe.net, **options)
    return network, networks.settled(network, options) if recipe.net in networks.FROM_SCRATCH else options
