"""The small convolutional network that was made for faces."""

from __future__ import annotations

from torch import Tensor, nn

from retrieval.images import Preprocessing

HEIGHT, WIDTH = 56, 46


class Portrait(nn.Module):
    """The network of Chopra, Hadsell and LeCun 2005 ("Learning a Similarity Metric Discriminatively, with Application
    to Face Verification", section 3.1), which sees grey pictures in portrait format, 56×46.

    C1 has 15 filters 7×7, S2 halves both sides, C3 has 45 filters 6×6, S4 takes 4×3 to one, C5 has 250 filters 5×5,
    which see all of what is left, and F6 is fully connected. Each convolution is followed by batch normalisation, which
    the article did not know, and a hyperbolic tangent; C3 sees all maps of S2, and not some of them.

    A picture is scaled to 56 pixels along its longer side and padded to a square, of which the network cuts out the
    46 columns in the middle: just what a face of 92×112 pixels fills.

    Args:
        dim: length of the embedding, 50 as published.

    Shapes:
        float32 (n, 1, 56, 56) → (n, dim).
    """

    def __init__(self, dim: int = 50) -> None:
        super().__init__()
        self.dim = dim
        self.preprocessing = Preprocessing(HEIGHT, "L", fit="pad", mean=(0.5,), std=(0.25,))
        self.features = nn.Sequential(
            *(nn.Conv2d(1, 15, 7), nn.BatchNorm2d(15), nn.Tanh(), nn.AvgPool2d(2)),
            *(nn.Conv2d(15, 45, 6), nn.BatchNorm2d(45), nn.Tanh(), nn.AvgPool2d((4, 3))),
            *(nn.Conv2d(45, 250, 5), nn.BatchNorm2d(250), nn.Tanh(), nn.Flatten()),
        )
        self.embedding = nn.Linear(250, dim)

    def forward(self, x: Tensor) -> Tensor:
        left = (x.shape[3] - WIDTH) // 2
        out: Tensor = self.embedding(self.features(x[..., left : left + WIDTH]))
        return out
