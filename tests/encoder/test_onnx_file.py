"""Encoders that are an ONNX graph alone: from files of any kind, from networks in memory, and heads over them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import tiny
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

import retrieval
from retrieval.encoder import Encoder, EncoderConfig, onnx_file, onnx_reader, store
from retrieval.encoder.head_map import HeadMap
from retrieval.errors import RetrievalError
from retrieval.images import Preprocessing

SIZE, DIM = 8, 5
DTYPES = {TensorProto.FLOAT: np.float32, TensorProto.FLOAT16: np.float16, TensorProto.UINT8: np.uint8}


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def write(
    path: Path,
    *,
    shape: tuple[int | str, ...] = ("n", 3, SIZE, SIZE),
    type_: int = TensorProto.FLOAT,
    nodes: list[onnx.NodeProto] | None = None,
    outputs: tuple[str, ...] = ("y",),
    more_inputs: tuple[str, ...] = (),
    tensors: dict[str, np.ndarray] | None = None,
) -> Path:
    """A graph: by default a pooled, linear layer of its pictures; NHWC where `shape` says so."""
    if nodes is None:
        axes = [2, 3] if shape[1] == 3 else [1, 2]
        nodes = [
            helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["f", "f"], ["squares"]),
            helper.make_node("ReduceMean", ["squares"], ["means"], axes=axes, keepdims=0),
            helper.make_node("MatMul", ["means", "w"], ["y"]),
        ]
        tensors = {"w": weights(3, DIM)}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, type_, shape) for name in ("x", *more_inputs)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in (tensors or {}).items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def pictures(n: int, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (n, size, size, 3), np.uint8)


def by_onnxruntime(path: Path, given: np.ndarray, at_once: int | None = None) -> np.ndarray:
    session = onnxruntime.InferenceSession(path)
    step = at_once or len(given)
    made = np.concatenate([session.run(["y"], {"x": given[i : i + step]})[0] for i in range(0, len(given), step)])
    made = made.reshape(len(given), -1)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader in this process, which is the same but for the limits, and a second faster."""
    monkeypatch.setattr(onnx_file, "ask", lambda _, path, *given: onnx_reader.read(path, *given))


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("type_", DTYPES)
@pytest.mark.parametrize("pictures_", ["n", 1])
@pytest.mark.parametrize("first", [True, False])
def test_vectors_are_those_of_the_graph(type_: int, pictures_: int | str, first: bool, tmp_path: Path) -> None:
    shape = (pictures_, 3, SIZE, SIZE) if first else (pictures_, SIZE, SIZE, 3)
    path = write(tmp_path / "model.onnx", shape=shape, type_=type_)
    mean, std = [0.5, 0.4, 0.3], [0.2, 0.3, 0.25]
    said = {} if type_ == TensorProto.UINT8 else {"mean": mean, "std": std}
    Path(f"{path}.json").write_text(json.dumps({**said, "fit": "stretch", "licence": "mine"}))
    encoder = Encoder.load(f"onnx:{path}", threads=2)
    pixels = pictures(5)
    given = pixels if type_ == TensorProto.UINT8 else (pixels / 255 - mean) / std
    given = np.ascontiguousarray(given.transpose(0, 3, 1, 2) if first else given).astype(DTYPES[type_])
    expected = by_onnxruntime(path, given, 1 if pictures_ == 1 else None)
    assert (encoder.dim, encoder.runtime, encoder.config.preprocessing.fit) == (DIM, "onnx", "stretch")
    assert encoder.card is not None and "Licence: mine" in encoder.card
    np.testing.assert_allclose(encoder.encode(pixels), expected, atol=3e-3 if DTYPES[type_] is np.float16 else 1e-6)
    np.testing.assert_allclose(encoder.encode(pixels, batch=2), encoder.encode(pixels), atol=1e-6)
    encoder.save(tmp_path / "encoder")
    again = Encoder.load(tmp_path / "encoder")
    assert again.hash == encoder.hash and not (tmp_path / "encoder" / store.WEIGHTS).exists()
    np.testing.assert_array_equal(again.encode(pixels), encoder.encode(pixels))
    again.save(tmp_path / "copy")
    np.testing.assert_array_equal(Encoder.load(tmp_path / "copy").encode(pixels), encoder.encode(pixels))


