"""The folder of a saved encoder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from retrieval.base import saved_folder
from retrieval.base.files import digest
from retrieval.base.saved_folder import CARD, CONFIG, WEIGHTS, CheckedFolder, Kind, damaged
from retrieval.encoder.config import EncoderConfig
from retrieval.encoder.runtime_check import Comparison
from retrieval.errors import RetrievalError

__all__ = ["BACKBONE", "CARD", "CONFIG", "KIND", "ONNX", "TEXT", "TOKENIZER", "WEIGHTS", "Saved", "write"]

KIND = Kind(
    "retrieval-encoder",
    1,
    "an encoder",
    "give a folder that `retrieval train` or `build` wrote, hf:NAME, onnx:FILE, a name of `retrieval encoders`, or no "
    "model for the default",
)
ONNX = "network.onnx"
TEXT, TOKENIZER = "text.onnx", "tokenizer.json"
"""What turns words into vectors without torch, where the model knows words."""
BACKBONE = "hf"
"""The folder within, for a transformers model with its own configuration and tokenizer."""


@dataclass(frozen=True)
class Saved(CheckedFolder):
    """An encoder's folder.

    Attributes:
        config: the encoder's configuration.
        weights: SHA-256 over the weights' names, types, shapes and values.
        comparison: what came of comparing ONNX Runtime with torch; None if nobody compared.
    """

    config: EncoderConfig
    weights: str
    comparison: Comparison | None

    @classmethod
    def open(cls, folder: Path) -> Saved:
        """Read a folder's configuration.

        Raises:
            RetrievalError: there is none, it is damaged, it is something else's, or a newer version wrote it.
        """
        content = saved_folder.read_config(folder, KIND)
        advice = "give a folder that it wrote"
        if isinstance(content, dict) and "model_type" in content:
            advice = f"for a transformers model give hf:{folder}"
        values = saved_folder.check_format(content, folder, KIND, advice)
        try:
            return cls(
                folder,
                {str(name): str(digest) for name, digest in values["files"].items()},
                EncoderConfig.from_json(values),
                str(values["weights"]),
                None if values["onnx"] is None else Comparison(**values["onnx"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, RetrievalError) as error:
            raise damaged(folder / CONFIG, f"{type(error).__name__}: {error}".rstrip(".")) from None

    def backbone(self) -> Path:
        """The folder of the transformers model, all of its files checked, and none there that was not saved.

        Raises:
            RetrievalError: a file is missing, is not the one that was saved, or does not belong there.
        """
        folder = self.folder / BACKBONE
        listed = {name for name in self.files if PurePosixPath(name).parts[0] == BACKBONE}
        there = {path.relative_to(self.folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        for name in sorted(listed | there):
            if name not in there:
                raise damaged(self.folder / name, "it is missing")
            self.check(name, digest(self.folder / name))
        return folder

    def copy(self, into: Path) -> None:
        """Copy the weights (not the ONNX graph, which is derived from them) into a folder, checked."""
        for name in self.files:
            if name != ONNX:
                _inside(into, name).parent.mkdir(parents=True, exist_ok=True)
                (into / name).write_bytes(self.read(name))


def write(
    folder: Path,
    config: EncoderConfig,
    weights: str,
    comparison: Comparison | None,
    fill: Callable[[Path], None],
) -> None:
    """Save an encoder: whoever looks sees the old folder or the new one, complete.

    Args:
        folder: where to; an encoder that is there already is replaced.
        config: the configuration.
        weights: SHA-256 of the weights.
        comparison: what came of comparing ONNX Runtime with torch.
        fill: writes all other files into the folder that it is given.

    Raises:
        RetrievalError: the folder cannot be written, or holds something else.
    """
    compared = None if comparison is None else dataclasses.asdict(comparison)
    saved_folder.write(folder, KIND, {**config.to_json(), "weights": weights, "onnx": compared}, fill)


def _inside(folder: Path, name: str) -> Path:
    """A path below `folder`, whatever a hostile configuration calls its files."""
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts:
        raise damaged(folder / CONFIG, f"it lists a file outside the folder, {name!r}")
    return folder / name
