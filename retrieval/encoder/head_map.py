"""What a head does to the vectors of the encoder below it, without that encoder, and without torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from retrieval.encoder import store
from retrieval.errors import RetrievalError

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class HeadMap:
    """The layers of a :class:`retrieval.networks.head.Head`, in NumPy.

    Attributes:
        weight: float32 (size, d). bias: float32 (size,).
        rest: float32 (kept, d) and (kept,), the layer beside it; None: the vectors themselves.
        mix: how much that counts; 0: there is no second part.
    """

    weight: Floats
    bias: Floats
    rest: tuple[Floats, Floats] | None = None
    mix: float = 0.0

    @classmethod
    def of(cls, saved: store.Saved) -> Self:
        """That of a saved encoder.

        Raises:
            RetrievalError: it is no head, or its files are not the ones that were saved.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        options = saved.config.options
        try:
            weights = load(saved.read(store.WEIGHTS))
            beside = None if options["plain"] or not options["kept"] else (weights["rest.weight"], weights["rest.bias"])
            found = cls(weights["layer.weight"], weights["layer.bias"], beside, float(options["mix"]))
            shape = (int(options["size"]), int(options["base_dim"]))
            parts = (found.weight, *(found.rest or ())[:1])
            if found.weight.shape != shape or any(part.dtype != np.float32 or part.ndim != 2 for part in parts):
                raise ValueError(f"its layer is {found.weight.dtype} {found.weight.shape}")
            if found(np.ones((1, shape[1]), np.float32)).shape != (1, saved.config.dim):
                raise ValueError("its layers make vectors of another length")
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise RetrievalError(
                f"The head in {str(saved.folder)!r} is damaged ({error}); train it anew, or restore a copy."
            ) from None
        return found

    @property
    def layers(self) -> dict[str, Floats]:
        """The weights as the head's network names them."""
        rest = {} if self.rest is None else {"rest.weight": self.rest[0], "rest.bias": self.rest[1]}
        return {"layer.weight": self.weight, "layer.bias": self.bias, **rest}

    @property
    def dim(self) -> int:
        """Length of the vectors that it makes."""
        kept = 0 if not self.mix else self.weight.shape[1] if self.rest is None else len(self.rest[0])
        return len(self.weight) + kept

    def __call__(self, vectors: Floats) -> Floats:
        """Unit vectors float32 (n, dim) from unit vectors float32 (n, d)."""
        # Each part is made where it is to lie: of a million vectors every pass and every copy counts.
        found = np.empty((len(vectors), self.dim), np.float32)
        size, whole = len(self.weight), math.sqrt(1 + self.mix**2)
        _layer(vectors, (self.weight, self.bias), found[:, :size], 1 / whole)
        if self.mix:
            _layer(vectors, self.rest, found[:, size:], self.mix / whole)
        return found


def _layer(vectors: Floats, layer: tuple[Floats, Floats] | None, out: Floats, length: float) -> None:
    """A linear layer's output, or the vectors themselves, with rows of that length (a row of zeros stays so)."""
    if layer is None:
        np.multiply(vectors, _scales(vectors, length), out=out)
        return
    np.matmul(vectors, layer[0].T, out=out)
    out += layer[1]
    out *= _scales(out, length)


def _scales(rows: Floats, length: float) -> Floats:
    """(n, 1), what each row is multiplied by to have a length."""
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]  # without a second array as large
    scales: Floats = np.float32(length) / np.maximum(lengths, np.float32(1e-12))
    return scales


def unit(vectors: Floats) -> Floats:
    """Rows (n, d) of length one; a row of zeros stays so."""
    rows: Floats = vectors * _scales(vectors, 1.0)
    return rows
