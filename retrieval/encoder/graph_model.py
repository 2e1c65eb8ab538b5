"""A model that is an ONNX graph and nothing else: no architecture of ours, no code, no torch.

It comes from a file (:mod:`retrieval.encoder.onnx_file`), or from a network in memory whose architecture is not ours.
Around what it computes stand the same steps as around a network of ours: from pixels to its input, and from its output
to a unit vector.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from retrieval.encoder import store
from retrieval.encoder.head_map import HeadMap
from retrieval.encoder.text_runtime import TextModel
from retrieval.errors import RetrievalError
from retrieval.images import Preprocessing

if TYPE_CHECKING:
    import onnx

PREFIX = "onnx:"
"""How the name of such a network begins, in an encoder's configuration and on the command line."""

_FLOAT, _UINT8, _INT64 = 1, 2, 7  # types of numbers, as ONNX has them

Node = tuple[str, Sequence[str], str, dict[str, Any]]
"""An operator, the names of its inputs, that of its output, and its attributes."""

Rows = tuple[int | None, int]
"""How many a graph takes at once (None: any number), and how long each is."""


@dataclass(frozen=True)
class GraphModel:
    """A graph as an encoder keeps it.

    Attributes:
        graph: the ONNX file's content, from uint8 pixels (n, size, size, channels), named "pixels", to unit vectors
            (n, dim), named "vectors".
        digest: SHA-256 of what its vectors depend on.
        layers: a head's own weights, by their names; empty where this is no head.
        text: what turns words into vectors of the same space; None where nothing does.
    """

    graph: bytes
    digest: str
    layers: dict[str, np.ndarray[Any, np.dtype[np.float32]]]
    text: TextModel | None = None

    def write(self, folder: Path) -> None:
        """Write what stands beside the graphs into an encoder's folder."""
        if self.layers:
            from safetensors.numpy import save

            (folder / store.WEIGHTS).write_bytes(save({name: part.copy() for name, part in self.layers.items()}))


@dataclass(frozen=True)
class Ends:
    """What a graph is given, and what it makes.

    Attributes:
        input, output: their names.
        channels_first: its pictures are (n, c, h, w), and not (n, h, w, c).
        type: of the numbers of the input, as ONNX numbers them; uint8 is given the pixels as they are.
        dim: numbers a picture in the output, whatever its shape.
        pictures: how many it takes at once; None: any number.
    """

    input: str
    output: str
    channels_first: bool
    type: int
    dim: int
    pictures: int | None


def from_pixels(model: onnx.ModelProto, ends: Ends, p: Preprocessing) -> bytes:
    """A graph from pixels to unit vectors, made of one between a network's input and its output.

    Raises:
        Exception: its parts do not fit together; the library raises whatever it likes.
    """
    from onnx.compose import add_prefix

    model = add_prefix(model, "model/")
    steps: list[Node] = []
    tensors = {}
    last = "pixels"
    if ends.channels_first:
        steps.append(("Transpose", [last], last := "channels first", {"perm": [0, 3, 1, 2]}))
    if ends.type != _UINT8:
        shape = (1, -1, 1, 1) if ends.channels_first else (1, 1, 1, -1)
        # (x / 255 − mean) / std, with one multiplication and one addition a value.
        tensors["scale"] = (1 / (255 * np.array(p.std))).astype(np.float32).reshape(shape)
        tensors["shift"] = (-np.array(p.mean) / np.array(p.std)).astype(np.float32).reshape(shape)
        steps.append(("Cast", [last], "numbers", {"to": _FLOAT}))
        steps.append(("Mul", ["numbers", "scale"], "scaled", {}))
        steps.append(("Add", ["scaled", "shift"], last := "normalised", {}))
    steps.append(("Cast", [last], f"model/{ends.input}", {"to": ends.type}))
    _surround(model, steps, _to_vectors(f"model/{ends.output}"), tensors | _for_length_one(ends.dim))
    _set_input(model, "pixels", _UINT8, [ends.pictures or "n", p.size, p.size, p.channels])
    _set_output(model)
    return bytes(model.SerializeToString())


def taking_tokens(model: onnx.ModelProto, numbers: str, mask: str | None, type_: int, size: Rows) -> onnx.ModelProto:
    """A model that is given tokens int64 (n, 2, length), as :class:`retrieval.networks.text_tokens.Tokens` makes them.

    Args:
        model: of a text side.
        numbers: its input that is given the numbers of the tokens. mask: which of them count; None: it takes none.
        type_: of both, as ONNX numbers them.
        size: how many texts it takes at once (None: any number), and of how many tokens.

    Returns:
        The model, all of its names beginning with "model/".
    """
    from onnx.compose import add_prefix

    model = add_prefix(model, "model/")
    tensors = {"numbers' place": np.array(0), "mask's place": np.array(1)}
    steps: list[Node] = []
    for name, place in ((numbers, "numbers' place"), (mask, "mask's place")):
        if name is not None:
            steps.append(("Gather", ["tokens", place], f"{place} taken", {"axis": 1}))
            steps.append(("Cast", [f"{place} taken"], f"model/{name}", {"to": type_}))
    _surround(model, steps, [], tensors)
    _set_input(model, "tokens", _INT64, [size[0] or "n", 2, size[1]])
    return model


