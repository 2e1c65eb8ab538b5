"""What a saved pair network is, apart from its weights; torch is not needed to know it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from retrieval.base import saved_folder
from retrieval.base.saved_folder import CONFIG, Kind, damaged
from retrieval.encoder.score_fusion import Together
from retrieval.errors import RetrievalError
from retrieval.images import Preprocessing

FOLDER = "pair"
"""Where it lies in a run's folder."""

KIND = Kind("retrieval-pair-network", 1, "a pair network", "train one with `retrieval train --net two-channel`")


@dataclass(frozen=True)
class PairConfig:
    """What a pair network is, apart from its weights.

    Attributes:
        network: the architecture's name, as :func:`retrieval.networks.pairs.create` takes it.
        options: what that function takes beside the name.
        preprocessing: how a picture becomes the network's input.
        trained_on: a few words about the training data.
        created: when, as ISO 8601; filled in when the network is saved.
        together: how its score counts beside that of the encoder whose hits it was trained on, if it was.
        measures: of held-out pairs, name → ``value``, ``low``, ``high`` (ends of the 95 % interval over classes) and
            ``pairs``.
        warnings: what the training warned of.
    """

    network: str
    options: Mapping[str, Any]
    preprocessing: Preprocessing
    trained_on: str = ""
    created: str = ""
    together: Together | None = None
    measures: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> PairConfig:
        """The configuration that was saved.

        Raises:
            KeyError, TypeError, ValueError, RetrievalError: `values` do not describe one.
        """
        texts = [values[name] for name in ("network", "trained_on", "created")]
        together = values.get("together")  # which the first ones did not have, and neither what follows
        measures, warnings = dict(values.get("measures", {})), values.get("warnings", ())
        for text in (*texts, *measures, *warnings):
            if not isinstance(text, str):
                raise TypeError(f"{text!r} is no text")
        network, trained_on, created = texts
        return cls(
            network,
            dict(values["options"]),
            Preprocessing(**values["preprocessing"]),
            trained_on,
            created,
            None if together is None else Together.from_json(together),
            {name: _figure(figure) for name, figure in measures.items()},
            tuple(warnings),
        )


def _figure(values: Mapping[str, Any]) -> dict[str, float]:
    """A measure with its interval."""
    figure = {name: float(values[name]) for name in ("value", "low", "high")}
    return {**figure, "pairs": int(values["pairs"])}


def pair_folder(source: str | Path) -> Path | None:
    """The folder of a saved pair network: the source itself or the folder ``pair`` in it; None if neither is one."""
    for folder in (Path(source) / FOLDER, Path(source)):
        try:
            values = saved_folder.read_config(folder, KIND)
        except RetrievalError:
            continue
        if isinstance(values, dict) and values.get("format") == KIND.format:
            return folder
    return None


def describe(folder: Path) -> dict[str, Any]:
    """What `retrieval info` says of a saved pair network.

    Returns:
        Plain values: ``kind``, ``folder``, ``bytes``, and what its configuration has.

    Raises:
        RetrievalError: the configuration is damaged, or of a newer version.
    """
    values = saved_folder.check_format(saved_folder.read_config(folder, KIND), folder, KIND)
    try:
        config = PairConfig.from_json(values)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RetrievalError) as error:
        raise damaged(folder / CONFIG, f"{type(error).__name__}: {error}".rstrip(".")) from None
    except OSError as error:
        raise damaged(folder, f"it cannot be read: {error.strerror}") from None
    return {"kind": "pair network", "folder": str(folder), "bytes": size, **dataclasses.asdict(config)}
