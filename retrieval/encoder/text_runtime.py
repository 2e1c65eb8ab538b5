"""Words to vectors without torch: a tokenizer and a saved graph, by ONNX Runtime on the CPU."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.encoder import store
from retrieval.encoder.onnx_runtime import CheckedGraph
from retrieval.networks.text_tokens import Tokens

SAMPLE_TEXTS = (
    "a photo of a red shoe",
    "Two CATS on a sofa, 1998 — quite alike!",
    "café déjà-vu, Straße, 東京 and 🐈",
    "  many   words " * 40,
)
"""Texts on which two ways to the vectors are compared."""

TEXTS_A_RUN = 8
"""How many go through the text side at once."""


@dataclass(frozen=True)
class TextModel:
    """What turns words into vectors.

    Attributes:
        graph: an ONNX file's content, from tokens int64 (n, 2, length), as :class:`.Tokens` makes them, to unit vectors
            float32 (n, dim).
        tokenizer: the content of a tokenizer.json.
    """

    graph: bytes
    tokenizer: bytes

    @property
    def files(self) -> dict[str, bytes]:
        """What stands in an encoder's folder."""
        return {store.TEXT: self.graph, store.TOKENIZER: self.tokenizer}

    @property
    def digest(self) -> str:
        """SHA-256 of both."""
        parts = [hashlib.sha256(part).digest() for part in (self.graph, self.tokenizer)]
        return hashlib.sha256(b"".join(parts)).hexdigest()


class TextRunner:
    """Texts to unit vectors.

    Args:
        model: what does it.
        threads: how many cores to use.

    Raises:
        RetrievalError: the tokenizer or the graph cannot be read, they do not fit together, or the graph computes
            without end or without bounds.
    """

    def __init__(self, model: TextModel, threads: int) -> None:
        self._tokens = Tokens(model.tokenizer)
        self._graph = CheckedGraph(model.graph, store.TEXT)
        known = self._graph.known
        if known.shape != (2, self._tokens.length):
            raise self._graph.unreadable(
                f"it takes texts of {' × '.join(map(str, known.shape))} numbers, and the tokenizer makes 2 × "
                f"{self._tokens.length}"
            )
        self._most = known.rows or TEXTS_A_RUN
        for texts in {1, self._most}:
            self._graph.require_bounded(texts)
        self._threads = threads
        self._graph.session(threads)

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of texts, at least one: float32 (n, dim).

        Raises:
            RetrievalError: the tokenizer gives numbers that the graph does not know.
        """
        tokens = self._tokens(texts)
        try:
            parts = [
                self._graph.run(tokens[i : i + self._most], self._threads) for i in range(0, len(tokens), self._most)
            ]
        except Exception as error:  # ONNX Runtime's exceptions have no common base
            raise self._graph.unreadable(str(error).splitlines()[0].rstrip(".")) from None
        return np.concatenate(parts)
