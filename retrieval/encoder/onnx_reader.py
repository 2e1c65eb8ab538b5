"""A program of its own that reads an ONNX file from elsewhere; see :mod:`retrieval.base.sandbox`.

It finds out what the graph is given and what it makes, puts around it what turns pixels into the one and the other into
a unit vector, and runs the result on made-up pictures.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from retrieval.base.sandbox import answer
from retrieval.encoder import onnx_graph, onnx_work
from retrieval.encoder.graph_model import Ends, from_pixels
from retrieval.encoder.onnx_runtime import OnnxRunner
from retrieval.encoder.runtime_check import sample_pictures

if TYPE_CHECKING:
    import onnx

VECTOR_NAMES = ("image_embeds", "pooler_output", "embedding", "embeddings", "vectors", "features")
"""Names of outputs that are the vector where there are several outputs."""

LONGEST = 65_536
"""Numbers of a vector."""

TOLERANCE = 1e-4
"""How much a coordinate may depend on what other pictures a picture is with; more is another vector."""

_FLOATS = {1, 10, 11, 16}  # of ONNX's types of numbers: float, half, double, bfloat16
_UINT8 = 2


def read(path: Path, said: str, made: str) -> Mapping[str, object]:
    """Make an encoder's graph of a file.

    Args:
        path: the file.
        said: :class:`retrieval.encoder.onnx_file.Settings` as JSON.
        made: where the graph goes.

    Returns:
        Its `size`, `channels` and `dim`, the names of `input` and `output`, and whether it is given `raw` pixels.

    Raises:
        ValueError: it is no graph from pictures to vectors; in words that follow the file's name in parentheses.
    """
    import onnx

    from retrieval.encoder.onnx_file import Settings

    settings = Settings(**json.loads(said))
    model = onnx.load(path, load_external_data=False)
    name, shape, type_ = _input(model, settings.input)
    first, channels, size = _layout(shape, settings.size, settings.mode)
    p = settings.preprocessing(size, channels)
    raw = type_ == _UINT8
    if raw and (settings.mean or settings.std):
        raise ValueError("it takes pixels as they are, so mean and std say nothing: leave them out")
    given = next(one for one in model.graph.input if one.name == name).type.tensor_type.shape
    full = (channels, size, size) if first else (size, size, channels)
    for axis, length in zip(given.dim[1:], full, strict=True):
        axis.dim_value = length
    output, dim, pictures = _output(model, settings.output, shape[0])
    ends = Ends(name, output, first, type_, dim, pictures)
    graph = from_pixels(model, ends, p)
    if pictures is None and not alike_in_any_batch(OnnxRunner(graph, 1), sample_pictures(3, p, seed=0)):
        graph = from_pixels(model, Ends(name, output, first, type_, dim, 1), p)
    vectors = OnnxRunner(graph, 1)(sample_pictures(2, p, seed=0))
    if vectors.shape != (2, dim) or not np.isfinite(vectors).all():
        raise ValueError("it makes no vectors of numbers")
    Path(made).write_bytes(graph)
    return {"size": size, "channels": channels, "dim": dim, "input": name, "output": output, "raw": raw}


def _input(model: onnx.ModelProto, name: str | None) -> tuple[str, list[int | None], int]:
    """The name of what a model is given, its size (None: any), and the type of its numbers."""
    weights = {one.name for one in model.graph.initializer}
    inputs = {one.name: one for one in model.graph.input if one.name not in weights}
    if name is not None and name not in inputs:
        raise ValueError(f"it has no input {name!r}, but {', '.join(inputs)}")
    if len(inputs) != 1:
        raise ValueError(f"it takes {len(inputs)} inputs ({', '.join(inputs)}) and not pictures alone")
    ((name, value),) = inputs.items()
    tensor = value.type.tensor_type
    shape = [axis.dim_value if axis.dim_value > 0 else None for axis in tensor.shape.dim]
    if len(shape) != 4 or tensor.elem_type not in {*_FLOATS, _UINT8}:
        raise ValueError(
            f"its input {name!r} is no pictures: it has {len(shape)} axes, of numbers of type {tensor.elem_type}"
        )
    return name, shape, tensor.elem_type


def _layout(shape: list[int | None], size: int | None, mode: str | None) -> tuple[bool, int, int]:
    """Whether channels come first, how many there are, and the side of the square."""
    asked = {"RGB": 3, "L": 1}.get(mode or "")
    first = shape[1] in (1, 3) or (shape[1] is None and shape[3] not in (1, 3))
    channels = shape[1 if first else 3] or asked or 3
    sides = shape[2:4] if first else shape[1:3]
    if channels not in (1, 3) or (asked and asked != channels):
        raise ValueError(f"it takes {channels} channels and not {asked or '1 or 3'}")
    side = sides[0] or sides[1] or size
    if side is None:
        raise ValueError('it takes any size: write {"size": 224}, or whatever it wants, into the file\'s name + .json')
    if any(one not in (None, side) for one in sides) or (size or side) != side:
        raise ValueError(
            f"it takes {' × '.join(str(one or 'any') for one in sides)} pixels and not {size or 'a square'}"
        )
    return first, channels, side


def _output(model: onnx.ModelProto, name: str | None, pictures: int | None) -> tuple[str, int, int | None]:
    """The name of the vector, its length, and how many pictures the graph takes at once."""
    if pictures not in (None, 1):
        raise ValueError(f"it takes {pictures} pictures at once: export it for one, or for any number")
    try:
        graph = onnx_graph.read(model.SerializeToString())
        made = onnx_work.tensors_of(graph, 1)
    except onnx_graph.RefusedGraphError as error:
        raise ValueError(str(error)) from None
    outputs = {one.name: made[one.name] for one in model.graph.output if one.name in made}
    found = find_vector(outputs, name, "output", VECTOR_NAMES)
    return (*found, pictures or one_at_once(graph))


def find_vector(
    outputs: Mapping[str, onnx_graph.Tensor], name: str | None, key: str, usual: Sequence[str]
) -> tuple[str, int]:
    """Which of a graph's outputs, for one picture or text, is the vector, and its length.

    Args:
        name: the one that was named, under this `key`, in the JSON. usual: names of vectors, the likeliest first.

    Raises:
        ValueError: none is, or several are.
    """
    vectors = {
        one: found.numbers
        for one, found in outputs.items()
        if found.type in _FLOATS and found.shape[:1] == (1,) and found.numbers == max(found.shape[1:], default=0)
    }
    likely = [one for one in usual if one in vectors] or list(vectors)
    if name is None and (len(likely) == 1 or likely[:1] in ([one] for one in usual)):
        name = likely[0]
    if name is None or name not in vectors or not 2 <= vectors[name] <= LONGEST:
        sizes = ", ".join(f"{one} {' × '.join(map(str, found.shape[1:]))}" for one, found in outputs.items())
        wanted = "no output is one vector" if name is None else f"the output {name!r} is no vector"
        if len(vectors) > 1 and name is None:
            wanted = f'several outputs are vectors: write {{"{key}": NAME}} into the file\'s name + .json'
        raise ValueError(f"{wanted}; it makes {sizes}")
    return name, vectors[name]


def one_at_once(graph: onnx_graph.Graph) -> int | None:
    """None if a graph that says it takes any number of rows can take two; 1 if its sizes are those of one."""
    try:
        onnx_work.tensors_of(graph, 2)
    except onnx_graph.RefusedGraphError:
        return 1
    return None


def alike_in_any_batch(run: Callable[[Any], Any], given: Any) -> bool:
    """Whether three rows have the same vectors alone and together."""
    try:
        together = run(given)
        alone = np.concatenate([run(given[at : at + 1]) for at in range(len(given))])
    except Exception:  # ONNX Runtime's errors have no common base; sizes within may be those of one
        return False
    return (
        together.shape == alone.shape
        and not math.isnan(off := float(np.abs(together - alone).max()))
        and off <= TOLERANCE
    )


if __name__ == "__main__":
    answer(lambda path: read(path, *sys.argv[2:]))
