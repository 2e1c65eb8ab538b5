"""The yardstick: the accuracy of a network that was trained end to end as a classifier."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from retrieval.datasets import PictureSet
from retrieval.encoder import Encoder
from retrieval.errors import RetrievalError
from retrieval.evaluation.labelled_vectors import encode

FILE = "classifier.safetensors"
"""What a training with ``--loss softmax`` leaves beside its encoder: `weight` (classes, dim) and `bias` (classes,)."""


class Classifier:
    """A run's encoder with the linear layer that it was trained under.

    The logits of a unit embedding are ``embedding @ weight.T + bias``; the answer is the largest.

    Attributes:
        encoder: makes the embeddings. classes: what the rows of `weight` stand for.
        weight: float32 (classes, dim). bias: float32 (classes,).
    """

    def __init__(self, run: str | Path, *, threads: int | None = None) -> None:
        """Load the run.

        Args:
            run: the folder that the training wrote.
            threads: how many cores its encoder may use; all by default.

        Raises:
            RetrievalError: the run was not trained as a classifier, or its files do not fit together.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        file = Path(run) / FILE
        try:
            tensors = load_file(file)
            self.weight, self.bias = tensors["weight"], tensors["bias"]
        except FileNotFoundError:
            raise RetrievalError(
                f"{str(run)!r} is no classifier, for it has no {FILE}: give a run trained with --loss softmax"
            ) from None
        except (OSError, SafetensorError, KeyError) as error:
            raise RetrievalError(f"{str(file)!r} cannot be read ({error}): train that run anew") from None
        self.encoder = Encoder.load(run, threads=threads)
        self.classes = self.encoder.config.classes
        if self.weight.shape != (len(self.classes), self.encoder.dim) or self.bias.shape != self.weight.shape[:1]:
            raise RetrievalError(
                f"{str(file)!r} is of shape {self.weight.shape}, but its encoder knows {len(self.classes)} classes and "
                f"makes vectors of {self.encoder.dim} numbers: train that run anew"
            )

    def correct(self, pictures: PictureSet) -> npt.NDArray[np.float64]:
        """For each picture (n,) the probability that its class is answered: 1 or 0, a share where logits tie.

        A class that the classifier does not know is never answered, nor is a file that cannot be read.

        Raises:
            RetrievalError: none of the pictures' classes is known to the classifier.
        """
        common = set(pictures.classes) & set(self.classes)
        if not common:
            raise RetrievalError(
                f"the classifier knows {_few(self.classes)}, the pictures show {_few(pictures.classes)}: "
                "give a classifier trained on these classes"
            )
        shown = encode(self.encoder, pictures, "for the classifier")
        truth = shown.relabelled(self.classes).labels
        logits = shown.vectors @ self.weight.T + self.bias
        largest = logits == logits.max(axis=1, keepdims=True)
        known = (truth >= 0) & (truth < len(self.classes))
        correct = np.zeros(len(pictures))
        correct[shown.rows[known]] = largest[known, truth[known]] / largest[known].sum(axis=1)
        return correct


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "") if names else "no classes"
