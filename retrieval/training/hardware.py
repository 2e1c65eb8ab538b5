"""What a training runs on, in which precision, and how long its steps take there."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.distributed as dist

from retrieval.base.progress import bar
from retrieval.errors import RetrievalError
from retrieval.training.batches import Batch
from retrieval.training.engine import Engine

STEPS = 20


def choose_device(name: str) -> torch.device:
    """The device of a name; of several processes on one machine each takes a GPU of its own."""
    if name == "cuda" and not torch.cuda.is_available():
        raise RetrievalError("There is no CUDA device here; use --device auto or cpu.")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    number = int(os.environ["LOCAL_RANK"]) if dist.is_available() and dist.is_torchelastic_launched() else 0
    if number >= torch.cuda.device_count():
        raise RetrievalError(
            f"There are {torch.cuda.device_count()} GPUs here for {number + 1} processes or more; "
            "start fewer (torchrun --nproc-per-node), or use --device cpu."
        )
    return torch.device("cuda", number)


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


def seconds_per_step(engine: Engine, steps: Iterator[list[Batch]], lr: float, count: int = STEPS) -> float:
    """The median of the first ``count`` steps but for the first quarter of them, which warm things up.

    The steps are real ones; the engine is then put back as it was.
    """
    before = {name: tensor.clone() for name, tensor in engine.state().items()}
    seconds = []
    try:
        with bar(count, "Timing", "steps") as progress:
            for number, batches in enumerate(itertools.islice(steps, count)):
                start = time.perf_counter()
                engine.step(number, batches, lr)
                seconds.append(time.perf_counter() - start)
                progress.update(1)
    finally:
        engine.restore(before)
    return float(np.median(seconds[len(seconds) // 4 :]))
