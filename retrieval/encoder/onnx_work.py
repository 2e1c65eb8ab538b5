"""How much an ONNX graph computes, known before it runs: the bytes of all that it makes, and the steps that take it.

A few bytes of a graph can ask for a tensor of 16 GB, or for a convolution of a day, which nothing interrupts. So the
size of every tensor is followed from the pictures' on, operator by operator, and what follows from no size (an operator
that is not listed here, a size that depends on what is in a picture) is not run.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from retrieval.encoder.onnx_graph import (
    BOOL,
    BYTES,
    DTYPES,
    FLOAT,
    INT64,
    KNOWN,
    Array,
    Graph,
    Node,
    RefusedGraphError,
    Tensor,
)

MEMORY: Final = 2**32
"""Most bytes of all that a graph makes of the pictures of one run. ONNX Runtime takes a fraction of it, as it uses
memory again. A ViT-L/14 makes 3.7 GB of a picture of 336 × 336, EfficientNet-Lite0 makes 0.13 GB of two of 224."""

STEPS: Final = 2**40
"""Most multiplications, comparisons and the like. A ViT-L/14 needs 0.2 · 10¹² for a picture of 336 × 336. A core does
some 10¹⁰ in a second."""

_RANK = 16
"""Most axes of a tensor."""

Made = tuple[list[Tensor], int]


def tensors_of(graph: Graph, rows: int) -> dict[str, Tensor]:
    """All that a graph makes of pictures or texts, by its names; if that is no more than networks make and compute.

    Args:
        graph: what is to run.
        rows: how many in one run.

    Raises:
        RefusedGraphError: it is more, or how much it is cannot be said.
    """
    known = {graph.input: Tensor((rows, *graph.shape), graph.type), **graph.tensors}
    memory = steps = 0
    for node in graph.nodes:
        inputs = [_known(name, known) for name in node.inputs]
        made, more = _made(node, inputs)
        steps += more + sum(tensor.numbers for tensor in inputs if tensor is not None)
        for name, tensor in zip(node.outputs, made, strict=False):
            steps += tensor.numbers
            memory += tensor.numbers * BYTES[tensor.type]
            if name in known:
                raise RefusedGraphError(f"it makes {name[:40]!r} twice")
            if name:
                known[name] = tensor
        if memory > MEMORY:
            raise RefusedGraphError(f"it makes more than {MEMORY / 2**30:.0f} GiB in one run")
        if steps > STEPS:
            raise RefusedGraphError(f"it takes more than {STEPS:,} steps in one run")
    return known


def _known(name: str, known: dict[str, Tensor]) -> Tensor | None:
    if name and name not in known:
        raise RefusedGraphError(f"it uses {name[:40]!r} before it is made")
    return known[name] if name else None


def _made(node: Node, inputs: Sequence[Tensor | None]) -> Made:
    """What a node makes, and the steps that it takes beyond reading and writing each number."""
    operate = OPERATORS.get(node.operator)
    if operate is None:
        raise RefusedGraphError(f"it needs the operator {node.operator[:40]!r}, whose work is not known beforehand")
    try:
        made, more = operate(_Call(node, inputs))
        if any(len(tensor.shape) > _RANK or min(tensor.shape, default=0) < 0 for tensor in made):
            raise ValueError(made)
        if any(node.outputs[len(made) :]):  # it has more outputs than that
            raise ValueError(node.outputs)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError):
        raise RefusedGraphError(f"it asks the operator {node.operator!r} for what it cannot do") from None
    return made, more


class _Call:
    """One operator at work on tensors."""

    def __init__(self, node: Node, inputs: Sequence[Tensor | None]) -> None:
        self.operator = node.operator
        self.outputs = len(node.outputs)
        self._attributes = node.attributes
        self._inputs = inputs

    def __getitem__(self, at: int) -> Tensor:
        found = self._inputs[at]
        if found is None:
            raise IndexError(at)
        return found

    def has(self, at: int) -> bool:
        return at < len(self._inputs) and self._inputs[at] is not None

    def given(self) -> list[Tensor]:
        return [tensor for tensor in self._inputs if tensor is not None]

    def attribute(self, name: str, default: Any = None) -> Any:
        return self._attributes.get(name, default)

    def numbers(self, at: int, name: str = "") -> list[Any] | None:
        """What an input holds, or else an attribute; None if it has neither."""
        if not self.has(at):
            said = self.attribute(name)
            return said if said is None or isinstance(said, list) else [said]
        content = self[at].content
        if content is None:
            raise RefusedGraphError(
                f"the operator {self.operator!r} has sizes in it that depend on what is in a picture, or are too many"
            )
        return content.ravel().tolist()

    def sizes(self, at: int, name: str = "") -> list[int]:
        """The same, of whole numbers that must be there."""
        found = self.numbers(at, name)
        if found is None:
            raise LookupError(name)
        return [int(number) for number in found]

    def axes(self, at: int, rank: int) -> list[int] | None:
        found = self.numbers(at, "axes")
        return None if found is None else [_axis(int(axis), rank) for axis in found]


def _axis(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise IndexError(axis)
    return axis % rank


def _like(tensor: Tensor, shape: Sequence[int], make: Callable[[Array], Any] | None = None) -> Tensor:
    """A tensor of the same type and another size, and what it holds if that of the first is known."""
    made = Tensor(tuple(int(size) for size in shape), tensor.type)
    if make is None or tensor.content is None or made.numbers > KNOWN or min(made.shape, default=0) < 0:
        return made
    content = np.asarray(make(tensor.content)).reshape(made.shape)
    return Tensor(made.shape, made.type, content)


# Number by number


def _power(one: Any, other: Any) -> Any:
    made = np.power(one, other)
    if (made != np.rint(made)).any():  # libraries round others differently
        raise ValueError(made)
    return made


def _quotient(one: Any, other: Any) -> Any:
    if one.dtype.kind == "f":
        return np.divide(one, other)
    return np.sign(one) * np.sign(other) * (np.abs(one) // np.abs(other))


_COMPUTED: Final[dict[str, Callable[..., Any]]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": _quotient, "Mod": np.mod, "Pow": _power,
    "Equal": np.equal, "Less": np.less, "LessOrEqual": np.less_equal, "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal, "And": np.logical_and, "Or": np.logical_or, "Not": np.logical_not,
    "Where": np.where, "Neg": np.negative, "Abs": np.abs, "Sqrt": np.sqrt, "Floor": np.floor, "Ceil": np.ceil,
    "Min": lambda *some: functools.reduce(np.minimum, some), "Max": lambda *some: functools.reduce(np.maximum, some),
}  # fmt: skip
"""What sizes are computed with."""

_YES_OR_NO = {"Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "And", "Or", "Not", "IsNaN", "IsInf"}
_OTHERS = {
    "Celu", "Clip", "Cos", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "IsInf", "IsNaN", "LeakyRelu",
    "Log", "Mish", "PRelu", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Softplus", "Softsign",
    "Sum", "Tan", "Tanh", "ThresholdedRelu", "Xor",
}  # fmt: skip
_WHOLE = {2, 3, 4, 5, 6, INT64, 12, 13}


def _each(call: _Call) -> Made:
    inputs = call.given()
    shape = np.broadcast_shapes(*(tensor.shape for tensor in inputs))
    if call.operator in ("Div", "Mod") and inputs[1].type in _WHOLE:
        divisor = inputs[1].content
        if divisor is None or np.isin(divisor, (0, -1)).any():  # which ends the whole process
            raise RefusedGraphError("it divides whole numbers by what may be nothing")
    of = inputs[1 if call.operator == "Where" else 0]
    made = Tensor(shape, BOOL if call.operator in _YES_OR_NO else of.type)
    compute = _COMPUTED.get(call.operator)
    contents = [tensor.content for tensor in inputs if _plain(tensor.content)]
    if compute is None or made.numbers > KNOWN or len(contents) < len(inputs) or call.attribute("fmod", 0):
        return [made], 0
    with np.errstate(all="ignore"):
        return [Tensor(shape, made.type, np.broadcast_to(compute(*contents), shape).astype(DTYPES[made.type]))], 0


def _plain(content: Array | None) -> bool:
    """Whether this is known, and computed with in the same way by everybody."""
    return content is not None and (content.dtype.kind != "f" or bool((np.abs(content) < 2**31).all()))


def _cast(call: _Call) -> Made:
    tensor, type_ = call[0], int(call.attribute("to", 0))
    if type_ not in BYTES:
        raise ValueError(type_)
    if type_ not in DTYPES or tensor.content is None or not _plain(tensor.content):
        return [Tensor(tensor.shape, type_)], 0
    return [Tensor(tensor.shape, type_, tensor.content.astype(DTYPES[type_]))], 0


def _same(call: _Call) -> Made:
    return [call[0]], 0


def _as_large(call: _Call) -> Made:
    """As large as the first input, with other numbers in it."""
    for tensor in call.given()[1:]:
        if tensor.numbers > call[0].numbers and call.operator not in _INTO:
            raise ValueError(tensor.shape)
    return [Tensor(call[0].shape, call[0].type)], 0


def _batch_normalised(call: _Call) -> Made:
    return [*_as_large(call)[0], *(Tensor(call[0].shape[1:2], call[0].type) for _ in range(2))], 0


_INTO = {"ScatterND", "ScatterElements"}

# Sizes


def _constant(call: _Call) -> Made:
    for name, type_ in (("value_int", INT64), ("value_ints", INT64), ("value_float", FLOAT), ("value_floats", FLOAT)):
        said = call.attribute(name)
        if said is not None:
            content = np.array(said, DTYPES[type_])
            return [Tensor(content.shape, type_, content if content.size <= KNOWN else None)], 0
    tensor = call.attribute("value")
    if not isinstance(tensor, Tensor):
        raise TypeError(tensor)
    return [tensor], 0


def _shape(call: _Call) -> Made:
    sizes = call[0].shape[slice(int(call.attribute("start", 0)), call.attribute("end"))]
    return [Tensor((len(sizes),), INT64, np.array(sizes, np.int64))], 0


def _size(call: _Call) -> Made:
    return [Tensor((), INT64, np.array(call[0].numbers, np.int64))], 0


def _filled(call: _Call) -> Made:
    value = call.attribute("value") or Tensor((1,), FLOAT, np.zeros(1, np.float32))
    if value.numbers != 1:
        raise ValueError(value.shape)
    return [_like(value, shape := call.sizes(0), lambda content: np.full(shape, content.ravel()[0]))], 0


def _range(call: _Call) -> Made:
    (start,), (end,), (step,) = (call.numbers(at) or [] for at in range(3))
    count = max(0, math.ceil((end - start) / step))
    made = Tensor((count,), call[0].type)
    if count > KNOWN:
        return [made], 0
    return [Tensor(made.shape, made.type, (start + step * np.arange(count)).astype(DTYPES[made.type]))], 0


def _reshape(call: _Call) -> Made:
    tensor, sizes = call[0], call.sizes(1)
    if not call.attribute("allowzero", 0):
        sizes = [tensor.shape[at] if size == 0 else size for at, size in enumerate(sizes)]
    return _reshaped(tensor, sizes)


def _reshaped(tensor: Tensor, sizes: list[int]) -> Made:
    if sizes.count(-1) == 1:
        others = math.prod(size for size in sizes if size != -1)
        sizes = [tensor.numbers // others if size == -1 else size for size in sizes]
    if math.prod(sizes) != tensor.numbers:
        raise ValueError(sizes)
    return [_like(tensor, sizes, lambda content: content)], 0


def _flatten(call: _Call) -> Made:
    tensor = call[0]
    at = int(call.attribute("axis", 1))
    at += len(tensor.shape) if at < 0 else 0
    return _reshaped(tensor, [math.prod(tensor.shape[:at]), math.prod(tensor.shape[at:])])


def _unsqueeze(call: _Call) -> Made:
    new = call.sizes(1, "axes")
    rank = len(call[0].shape) + len(new)
    places = {_axis(axis, rank) for axis in new}
    rest = iter(call[0].shape)
    return _reshaped(call[0], [1 if at in places else next(rest) for at in range(rank)])


def _squeeze(call: _Call) -> Made:
    shape = call[0].shape
    axes = call.axes(1, len(shape))
    gone = [at for at, size in enumerate(shape) if size == 1] if axes is None else axes
    return _reshaped(call[0], [size for at, size in enumerate(shape) if at not in gone])


def _transpose(call: _Call) -> Made:
    shape = call[0].shape
    order = call.attribute("perm") or list(range(len(shape)))[::-1]
    if sorted(order) != list(range(len(shape))):
        raise ValueError(order)
    return [_like(call[0], [shape[axis] for axis in order], lambda content: content.transpose(order))], 0


def _expand(call: _Call) -> Made:
    shape = np.broadcast_shapes(call[0].shape, tuple(call.sizes(1)))
    return [_like(call[0], shape, lambda content: np.broadcast_to(content, shape))], 0


def _tile(call: _Call) -> Made:
    times = call.sizes(1)
    shape = [size * many for size, many in zip(call[0].shape, times, strict=True)]
    return [_like(call[0], shape, lambda content: np.tile(content, times))], 0


def _concat(call: _Call) -> Made:
    inputs = call.given()
    shape = list(inputs[0].shape)
    axis = _axis(int(call.attribute("axis", 0)), len(shape))
    shape[axis] = sum(tensor.shape[axis] for tensor in inputs)
    contents = [tensor.content for tensor in inputs]
    if any(content is None for content in contents):
        return [Tensor(tuple(shape), inputs[0].type)], 0
    return [_like(inputs[0], shape, lambda _: np.concatenate(contents, axis))], 0  # type: ignore[arg-type]


def _slice(call: _Call) -> Made:
    shape = list(call[0].shape)
    starts, ends = call.sizes(1), call.sizes(2)
    axes = list(range(len(starts))) if not call.has(3) else [_axis(axis, len(shape)) for axis in call.sizes(3)]
    steps = call.sizes(4) if call.has(4) else [1] * len(starts)
    parts = [slice(None)] * len(shape)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        size = shape[axis]
        low = 0 if step > 0 else -1  # backwards, an end before the first is none
        begin = min(max(start + size if start < 0 else start, 0), size if step > 0 else size - 1)
        stop = min(max(end + size if end < 0 else end, low), size)
        parts[axis] = slice(begin, None if stop < 0 else stop, step)
        shape[axis] = len(range(begin, stop, step))
    return [_like(call[0], shape, lambda content: content[tuple(parts)])], 0


def _split(call: _Call) -> Made:
    shape = list(call[0].shape)
    axis = _axis(int(call.attribute("axis", 0)), len(shape))
    sizes = call.numbers(1, "split")
    if sizes is None:
        each = -(-shape[axis] // call.outputs)
        sizes = [each] * (call.outputs - 1) + [shape[axis] - each * (call.outputs - 1)]
    if sum(sizes) != shape[axis] or min(sizes, default=0) < 0:
        raise ValueError(sizes)
    made, start = [], 0
    for size in sizes:
        part = (*[slice(None)] * axis, slice(start, start + int(size)))
        made.append(_like(call[0], [*shape[:axis], size, *shape[axis + 1 :]], lambda content, part=part: content[part]))  # type: ignore[misc]
        start += int(size)
    return made, 0


def _gather(call: _Call) -> Made:
    tensor, places = call[0], call[1]
    axis = _axis(int(call.attribute("axis", 0)), len(tensor.shape))
    shape = (*tensor.shape[:axis], *places.shape, *tensor.shape[axis + 1 :])
    if places.content is None:
        return [Tensor(shape, tensor.type)], 0
    return [_like(tensor, shape, lambda content: np.take(content, places.content, axis))], 0  # type: ignore[arg-type]


def _gather_elements(call: _Call) -> Made:
    return [Tensor(call[1].shape, call[0].type)], 0


def _gather_nd(call: _Call) -> Made:
    tensor, places = call[0].shape, call[1].shape
    used = int(call.attribute("batch_dims", 0)) + places[-1]
    if not 0 < used <= len(tensor):
        raise ValueError(used)
    return [Tensor((*places[:-1], *tensor[used:]), call[0].type)], 0


def _pad(call: _Call) -> Made:
    shape = list(call[0].shape)
    more = call.sizes(1)
    axes = [_axis(axis, len(shape)) for axis in call.sizes(3)] if call.has(3) else list(range(len(shape)))
    for axis, before, after in zip(axes, more[: len(axes)], more[len(axes) :], strict=True):
        shape[axis] += before + after
    return [_like(call[0], shape)], 0


def _resize(call: _Call) -> Made:
    shape = call[0].shape
    if call.attribute("axes") or call.attribute("antialias", 0) or call.attribute("keep_aspect_ratio_policy"):
        raise RefusedGraphError("it resizes in a way that is not known")
    sizes = call.numbers(3) or [math.floor(size * by) for size, by in zip(shape, call.numbers(2) or [], strict=True)]
    if len(sizes) != len(shape):
        raise ValueError(sizes)
    made = _like(call[0], sizes)
    return [made], 16 * made.numbers


# Sums of products, and the like

_TOGETHER: Final[dict[str, Callable[..., Any]]] = {
    "ReduceProd": np.prod, "ReduceSum": np.sum, "ReduceMax": np.max, "ReduceMin": np.min
}  # fmt: skip
"""What becomes one number of many, where sizes are computed with it."""


def _reduced(call: _Call) -> Made:
    shape = call[0].shape
    axes = call.axes(1, len(shape))
    if not axes:
        axes = [] if call.attribute("noop_with_empty_axes", 0) else list(range(len(shape)))
    kept = bool(call.attribute("keepdims", 1))
    sizes = [1 if at in axes else size for at, size in enumerate(shape) if kept or at not in axes]
    compute: Any = {"ReduceProd": np.prod, "ReduceSum": np.sum, "ReduceMax": np.max, "ReduceMin": np.min}.get(
        call.operator
    )
    return [_like(call[0], sizes, compute and (lambda content: compute(content, axis=tuple(axes))))], 0


def _place_of_most(call: _Call) -> Made:
    shape = list(call[0].shape)
    axis = _axis(int(call.attribute("axis", 0)), len(shape))
    shape[axis : axis + 1] = [1] if call.attribute("keepdims", 1) else []
    return [Tensor(tuple(shape), INT64)], 0


def _product(call: _Call) -> Made:
    one, other = call[0].shape, call[1].shape
    shared = one[-1]
    if shared != other[-2 if len(other) > 1 else -1]:
        raise ValueError(shared)
    shape = (*np.broadcast_shapes(one[:-2], other[:-2]), *one[-2:-1], *(other[-1:] if len(other) > 1 else ()))
    made = Tensor(shape, call[0].type)
    return [made], made.numbers * shared


def _affine(call: _Call) -> Made:
    one = call[0].shape[::-1] if call.attribute("transA", 0) else call[0].shape
    other = call[1].shape[::-1] if call.attribute("transB", 0) else call[1].shape
    if len(one) != 2 or len(other) != 2 or one[1] != other[0]:
        raise ValueError(one)
    made = Tensor((one[0], other[1]), call[0].type)
    return [made], made.numbers * one[1]


def _windows(call: _Call, kernel: Sequence[int]) -> list[int]:
    """How many windows of a kernel there are along each axis of the picture."""
    sizes = call[0].shape[2:]
    strides = call.attribute("strides") or [1] * len(sizes)
    dilations = call.attribute("dilations") or [1] * len(sizes)
    margins = call.attribute("pads") or [0] * 2 * len(sizes)
    automatic = call.attribute("auto_pad", b"NOTSET")
    if min(strides, default=1) < 1 or len(kernel) != len(sizes):
        raise ValueError(kernel)
    if automatic in (b"SAME_UPPER", b"SAME_LOWER"):
        return [-(-size // stride) for size, stride in zip(sizes, strides, strict=True)]
    if automatic == b"VALID":
        margins = [0] * 2 * len(sizes)
    found = []
    for at, size in enumerate(sizes):
        wide = size + margins[at] + margins[at + len(sizes)] - dilations[at] * (kernel[at] - 1) - 1
        if min(dilations[at], kernel[at]) < 1 or min(margins) < 0 or wide < 0:
            raise ValueError(kernel)
        found.append((-(-wide // strides[at]) if call.attribute("ceil_mode", 0) else wide // strides[at]) + 1)
    return found


def _convolution(call: _Call) -> Made:
    weights = call[1].shape
    groups = int(call.attribute("group", 1))
    if len(weights) != len(call[0].shape) or groups < 1 or call[0].shape[1] != weights[1] * groups:
        raise ValueError(weights)
    made = Tensor((call[0].shape[0], weights[0], *_windows(call, weights[2:])), call[0].type)
    return [made], made.numbers * math.prod(weights[1:])


def _pooling(call: _Call) -> Made:
    kernel = call.attribute("kernel_shape")
    made = Tensor((*call[0].shape[:2], *_windows(call, kernel)), call[0].type)
    return [made, Tensor(made.shape, INT64)], 8 * made.numbers * math.prod(kernel)


def _pooled(call: _Call) -> Made:
    return [Tensor((*call[0].shape[:2], *[1] * (len(call[0].shape) - 2)), call[0].type)], 0


def _deep(call: _Call) -> Made:
    n, channels, height, width = call[0].shape
    by = int(call.attribute("blocksize", 0))
    if call.operator == "SpaceToDepth":
        return [_like(call[0], (n, channels * by * by, height // by, width // by))], 0
    return [_like(call[0], (n, channels // (by * by), height * by, width * by))], 0


OPERATORS: Final[dict[str, Callable[[_Call], Made]]] = {
    **dict.fromkeys((*_COMPUTED, *_OTHERS), _each),
    **dict.fromkeys(("Identity", "Dropout"), _same),
    **dict.fromkeys(
        ("CumSum", "GroupNormalization", "InstanceNormalization", "LayerNormalization", "LogSoftmax",
         "LpNormalization", "RMSNormalization", "ScatterElements", "ScatterND", "Softmax", "Trilu"),
        _as_large,
    ),
    **dict.fromkeys(
        ("ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum",
         "ReduceSumSquare"),
        _reduced,
    ),
    **dict.fromkeys(("ArgMax", "ArgMin"), _place_of_most),
    **dict.fromkeys(("AveragePool", "MaxPool"), _pooling),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool"), _pooled),
    **dict.fromkeys(("DepthToSpace", "SpaceToDepth"), _deep),
    "BatchNormalization": _batch_normalised, "Cast": _cast, "Concat": _concat, "Constant": _constant,
    "ConstantOfShape": _filled, "Conv": _convolution, "Expand": _expand, "Flatten": _flatten, "Gather": _gather,
    "GatherElements": _gather_elements, "GatherND": _gather_nd, "Gemm": _affine, "MatMul": _product, "Pad": _pad,
    "Range": _range, "Reshape": _reshape, "Resize": _resize, "Shape": _shape, "Size": _size, "Slice": _slice,
    "Split": _split, "Squeeze": _squeeze, "Tile": _tile, "Transpose": _transpose, "Unsqueeze": _unsqueeze,
}  # fmt: skip
"""Every operator whose work is known beforehand."""
