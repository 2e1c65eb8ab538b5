"""What a training runs on, and in which precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from retrieval.errors import RetrievalError


def choose_device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise RetrievalError("There is no CUDA device here; use --device auto or cpu.")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        # a CPU without matrix tiles computes bfloat16 slower than float32
        fast = torch.cuda.is_bf16_supported() if device.type == "cuda" else torch.cpu._is_amx_tile_supported()
        name = "bfloat16" if fast else "float32"
    if name == "float16" and device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_fp16_supported():
        raise RetrievalError("This processor cannot compute in float16; use --precision bfloat16 or float32.")
    return {"float16": torch.float16, "float32": torch.float32, "bfloat16": torch.bfloat16}[name]


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
