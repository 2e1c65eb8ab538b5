"""Published models that go by one word: ``--model dinov2-small``.

What stands here was looked up, and beside each model is where. What could not be looked up is None: then the newest
revision is taken, and an encoder's card records which it was, with the SHA-256 of its weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Purpose = Literal["the same thing", "the same kind", "words"]


@dataclass(frozen=True)
class HubModel:
    """A model on the Hugging Face hub.

    Attributes:
        hub: its name there.
        revision: the commit there; None: the newest.
        licence: its name. licence_url: where it stands.
        gated: its owner asks one to accept conditions before it can be downloaded.
        size: bytes of `model.safetensors`. sha256: of that file.
        words: it also takes texts.
        best_for: what its training makes it good at finding; `retrieval encoders` measures that on one's own pictures.
        sources: where `revision`, `size`, `sha256` and the licence were looked up.
    """

    hub: str
    revision: str | None
    licence: str
    licence_url: str
    gated: bool
    size: int | None
    sha256: str | None
    words: bool
    best_for: Purpose
    sources: tuple[str, ...]

    @property
    def name(self) -> str:
        """What a model is loaded by: `hf:`, its name on the hub and the revision."""
        return f"hf:{self.hub}" + (f"@{self.revision}" if self.revision else "")

    @property
    def url(self) -> str:
        """Its page."""
        return f"https://huggingface.co/{self.hub}" + (f"/tree/{self.revision}" if self.revision else "")


_APACHE = ("Apache 2.0", "https://www.apache.org/licenses/LICENSE-2.0")
_DINOV3 = ("DINOv3 License", "https://ai.meta.com/resources/models-and-libraries/dinov3-license")

HUB_MODELS = {
    "dinov2-small": HubModel(
        "facebook/dinov2-small",
        "ed25f3a31f01632728cabb09d1542f84ab7b0056",
        *_APACHE,
        gated=False,
        size=88_249_960,
        sha256="ae1e99fcefd534ed978cdeb8326f08030c96e28b7a81ffcbc98a857c84d14be1",
        words=False,
        best_for="the same thing",
        sources=(
            "https://huggingface.co/facebook/dinov2-small/commit/ed25f3a31f01632728cabb09d1542f84ab7b0056",
            "embeddings-benchmark/mteb: docs/overview/available_models/image.md",
            "size and SHA-256: a public record of the hub's metadata at that revision",
        ),
    ),
    "dinov2-base": HubModel(
        "facebook/dinov2-base",
        "f9e44c814b77203eaa57a6bdbbd535f21ede1415",
        *_APACHE,
        gated=False,
        size=None,
        sha256=None,
        words=False,
        best_for="the same thing",
        sources=(
            "https://huggingface.co/facebook/dinov2-base/tree/main",
            "embeddings-benchmark/mteb: docs/overview/available_models/image.md",
        ),
    ),
    "dinov3-small": HubModel(
        "facebook/dinov3-vits16-pretrain-lvd1689m",
        "114c1379950215c8b35dfcd4e90a5c251dde0d32",
        *_DINOV3,
        gated=True,
        size=86_406_384,
        sha256="4610ad75edef83e75afdebf162d148dc628045ea6cbb83d67d4708c709c4f91d",
        words=False,
        best_for="the same thing",
        sources=(
            "https://huggingface.co/facebook/dinov3-vits16-pretrain-lvd1689m",
            "revision, size and SHA-256: several public records of the hub's metadata, which agree",
        ),
    ),
    "dinov3-base": HubModel(
        "facebook/dinov3-vitb16-pretrain-lvd1689m",
        "5931719e67bbdb9737e363e781fb0c67687896bc",
        *_DINOV3,
        gated=True,
        size=342_662_192,
        sha256="9a21ac3df0c63839d62612dda6f454d816c25611cc7a52966ed5a5a94921dc8b",
        words=False,
        best_for="the same thing",
        sources=(
            "https://huggingface.co/facebook/dinov3-vitb16-pretrain-lvd1689m/tree/5931719e67bbdb9737e363e781fb0c67687896bc",
            "size and SHA-256: public code that pins them",
        ),
    ),
    "siglip2-base": HubModel(
        "google/siglip2-base-patch16-224",
        "75de2d55ec2d0b4efc50b3e9ad70dba96a7b2fa2",
        *_APACHE,
        gated=False,
        size=1_500_800_904,
        sha256="612923381c76ec5a9bed335d1c48827e3f2e506ac31b044b63b2031fadee6a0b",
        words=True,
        best_for="words",
        sources=(
            "https://huggingface.co/google/siglip2-base-patch16-224",
            "revision, size and SHA-256: several public records of the hub's metadata, which agree",
        ),
    ),
    "tipsv2-base": HubModel(
        "google/tipsv2-b14",
        None,
        "Apache 2.0 (software), CC-BY 4.0 (all else)",
        "https://github.com/google-deepmind/tips#license-and-disclaimer",
        gated=False,
        size=None,
        sha256=None,
        words=True,
        best_for="words",
        sources=(
            "https://huggingface.co/docs/transformers/main/model_doc/tipsv2",
            "licence: google-deepmind/tips: README.md",
        ),
    ),
    "clip-base": HubModel(
        "openai/clip-vit-base-patch32",
        # The main branch has no safetensors; this is the hub's own conversion of its weights, on top of it.
        "c237dc49a33fc61debc9276459120b7eac67e7ef",
        "MIT (its code's; its page on the hub names none)",
        "https://github.com/openai/CLIP/blob/main/LICENSE",
        gated=False,
        size=605_157_884,
        sha256=None,
        words=True,
        best_for="words",
        sources=(
            "licence: openai/CLIP: LICENSE",
            "revision and size: several public records of the hub's metadata, which agree",
        ),
    ),
}
"""Name → model. A file or folder of that name comes first."""

WORDS = "clip-base"
"""What is named where somebody looks for words with a model that knows none: the smallest that does."""
