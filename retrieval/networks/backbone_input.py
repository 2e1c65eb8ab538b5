"""What a transformers model expects of a picture, in the words of our own decoder."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from retrieval.errors import RetrievalError
from retrieval.images import Preprocessing

_RESAMPLE: dict[int, Literal["nearest", "lanczos", "bilinear", "bicubic"]] = {
    0: "nearest",
    1: "lanczos",
    2: "bilinear",
    3: "bicubic",
}
"""Pillow's numbers, which stand in the model's configuration."""


def preprocessing_of(source: str, folder: Path, model: Any) -> tuple[Preprocessing, int]:
    """Read a model's `preprocessor_config.json`.

    Many models scale the shorter side to a little more than what they see, and cut the centre out (DINOv2: 256, of
    which 224). Here the decoder makes the larger square, and the network cuts it.

    Args:
        source: the model's name, for messages.
        folder: where its files lie.
        model: its configuration.

    Returns:
        The preprocessing, and the side of the square that the model sees, at most the preprocessing's size.

    Raises:
        RetrievalError: there is no such file, or it asks for something that is not a square of fixed size.
    """
    values = _values(source, folder)
    size, crop, fit = _geometry(values, model)
    mean, std = values.get("image_mean"), values.get("image_std")
    if not values.get("do_normalize", True) or mean is None or std is None:
        mean, std = (0.0,), (1.0,)
    # (x · factor − mean) / std, with mean and std in units of the pixel range, which is 255.
    factor = 255 * values.get("rescale_factor", 1 / 255) if values.get("do_rescale", True) else 255.0
    resample = _RESAMPLE.get(int(values.get("resample", 3)))
    if size is None or crop is None or size < crop or resample is None:
        asked = {name: values[name] for name in ("size", "crop_size", "resample") if name in values}
        raise RetrievalError(
            f"The model hf:{source} asks for pictures of a kind that is not supported ({asked}); choose one that "
            "takes squares of one size."
        )
    preprocessing = Preprocessing(
        size=size,
        mode="RGB",
        fit=fit,
        resample=resample,
        mean=tuple(value / factor for value in mean),
        std=tuple(value / factor for value in std),
    )
    return preprocessing, crop


def _values(source: str, folder: Path) -> Mapping[str, Any]:
    import transformers

    loader: Any = transformers.AutoImageProcessor

    try:
        with quiet():
            # By way of the model's own class, which knows the defaults of what an old file leaves out.
            processor = loader.from_pretrained(folder, local_files_only=True, trust_remote_code=False, backend="pil")
        values: dict[str, Any] = processor.to_dict()
        return values
    except ImportError:  # a class that only exists for torchvision (DINOv3); such recent files are complete
        return dict(json.loads((folder / "preprocessor_config.json").read_text("utf-8")))
    except (OSError, ValueError) as error:
        why = str(error).strip().splitlines()[0].rstrip(".")
        raise RetrievalError(
            f"The model hf:{source} does not say how it wants its pictures ({why}); choose one with a "
            "preprocessor_config.json."
        ) from None


def _geometry(values: Mapping[str, Any], model: Any) -> tuple[int | None, int | None, Literal["crop", "stretch"]]:
    """The square that the decoder makes, the square that the model sees, and how the picture becomes the former."""
    size = dict(values.get("size") or {})
    shorter = size.get("shortest_edge")
    if not values.get("do_resize", True):
        side = getattr(model, "image_size", None)
        return side, side, "stretch"
    if values.get("do_center_crop") and values.get("crop_size"):
        crop = _side(dict(values["crop_size"]))
        return (shorter, crop, "crop") if shorter else (_side(size), crop, "stretch")
    if shorter and "crop_pct" in values:  # ConvNeXt's own rule, see its image processor
        if shorter >= 384:
            return shorter, shorter, "stretch"
        return int(shorter / values["crop_pct"]), shorter, "crop"
    if shorter:  # the model would take an oblong; its centre is what a square can show of it
        return shorter, shorter, "crop"
    side = _side(size)
    return side, side, "stretch"


def _side(size: Mapping[str, Any]) -> int | None:
    return size["height"] if size.get("height") == size.get("width") else None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from printing while it works; its errors come as exceptions all the same."""
    import transformers

    logging: Any = transformers.utils.logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
