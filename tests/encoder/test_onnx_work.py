"""How large everything is that a graph makes, foretold, against ONNX Runtime, which makes it."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from retrieval import networks
from retrieval.encoder import onnx_graph, onnx_work
from retrieval.encoder.torch_runtime import export


def require_foretold(content: bytes, pictures: int) -> None:
    """Every tensor of a graph is as large as was foretold, and holds what was."""
    graph = onnx_graph.read(content)
    found = onnx_work.tensors_of(graph, pictures)
    model = onnx.load_from_string(content)
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for node in graph.nodes for name in node.outputs if name)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # each node as it stands
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    pixels = np.random.default_rng(0).integers(0, 256, (pictures, *graph.shape), np.uint8)
    made = session.run(None, {graph.input: pixels})
    assert made
    for out, array in zip(session.get_outputs(), made, strict=True):
        tensor = found[out.name]
        assert tensor.shape == np.shape(array), out.name
        assert onnx_graph.BYTES[tensor.type] == array.dtype.itemsize, out.name
        if tensor.content is not None:
            np.testing.assert_array_equal(tensor.content, array, out.name)


QUICK = {"convnet", "divide-and-encode", "portrait"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.long) for name in networks.TABLE]
)
def test_of_networks(name: str) -> None:
    torch.manual_seed(0)
    options = {"pretrained": False} if networks.takes(name, "pretrained") else {}
    network = networks.create(name, **options).eval().requires_grad_(False)
    require_foretold(export(network, network.preprocessing), 3)


def node(operator: str, *inputs: str, outputs: int = 1, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(operator, inputs, [f"out{at}" for at in range(outputs)], **attributes)


def held(values: object, dtype: type = np.int64) -> onnx.TensorProto:
    return onnx.numpy_helper.from_array(np.array(values, dtype))


CASES = {
    "add": (node("Add", "x", "a"), [held([1, 2, 3], np.float32)]),
    "where": (node("Where", "a", "b", "c"), [held([True, False], bool), held([[5], [6]]), held([7, 8])]),
    "quotient": (node("Div", "a", "b"), [held([7, -7, 2**60 + 1]), held([2, 2, 3])]),
    "remainder": (node("Mod", "a", "b"), [held([7, -7, 8]), held([3, 3, -3])]),
    "power": (node("Pow", "a", "b"), [held([9.0, 16.0], np.float32), held(0.5, np.float32)]),
    "least": (node("Min", "a", "b", "c"), [held([1, 5]), held([2, 4]), held(3)]),
    "cast": (node("Cast", "a", to=TensorProto.INT64), [held([1.9, -1.9], np.float32)]),
    "shape": (node("Shape", "x", start=-3, end=-1), []),
    "size": (node("Size", "x"), []),
    "filled": (node("ConstantOfShape", "a", value=held([4])), [held([2, 3])]),
    "range": (node("Range", "a", "b", "c"), [held(9), held(-3), held(-4)]),
    "reshape": (node("Reshape", "x", "a"), [held([0, -1, 3])]),
    "flatten": (node("Flatten", "x", axis=-1), []),
    "unsqueeze": (node("Unsqueeze", "x", "a"), [held([0, -1])]),
    "squeeze": (node("Squeeze", "a"), [held([[[1], [2]]])]),
    "transpose": (node("Transpose", "a", perm=[1, 0]), [held([[1, 2, 3], [4, 5, 6]])]),
    "expand": (node("Expand", "a", "b"), [held([[1], [2]]), held([2, 1, 3])]),
    "tile": (node("Tile", "a", "b"), [held([[1, 2]]), held([2, 3])]),
    "concat": (node("Concat", "a", "b", axis=-1), [held([[1], [2]]), held([[3, 4], [5, 6]])]),
    "slice": (node("Slice", "a", "b", "c", "d"), [held([1, 2, 3, 4, 5]), held([-2]), held([9]), held([0])]),
    "slice backwards": (
        node("Slice", "a", "b", "c", "d", "e"),
        [held([1, 2, 3, 4, 5]), held([-1]), held([-99]), held([0]), held([-2])],
    ),
    "slice of pictures": (node("Slice", "x", "a", "b", "c"), [held([1, -1]), held([2**62, 2**62]), held([0, 3])]),
    "split": (node("Split", "x", outputs=3, axis=1, num_outputs=3), []),
    "split unevenly": (node("Split", "a", "b", outputs=2), [held([1, 2, 3]), held([1, 2])]),
    "gather": (node("Gather", "a", "b"), [held([[1, 2], [3, 4]]), held([-1, 0, 0])]),
    "gather by element": (node("GatherElements", "a", "b"), [held([[1, 2], [3, 4]]), held([[0, 1]])]),
    "gather by places": (node("GatherND", "x", "a"), [held([[0, 1], [1, 11], [1, 0]])]),
    "gather by places, row by row": (
        node("GatherND", "a", "b", batch_dims=1),
        [held([[1, 2], [3, 4]]), held([[1], [0]])],
    ),
    "the place of the most": (node("ArgMax", "x", axis=-1, keepdims=0), []),
    "the place of the least": (node("ArgMin", "x", axis=1), []),
    "pad": (node("Pad", "x", "a", "", "b"), [held([2, -1, 3, 4]), held([1, -2])]),
    "resize": (node("Resize", "x", "", "a"), [held([1, 1.7, 0.3, 1], np.float32)]),
    "resize to": (node("Resize", "y", "", "", "a", mode="cubic"), [held([2, 3, 5, 9])]),
    "mean": (node("ReduceMean", "x", "a", keepdims=0), [held([1, -1])]),
    "product": (node("ReduceProd", "a"), [held([2, 3, 4])]),
    "nothing": (node("ReduceMax", "x", noop_with_empty_axes=1), []),
    "matrices": (node("MatMul", "x", "a"), [held(np.ones((12, 3, 5)), np.float32)]),
    "vector": (node("MatMul", "x", "a"), [held([1, 2, 3], np.float32)]),
    "affine": (
        node("Gemm", "a", "b", transA=1),
        [held(np.ones((2, 3)), np.float32), held(np.ones((2, 5)), np.float32)],
    ),
    "convolution": (
        node("Conv", "y", "a", strides=[2, 3], dilations=[2, 1], pads=[1, 0, 2, 3]),
        [held(np.ones((4, 3, 3, 2)), np.float32)],
    ),
    "groups": (node("Conv", "y", "a", group=3), [held(np.ones((6, 1, 5, 5)), np.float32)]),
    "same": (node("Conv", "y", "a", strides=[3, 3], auto_pad="SAME_UPPER"), [held(np.ones((1, 3, 2, 2)), np.float32)]),
    "valid": (node("Conv", "y", "a", strides=[3, 3], auto_pad="VALID"), [held(np.ones((1, 3, 2, 2)), np.float32)]),
    "largest": (node("MaxPool", "y", outputs=2, kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 0, 1]), []),
    "average": (node("AveragePool", "y", kernel_shape=[3, 3], strides=[2, 3], ceil_mode=1), []),
    "of all": (node("GlobalAveragePool", "y"), []),
    "deeper": (node("SpaceToDepth", "y", blocksize=2), []),
    "wider": (node("DepthToSpace", "a", blocksize=2), [held(np.ones((1, 8, 2, 3)), np.float32)]),
    "normalised": (node("LayerNormalization", "x", "a"), [held([1, 1, 1], np.float32)]),
    "scattered": (node("ScatterND", "a", "b", "c"), [held([1, 2, 3]), held([[2], [0]]), held([8, 9])]),
}


@pytest.mark.parametrize("case", CASES)
def test_of_operators(case: str) -> None:
    last, tensors = CASES[case]
    weights = []
    for name, tensor in zip("abcde", tensors, strict=False):
        weights.append(onnx.TensorProto())
        weights[-1].CopyFrom(tensor)
        weights[-1].name = name
    nodes = [
        helper.make_node("Cast", ["pixels"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["x"], ["y"], perm=[0, 3, 1, 2]),
        last,
    ]
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", 12, 10, 3])
    graph = helper.make_graph(nodes, "network", [pixels], [onnx.ValueInfoProto(name="x")], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    require_foretold(model.SerializeToString(), 2)


def test_every_operator_is_one_of_onnx() -> None:
    known = {schema.name for schema in onnx.defs.get_all_schemas()}
    assert set(onnx_work.OPERATORS) <= known
