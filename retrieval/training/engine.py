"""The engine of a training: network, loss and optimizer, how one step moves them, and the mean of where they were."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from retrieval.errors import RetrievalError
from retrieval.images import Preprocessing
from retrieval.networks.layers import Normalised
from retrieval.training.augmentation import augment, parse
from retrieval.training.build_network import build_optimizer
from retrieval.training.history import spread
from retrieval.training.normalisation import statistics_kept, synchronised
from retrieval.training.processes import World
from retrieval.training.recipe import Recipe
from retrieval.training.training_set import Batch


class Measured(NamedTuple):
    """What one step measured: the loss, the share of active triplets (or NaN), and the embeddings' spread."""

    loss: float
    active: float
    spread: float


class Engine:
    """What a training moves.

    Args:
        network: an embedding network, on ``device``.
        loss: on ``device``; ``unit`` says whether it wants unit vectors.
        recipe: settled (:meth:`Recipe.resolve`).
        preprocessing: what the network's input is.
        dtype: what the network computes in.
        world: the processes that train together.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        recipe: Recipe,
        preprocessing: Preprocessing,
        device: torch.device,
        dtype: torch.dtype,
        world: World,
    ) -> None:
        self.world = world
        self.network = network = network if world.size == 1 else synchronised(network)
        self.loss = loss
        self.modules = nn.ModuleDict({"network": network, "loss": loss})
        self.optimizer = build_optimizer(recipe, self.modules)
        self.scaler = GradScaler(device.type, enabled=dtype == torch.float16)
        self.average = Average(self.modules, recipe.average) if recipe.average else None
        self.compiled: Callable[[Tensor], Tensor] | None = None
        self.recipe = recipe
        self.device = device
        self.dtype = dtype
        self._augmentation = parse(recipe.augment)
        self._normalised = Normalised(preprocessing, device)

    def step(self, number: int, batches: Sequence[Batch], lr: float) -> Measured:
        """Learn from one batch, or from the mean loss of several.

        Args:
            number: how many steps were done before; what is drawn at random depends on it and on the seed alone.
            batches: one or more; the network sees one after the other.
            lr: learning rate.

        Returns:
            The means over the batches.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["times"]
        self.modules.train()
        self.optimizer.zero_grad(set_to_none=True)
        measured = [self._learn((number, i), batch, 1 / len(batches)) for i, batch in enumerate(batches)]
        self._add_up_gradients()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update(number + 1)
        return Measured(*(sum(values) / len(batches) for values in zip(*measured, strict=True)))

    @torch.no_grad()
    def embed(self, pixels: Tensor) -> Tensor:
        """Pictures uint8 (n, h, w, c) → unit embeddings float32 (n, dim), as the encoder will give them."""
        self.modules.eval()
        return F.normalize(self._forward(self._normalised(pixels)).float())

    def compile(self) -> None:
        """Train through ``torch.compile``, which begins its work at the next step; ``compiled = None`` ends it."""
        self.compiled = torch.compile(self.network)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The averaged weights in place of the last ones, for a while; without averaging nothing changes."""
        with self.average.applied() if self.average is not None else nullcontext():
            yield

    def state(self) -> dict[str, Tensor]:
        """Everything that the next step depends on; the tensors themselves, no copies."""
        tensors = {f"module.{name}": tensor for name, tensor in self.modules.state_dict().items()}
        for i, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{name}": t for name, t in state.items() if isinstance(t, Tensor)}
        if self.average is not None:
            tensors |= {f"average.{name}": tensor for name, tensor in self.average.tensors.items()}
        if self.scaler.is_enabled():
            state = self.scaler.state_dict()
            tensors["scaler"] = torch.tensor([state["scale"], state["_growth_tracker"]], dtype=torch.float64)
        return tensors

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Put back what :meth:`state` gave.

        Raises:
            RetrievalError: it belongs to another network.
        """
        state = {name.removeprefix("module."): t for name, t in tensors.items() if name.startswith("module.")}
        try:
            self.modules.load_state_dict(state)
        except RuntimeError:
            raise RetrievalError(
                "The checkpoint belongs to another network; train with the recipe it was made with, or anew."
            ) from None
        optimizer: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("optimizer."):
                _, i, key = name.split(".")
                optimizer.setdefault(int(i), {})[key] = tensor
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": optimizer})
        if self.average is not None:
            for name, average in self.average.tensors.items():
                average.copy_(tensors[f"average.{name}"])
        if self.scaler.is_enabled():
            scale, tracker = tensors["scaler"].tolist()
            self.scaler.load_state_dict(self.scaler.state_dict() | {"scale": scale, "_growth_tracker": int(tracker)})

    def _learn(self, place: tuple[int, int], batch: Batch, share: float) -> Measured:
        """Add a share of one batch's gradient to what has been gathered in this step.

        With ``chunk`` the network never sees more pictures at once than that, and loss and gradient are still those of
        the whole batch (Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup"):
        embeddings first, without what a gradient needs; then the loss and its gradient with respect to them; then each
        chunk once more, drawing the same at random, to carry that gradient on to the weights.
        """
        labels = batch.labels.to(self.device)
        draws = torch.Generator().manual_seed(self._seed(*place))
        pixels = self._normalised(batch.pixels)
        x = augment(pixels, self._augmentation, draws, mirrored=batch.mirrored, start=batch.start)
        # all processes make equally many chunks, since batch normalisation waits for the others in each
        most = max(self.world.shares(len(labels)))
        chunks = x.tensor_split(-(-most // (self.recipe.chunk or most)))
        if len(chunks) == 1:
            raw = self._drawing(place, 0, x)
        else:
            with torch.no_grad(), statistics_kept(self.network):
                raw = torch.cat([self._drawing(place, i, chunk) for i, chunk in enumerate(chunks)])
            raw.requires_grad_()
        whole = self.world.gather(raw, len(labels))
        embeddings = F.normalize(whole)
        torch.manual_seed(self._seed(*place))  # what the loss draws, alike on all processes
        loss, active = self.loss(embeddings if self.loss.unit else whole, labels)
        self.scaler.scale(loss * share).backward()
        if len(chunks) > 1 and raw.grad is not None:
            for i, (chunk, gradient) in enumerate(zip(chunks, raw.grad.tensor_split(len(chunks)), strict=True)):
                torch.autograd.backward(self._drawing(place, i, chunk), gradient)
        # where raw vectors are compared, their directions may lie far apart while they shrink to a point
        apart = None if self.loss.unit else getattr(self.loss, "apart", None)
        return Measured(loss.item(), active.item(), spread(embeddings) if apart is None else spread(whole, apart))

    def _drawing(self, place: tuple[int, int], chunk: int, x: Tensor) -> Tensor:
        """The network's raw output in float32, with what it draws (dropout) settled by the place in the training."""
        torch.manual_seed(self._seed(*place, chunk * self.world.size + self.world.rank))
        return self._forward(x).float()

    @torch.no_grad()
    def _add_up_gradients(self) -> None:
        learned = [p.grad for p in self.network.parameters() if p.grad is not None]
        # of the loss's own weights every process has the whole gradient, up to rounding, which must not part them
        shared = [p.grad for p in self.loss.parameters() if p.grad is not None]
        for gradient in shared:
            gradient /= self.world.size
        self.world.add_up(learned + shared)

    def _seed(self, *place: int) -> int:
        return int(np.random.SeedSequence([self.recipe.seed, *place]).generate_state(1)[0])

    def _forward(self, x: Tensor) -> Tensor:
        with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
            out: Tensor = (self.compiled if self.compiled is not None and self.modules.training else self.network)(x)
        return out


class Average:
    """The exponential moving average of what is learned (Polyak and Juditsky 1992, with a decay).

    After t steps it is Σᵢ βᵗ⁻ⁱ θᵢ · (1 − β) / (1 − βᵗ), i from 1 to t: without a bias towards where the training began.
    The running statistics of batch normalisation are averaged like the weights that they belong to.

    Args:
        modules: whose parameters and statistics to average.
        decay: β, in (0, 1).
    """

    def __init__(self, modules: nn.Module, decay: float) -> None:
        self.decay = decay
        self._current = dict(_averaged(modules))
        self.tensors = {name: tensor.detach().clone() for name, tensor in self._current.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after a step, counted from 1."""
        weight = (1 - self.decay) / (1 - self.decay**step)
        for name, tensor in self._current.items():
            self.tensors[name].lerp_(tensor, weight)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The modules with the averaged weights, for a while."""
        before = {name: tensor.detach().clone() for name, tensor in self._current.items()}
        self._put(self.tensors)
        try:
            yield
        finally:
            self._put(before)

    @torch.no_grad()
    def _put(self, tensors: dict[str, Tensor]) -> None:
        for name, tensor in self._current.items():
            tensor.copy_(tensors[name])


def _averaged(modules: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from ((name, parameter) for name, parameter in modules.named_parameters() if parameter.requires_grad)
    for name, module in modules.named_modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None and module.running_var is not None:
            yield f"{name}.running_mean", module.running_mean
            yield f"{name}.running_var", module.running_var
