"""The handwritten digits that scikit-learn ships: 1,797 grey pictures 8×8, always at hand.

They are the test part of the UCI set "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak 1998).
"""

from __future__ import annotations

import numpy as np

from retrieval.datasets.picture_set import PictureSet

TRAIN = 1437
"""How many of them, the first ones, are for training: four fifths. The order is by writer, so that most
writers of the test pictures are not among those of the training pictures."""


def load() -> PictureSet:
    """The digits, uint8 (1797, 8, 8, 1), ink 255 on paper 0."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    labels = digits.target.astype(np.int64)
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    splits = np.where(np.arange(len(labels)) < TRAIN, "train", "test").astype("<U5")
    places = np.where(splits == "train", 0, -TRAIN) + np.arange(len(labels))
    names = [f"{s}/{label}/{place:05d}.png" for s, label, place in zip(splits, labels, places, strict=True)]
    return PictureSet("digits", tuple(names), tuple(str(n) for n in range(10)), labels, splits, pixels)
