"""An ONNX file from anywhere as an encoder: ``onnx:FILE``, with what the graph does not say in ``FILE.json`` beside it.

A second file beside it, with a tokenizer, may turn words into vectors of the same space.

What comes from strangers is looked at by a program apart (:mod:`retrieval.encoder.onnx_reader`), with limits on its
memory and its time, which runs it on made-up pictures and puts around it what an encoder's graph has.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval.base import progress
from retrieval.base.placed_files import NotOpenedError, open_file
from retrieval.base.sandbox import ask
from retrieval.base.text import for_terminal, printable
from retrieval.encoder.config import EncoderConfig
from retrieval.encoder.graph_model import PREFIX, GraphModel
from retrieval.encoder.text_runtime import TextModel
from retrieval.errors import RetrievalError
from retrieval.images import Preprocessing
from retrieval.networks.text_tokens import FILE_BYTES as TOKENIZER_BYTES
from retrieval.networks.text_tokens import LONGEST

if TYPE_CHECKING:
    import onnx

FILE_BYTES = 2**31 - 1
"""Bytes of a file, and of a graph with its weights; a protocol buffer has no more."""

JSON_BYTES = 2**16

_READER = Path(__file__).with_name("onnx_reader.py")
_TEXT_READER = Path(__file__).with_name("onnx_text_reader.py")

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""How pictures are normalised where nobody says it: as for networks that learned from ImageNet; grey: their mean."""


@dataclass(frozen=True)
class Settings:
    """What ``FILE.json`` may say; all else is taken from the graph, or is the default.

    Attributes:
        size: side of the square that it sees, pixels. Needed where the graph takes any size.
        mode: "RGB" or "L". fit, resample: as in :class:`retrieval.Preprocessing`.
        mean, std: one a channel or one for all, in units of the pixel range [0, 1].
        input, output: names of what it is given, and of what is the vector.
        licence: a few words for the card.
        text: the name of a file beside it, from tokens to vectors. text_output: as `output`, of that.
        tokenizer: the name of the tokenizer's file beside it.
        length: tokens of a text. pad: what fills up shorter ones.
    """

    size: int | None = None
    mode: str | None = None
    fit: str = "crop"
    resample: str = "bicubic"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    input: str | None = None
    output: str | None = None
    licence: str = ""
    text: str | None = None
    text_output: str | None = None
    tokenizer: str = "tokenizer.json"
    length: int | None = None
    pad: str | None = None

    def preprocessing(self, size: int, channels: int) -> Preprocessing:
        """How a picture becomes the input of a graph that says this of itself.

        Raises:
            RetrievalError: there is no such preprocessing.
        """
        usual = channels == 3
        mean = self.mean or (MEAN if usual else (sum(MEAN) / 3,))
        std = self.std or (STD if usual else (sum(STD) / 3,))
        mode: Any = self.mode or ("RGB" if usual else "L")
        fit, resample = (self.fit, self.resample)
        return Preprocessing(size, mode, fit, resample, mean, std)  # type: ignore[arg-type]  # which it checks


def load(file: Path) -> tuple[EncoderConfig, GraphModel, str]:
    """The configuration, the graph and the card of an encoder from an ONNX file.

    Raises:
        RetrievalError: there is no such file; it, or the JSON beside it, cannot be used.
    """
    settings = _settings(Path(f"{file}.json"))
    said = json.dumps(dataclasses.asdict(settings))
    with tempfile.TemporaryDirectory(prefix="retrieval-") as scratch:
        made = Path(scratch) / "made.onnx"
        with _whole(file, Path(scratch)) as (whole, digest):
            try:
                found = ask(_READER, whole, said, str(made))
                graph = made.read_bytes()
            except (ValueError, OSError) as error:
                raise _refused(file, for_terminal(str(error))) from None
    text = None if settings.text is None else _text(file, settings, int(found["dim"]))
    if text is not None:
        digest = hashlib.sha256(f"{digest} {text.digest}".encode()).hexdigest()
    p = settings.preprocessing(int(found["size"]), int(found["channels"]))
    says = "as the graph takes pixels themselves"
    if not found["raw"]:
        guessed = settings.mean is None or settings.std is None
        says = f"mean {p.mean}, standard deviation {p.std}" + (", which nobody says and is as for ImageNet" * guessed)
        if guessed:
            progress.note(
                f"Nothing says how {printable(file.name)} wants its pictures normalised, so as for ImageNet; if that "
                f'is not so, write mean and std into {printable(file.name)}.json, as {{"mean": [0.5], "std": [0.5]}}.'
            )
    name = for_terminal(printable(file.stem))
    options = {"input": str(found["input"]), "output": str(found["output"])}
    config = EncoderConfig(f"{PREFIX}{name}", options, int(found["dim"]), p, text=text is not None)
    words = "" if text is None else f"- Words: {for_terminal(str(settings.text))}, {for_terminal(settings.tokenizer)}\n"
    card = (
        f"# {name}\n\nAn ONNX graph, SHA-256 {digest}{' of it and what it does with words' * bool(text)}.\n\n"
        f"- Pictures: {p.size} pixels a side, {p.mode}, {p.fit}, {p.resample}; {says}\n"
        f"- Vector: {config.dim:,} numbers, the output {for_terminal(options['output'])}\n{words}"
        f"- Licence: {for_terminal(settings.licence) or 'not stated; it is that of the file'}\n"
    )
    return config, GraphModel(graph, digest, {}, text), card