def from_tokens(model: onnx.ModelProto, output: str, dim: int) -> bytes:
    """A graph from tokens to unit vectors, made of what :func:`taking_tokens` gave.

    Args:
        output: of the model, the vector. dim: its length.
    """
    _surround(model, [], _to_vectors(f"model/{output}"), _for_length_one(dim))
    _set_output(model)
    return bytes(model.SerializeToString())


def with_head(graph: bytes, head: HeadMap) -> bytes:
    """The graph of a head over the unit vectors that a graph makes; what :class:`.HeadMap` does, in ONNX.

    Args:
        graph: of a :class:`GraphModel` or :class:`.TextModel`.
    """
    import onnx
    from onnx.compose import add_prefix

    model = add_prefix(onnx.load_from_string(graph), "base/")
    given = model.graph.input[0]
    name, kind = given.name.removeprefix("base/"), given.type.tensor_type
    sizes = [axis.dim_value or "n" for axis in kind.shape.dim]
    tensors = {"weight": head.weight.T, "bias": head.bias, **_for_length_one(len(head.weight))}
    steps: list[Node] = [
        ("MatMul", ["base/vectors", "weight"], "product", {}),
        ("Add", ["product", "bias"], "embedding", {}),
        *_of_length_one("embedding", "learned" if head.mix else "vectors"),
    ]
    if head.mix:
        beside = "base/vectors"
        if head.rest is not None:
            tensors |= {"rest weight": head.rest[0].T, "rest bias": head.rest[1]}
            steps.append(("MatMul", [beside, "rest weight"], "rest product", {}))
            steps.append(("Add", ["rest product", "rest bias"], beside := "rest", {}))
        tensors |= _for_length_one(head.dim - len(head.weight), "beside ") | _for_length_one(head.dim, "all ")
        tensors["mix"] = np.array(head.mix, np.float32)
        steps += _of_length_one(beside, "kept", "beside ")
        steps.append(("Mul", ["kept", "mix"], "mixed", {}))
        steps.append(("Concat", ["learned", "mixed"], "all", {"axis": 1}))
        steps += _of_length_one("all", "vectors", "all ")
    type_ = kind.elem_type
    _surround(model, [("Identity", [name], given.name, {})], steps, tensors)
    _set_input(model, name, type_, sizes)
    _set_output(model)
    return bytes(model.SerializeToString())


def headed(graph: bytes, base_hash: str, head: HeadMap, text: TextModel | None = None) -> GraphModel:
    """The model of a head over the graph of an encoder with this hash, and over what it does with words."""
    sha256 = hashlib.sha256(base_hash.encode())
    for name, part in head.layers.items():
        sha256.update(f"{name} {part.shape}\n".encode())
        sha256.update(np.ascontiguousarray(part).tobytes())
    words = None if text is None else TextModel(with_head(text.graph, head), text.tokenizer)
    return GraphModel(with_head(graph, head), sha256.hexdigest(), head.layers, words)


def no_network(name: str) -> RetrievalError:
    """What is said where torch would have to run, or train, such a model."""
    return RetrievalError(
        f"The encoder {name!r} is kept as an ONNX graph, which torch can neither run nor train; use it as it is, or "
        "train a head on its vectors: --net head."
    )


def _to_vectors(output: str) -> list[Node]:
    """The steps from a model's output to its unit vectors."""
    return [
        ("Cast", [output], "floats", {"to": _FLOAT}),
        ("Flatten", ["floats"], "embedding", {"axis": 1}),
        *_of_length_one("embedding", "vectors"),
    ]


def _of_length_one(vectors: str, made: str, prefix: str = "") -> list[Node]:
    """The steps that scale vectors (n, d) to length one, with operators that mean the same in all versions."""
    return [
        ("Mul", [vectors, vectors], f"{prefix}squares", {}),
        ("MatMul", [f"{prefix}squares", f"{prefix}ones"], f"{prefix}square of length", {}),
        ("Sqrt", [f"{prefix}square of length"], f"{prefix}length", {}),
        ("Max", [f"{prefix}length", f"{prefix}least"], f"{prefix}divisor", {}),
        ("Div", [vectors, f"{prefix}divisor"], made, {}),
    ]


def _for_length_one(dim: int, prefix: str = "") -> dict[str, Any]:
    return {f"{prefix}ones": np.ones((dim, 1), np.float32), f"{prefix}least": np.array(1e-12, np.float32)}


def _surround(model: onnx.ModelProto, before: list[Node], after: list[Node], tensors: dict[str, Any]) -> None:
    """Put nodes before and after those of a graph, with weights of their own."""
    from onnx import helper, numpy_helper

    made: Callable[[Node], Any] = lambda node: helper.make_node(node[0], node[1], [node[2]], **node[3])  # noqa: E731
    graph = model.graph
    own = list(graph.node)
    del graph.node[:], graph.value_info[:]
    graph.node.extend([*map(made, before), *own, *map(made, after)])
    graph.initializer.extend(numpy_helper.from_array(np.asarray(a, order="C"), name) for name, a in tensors.items())


def _set_output(model: onnx.ModelProto) -> None:
    """Let a graph's only output be "vectors"."""
    from onnx import helper

    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("vectors", _FLOAT, None))


def _set_input(model: onnx.ModelProto, name: str, type_: int, sizes: Sequence[int | str]) -> None:
    """Let a graph be given this and nothing else; a weight that may be overridden no longer may."""
    from onnx import helper

    del model.graph.input[:]
    model.graph.input.append(helper.make_tensor_value_info(name, type_, sizes))
    model.ir_version = max(model.ir_version, 8)  # since 4 weights are no inputs
