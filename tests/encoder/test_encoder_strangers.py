"""Encoders and arrays of strangers: bounded in time and memory, and told in a sentence."""

from __future__ import annotations

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
from retrieval.encoder import Encoder, onnx_graph
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


def graph(nodes: list[onnx.NodeProto], initializers: list[onnx.TensorProto] | None = None) -> onnx.ModelProto:
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", tiny.SIZE, tiny.SIZE, 3])
    out = helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["n", 16])
    made = helper.make_graph(nodes, "network", [pixels], [out], initializers or [])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)])


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
    content = hostile(kind).SerializeToString()
    (encoder / "network.onnx").write_bytes(content)
    config = json.loads((encoder / "config.json").read_text())
    config["files"]["network.onnx"] = hashlib.sha256(content).hexdigest()
    (encoder / "config.json").write_text(json.dumps(config))
    with pytest.raises(RetrievalError, match=said):
        Encoder.load(encoder, runtime="onnx")


def test_what_this_program_writes_is_straight(encoder: Path) -> None:
    content = (encoder / "network.onnx").read_bytes()
    assert onnx_graph.problem(content) is None
    rng = np.random.default_rng(0)
    for _ in range(300):  # whatever is made of it, an answer comes
        spoilt = bytearray(content[: rng.integers(1, len(content))])
        spoilt[rng.integers(len(spoilt))] ^= 1 << int(rng.integers(8))
        onnx_graph.problem(bytes(spoilt))
    for nonsense in (b"", b"\xff" * 50, b"\x3a\xff\xff\xff\xff\x7f", b"\x3b" * 9):
        assert onnx_graph.problem(nonsense) is not None


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
