"""A worker of a cluster that does sums, and not everywhere: what a crew does with its workers, without an encoder."""

from __future__ import annotations

import os
from pathlib import Path

from retrieval.cluster.refusal import Refusal


class PickyWorker:
    """Squares numbers; at −1 its process ends.

    Args:
        job: the addresses of nodes where it refuses to begin; and a folder: if a file of a node's address comes to be
            there, it refuses on that node from then on.
    """

    def __init__(self, job: tuple[list[str], Path]) -> None:
        import ray

        self._not_on, self._folder = job
        self._here = ray.util.get_node_ip_address()

    def ready(self) -> str | Refusal:
        """Where it is."""
        if self._here in self._not_on:
            return Refusal(f"Nothing is there on {self._here}.", here=True)
        return self._here

    def work(self, number: int) -> tuple[int, str] | Refusal:
        """The square, and where that was found."""
        if (self._folder / self._here).exists():
            return Refusal(f"Nothing is there any more on {self._here}.", here=True)
        if number == -1:
            os._exit(1)
        if number == -2:
            return Refusal("There is no square of that.", here=False)
        return number * number, self._here
