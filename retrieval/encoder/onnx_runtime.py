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


class CheckedGraph:
    """A graph that ONNX Runtime may run on the CPU, as what it computes is known and bounded.

    Args:
        content: of the ONNX file.
        name: that file's, for messages.

    Attributes:
        known: what it holds.

    Raises:
        RetrievalError: it is none that this program writes, as it computes without end or without bounds.
    """

    def __init__(self, content: bytes, name: str) -> None:
        self._name = name
        try:
            self.known = onnx_graph.read(content)
        except onnx_graph.RefusedGraphError as error:
            raise self.unreadable(str(error)) from None
        self._content = content
        self._bounded: set[int] = set()
        self._sessions: dict[int, Any] = {}
        if self.known.rows not in (None, 1):
            raise self.unreadable(f"it takes {self.known.rows} inputs at once and not any number")

    def require_bounded(self, rows: int) -> None:
        """Look at what it makes of so many pictures or texts in a run.

        Raises:
            RetrievalError: it is too much.
        """
        if rows not in self._bounded:
            try:
                onnx_work.tensors_of(self.known, rows)
            except onnx_graph.RefusedGraphError as error:
                raise self.unreadable(str(error)) from None
            self._bounded.add(rows)

    def run(self, given: NDArray[Any], threads: int) -> NDArray[np.float32]:
        """What it makes of some rows, for which it has been looked at.

        Args:
            given: as the graph takes them.
            threads: how many cores to use.
        """
        self.require_bounded(len(given))
        made: NDArray[np.float32] = self.session(threads).run(None, {self.known.input: np.ascontiguousarray(given)})[0]
        return made

    def session(self, threads: int) -> Any:
        """ONNX Runtime's, which reads the graph, and so computes what does not depend on its input."""
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
                    self._content, options, providers=["CPUExecutionProvider"]
                )
            except Exception as error:  # ONNX Runtime's exceptions have no common base
                raise self.unreadable(str(error).splitlines()[0].rstrip(".")) from None
        return self._sessions[threads]

    def unreadable(self, why: str) -> RetrievalError:
        """What is said of a graph that is no good."""
        return RetrievalError(
            f"ONNX Runtime cannot read the encoder's {self._name} ({why}); build or train it anew, "
            "or load it with runtime='torch'."
        )


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
        self._graph = CheckedGraph(graph, "network.onnx")
        known = self._graph.known
        if len(known.shape) != 3:
            raise self._graph.unreadable("it does not say how large its pictures are")
        self._most = known.rows or _pictures_of(*known.shape[:2])
        for pictures in {1, self._most}:
            self._graph.require_bounded(pictures)
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, "encoder") if threads > 1 else None
        self._graph.session(threads)  # so that a graph that cannot be read is found now

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
            self._graph.require_bounded(pictures)
        places = range(0, len(pixels), step)
        if self._pool is None or not shared:
            # One picture is shared out among the cores; many pictures are not, since cores that work on
            # pictures of their own never wait for each other.
            return np.concatenate([self._graph.run(pixels[i : i + step], self._threads) for i in places])
        self._graph.session(1)
        return np.concatenate(list(self._pool.map(lambda i: self._graph.run(pixels[i : i + step], 1), places)))
