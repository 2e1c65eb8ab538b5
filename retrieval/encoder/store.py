"""The folder of a saved encoder: written whole or not at all, and believed only after its checksums agree."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from retrieval.encoder.comparison import Comparison
from retrieval.encoder.config import EncoderConfig
from retrieval.errors import RetrievalError
from retrieval.files import digest

FORMAT = "retrieval-encoder"
VERSION = 1

CONFIG = "config.json"
WEIGHTS = "weights.safetensors"
ONNX = "network.onnx"
CARD = "card.md"
BACKBONE = "hf"
"""The folder within, for a transformers model with its own configuration and tokenizer."""

_UNCHECKED = {CONFIG, CARD}  # the one holds the checksums, the other is for people, who may well edit it


@dataclass(frozen=True)
class Saved:
    """An encoder's folder. Its configuration was read, the other files are checked as they are used.

    Attributes:
        folder: where it lies.
        config: the encoder's configuration.
        weights: SHA-256 over the weights' names, types, shapes and values.
        comparison: what came of comparing ONNX Runtime with torch; None if nobody compared.
        files: relative path → SHA-256 of its content.
    """

    folder: Path
    config: EncoderConfig
    weights: str
    comparison: Comparison | None
    files: Mapping[str, str]

    @classmethod
    def open(cls, folder: Path) -> Saved:
        """Read a folder's configuration.

        Raises:
            RetrievalError: there is none, it is damaged, it is something else's, or a newer version wrote it.
        """
        path = folder / CONFIG
        try:
            values = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            raise RetrievalError(
                f"There is no encoder in {str(folder)!r}; give a folder that `retrieval train` or `build` "
                "wrote, hf:NAME, or no model for the default."
            ) from None
        except OSError as error:
            raise RetrievalError(
                f"{str(path)!r} cannot be read ({error.strerror}); check the path and its permissions."
            ) from None
        except ValueError:
            raise _damaged(path, "it is not JSON") from None
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            hint = f"hf:{folder}" if isinstance(values, dict) and "model_type" in values else None
            raise RetrievalError(
                f"{str(path)!r} does not describe an encoder of this program; "
                + (f"for a transformers model give {hint}." if hint else "give a folder that it wrote.")
            )
        version = values.get("version")
        if not isinstance(version, int) or version < 1:
            raise _damaged(path, f"its version is {version!r}")
        if version > VERSION:
            raise RetrievalError(
                f"The encoder in {str(folder)!r} has format {version}, and this program reads up to "
                f"{VERSION}; update it (pip install -U retrieval)."
            )
        try:
            return cls(
                folder,
                EncoderConfig.from_json(values),
                str(values["weights"]),
                None if values["onnx"] is None else Comparison(**values["onnx"]),
                {str(name): str(digest) for name, digest in values["files"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError, RetrievalError) as error:
            raise _damaged(path, f"{type(error).__name__}: {error}".rstrip(".")) from None

    def read(self, name: str) -> bytes:
        """A file's content, checked before anybody parses it.

        Raises:
            RetrievalError: the file is missing, or is not the one that was saved.
        """
        path = self.folder / name
        try:
            content = path.read_bytes()
        except OSError as error:
            raise _damaged(path, f"it cannot be read: {error.strerror}") from None
        self._check(name, hashlib.sha256(content).hexdigest())
        return content

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
                raise _damaged(self.folder / name, "it is missing")
            self._check(name, digest(self.folder / name))
        return folder

    def copy(self, into: Path) -> None:
        """Copy the weights (not the ONNX graph, which is derived from them) into a folder, checked."""
        for name in self.files:
            if name != ONNX:
                _inside(into, name).parent.mkdir(parents=True, exist_ok=True)
                (into / name).write_bytes(self.read(name))

    def card(self) -> str | None:
        """The model card, if there is one."""
        try:
            return (self.folder / CARD).read_text("utf-8", errors="replace")
        except OSError:
            return None

    def _check(self, name: str, digest: str) -> None:
        expected = self.files.get(name)
        if expected is None:
            raise _damaged(self.folder / name, f"{CONFIG} does not list it")
        if digest != expected:
            raise _damaged(self.folder / name, f"SHA-256 {digest[:12]}… instead of the saved {expected[:12]}…")


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
    empty = folder.is_dir() and not any(folder.iterdir())
    if folder.exists() and not empty and not (folder / CONFIG).is_file():
        raise RetrievalError(f"{str(folder)!r} holds something that is no encoder; choose another folder or empty it.")
    # Beside the folder, since a rename is whole only within one file system.
    temporary, old = (folder.with_name(f".{folder.name}-{secrets.token_hex(4)}") for _ in range(2))
    try:
        temporary.mkdir(parents=True)
        fill(temporary)
        written = sorted(path for path in temporary.rglob("*") if path.is_file())
        names = {path: path.relative_to(temporary).as_posix() for path in written}
        values = {
            "format": FORMAT,
            "version": VERSION,
            **config.to_json(),
            "weights": weights,
            "onnx": None if comparison is None else dataclasses.asdict(comparison),
            "files": {name: digest(path) for path, name in names.items() if name not in _UNCHECKED},
        }
        (temporary / CONFIG).write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", "utf-8")
        for path in [*written, temporary / CONFIG, temporary]:
            _sync(path)
        if folder.exists():
            folder.rename(old)
        temporary.rename(folder)
        _sync(folder.parent)
    except OSError as error:
        raise RetrievalError(
            f"The encoder cannot be written to {str(folder)!r} ({error.strerror or error}); choose another folder."
        ) from None
    finally:
        if old.exists() and not folder.exists():  # stopped between the two renames
            old.rename(folder)
        for path in (temporary, old):
            shutil.rmtree(path, ignore_errors=True)


def _inside(folder: Path, name: str) -> Path:
    """A path below `folder`, whatever a hostile configuration calls its files."""
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts:
        raise _damaged(folder / CONFIG, f"it lists a file outside the folder, {name!r}")
    return folder / name


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _damaged(path: Path, why: str) -> RetrievalError:
    return RetrievalError(
        f"{str(path)!r} is damaged or foreign ({why}); copy the folder again, or train or build it anew."
    )
