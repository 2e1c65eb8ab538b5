"""The folder of a saved pair network: weights (safetensors, never pickle), configuration, card."""

from __future__ import annotations

import dataclasses
import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from retrieval import networks
from retrieval.base import saved_folder
from retrieval.base.saved_folder import CARD, CONFIG, WEIGHTS, CheckedFolder, damaged
from retrieval.encoder.pair_config import FOLDER, KIND, PairConfig
from retrieval.errors import RetrievalError
from retrieval.networks import pairs
from retrieval.networks.unfilled import fill, misfits, unfilled

__all__ = ["FOLDER", "KIND", "PairConfig", "Saved", "load", "save"]


def save(folder: str | Path, network: nn.Module, config: PairConfig, card: str) -> None:
    """Save a pair network: whoever looks sees the old folder or the new one, complete.

    Args:
        folder: where to; a pair network that is there already is replaced.
        network: a :class:`retrieval.networks.pairs.PairNetwork`.
        config: what it is; :attr:`PairConfig.created` is filled in.
        card: Markdown for people.

    Raises:
        RetrievalError: the folder cannot be written, or holds something else.
    """
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    values = dataclasses.asdict(dataclasses.replace(config, created=created))
    plain = {name: weight.detach().cpu().contiguous() for name, weight in network.state_dict().items()}

    def fill(into: Path) -> None:
        (into / WEIGHTS).write_bytes(save_tensors(plain))
        (into / CARD).write_text(card, "utf-8")

    saved_folder.write(Path(folder), KIND, values, fill)


@dataclass(frozen=True)
class Saved:
    """A pair network from disk: on the CPU, in evaluation mode."""

    network: nn.Module
    config: PairConfig
    card: str | None


def load(source: str | Path) -> Saved:
    """A saved pair network.

    Nothing is allocated by what the configuration says (:mod:`retrieval.networks.unfilled`): the network takes its
    weights only if those in the file are the ones it needs.

    Args:
        source: a folder that :func:`save` wrote, or a run with such a folder ``pair`` in it.

    Raises:
        RetrievalError: there is none, or its files are not the ones that were saved, or do not fit together.
    """
    folder = Path(source)
    if (folder / FOLDER / CONFIG).is_file():
        folder = folder / FOLDER
    values = saved_folder.check_format(saved_folder.read_config(folder, KIND), folder, KIND)
    try:
        config = PairConfig.from_json(values)
        checked = CheckedFolder(folder, {str(name): str(digest) for name, digest in values["files"].items()})
        network = _empty(config)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError, RetrievalError) as error:
        why = str(error).strip().partition("\n")[0].rstrip(".")  # torch's errors go on with a stack
        raise damaged(folder / CONFIG, f"{type(error).__name__}: {why}") from None
    content = checked.read(WEIGHTS)
    try:
        weights = load_tensors(content)
    except (SafetensorError, ValueError) as error:
        raise damaged(folder / WEIGHTS, str(error).strip().splitlines()[-1].rstrip(".")) from None
    wrong = misfits(network, weights)
    if wrong:
        raise damaged(folder / WEIGHTS, f"it does not fit the network {config.network!r}: {wrong}")
    return Saved(fill(network, weights), config, checked.card())


def _empty(config: PairConfig) -> nn.Module:
    """The network without memory for its weights, and with the preprocessing that it was trained with."""
    options = dict(config.options)
    if networks.takes(options.get("trunk", ""), "pretrained"):
        options["pretrained"] = False  # its weights come from the file
    network = unfilled(lambda: pairs.create(config.network, **options))
    described = cast(pairs.PairNetwork, network)
    own, saved = described.preprocessing, config.preprocessing
    if (own.size, own.mode) != (saved.size, saved.mode):
        raise ValueError(f"the network sees {own.mode} of {own.size} pixels, the preprocessing gives {saved}")
    described.preprocessing = saved
    return network
