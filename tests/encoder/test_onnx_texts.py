"""A second ONNX file for words, with a tokenizer: its vectors, what is guessed, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tiny
import words
from onnx import TensorProto, helper, numpy_helper

import retrieval
from retrieval.encoder import Encoder, onnx_file, onnx_reader, onnx_text_reader, store
from retrieval.encoder.head_map import HeadMap
from retrieval.encoder.text_runtime import TextModel, TextRunner
from retrieval.errors import RetrievalError
from retrieval.networks.text_tokens import fixed, parse

pytest.importorskip("tokenizers", reason="the extra `pretrained` is not installed")

SIZE, DIM, LENGTH = 8, 5, 6
TABLE = np.random.default_rng(0).standard_normal((len(words.WORDS), DIM)).astype(np.float32)
"""The vector of each token."""

TEXTS = ["a red shoe", "cat", "a red cat a red cat a red cat"]


def graph(
    path: Path, nodes: list[onnx.NodeProto], inputs: dict[str, tuple[int, Sequence[int | str]]], **more: Any
) -> None:
    """Write a graph with one output, `vectors` unless named."""
    outputs, tensors = more.pop("outputs", ("vectors",)), more.pop("tensors", {})
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, *about) for name, about in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path, **more)


def text_side(path: Path, size: Sequence[int | str] = ("n", "length"), mask: bool = True, **more: Any) -> None:
    """The mean of the vectors of the tokens that count; without a mask, of all."""
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["rows"], axis=0)]
    inputs: dict[str, tuple[int, Sequence[int | str]]] = {"input_ids": (TensorProto.INT64, size)}
    if mask:
        inputs["attention_mask"] = (TensorProto.INT64, size)
        nodes += [
            helper.make_node("Cast", ["attention_mask"], ["counts"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["counts", "last"], ["columns"]),
            helper.make_node("Mul", ["rows", "columns"], ["counted"]),
        ]
    nodes.append(helper.make_node("ReduceMean", ["counted" if mask else "rows"], ["text_embeds"], axes=[1], keepdims=0))
    tensors = {"table": TABLE, **({"last": np.array([2])} if mask else {})}
    graph(path, nodes, inputs, outputs=("text_embeds",), tensors=tensors, **more)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Pictures to as many numbers as the words' vectors have, and the words' files beside them."""
    path = tmp_path / "model.onnx"
    weights = np.random.default_rng(1).standard_normal((3, DIM)).astype(np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["means"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["means", "w"], ["vectors"]),
    ]
    graph(path, nodes, {"x": (TensorProto.FLOAT, ("n", 3, SIZE, SIZE))}, tensors={"w": weights})
    text_side(tmp_path / "text.onnx")
    words.tokenizer().save(str(tmp_path / "tokenizer.json"))
    describe(path)
    return path


def describe(path: Path, **more: object) -> None:
    said = {"mean": 0, "std": 1, "text": "text.onnx", "length": LENGTH, **more}
    Path(f"{path}.json").write_text(json.dumps({name: value for name, value in said.items() if value is not None}))


def expected(texts: Sequence[str], length: int = LENGTH, mask: bool = True, pad: int = 0) -> np.ndarray:
    rows = []
    for text in texts:
        own = [*[1, *(words.WORDS.index(word) for word in text.split())][: length - 1], 2]
        rows.append(TABLE[own + [pad] * (0 if mask else length - len(own))].sum(0))
    made = np.stack(rows)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The readers in this process, which is the same but for the limits, and a second faster."""
    programs = {Path(one.__file__ or "").name: one.read for one in (onnx_reader, onnx_text_reader)}
    monkeypatch.setattr(onnx_file, "ask", lambda program, path, *given: programs[program.name](path, *given))  # type: ignore[operator]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("size", [("n", "length"), (1, "length"), ("n", LENGTH)])
@pytest.mark.parametrize("mask", [True, False])
def test_vectors_are_those_of_the_graph(model: Path, size: tuple[Any, ...], mask: bool, tmp_path: Path) -> None:
    text_side(tmp_path / "text.onnx", size, mask)
    made = Encoder.load(f"onnx:{model}")
    assert made.config.text and "Words: text.onnx" in str(made.card)
    np.testing.assert_allclose(made.encode_text(TEXTS * 4), np.tile(expected(TEXTS, mask=mask), (4, 1)), atol=1e-6)
    made.save(tmp_path / "encoder")
    again = Encoder.load(tmp_path / "encoder")
    assert again.hash == made.hash
    np.testing.assert_array_equal(again.encode_text(TEXTS), made.encode_text(TEXTS))
    again.save(tmp_path / "copy")
    np.testing.assert_array_equal(Encoder.load(tmp_path / "copy").encode_text(TEXTS), made.encode_text(TEXTS))


def test_an_index_needs_the_files_no_more(model: Path, tmp_path: Path) -> None:
    """By the real readers, in processes of their own; and a query by words without torch and transformers."""
    retrieval.build(tiny.folder(tmp_path / "pictures"), tmp_path / "index", model=f"onnx:{model}")
    for name in ("model.onnx", "text.onnx", "tokenizer.json"):
        (tmp_path / name).unlink()
    code = f"""