def _text(file: Path, settings: Settings, dim: int) -> TextModel:
    """What turns words into vectors, of the files beside the one of the pictures.

    Args:
        dim: of the pictures' vectors.

    Raises:
        RetrievalError: the files are not there, or cannot be used.
    """
    try:
        graph, tokenizer = (_beside(file.parent, name) for name in (str(settings.text), settings.tokenizer))
    except ValueError as error:
        raise _undescribed(Path(f"{file}.json"), f"it names {error}") from None
    try:
        with open_file(tokenizer, TOKENIZER_BYTES) as opened:
            content = opened.readall()
    except FileNotFoundError:
        raise RetrievalError(
            f"The text side {printable(graph)!r} needs a tokenizer, and there is no file {printable(tokenizer)!r}; put "
            f'it there, or write its name into {printable(file.name)}.json, as {{"tokenizer": "tokenizer.json"}}.'
        ) from None
    except (NotOpenedError, OSError) as error:
        raise RetrievalError(f"The tokenizer {printable(tokenizer)!r} cannot be read ({error}); restore it.") from None
    with tempfile.TemporaryDirectory(prefix="retrieval-") as scratch:
        words, made, made_tokenizer = (Path(scratch) / name for name in ("words.json", "made.onnx", "made.json"))
        words.write_bytes(content)
        said = (
            json.dumps(dataclasses.asdict(settings)),
            json.dumps(_usual(tokenizer.with_name("tokenizer_config.json"))),
        )
        with _whole(graph, Path(scratch)) as (whole, _):
            try:
                found = ask(_TEXT_READER, whole, *said, str(words), str(made), str(made_tokenizer))
                if found["dim"] != dim:
                    raise ValueError(f"its vectors have {found['dim']:,} numbers, and those of pictures {dim:,}")
                return TextModel(made.read_bytes(), made_tokenizer.read_bytes())
            except (ValueError, OSError) as error:
                raise RetrievalError(
                    f"The text side {printable(graph)!r} cannot be used ({for_terminal(str(error)).rstrip('.')}); "
                    "export it anew as one straight graph from input_ids to vectors, or leave it out."
                ) from None


def _beside(folder: Path, name: str) -> Path:
    """A file of a folder.

    Raises:
        ValueError: it is none, or a link to elsewhere.
    """
    path = folder / name
    if name in ("", "..") or Path(name).name != name or path.is_symlink():
        raise ValueError(f"{printable(name)[:80]!r}, which is no file beside it")
    return path


def _usual(path: Path) -> dict[str, Any]:
    """How many tokens a text has, and what fills it up, where the tokenizer's own configuration says so."""
    try:
        with open_file(path, JSON_BYTES * 64) as file:
            values = json.loads(file.readall())
        length, pad = values.get("model_max_length"), values.get("pad_token")
        pad = pad.get("content") if isinstance(pad, dict) else pad
        found = {"length": length if isinstance(length, int) and 0 < length <= LONGEST else None}
        return {**found, "pad": pad if isinstance(pad, str) else None}
    except (OSError, NotOpenedError, ValueError, AttributeError, RecursionError):
        return {}


