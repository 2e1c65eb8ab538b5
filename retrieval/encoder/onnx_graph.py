"""What an ONNX graph holds, looked at before ONNX Runtime runs it.

A graph comes with an index, perhaps from a stranger. The ones that this program writes are straight: each node runs
once. Graphs within a graph (loops, branches), functions and weights in other files are left to no runtime.

The file is a protocol buffer, of which a few fields tell; so neither a library nor a copy is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

NODES: Final = 10**6
"""Most nodes of a graph."""

_GRAPH, _FUNCTIONS = 7, 25  # of a model
_NODE, _INITIALIZER, _SPARSE = 1, 5, 15  # of a graph
_ATTRIBUTE, _DOMAIN = 5, 7  # of a node
_TENSOR, _SUBGRAPH, _TENSORS, _SUBGRAPHS = 5, 6, 10, 11  # of an attribute
_EXTERNAL, _LOCATION = 13, 14  # of a tensor

Field = tuple[int, memoryview | int]


def problem(content: bytes) -> str | None:
    """Why a graph is not to be run, in a few words; None if nothing speaks against it.

    Args:
        content: of the file; what is no protocol buffer is for the runtime to refuse.
    """
    try:
        return next(_problems(memoryview(content)), None)
    except (ValueError, IndexError):
        return "it is cut off or damaged"


def _problems(model: memoryview) -> Iterator[str]:
    graphs = 0
    for number, value in _fields(model):
        if number == _FUNCTIONS:
            yield "it has functions of its own"
        elif number == _GRAPH and isinstance(value, memoryview):
            graphs += 1
            yield from _of_graph(value)
    if graphs != 1:
        yield "it has no graph" if not graphs else "it has several graphs"


def _of_graph(graph: memoryview) -> Iterator[str]:
    nodes = 0
    for number, value in _fields(graph):
        if not isinstance(value, memoryview):
            continue
        if number == _NODE:
            nodes += 1
            if nodes > NODES:
                yield f"it has more than {NODES:,} nodes"
            yield from _of_node(value)
        elif number == _INITIALIZER:
            yield from _of_tensor(value)
        elif number == _SPARSE:
            yield "it has sparse weights"


def _of_node(node: memoryview) -> Iterator[str]:
    for number, value in _fields(node):
        if not isinstance(value, memoryview):
            continue
        if number == _DOMAIN and bytes(value) not in (b"", b"ai.onnx"):
            yield f"it needs operators of {bytes(value[:40]).decode(errors='replace')!r}"
        if number == _ATTRIBUTE:
            for inner, part in _fields(value):
                if inner in (_SUBGRAPH, _SUBGRAPHS):
                    yield "it has loops or branches"
                elif inner in (_TENSOR, _TENSORS) and isinstance(part, memoryview):
                    yield from _of_tensor(part)


def _of_tensor(tensor: memoryview) -> Iterator[str]:
    for number, value in _fields(tensor):
        if number == _EXTERNAL or (number == _LOCATION and value):
            yield "its weights lie in another file"


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