@pytest.mark.usefixtures("here")
def test_the_hash_is_of_graph_and_preprocessing_and_of_no_name(tmp_path: Path) -> None:
    path = write(tmp_path / "one.onnx")
    first = Encoder.load(f"onnx:{path}").hash
    os.link(path, tmp_path / "two.onnx")
    assert Encoder.load(f"onnx:{tmp_path / 'two.onnx'}").hash == first
    (tmp_path / "two.onnx.json").write_text('{"mean": 0.5}')
    assert Encoder.load(f"onnx:{tmp_path / 'two.onnx'}").hash != first
    assert Encoder.load(f"onnx:{write(tmp_path / 'three.onnx', type_=TensorProto.FLOAT16)}").hash != first


def test_an_index_needs_the_file_no_more(tmp_path: Path) -> None:
    """By the real reader, in a process of its own; and a query without torch."""
    path = write(tmp_path / "model.onnx")
    folder = tiny.folder(tmp_path / "pictures")
    retrieval.build(folder, tmp_path / "index", model=f"onnx:{path}")
    path.unlink()
    one = tmp_path / "one.png"
    tiny.picture(0).save(one)
    code = f"""
import sys, retrieval
with retrieval.Search.open({str(tmp_path / "index")!r}) as search:
    (answer,) = search.query({str(one)!r}, k=1, include_self=True)
    print(answer[0].path, f"{{answer[0].score:.4f}}", "torch" in sys.modules, "onnx" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["cat/0.png", "1.0000", "False", "False"]
    with pytest.raises(RetrievalError, match="kept as an ONNX graph, which torch can neither run nor train"):
        Encoder.load(tmp_path / "index", runtime="torch")


@pytest.mark.usefixtures("here")
def test_a_graph_that_is_for_one_picture_or_looks_at_its_neighbours_gets_one_at_a_time(tmp_path: Path) -> None:
    mixing = [  # each picture less the mean of all
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Mul", ["mean", "half"], ["less"]),
        helper.make_node("Sub", ["x", "less"], ["rest"]),
        helper.make_node("ReduceMean", ["rest"], ["y"], axes=[2, 3], keepdims=0),
    ]
    reshaped = [helper.make_node("Reshape", ["x", "to"], ["y"])]
    for name, nodes, tensors in (
        ("mixing", mixing, {"half": np.float32(0.5).reshape(1, 1, 1, 1)}),
        ("reshaped", reshaped, {"to": np.array([1, 3 * SIZE * SIZE])}),
    ):
        path = write(tmp_path / f"{name}.onnx", nodes=nodes, tensors=tensors)
        Path(f"{path}.json").write_text('{"mean": 0, "std": 1}')
        pixels = pictures(4)
        given = np.ascontiguousarray((pixels / 255).transpose(0, 3, 1, 2)).astype(np.float32)
        expected = by_onnxruntime(path, given, 1)
        np.testing.assert_allclose(Encoder.load(f"onnx:{path}").encode(pixels), expected, atol=1e-6)


@pytest.mark.usefixtures("here")
def test_what_the_graph_leaves_open_is_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "any.onnx", shape=("n", 3, "h", "w"))
    with pytest.raises(RetrievalError, match=r'write {"size": 224}'):
        Encoder.load(f"onnx:{path}")
    Path(f"{path}.json").write_text('{"size": 6}')
    assert Encoder.load(f"onnx:{path}").config.preprocessing.size == 6
    two = [helper.make_node("ReduceMean", ["x"], [name], axes=[2, 3], keepdims=0) for name in ("a", "b")]
    path = write(tmp_path / "two.onnx", nodes=two, outputs=("a", "b"))
    with pytest.raises(RetrievalError, match=r'several outputs are vectors: write {"output": NAME}.*a 3, b 3'):
        Encoder.load(f"onnx:{path}")
    Path(f"{path}.json").write_text('{"output": "b"}')
    assert Encoder.load(f"onnx:{path}").config.options["output"] == "b"


LOOP = helper.make_node("Loop", ["times", "", "x"], ["y"], body=helper.make_graph([], "body", [], []))
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another input": ({"more_inputs": ("z",)}, "takes 2 inputs"),
    "four at once": ({"shape": (4, 3, SIZE, SIZE)}, "takes 4 pictures at once"),
    "oblong": ({"shape": ("n", 3, SIZE, SIZE + 1)}, "takes 8 × 9 pixels"),
    "five channels": ({"shape": ("n", 5, SIZE, SIZE)}, "takes 8 channels"),
    "no picture": ({"shape": ("n", 3)}, "is no pictures"),
    "whole numbers": ({"type_": TensorProto.INT64}, "is no pictures"),
    "a map": ({"nodes": [helper.make_node("Relu", ["x"], ["y"])]}, r"no output is one vector.*y 3 × 8 × 8"),
    "a loop": ({"nodes": [LOOP], "tensors": {"times": np.array(10**9)}}, "loops or branches"),
    "operators of somebody's": (
        {"nodes": [helper.make_node("Own", ["x"], ["y"], domain="evil")]},
        "needs operators of 'evil'",
    ),
    "terabytes": (
        {
            "nodes": [helper.make_node("Tile", ["x", "times"], ["y"])],
            "tensors": {"times": np.array([1, 10**4, 10**4, 10**4])},
        },
        "GiB in one run",
    ),
}


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", REFUSED)
def test_graphs_that_are_refused(name: str, tmp_path: Path) -> None:
    changes, says = REFUSED[name]
    with pytest.raises(RetrievalError, match=says) as error:
        Encoder.load(f"onnx:{write(tmp_path / 'model.onnx', **changes)}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"no model", os.urandom(4000), "cut"])
def test_files_that_are_no_graph(content: bytes | str, tmp_path: Path) -> None:
    path = write(tmp_path / "model.onnx")
    path.write_bytes(path.read_bytes()[:-40] if isinstance(content, str) else content)
    with pytest.raises(RetrievalError, match=r"model\.onnx' cannot be used \(") as error:
        Encoder.load(f"onnx:{path}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["", "missing.onnx", "folder", "pipe", "/dev/zero", "a\0b"])
def test_paths_that_are_no_file(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RetrievalError):
        Encoder.load(f"onnx:{tmp_path / name}")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "Expecting"),
        ("[]", "it holds no object"),
        ('{"sise": 3}', "it says 'sise', which is none of size, mode"),
        ('{"size": "3"}', "its size is '3'"),
        ('{"size": true}', "its size is True"),
        ('{"fit": "best"}', "fit 'best'"),
        ('{"std": [0, 1, 1]}', "std"),
        ('{"mean": [1, 2]}', "mean"),
        ('{"mean": {"a": 1}}', "float"),
        ("[" * 30_000, ""),
    ],
)
def test_what_a_description_may_not_say(text: str, says: str, tmp_path: Path) -> None:
    path = write(tmp_path / "model.onnx")
    Path(f"{path}.json").write_text(text)
    with pytest.raises(RetrievalError, match=r"model\.onnx\.json' does not describe a model") as error:
        Encoder.load(f"onnx:{path}")
    assert says in str(error.value) and "\n" not in str(error.value)


def test_weights_in_another_file(tmp_path: Path) -> None:
    """Those beside the file are taken in; those elsewhere, and links, are not read."""
    inside = write(tmp_path / "model.onnx")
    expected = Encoder.load(f"onnx:{inside}").encode(pictures(2))
    model = onnx.load(inside)
    folder = tmp_path / "apart"
    folder.mkdir()
    onnx.save(model, folder / "model.onnx", save_as_external_data=True, location="weights", size_threshold=0)
    apart = Encoder.load(f"onnx:{folder / 'model.onnx'}")
    np.testing.assert_array_equal(apart.encode(pictures(2)), expected)
    before = apart.hash
    content = bytearray((folder / "weights").read_bytes())
    content[3] ^= 1
    (folder / "weights").write_bytes(content)
    assert Encoder.load(f"onnx:{folder / 'model.onnx'}").hash != before
    (folder / "weights").write_bytes(content[:8])
    with pytest.raises(RetrievalError, match="ends before its weights do"):
        Encoder.load(f"onnx:{folder / 'model.onnx'}")
    (folder / "weights").rename(tmp_path / "weights")
    (folder / "weights").symlink_to(tmp_path / "weights")
    with pytest.raises(RetrievalError, match="which is no file beside it"):
        Encoder.load(f"onnx:{folder / 'model.onnx'}")
    for location in ("../weights", str(tmp_path / "weights"), "..", ""):
        model = onnx.load(folder / "model.onnx", load_external_data=False)
        for tensor in model.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = location
        (folder / "other.onnx").write_bytes(model.SerializeToString())
        with pytest.raises(RetrievalError, match="which is no file beside it"):
            Encoder.load(f"onnx:{folder / 'other.onnx'}")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("rest", [None, (weights(4, DIM, seed=2), weights(4, seed=3))])
@pytest.mark.parametrize("mix", [0.0, 0.5])
def test_a_head_over_a_graph(rest: Any, mix: float, tmp_path: Path) -> None:
    base = Encoder.load(f"onnx:{write(tmp_path / 'model.onnx')}")
    head = HeadMap(weights(3, DIM, seed=4), weights(3, seed=5), rest if mix else None, mix)
    made = base.with_head(head, classes=("a", "b"), card="A card.")
    expected = head(base.encode(pictures(4)))
    np.testing.assert_allclose(made.encode(pictures(4)), expected, atol=1e-6)
    made.save(tmp_path / "head")
    again = Encoder.load(tmp_path / "head")
    found = again.head()
    assert again.hash == made.hash != base.hash and found is not None and found[0] == base.hash
    np.testing.assert_array_equal(again.encode(pictures(4)), made.encode(pictures(4)))
    np.testing.assert_allclose(found[1](base.encode(pictures(4))), expected, atol=1e-6)
    other = HeadMap(head.weight, head.bias + 1, head.rest, head.mix)
    assert base.with_head(other).hash != made.hash


class Own(nn.Module):
    """No architecture of this program."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2)
        self.second = nn.Linear(8, DIM)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(x)).mean((2, 3)))