def _settings(path: Path) -> Settings:
    """What the JSON says; the defaults if there is none."""
    try:
        with open_file(path, JSON_BYTES) as file:
            values = json.loads(file.readall())
        if not isinstance(values, dict):
            raise TypeError("it holds no object")
        known = {field.name: field for field in dataclasses.fields(Settings)}
        for name, value in values.items():
            if name not in known:
                raise TypeError(f"it says {name!r}, which is none of {', '.join(known)}")
            if name in ("mean", "std"):
                values[name] = tuple(float(one) for one in (value if isinstance(value, list) else [value]))
            elif not isinstance(value, int if name in ("size", "length") else str) or isinstance(value, bool):
                raise TypeError(f"its {name} is {value!r}")
        settings = Settings(**values)
        settings.preprocessing(settings.size or 1, 1 if settings.mode == "L" else 3)
        return settings
    except FileNotFoundError:
        return Settings()
    except NotOpenedError as error:
        why = error.reason
    except OSError as error:
        why = error.strerror or str(error)
    except (ValueError, TypeError, RecursionError, RetrievalError) as error:
        why = for_terminal(str(error))[:200]
    raise _undescribed(path, why)


def _undescribed(path: Path, why: str) -> RetrievalError:
    return RetrievalError(f"{printable(path)!r} does not describe a model ({why.rstrip('.')}); correct it.")


@contextlib.contextmanager
def _whole(file: Path, scratch: Path) -> Iterator[tuple[Path, str]]:
    """The file, or one with the weights in it that lie in others beside it; and SHA-256 over all that belongs to it."""
    import onnx

    try:
        with open_file(file, FILE_BYTES) as opened:
            content = opened.readall()
        sha256 = hashlib.sha256(content)
        whole = file
        with _no_model():
            model = onnx.load_from_string(content)
        del content
        if _take_in(model, file.resolve().parent, sha256):
            whole = scratch / "whole.onnx"
            with _no_model():
                whole.write_bytes(model.SerializeToString())
        del model
    except FileNotFoundError:
        raise RetrievalError(
            f"There is no file {printable(file)!r}; give onnx: and the path of an ONNX file."
        ) from None
    except NotOpenedError as error:
        raise _refused(file, error.reason) from None
    except OSError as error:
        raise _refused(file, error.strerror or str(error)) from None
    except MemoryError:
        raise _refused(file, "it takes more memory than there is") from None
    except ValueError as error:
        raise _refused(file, for_terminal(str(error))) from None
    yield whole, sha256.hexdigest()


@contextlib.contextmanager
def _no_model() -> Iterator[None]:
    """What the library of protocol buffers raises has no name that ours could ask for."""
    try:
        yield
    except (OSError, MemoryError):
        raise
    except Exception:
        raise ValueError("it is no ONNX model, or larger than 2 GB") from None


def _take_in(model: onnx.ModelProto, folder: Path, sha256: Any) -> bool:
    """Put the weights that lie in other files into the model; whether there were any.

    Raises:
        ValueError: they do not lie beside it. NotOpenedError, OSError: they cannot be read.
    """
    from onnx import TensorProto

    outside = [one for one in model.graph.initializer if one.data_location == TensorProto.EXTERNAL]
    total = 0
    for tensor in outside:
        place: Mapping[str, str] = {entry.key: entry.value for entry in tensor.external_data}
        name = place.get("location", "")
        try:
            path = _beside(folder, name)
        except ValueError as error:
            raise ValueError(f"its weights lie in {error}") from None
        with open_file(path, 2**40) as opened:
            offset = int(place.get("offset", 0))
            length = int(place["length"]) if "length" in place else path.stat().st_size - offset
            total += max(0, length)
            if offset < 0 or length < 0 or total > FILE_BYTES:
                raise ValueError("its weights are larger than 2 GB, or lie nowhere")
            opened.seek(offset)
            content = bytearray()
            while len(content) < length and (part := opened.read(min(length - len(content), 2**26))):
                content += part
        if len(content) < length:
            raise ValueError(f"{printable(name)[:80]!r} beside it ends before its weights do")
        sha256.update(content)
        tensor.ClearField("external_data")
        tensor.data_location = TensorProto.DEFAULT
        tensor.raw_data = bytes(content)
    return bool(outside)


def _refused(file: Path, why: str) -> RetrievalError:
    return RetrievalError(
        f"The model {printable(file)!r} cannot be used ({why.rstrip('.')}); export it anew as one straight graph from "
        "pictures to vectors, with opset 17 or later."
    )
