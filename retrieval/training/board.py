"""The readings of a training for TensorBoard."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from retrieval.errors import RetrievalError
from retrieval.training.monitoring import Reading

FOLDER = "tensorboard"
"""Where in a run's folder the event files lie."""

_NAMES = {
    "loss": "loss",
    "active": "share of active triplets",
    "spread": "spread of the embedding",
    "lr": "learning rate",
    "precision_at_1": "P@1 on the validation pictures",
}


class Board:
    """Writes readings as they come.

    Args:
        run: the run's folder.
        step: how many steps are done; whatever was written of later ones, before the training was cut off, is dropped.

    Raises:
        RetrievalError: the package tensorboard is missing.
    """

    def __init__(self, run: Path, step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise RetrievalError(
                'TensorBoard logs need the package tensorboard; run `pip install "retrieval[tensorboard]"`, '
                "or leave --tensorboard out."
            ) from None
        writer: Any = SummaryWriter
        self._writer = writer(str(run / FOLDER), purge_step=step + 1 if step else None)

    def write(self, reading: Reading) -> None:
        """Whatever was measured in one step."""
        for name, title in _NAMES.items():
            value = getattr(reading, name)
            if not math.isnan(value):
                self._writer.add_scalar(title, value, reading.step)

    def close(self) -> None:
        self._writer.close()
