"""Omniglot's one-shot trials: Lake's twenty runs, or characters of any alphabets (Lake et al. 2015).

The trials themselves are those of `retrieval evaluate --oneshot`.
"""

from __future__ import annotations

from pathlib import Path

from retrieval.protocols.protocol import Protocol


def recognises(folder: Path) -> bool:
    """`retrieval data` knows Omniglot in all its layouts by itself."""
    return False


PROTOCOL = Protocol(
    name="omniglot",
    title="Omniglot",
    layout="all_runs.zip (Lake's runs), or images_evaluation (trials across alphabets)",
    recognises=recognises,
    asked="one-shot trials",
    measures={},
    trials=True,
    sources=("Lake et al., Human-Level Concept Learning through Probabilistic Program Induction, Science 2015",),
)
