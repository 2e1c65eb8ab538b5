"""What the service counts, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

MEDIA = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_SIZES = (1, 2, 4, 8, 16, 32)


class Metrics:
    """The figures of one service."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Histogram(
            "retrieval_request_seconds", "From the first byte of a request to the last of its answer.",
            ("path",), registry=self._registry, buckets=_SECONDS,
        )  # fmt: skip
        self._answers = Counter("retrieval_answers", "Answers by status.", ("path", "status"), registry=self._registry)
        self._stages = Histogram(
            "retrieval_stage_seconds", "Stages of a search: decode (a picture), wait (for the lane), work (in it).",
            ("stage",), registry=self._registry, buckets=_SECONDS,
        )  # fmt: skip
        self._batches = Histogram(
            "retrieval_batch_size", "Jobs that were done together.", registry=self._registry, buckets=_SIZES
        )
        self._queue = Gauge("retrieval_queue", "Jobs that wait for the lane.", registry=self._registry)
        self._generation = Gauge(
            "retrieval_generation", "Changes that led to what is served.", ("index",), registry=self._registry
        )
        self._items = Gauge("retrieval_items", "Pictures in an index.", ("index",), registry=self._registry)

    def request(self, path: str, status: int, seconds: float) -> None:
        """An answer was given."""
        self._requests.labels(path).observe(seconds)
        self._answers.labels(path, str(status)).inc()

    def stage(self, stage: str, seconds: float) -> None:
        """A stage of a search is done."""
        self._stages.labels(stage).observe(seconds)

    def batch(self, size: int, waited: float, took: float) -> None:
        """A batch is done."""
        self._batches.observe(size)
        self.stage("wait", waited)
        self.stage("work", took)

    def queue(self, length: Callable[[], int]) -> None:
        """Ask this how many jobs wait."""
        self._queue.set_function(length)

    def index(self, name: str, generation: int, items: int) -> None:
        """What an index has now."""
        self._generation.labels(name).set(generation)
        self._items.labels(name).set(items)

    def text(self) -> bytes:
        """All of it."""
        found: bytes = generate_latest(self._registry)
        return found
