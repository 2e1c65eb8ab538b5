"""A program of its own that reads the ONNX file of a text side from elsewhere; see :mod:`retrieval.base.sandbox`.

It finds out what the graph is given and what it makes, puts around it what turns tokens into the one and the other into
a unit vector, settles the tokenizer on one length of texts, and runs both on sample texts.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from retrieval.base.sandbox import answer
from retrieval.encoder import onnx_graph, onnx_work
from retrieval.encoder.graph_model import from_tokens, taking_tokens
from retrieval.encoder.onnx_reader import VECTOR_NAMES, alike_in_any_batch, find_vector, one_at_once
from retrieval.encoder.text_runtime import SAMPLE_TEXTS, TextModel, TextRunner
from retrieval.networks.text_tokens import LONGEST, fixed, parse

if TYPE_CHECKING:
    import onnx

NUMBERS, MASK = "input_ids", "attention_mask"
"""Names of what a text side is given."""

TEXT_NAMES = ("text_embeds", "sentence_embedding", *VECTOR_NAMES)
"""Names of outputs that are the vector where there are several outputs."""

PADS = ("[PAD]", "<pad>", "<|endoftext|>", "</s>")
"""Tokens that texts are filled up with, where nobody names one."""

_INTEGERS = {6, 7}  # of ONNX's types of numbers: int32, int64


def read(path: Path, said: str, usual: str, tokenizer: str, made: str, made_tokenizer: str) -> Mapping[str, object]:
    """Make a text side of a file and a tokenizer.

    Args:
        path: the graph's file.
        said: :class:`retrieval.encoder.onnx_file.Settings` as JSON.
        usual: JSON with `length` and `pad`, where something beside the tokenizer says them, for what nobody settles.
        tokenizer: the tokenizer's file.
        made, made_tokenizer: where graph and tokenizer go.

    Returns:
        The `dim` of its vectors and the `length` of a text.

    Raises:
        ValueError: it is no graph from tokens to vectors; in words that follow the file's name in parentheses.
    """
    import onnx

    from retrieval.encoder.onnx_file import Settings

    settings = Settings(**json.loads(said))
    model = onnx.load(path, load_external_data=False)
    names, type_, rows, fixed_length = _input(model)
    words = parse(Path(tokenizer).read_bytes())
    own, beside = words.padding or {}, json.loads(usual)
    likely = beside.get("length") or (words.truncation or {}).get("max_length")
    length = settings.length or fixed_length or likely
    if length is None:
        raise ValueError('nothing says how many tokens a text has: write {"length": 77}, or whatever it wants')
    if not 1 <= length <= LONGEST or fixed_length not in (None, length):
        raise ValueError(f"its texts have {fixed_length or f'1 to {LONGEST:,}'} tokens and not {length}")
    named = settings.pad or beside.get("pad") or own.get("pad_token")
    pad = named or next((one for one in PADS if words.token_to_id(one) is not None), "")
    content = fixed(words, length, pad, own.get("direction", "right"))
    mask = MASK if MASK in names else None
    numbers = next(name for name in names if name != mask)

    def taking(texts: int | None) -> onnx.ModelProto:
        return taking_tokens(model, numbers, mask, type_, (texts, length))

    graph, outputs = _outputs(taking(rows))
    output, dim = find_vector(outputs, settings.text_output, "text_output", TEXT_NAMES)
    rows = rows or one_at_once(graph)
    made_graph = from_tokens(taking(rows), output, dim)
    runner = TextRunner(TextModel(made_graph, content), 1)
    if rows is None and not alike_in_any_batch(runner, SAMPLE_TEXTS[:3]):
        made_graph = from_tokens(taking(1), output, dim)
        runner = TextRunner(TextModel(made_graph, content), 1)
    vectors = runner(SAMPLE_TEXTS)
    if vectors.shape != (len(SAMPLE_TEXTS), dim) or not np.isfinite(vectors).all():
        raise ValueError("it makes no vectors of numbers")
    Path(made).write_bytes(made_graph)
    Path(made_tokenizer).write_bytes(content)
    return {"dim": dim, "length": length}


def _input(model: onnx.ModelProto) -> tuple[list[str], int, int | None, int | None]:
    """The names of what a model is given, the type of its numbers, how many texts it takes at once and of how many
    tokens (None: any number)."""
    weights = {one.name for one in model.graph.initializer}
    inputs = {one.name: one.type.tensor_type for one in model.graph.input if one.name not in weights}
    if not inputs or (len(inputs) > 1 and set(inputs) != {NUMBERS, MASK}):
        raise ValueError(f"it takes {', '.join(inputs)[:200]} and not {NUMBERS} alone, or with {MASK}")
    sizes = [[axis.dim_value or None for axis in one.shape.dim] for one in inputs.values()]
    types = {one.elem_type for one in inputs.values()}
    if any(len(size) != 2 for size in sizes) or len(types) != 1 or not types <= _INTEGERS:
        raise ValueError("its input is no texts: they have two axes, of whole numbers")
    rows, length = (next((size[axis] for size in sizes if size[axis]), None) for axis in (0, 1))
    if rows not in (None, 1):
        raise ValueError(f"it takes {rows} texts at once: export it for one, or for any number")
    return list(inputs), types.pop(), rows, length


def _outputs(model: onnx.ModelProto) -> tuple[onnx_graph.Graph, dict[str, onnx_graph.Tensor]]:
    """What a model that takes tokens computes, and what it makes of one text, by its own names."""
    try:
        graph = onnx_graph.read(model.SerializeToString())
        made = onnx_work.tensors_of(graph, 1)
    except onnx_graph.RefusedGraphError as error:
        raise ValueError(str(error)) from None
    names = [one.name for one in model.graph.output if one.name in made]
    return graph, {name.removeprefix("model/"): made[name] for name in names}


if __name__ == "__main__":
    answer(lambda path: read(path, *sys.argv[2:]))
