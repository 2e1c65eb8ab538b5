"""What a training runs on, in which precision, how long its steps take there, and whether ``torch.compile`` pays."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.distributed as dist

from retrieval.base.progress import bar
from retrieval.errors import RetrievalError
from retrieval.training.engine import Engine
from retrieval.training.training_set import Batch

STEPS = 20
"""So many are timed."""

PAYS = 0.95
"""The share of the time of a step that compiled ones may take at most to be worth their while."""


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
        fast = torch.cuda.is_bf16_supported() if device.type == "cuda" else _multiplies_bfloat16()
        name = "bfloat16" if fast else "float32"
    if name == "float16" and device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_fp16_supported():
        raise RetrievalError("This processor cannot compute in float16; use --precision bfloat16 or float32.")
    return {"float16": torch.float16, "float32": torch.float32, "bfloat16": torch.bfloat16}[name]


def _multiplies_bfloat16() -> bool:
    """Whether the processor has instructions for it: one that has none computes it slower than float32."""
    has = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return bool(has and torch.ops.mkldnn._is_mkldnn_bf16_supported())  # which may be held to less than it has


def precisions(name: str, device: torch.device) -> list[torch.dtype]:
    """What to choose from by measurement: where the name leaves it open, a CPU that can compute bfloat16 may be faster
    at it without instructions for it, too."""
    usual = choose_precision(name, device)
    both = name == "auto" and usual == torch.float32 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return [usual, torch.bfloat16] if both else [usual]


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


def try_compiled(
    engine: Engine, steps: Callable[[], Iterator[list[Batch]]], lr: float, report: Callable[[str], None]
) -> None:
    """Leave the engine compiled where that is measured to be faster; otherwise say why it is not.

    Args:
        steps: makes the steps to time, from the first on.
        lr: their learning rate.
    """
    plain, compiled = seconds_per_step(engine, steps(), lr), _compiled(engine, steps(), lr, STEPS)
    if isinstance(compiled, str):
        report(f"The network cannot be compiled here ({compiled}); the training goes on without.")
    elif compiled > PAYS * plain:
        report(
            f"Compiling does not pay here (a step takes {1000 * compiled:.1f} ms, and {1000 * plain:.1f} ms without); "
            "the training goes on without."
        )
    else:
        return
    engine.compiled = None


def compile_again(engine: Engine, steps: Iterator[list[Batch]], lr: float) -> None:
    """Compile for a training that began so, whatever would be faster now: other kernels round differently.

    Raises:
        RetrievalError: it cannot be done any more.
    """
    failed = _compiled(engine, steps, lr, 1)
    if isinstance(failed, str):
        raise RetrievalError(
            f"The training began compiled, and that fails here ({failed}); "
            "go on where it began, or train anew without --compile."
        )


def _compiled(engine: Engine, steps: Iterator[list[Batch]], lr: float, count: int) -> float | str:
    """The seconds of a step of the engine, compiled; or why it cannot be."""
    engine.compile()
    try:
        return seconds_per_step(engine, steps, lr, count)
    except RetrievalError:
        raise
    except Exception as error:  # compilers fail in more ways than can be named
        return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