import sys, retrieval
with retrieval.Search.open({str(tmp_path / "index")!r}) as search:
    vectors = search.encoder.encode_text({TEXTS!r})
    (answer,) = search.query_texts(["a red shoe"], k=2)
    print(len(answer), *("torch transformers onnx".split()[i] in sys.modules for i in range(3)))
    print(vectors.tolist())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said, vectors = done.stdout.strip().split("\n")
    assert said == "2 False False False"
    np.testing.assert_allclose(json.loads(vectors), expected(TEXTS), atol=1e-6)


@pytest.mark.usefixtures("here")
def test_what_a_text_is_stands_beside_the_tokenizer_or_in_it(model: Path, tmp_path: Path) -> None:
    text_side(tmp_path / "text.onnx", mask=False)
    describe(model, length=None)
    with pytest.raises(RetrievalError, match=r'how many tokens a text has: write {"length": 77}'):
        Encoder.load(f"onnx:{model}")
    tokenizer = words.tokenizer()
    tokenizer.enable_truncation(4)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    np.testing.assert_allclose(
        Encoder.load(f"onnx:{model}").encode_text(TEXTS), expected(TEXTS, 4, mask=False), atol=1e-6
    )
    beside = {"model_max_length": 5, "pad_token": {"content": "cat"}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(beside))
    right = expected(TEXTS, 5, mask=False, pad=7)
    np.testing.assert_allclose(Encoder.load(f"onnx:{model}").encode_text(TEXTS), right, atol=1e-6)
    describe(model, length=LENGTH, pad="red")
    right = expected(TEXTS, mask=False, pad=5)
    np.testing.assert_allclose(Encoder.load(f"onnx:{model}").encode_text(TEXTS), right, atol=1e-6)


@pytest.mark.usefixtures("here")
def test_the_hash_is_also_of_what_is_done_with_words(model: Path, tmp_path: Path) -> None:
    first = Encoder.load(f"onnx:{model}").hash
    describe(model, pad="cat")
    assert Encoder.load(f"onnx:{model}").hash != first
    describe(model, text=None)
    alone = Encoder.load(f"onnx:{model}")
    assert alone.hash != first and not alone.config.text
    with pytest.raises(RetrievalError, match=r"knows pictures only.*--model clip-base"):
        alone.encode_text(TEXTS)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("text", [True, False])
def test_words_go_through_a_head(model: Path, tmp_path: Path, text: bool) -> None:
    base = Encoder.load(f"onnx:{model}")
    random = np.random.default_rng(2)
    head = HeadMap(random.standard_normal((3, DIM)).astype(np.float32), np.ones(3, np.float32), None, 0.5)
    base.with_head(head, text=text).save(tmp_path / "head")
    made = Encoder.load(tmp_path / "head")
    if text:
        np.testing.assert_allclose(made.encode_text(TEXTS), head(base.encode_text(TEXTS)), atol=1e-6)
    else:
        assert not (tmp_path / "head" / store.TEXT).exists()
        with pytest.raises(RetrievalError, match="Words are not looked for through this head"):
            made.encode_text(TEXTS)


def loop() -> onnx.NodeProto:
    return helper.make_node("Loop", ["times", "", "input_ids"], ["y"], body=helper.make_graph([], "body", [], []))


