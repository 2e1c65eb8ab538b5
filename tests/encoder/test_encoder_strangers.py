"""Encoders and arrays of strangers: bounded in time and memory, and told in a sentence."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import struct
from pathlib import Path

import numpy as np
import onnx
import pytest
import tiny
from onnx import TensorProto, helper

from retrieval.base.npy import mapped
from retrieval.encoder import Encoder, onnx_graph, onnx_work
from retrieval.errors import RetrievalError


@pytest.fixture
def encoder(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(tiny.model(tmp_path_factory) / "encoder", tmp_path / "encoder"))


@pytest.mark.parametrize("name", ["config.json", "network.onnx", "weights.safetensors"])
@pytest.mark.parametrize("what", ["pipe", "device", "folder", "large"])
def test_what_is_no_file_does_not_hold_a_reader_up(encoder: Path, name: str, what: str) -> None:
    file = encoder / name
    file.unlink()
    if what == "pipe":
        os.mkfifo(file)
    elif what == "device":
        file.symlink_to("/dev/zero")
    elif what == "folder":
        file.mkdir()
    else:
        with file.open("wb") as opened:
            opened.truncate(2**40)  # a hole: it takes no room
    with pytest.raises(RetrievalError) as raised:
        Encoder.load(encoder, runtime="torch" if name.startswith("weights") else "onnx").encode(
            np.zeros((1, tiny.SIZE, tiny.SIZE, 3), np.uint8)
        )
    said = str(raised.value)
    assert name in said
    assert len(said.splitlines()) == 1
    assert ("too large" if what == "large" else "a folder" if what == "folder" else "not a regular file") in said


def test_a_card_that_is_a_pipe_is_no_card(encoder: Path) -> None:
    (encoder / "card.md").unlink()
    os.mkfifo(encoder / "card.md")
    assert Encoder.load(encoder).card is None


def graph(
    nodes: list[onnx.NodeProto], initializers: list[onnx.TensorProto] | None = None, opset: int = 17
) -> onnx.ModelProto:
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", tiny.SIZE, tiny.SIZE, 3])
    out = helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["n", 16])
    made = helper.make_graph(nodes, "network", [pixels], [out], initializers or [])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)])


def hostile(kind: str) -> onnx.ModelProto:
    cast = helper.make_node("Cast", ["pixels"], ["vectors"], to=TensorProto.FLOAT)
    condition = helper.make_tensor_value_info("again", TensorProto.BOOL, [])
    turn = helper.make_tensor_value_info("turn", TensorProto.INT64, [])
    same = helper.make_node("Identity", ["again"], ["still"])
    still = helper.make_tensor_value_info("still", TensorProto.BOOL, [])
    body = helper.make_graph([same], "body", [turn, condition], [still])
    yes = helper.make_tensor("yes", TensorProto.BOOL, [], [True])
    if kind == "loop":
        return graph([helper.make_node("Loop", ["", "yes"], [], body=body), cast], [yes])
    if kind == "branch":
        inner = helper.make_graph([same], "inner", [], [still])
        return graph([helper.make_node("If", ["yes"], ["x"], then_branch=inner, else_branch=inner), cast], [yes])
    if kind == "elsewhere":
        tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2**32], data_location=TensorProto.EXTERNAL)
        tensor.external_data.add(key="location", value="/dev/zero")
        return graph([cast], [tensor])
    if kind == "elsewhere in a constant":
        tensor = TensorProto(data_type=TensorProto.FLOAT, dims=[2**32], data_location=TensorProto.EXTERNAL)
        tensor.external_data.add(key="location", value="../../secret")
        return graph([helper.make_node("Constant", [], ["w"], value=tensor), cast])
    model = graph([cast])
    if kind == "functions":
        model.functions.append(helper.make_function("mine", "F", ["a"], ["b"], [], [helper.make_opsetid("", 17)]))
    else:
        model.graph.node[0].domain = "com.microsoft"
    return model


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("loop", "loops or branches"),
        ("branch", "loops or branches"),
        ("elsewhere", "lie in another file"),
        ("elsewhere in a constant", "lie in another file"),
        ("functions", "functions of its own"),
        ("operators", "operators of 'com.microsoft'"),
    ],
)
def test_a_graph_that_is_not_straight_is_never_run(encoder: Path, kind: str, said: str) -> None:
    exchange_graph(encoder, hostile(kind))
    with pytest.raises(RetrievalError, match=said):
        Encoder.load(encoder, runtime="onnx")


def exchange_graph(encoder: Path, model: onnx.ModelProto) -> None:
    content = model.SerializeToString()
    (encoder / "network.onnx").write_bytes(content)
    config = json.loads((encoder / "config.json").read_text())
    config["files"]["network.onnx"] = hashlib.sha256(content).hexdigest()
    (encoder / "config.json").write_text(json.dumps(config))


def numbers(name: str, *values: int | float) -> onnx.TensorProto:
    return helper.make_tensor(
        name, TensorProto.FLOAT if isinstance(values[0], float) else TensorProto.INT64, [len(values)], values
    )


def number(name: str, value: int) -> onnx.TensorProto:
    return helper.make_tensor(name, TensorProto.INT64, [], [value])


def step(operator: str, *inputs: str, to: str = "big", **attributes: object) -> onnx.NodeProto:
    return helper.make_node(operator, inputs, [to], **attributes)


START = [
    helper.make_node("Cast", ["pixels"], ["x"], to=TensorProto.FLOAT),
    step("ReduceSum", "x", to="sum", keepdims=0),
    helper.make_node("Cast", ["sum"], ["whole"], to=TensorProto.INT64),
    step("Unsqueeze", "whole", "zero", to="seen"),
    step("Reshape", "x", "row", to="line"),
    step("Reshape", "x", "column", to="post"),
]
"""What the graphs below begin with: the pictures as numbers, their sum as a size, all in one row and in one column."""

SIZES = [numbers("zero", 0), numbers("row", 1, -1), numbers("column", -1, 1)]
LONG = [step("Tile", "line", "across", to="long"), step("Tile", "post", "down", to="high")]
TIMES = [numbers("across", 1, 200), numbers("down", 200, 1)]
WIDE = [step("ConstantOfShape", "side", to="wide")]

MEMORY, STEPS, UNKNOWN = "makes more than 4 GiB", "takes more than .* steps", "depend on what is in a picture"

GREEDY = {
    "ConstantOfShape": (MEMORY, [step("ConstantOfShape", "huge")], [numbers("huge", 2**16, 2**16)]),
    "Expand": (MEMORY, [step("Expand", "x", "huge")], [numbers("huge", 2**34, 1, 1, 1, 1)]),
    "Tile": (MEMORY, [step("Tile", "x", "huge")], [numbers("huge", 1, 2**15, 2**15, 1)]),
    "Resize by": (MEMORY, [step("Resize", "x", "", "huge")], [numbers("huge", 1.0, 1e4, 1e4, 1.0)]),
    "Resize to": (MEMORY, [step("Resize", "x", "", "", "huge")], [numbers("huge", 1, 10**5, 10**5, 3)]),
    "Pad": (MEMORY, [step("Pad", "x", "huge")], [numbers("huge", 0, 0, 0, 0, 0, 10**5, 10**5, 0)]),
    "Range": (MEMORY, [step("Range", "one", "huge", "one")], [number("one", 1), number("huge", 2**40)]),
    "MatMul": (MEMORY, [*LONG, step("MatMul", "high", "long")], TIMES),
    "Add": (MEMORY, [*LONG, step("Add", "high", "long")], TIMES),
    "Concat": (MEMORY, [step("Concat", *[f"x{at or ''}"] * 2, to=f"x{at + 1}", axis=0) for at in range(40)], []),
    "many pictures": (MEMORY, [step("Shape", "x", to="s"), step("Mul", "s", "by", to="t"),
                               step("ConstantOfShape", "t")], [numbers("by", 2**22, 1, 1, 1)]),
    "Conv": (STEPS, [*WIDE, step("Conv", "wide", "wide", pads=[4096] * 4)], [numbers("side", 1, 1, 8191, 8191)]),
    "MaxPool": (STEPS, [*WIDE, step("MaxPool", "wide", kernel_shape=[8191] * 2, pads=[4095] * 4)],
                [numbers("side", 1, 1, 8191, 8191)]),
    "long MatMul": (STEPS, [*WIDE, step("MatMul", "wide", "wide")], [numbers("side", 15_000, 15_000)]),
    "nodes": ("more than 20,000 nodes", [step("Relu", "x", to=f"x{at}") for at in range(20_000)], []),
    "a picture": (UNKNOWN, [step("ConstantOfShape", "seen")], []),
    "a picture's product": (UNKNOWN, [step("Mul", "seen", "seen", to="size"), step("Expand", "x", "size")], []),
    "no divisor": ("divides whole numbers", [step("Div", "seen", "seen")], []),
    "weights": ("larger than its file", [], [TensorProto(name="w", data_type=1, dims=[2**32])]),
    "axes": ("'Unsqueeze' for what it cannot do", [step("Unsqueeze", "x", "axes")], [numbers("axes", *range(60))]),
    "another operator": ("operator 'Einsum'", [step("Einsum", "x", "x", equation="abcd,efgh->abcdefgh")], []),
    "backwards": ("before it is made", [step("Relu", "later", to="big"), step("Relu", "x", to="later")], []),
}  # fmt: skip


@pytest.mark.parametrize("kind", GREEDY)
def test_a_graph_that_makes_or_computes_too_much_is_never_run(encoder: Path, kind: str) -> None:
    said, nodes, tensors = GREEDY[kind]
    end = [helper.make_node("Flatten", ["x"], ["vectors"])]
    exchange_graph(encoder, graph([*START, *nodes, *end], [*SIZES, *tensors], opset=18))
    with pytest.raises(RetrievalError, match=said) as raised:
        Encoder.load(encoder, runtime="onnx")
    assert len(str(raised.value).splitlines()) == 1


def test_what_this_program_writes_is_straight(encoder: Path) -> None:
    content = (encoder / "network.onnx").read_bytes()
    assert onnx_graph.read(content).nodes
    rng = np.random.default_rng(0)
    for at in range(300):  # whatever is made of it, an answer comes
        spoilt = bytearray(content[: rng.integers(1, len(content))] if at % 2 else content)
        for _ in range(rng.integers(1, 4)):
            spoilt[rng.integers(len(spoilt))] ^= 1 << int(rng.integers(8))
        with contextlib.suppress(onnx_graph.RefusedGraphError):
            onnx_work.tensors_of(onnx_graph.read(bytes(spoilt)), 2)
    for nonsense in (b"", b"\xff" * 50, b"\x3a\xff\xff\xff\xff\x7f", b"\x3b" * 9):
        with pytest.raises(onnx_graph.RefusedGraphError):
            onnx_graph.read(nonsense)


def npy(descr: str, shape: str, body: bytes = b"") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (npy("'|V0'", "(1000000000000, 8)"), "takes no bytes"),
        (npy("'<U0'", "(1000000000000,)"), "takes no bytes"),
        (npy("[]", "(1000000000000,)"), "takes no bytes"),
        (npy("'<f4'", "(1000000000000, 8)", bytes(64)), "is shorter"),
        (npy("'<f4'", "(99999999999999999999999999,)", bytes(64)), "is shorter"),
        (npy("'|O'", "(4,)", bytes(64)), "Python objects"),
        (b"\x93NUMPY\x09\x00" + bytes(64), "version"),
    ],
)
def test_an_array_is_what_its_file_can_hold(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "vectors.npy"
    file.write_bytes(content)
    with pytest.raises(RetrievalError, match=said):
        mapped(file)


def test_arrays_of_every_kind_are_mapped_as_numpy_does(tmp_path: Path) -> None:
    file = tmp_path / "vectors.npy"
    for array in (np.arange(6.0).reshape(2, 3), np.asfortranarray(np.ones((3, 2))), np.empty((0, 4)), np.array(["a"])):
        np.save(file, array)
        found = mapped(file)
        np.testing.assert_array_equal(found, array)
        assert found.flags.f_contiguous == array.flags.f_contiguous
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(RetrievalError, match="not a regular file"):
        mapped(file)
