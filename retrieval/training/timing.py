"""How long a training's steps take, measured on the training itself."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import numpy as np

from retrieval.progress import bar
from retrieval.training.batches import Batch
from retrieval.training.engine import Engine

STEPS = 20


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
