"""Running a saved graph with ONNX Runtime on the CPU, without torch."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.encoder import onnx_graph, onnx_work
from retrieval.errors import RetrievalError

PIXELS_A_RUN = 2**17
"""About how many pixels (of one channel) go through the network at once on a CPU.

Two pictures of 224×224, 128 of 32×32: what is between two layers still fits the caches. EfficientNet-Lite0 is a
quarter slower with 32 pictures at once (`benchmarks/encoder.py`), and takes 0.5 GB instead of 0.14.
"""


def pictures_a_run(pixels: NDArray[np.uint8], limit: int | None) -> int:
    """How many of these pictures (n, h, w, c) go through the network at once on a CPU; `limit` or fewer."""
    best = _pictures_of(*pixels.shape[1:3])
    return best if limit is None else min(best, limit)


def _pictures_of(height: int, width: int) -> int:
    return max(1, PIXELS_A_RUN // (height * width))


class OnnxRunner:
    """A graph from uint8 pixels to unit vectors, on the CPU.

    Args:
        graph: the ONNX file's content.
        threads: how many cores to use.

    Raises:
        RetrievalError: ONNX Runtime cannot read the graph, or it is none that this program writes, as it computes
            without end or without bounds.
    """

    name = "onnx"

    def __init__(self, graph: bytes, threads: int) -> None:
        try:
            self._read = onnx_graph.read(graph)
        except onnx_graph.RefusedGraphError as error:
            raise _unreadable(str(error)) from None
        self._graph = graph
        self._bounded: set[int] = set()
        fixed = self._read.pictures
        if fixed not in (None, 1):
            raise _unreadable(f"it takes {fixed} pictures at once and not any number")
        self._most = fixed or _pictures_of(*self._read.shape[:2])
        for pictures in {1, self._most}:
            self._require_bounded(pictures)  # before it is read, which computes what does not depend on the pictures
        self._threads = threads
        self._sessions: dict[int, Any] = {}
        self._pool = ThreadPoolExecutor(threads, "encoder") if threads > 1 else None
        self._session(threads)  # so that a graph that cannot be read is found now

    def __call__(self, pixels: NDArray[np.uint8], batch: int | None = None) -> NDArray[np.float32]:
        """Vectors of some pictures.

        Args:
            pixels: uint8 (n, size, size, channels), n at least 1.
            batch: at most so many at once; by default what is fastest.

        Returns:
            float32 (n, dim).
        """
        step = min(self._most, pictures_a_run(pixels, batch))
        shared = self._pool is not None and len(pixels) > 1
        if shared:
            step = min(step, -(-len(pixels) // self._threads))
        for pictures in {min(step, len(pixels)), len(pixels) % step or step}:
            self._require_bounded(pictures)
        if self._pool is None or not shared:
            # One picture is shared out among the cores; many pictures are not, since cores that work on
            # pictures of their own never wait for each other.
            session = self._session(self._threads)
            parts = [self._run(session, pixels[i : i + step]) for i in range(0, len(pixels), step)]
        else:
            session = self._session(1)
            parts = list(
                self._pool.map(lambda i: self._run(session, pixels[i : i + step]), range(0, len(pixels), step))
            )
        return np.concatenate(parts)

    def _require_bounded(self, pictures: int) -> None:
        if pictures not in self._bounded:
            try:
                onnx_work.tensors_of(self._read, pictures)
            except onnx_graph.RefusedGraphError as error:
                raise _unreadable(str(error)) from None
            self._bounded.add(pictures)

    @staticmethod
    def _run(session: Any, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        vectors: NDArray[np.float32] = session.run(None, {"pixels": np.ascontiguousarray(pixels)})[0]
        return vectors

    def _session(self, threads: int) -> Any:
        if threads not in self._sessions:
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            options.inter_op_num_threads = 1
            # A waiting thread that spins takes a core from the one that decodes the next pictures.
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            options.log_severity_level = 3
            try:
                self._sessions[threads] = onnxruntime.InferenceSession(
                    self._graph, options, providers=["CPUExecutionProvider"]
                )
            except Exception as error:  # ONNX Runtime's exceptions have no common base
                raise _unreadable(str(error).splitlines()[0].rstrip(".")) from None
        return self._sessions[threads]


def _unreadable(why: str) -> RetrievalError:
    return RetrievalError(
        f"ONNX Runtime cannot read the encoder's network.onnx ({why}); build or train it anew, "
        "or load it with runtime='torch'."
    )
