"""What an encoder is, apart from its weights."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from retrieval.errors import RetrievalError
from retrieval.images import Preprocessing


@dataclass(frozen=True)
class EncoderConfig:
    """An encoder's configuration.

    Attributes:
        network: the architecture's name, as :func:`retrieval.networks.create` takes it.
        options: what that function takes beside the name.
        dim: length of a vector.
        preprocessing: how a picture file becomes the network's input.
        classes: what the training told apart; empty where nothing was trained here.
        trained_on: a few words about the training data.
        normalised: vectors are of unit length. Always true; it stands here for whoever reads the file.
        text: the encoder also turns texts into vectors.
        gain: what a head gained over the encoder below it, a sentence each; empty where this is no head.
        created: when, as ISO 8601; filled in when the encoder is saved.
    """

    network: str
    options: Mapping[str, Any]
    dim: int
    preprocessing: Preprocessing
    classes: tuple[str, ...] = ()
    trained_on: str = ""
    normalised: bool = field(default=True)
    text: bool = False
    gain: tuple[str, ...] = ()
    created: str = ""

    def __post_init__(self) -> None:
        if not self.normalised:
            raise RetrievalError(
                "The encoder's configuration says normalised: false; only vectors of unit length are supported."
            )

    @property
    def transformers(self) -> bool:
        """Whether it is a model of the library transformers, or a head over one."""
        return self.network.startswith("hf:") or str(self.options.get("base", "")).startswith("hf:")

    @property
    def graph_only(self) -> bool:
        """Whether its graph is all there is of it (:mod:`retrieval.encoder.graph_model`), or of what a head is over."""
        return self.network.startswith("onnx:") or str(self.options.get("base", "")).startswith("onnx:")

    def to_json(self) -> dict[str, Any]:
        """Plain values, from which :meth:`from_json` makes the same configuration."""
        return dataclasses.asdict(self) | {
            "options": dict(self.options),
            "classes": list(self.classes),
            "gain": list(self.gain),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> EncoderConfig:
        """The configuration that :meth:`to_json` described.

        Raises:
            KeyError, TypeError, ValueError, RetrievalError: `values` do not describe one.
        """
        made: dict[str, Any] = {
            "options": dict(values["options"]),
            "preprocessing": Preprocessing(**values["preprocessing"]),
            "classes": tuple(values["classes"]),
            "gain": tuple(map(str, values.get("gain", ()))),
        }
        known = {one.name: values[one.name] for one in dataclasses.fields(cls) if one.name not in made}

        config = cls(**known, **made)
        for value, kind in ((config.network, str), (config.dim, int), (config.text, bool)):
            if not isinstance(value, kind):
                raise TypeError(f"{value!r} is no {kind.__name__}")
        return config

    def hash(self, weights: str) -> str:
        """What tells one encoder's vectors from another's.

        Args:
            weights: SHA-256 of the weights, as :func:`retrieval.encoder.weights.digest` gives it.

        Returns:
            SHA-256 in hexadecimal over everything that a vector depends on. Names, dates and the training's
            data are left out, and so are the runtime and where a pretrained model was found.
        """
        # Which weights a network began with says nothing once they are known.
        options = {name: value for name, value in self.options.items() if name != "pretrained"}
        functional = {
            "network": _kind(self.network),
            "options": options | ({"base": _kind(options["base"])} if "base" in options else {}),
            "dim": self.dim,
            "preprocessing": dataclasses.asdict(self.preprocessing),
            "normalised": self.normalised,
            "text": self.text,
            "weights": weights,
        }
        return hashlib.sha256(json.dumps(functional, sort_keys=True).encode()).hexdigest()


def _kind(network: Any) -> Any:
    """A network's name without where it was found."""
    return network.partition(":")[0] if str(network).startswith(("hf:", "onnx:")) else network