class Fickle(Own):
    """What it does depends on the numbers in its pictures, which a graph does not know."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if x.std() < 1e-6 else super().forward(-x)


class Spectral(Own):
    """Spectra are beyond the exporter."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.svdvals(x.mean(1))[:, :DIM]


def own(network: nn.Module, dim: int = DIM, name: str = "mine") -> Encoder:
    return Encoder.of(network, EncoderConfig(name, {}, dim, Preprocessing(SIZE, mean=(0.4,), std=(0.2,))))


def test_any_network_is_kept_as_its_graph(tmp_path: Path) -> None:
    network = Own().eval()
    made = own(network)
    pixels = pictures(5)
    x = torch.from_numpy(((pixels / 255 - 0.4) / 0.2).transpose(0, 3, 1, 2)).float()
    with torch.no_grad():
        expected = nn.functional.normalize(network(x), dim=1).numpy()
    np.testing.assert_allclose(made.encode(pixels), expected, atol=1e-5)
    assert made.config.network == "onnx:mine" and made.hash == own(network, name="yours").hash != own(Own()).hash
    made.save(tmp_path / "encoder")
    code = f"""
import sys, numpy as np
from retrieval.encoder import Encoder
encoder = Encoder.load({str(tmp_path)!r})
encoder.optimise()
print(encoder.hash, encoder.encode(np.zeros((1, {SIZE}, {SIZE}, 3), np.uint8)).shape, "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == f"{made.hash} (1, {DIM}) False"


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize(
    ("network", "dim", "says"),
    [
        (Own(), DIM + 1, "makes 5 numbers of a picture, and its configuration says dim=6"),
        (Fickle(), DIM, "computes something else than the network"),
        (Spectral(), DIM, "cannot be exported as a graph"),
    ],
)
def test_networks_that_no_graph_can_stand_for(network: nn.Module, dim: int, says: str) -> None:
    torch.manual_seed(0)
    with pytest.raises(RetrievalError, match=says) as error:
        own(network, dim)
    assert "\n" not in str(error.value)