def changed(path: Path, **changes: Any) -> None:
    """Another text side in place of the right one."""
    whole = {"input_ids": (TensorProto.INT64, ("n", "length"))}
    graph(path, changes.pop("nodes"), changes.pop("inputs", whole), outputs=("y",), **changes)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a loop": ({"nodes": [loop()], "tensors": {"times": np.array(10**9)}}, "loops or branches"),
    "terabytes": (
        {
            "nodes": [
                helper.make_node("Cast", ["input_ids"], ["f"], to=TensorProto.FLOAT),
                helper.make_node("Tile", ["f", "times"], ["y"]),
            ],
            "tensors": {"times": np.array([1, 10**12])},
        },
        "GiB in one run",
    ),
    "pictures": (
        {"nodes": [helper.make_node("Relu", ["x"], ["y"])], "inputs": {"x": (TensorProto.FLOAT, ("n", 3, 8, 8))}},
        "its input is no texts",
    ),
    "inputs of other names": (
        {
            "nodes": [helper.make_node("Cast", ["a"], ["y"], to=TensorProto.FLOAT)],
            "inputs": dict.fromkeys(("a", "b"), (TensorProto.INT64, ("n", 4))),
        },
        "takes a, b and not input_ids",
    ),
    "other vectors": (
        {"nodes": [helper.make_node("Cast", ["input_ids"], ["y"], to=TensorProto.FLOAT)]},
        "vectors have 6 numbers, and those of pictures 5",
    ),
    "unknown tokens": (
        {
            "nodes": [
                helper.make_node("Gather", ["table", "input_ids"], ["rows"], axis=0),
                helper.make_node("ReduceMean", ["rows"], ["y"], axes=[1], keepdims=0),
            ],
            "tensors": {"table": TABLE[:3]},
        },
        "out of data bounds",
    ),
}


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", REFUSED)
def test_text_sides_that_are_refused(name: str, model: Path, tmp_path: Path) -> None:
    changes, says = REFUSED[name]
    changed(tmp_path / "text.onnx", **changes)
    with pytest.raises(RetrievalError, match=says) as error:
        Encoder.load(f"onnx:{model}")
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("here")
def test_files_elsewhere_and_files_that_are_none(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "apart"
    folder.mkdir()
    for key in ("text", "tokenizer"):
        for name in ("../text.onnx", str(tmp_path / "text.onnx"), "..", "", "link"):
            (tmp_path / "link").unlink(missing_ok=True)
            (tmp_path / "link").symlink_to(folder)
            describe(model, **{key: name})
            with pytest.raises(RetrievalError, match=r"names .* which is no file beside it"):
                Encoder.load(f"onnx:{model}")
    describe(model)
    (tmp_path / "text.onnx").unlink()
    text_side(tmp_path / "text.onnx", save_as_external_data=True, location="weights", size_threshold=0)
    np.testing.assert_allclose(Encoder.load(f"onnx:{model}").encode_text(TEXTS), expected(TEXTS), atol=1e-6)
    (tmp_path / "weights").rename(folder / "weights")
    (tmp_path / "weights").symlink_to(folder / "weights")
    with pytest.raises(RetrievalError, match=r"text\.onnx' cannot be used .*which is no file beside it"):
        Encoder.load(f"onnx:{model}")
    text_side(tmp_path / "text.onnx")
    (tmp_path / "tokenizer.json").write_text('{"model": 3}')
    with pytest.raises(RetrievalError, match=r"tokenizer\.json cannot be used"):
        Encoder.load(f"onnx:{model}")
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(RetrievalError, match=r"needs a tokenizer, and there is no file .*tokenizer\.json"):
        Encoder.load(f"onnx:{model}")


def test_tokenizers_that_may_take_for_ever_are_refused() -> None:
    from tokenizers import Regex, normalizers

    tokenizer = words.tokenizer()
    tokenizer.normalizer = normalizers.Sequence([normalizers.Replace(Regex("(a+)+b"), "b")])
    with pytest.raises(RetrievalError, match="repeated group"):
        parse(tokenizer.to_str().encode())
    for content in (b"", b"{}", b"\xff", b"[" * 30_000):
        with pytest.raises(RetrievalError, match=r"tokenizer\.json cannot be used"):
            parse(content)


def test_a_text_side_in_an_index_is_looked_at_before_it_runs(tmp_path: Path) -> None:
    """What lies in an index may be a stranger's, too."""
    text_side(tmp_path / "text.onnx", (1, LENGTH), mask=False)
    content = (tmp_path / "text.onnx").read_bytes()
    tokenizer = fixed(words.tokenizer(), LENGTH, "<pad>")
    with pytest.raises(RetrievalError, match=r"cannot read the encoder's text\.onnx \(it takes texts of 6 numbers"):
        TextRunner(TextModel(content, tokenizer), 1)
    changed(tmp_path / "loop.onnx", nodes=[loop()], tensors={"times": np.array(1)})
    with pytest.raises(RetrievalError, match="loops or branches"):
        TextRunner(TextModel((tmp_path / "loop.onnx").read_bytes(), tokenizer), 1)
