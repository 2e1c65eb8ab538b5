"""What an ONNX graph holds, looked at before ONNX Runtime runs it.

A graph comes with an index, perhaps from a stranger. The ones that this program writes are straight: each node runs
once. Graphs within a graph (loops, branches), functions and weights in other files are left to no runtime. How much a
straight graph computes is in :mod:`retrieval.encoder.onnx_work`.

The file is a protocol buffer, of which a few fields tell; so neither a library nor a copy is needed. What could be read
in two ways (a part that is there twice, which a library merges) is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

NODES: Final = 20_000
"""Most nodes of a graph; those of large networks are a few thousand."""

OPSET: Final = 13
"""The oldest operators whose meaning is known here; this program writes those of 20."""

KNOWN: Final = 4_096
"""Numbers up to which what a tensor holds is looked at: sizes are made of few."""

_GRAPH, _OPSETS, _FUNCTIONS = 7, 8, 25  # of a model
_NODE, _INITIALIZER, _INPUT, _SPARSE = 1, 5, 11, 15  # of a graph
_INPUTS, _OUTPUTS, _OPERATOR, _ATTRIBUTE, _DOMAIN = 1, 2, 4, 5, 7  # of a node
_NAME, _FLOAT, _INT, _STRING, _TENSOR, _SUBGRAPH, _FLOATS, _INTS = 1, 2, 3, 4, 5, 6, 7, 8  # of an attribute
_TENSORS, _SUBGRAPHS, _KIND, _SPARSES = 10, 11, 20, (22, 23)
_OF_TEXT, _OF_TENSOR, _LISTS = 3, 4, (6, 7)  # kinds of attributes
_KINDS: Final = {1: _FLOAT, 2: _INT, _OF_TEXT: _STRING, _OF_TENSOR: _TENSOR, 6: _FLOATS, 7: _INTS}
_DIMS, _TYPE, _FLOAT_DATA, _INT32_DATA, _INT64_DATA, _TENSOR_NAME, _RAW, _DOUBLE_DATA = 1, 2, 4, 5, 7, 8, 9, 10
_EXTERNAL, _LOCATION = 13, 14  # of a tensor

FLOAT, INT64, BOOL, DOUBLE = 1, 7, 9, 11

BYTES: Final[Mapping[int, int]] = {
    FLOAT: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, INT64: 8, BOOL: 1, 10: 2, DOUBLE: 8, 12: 4, 13: 8, 16: 2
}  # fmt: skip
"""Bytes of a number, by its type; of the other types (texts, complex numbers) a graph has none."""

DTYPES: Final[Mapping[int, type[np.generic]]] = {
    FLOAT: np.float32, 6: np.int32, INT64: np.int64, BOOL: np.bool_, DOUBLE: np.float64
}  # fmt: skip
"""Types of numbers that sizes are made of."""

_LISTED: Final = {_FLOAT_DATA: "<f4", _DOUBLE_DATA: "<f8"}  # numbers one after the other, by a tensor's field

Field = tuple[int, memoryview | int]
Array = npt.NDArray[np.generic]


class RefusedGraphError(Exception):
    """A graph that is not to be run; its text says why, in a few words."""


@dataclass(frozen=True)
class Tensor:
    """A tensor that a graph, or one that computes with it, has.

    Attributes:
        shape: its size.
        type: of its numbers; one of :data:`BYTES`.
        content: what it holds, of a type in :data:`DTYPES`; None if it is not known, or more than :data:`KNOWN`.
    """

    shape: tuple[int, ...]
    type: int
    content: Array | None = None

    @property
    def numbers(self) -> int:
        """How many it has."""
        found = 1
        for size in self.shape:
            found *= size
        return found


Said = int | float | bytes | list[int] | list[float] | Tensor
"""What an attribute says."""


@dataclass(frozen=True)
class Node:
    """One step of a graph.

    Attributes:
        operator: what it does.
        inputs, outputs: names of tensors; an input that is left out is empty.
        attributes: numbers, lists of numbers, texts and tensors, by their names.
    """

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Said]


@dataclass(frozen=True)
class Graph:
    """A straight graph.

    Attributes:
        input: the name of what it is given.
        shape: the size of that but for the first axis, which is the pictures', or the texts'.
        type: of the numbers of that.
        rows: how many pictures or texts it takes at once; None: any number.
        tensors: the weights and constants, by their names.
        nodes: in the order in which they can be run.
    """

    input: str
    shape: tuple[int, ...]
    type: int
    rows: int | None
    tensors: Mapping[str, Tensor]
    nodes: tuple[Node, ...]


def read(content: bytes) -> Graph:
    """The graph of a file.

    Raises:
        RefusedGraphError: it is not to be run, as this program writes none like it.
    """
    try:
        return _model(memoryview(content))
    except (ValueError, IndexError, struct.error):
        raise RefusedGraphError("it is cut off or damaged") from None


def _model(model: memoryview) -> Graph:
    found = list(_fields(model))
    if any(number == _FUNCTIONS for number, _ in found):
        raise RefusedGraphError("it has functions of its own")
    for _, value in (field for field in found if field[0] == _OPSETS):
        opset = dict(_fields(_part(value)))
        if bytes(_part(opset.get(1, memoryview(b"")))) in (b"", b"ai.onnx") and int(opset.get(2, 0)) < OPSET:
            raise RefusedGraphError(f"it has operators older than of version {OPSET}")
    graphs = [_part(value) for number, value in found if number == _GRAPH]
    if len(graphs) != 1:
        raise RefusedGraphError("it has no graph" if not graphs else "it has several graphs")
    return _graph(graphs[0])


def _graph(graph: memoryview) -> Graph:
    tensors: dict[str, Tensor] = {}
    inputs: list[memoryview] = []
    nodes: list[Node] = []
    for number, value in _fields(graph):
        if number == _NODE:
            if len(nodes) == NODES:
                raise RefusedGraphError(f"it has more than {NODES:,} nodes")
            nodes.append(_node(_part(value)))
        elif number == _INITIALIZER:
            name, tensor = _tensor(_part(value))
            if name in tensors:
                raise RefusedGraphError("it has two weights of one name")
            tensors[name] = tensor
        elif number == _INPUT:
            inputs.append(_part(value))
        elif number == _SPARSE:
            raise RefusedGraphError("it has sparse weights")
    given = [found for found in map(_input, inputs) if found[0] not in tensors]
    if len(given) != 1:
        raise RefusedGraphError(f"it takes {len(given)} inputs and not one")
    ((name, type_, rows, shape),) = given
    return Graph(name, shape, type_, rows, tensors, tuple(nodes))


def _input(value: memoryview) -> tuple[str, int, int | None, tuple[int, ...]]:
    """The name of an input, the type of its numbers, the rows that it takes, and its size but for that first axis."""
    info = _once(value)
    kind = _once(_part(_once(_part(info.get(2, b""))).get(1, b"")))
    type_ = _int(kind.get(1, 0))
    sizes = []
    for number, axis in _fields(_part(kind.get(2, b""))):
        if number == 1:
            said = _once(_part(axis))
            sizes.append(_int(said[1]) if set(said) == {1} else None)
    shape = tuple(size for size in sizes[1:] if size is not None and size > 0)
    if not shape or len(sizes) != len(shape) + 1:
        raise RefusedGraphError("it does not say how large its input is")
    rows = sizes[0] if sizes[0] is not None and sizes[0] > 0 else None
    return _text(info.get(1, b"")), type_, rows, shape


def _node(node: memoryview) -> Node:
    inputs: list[str] = []
    outputs: list[str] = []
    operator = ""
    attributes: dict[str, Said] = {}
    for number, value in _fields(node):
        if number == _INPUTS:
            inputs.append(_text(value))
        elif number == _OUTPUTS:
            outputs.append(_text(value))
        elif number == _OPERATOR:
            operator = _text(value)
        elif number == _DOMAIN and bytes(_part(value)) not in (b"", b"ai.onnx"):
            raise RefusedGraphError(f"it needs operators of {_text(value)[:40]!r}")
        elif number == _ATTRIBUTE:
            name, said = _attribute(_part(value))
            if name in attributes:
                raise RefusedGraphError("it says something twice")
            attributes[name] = said
    return Node(operator, tuple(inputs), tuple(outputs), attributes)


def _attribute(attribute: memoryview) -> tuple[str, Said]:
    """The name of an attribute, and what it says: as its type says, and nothing besides."""
    name, type_ = "", 0
    said: list[tuple[int, int | float | bytes | Tensor]] = []
    for number, value in _fields(attribute):
        if number == _NAME:
            name = _text(value)
        elif number == _KIND:
            type_ = _int(value)
        elif number in (_SUBGRAPH, _SUBGRAPHS):
            raise RefusedGraphError("it has loops or branches")
        elif number in _SPARSES:
            raise RefusedGraphError("it has sparse weights")
        elif number in (_TENSOR, _TENSORS):
            said.append((number, _tensor(_part(value))[1]))
        elif number in (_FLOAT, _FLOATS):
            said += [(number, float(one)) for one in np.frombuffer(bytes(_part(value)), "<f4")]
        elif number in (_INT, _INTS):
            said += [(number, one) for one in _whole(value)]
        elif number == _STRING:
            said.append((number, bytes(_part(value))))
    if any(_KINDS.get(type_) != number for number, _ in said) or type_ not in _KINDS:
        raise RefusedGraphError(f"it says something of a kind that it does not name, {name[:40]!r}")
    if type_ in _LISTS:
        return name, [one for _, one in said]  # type: ignore[return-value]  # of one kind
    if len(said) > 1 or (type_ == _OF_TENSOR and not said):
        raise RefusedGraphError("it says something twice, or not at all")
    return name, said[0][1] if said else b"" if type_ == _OF_TEXT else 0


def _tensor(tensor: memoryview) -> tuple[str, Tensor]:
    """The name of a tensor, and the tensor."""
    name, type_ = "", 0
    shape: list[int] = []
    data: list[Field] = []
    for number, value in _fields(tensor):
        if number == _EXTERNAL or (number == _LOCATION and value):
            raise RefusedGraphError("its weights lie in another file")
        if number == _DIMS:
            shape += _whole(value)
        elif number == _TYPE:
            type_ = _int(value)
        elif number == _TENSOR_NAME:
            name = _text(value)
        elif number in (_FLOAT_DATA, _INT32_DATA, _INT64_DATA, _RAW, _DOUBLE_DATA):
            data.append((number, value))
    if type_ not in BYTES:
        raise RefusedGraphError(f"it has weights of type {type_}")
    made = Tensor(tuple(shape), type_)
    if min(shape, default=0) < 0 or made.numbers > len(tensor):
        raise RefusedGraphError("it has weights that are larger than its file")
    if type_ not in DTYPES or made.numbers > KNOWN:
        return name, made
    content = np.array([], DTYPES[type_])
    for number, value in data:
        if number == _RAW:
            content = np.frombuffer(bytes(_part(value)), DTYPES[type_])
        elif number in _LISTED:
            content = np.append(content, np.frombuffer(bytes(_part(value)), _LISTED[number]))
        else:
            content = np.append(content, np.array(_whole(value), np.int64))
    return name, Tensor(made.shape, type_, content.astype(DTYPES[type_]).reshape(made.shape))


def _whole(value: memoryview | int) -> Iterable[int]:
    """The whole numbers of a field: one, or several that are packed."""
    if isinstance(value, int):
        return [_int(value)]
    found, at = [], 0
    while at < len(value):
        one, at = _varint(value, at)
        found.append(_int(one))
    return found


def _int(value: memoryview | int | bytes) -> int:
    """A whole number with its sign."""
    if not isinstance(value, int):
        raise ValueError("no whole number")
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value


def _text(value: memoryview | int | bytes) -> str:
    return bytes(_part(value)).decode()


def _part(value: memoryview | int | bytes) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number in place of a part")
    return memoryview(value)


def _once(message: memoryview) -> dict[int, memoryview | int]:
    """The fields of a message of which none is repeated."""
    found: dict[int, memoryview | int] = {}
    for number, value in _fields(message):
        if number in found:
            raise RefusedGraphError("it says something twice")
        found[number] = value
    return found


def _fields(message: memoryview) -> Iterator[Field]:
    """The fields of a message, by their numbers: bytes, or whole numbers."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if kind == 2:
            length, at = _varint(message, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError("a field of no known kind")
        if at + length > len(message):
            raise ValueError("a field is cut off")
        yield key >> 3, message[at : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number, seven bits a byte, and where it ends."""
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError("a number has no end")
