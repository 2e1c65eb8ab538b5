"""What a build, a sync or an addition did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrieval import images
from retrieval.base.text import printable
from retrieval.errors import RetrievalError


@dataclass(frozen=True)
class BuildReport:
    """What a build, a sync or an addition did.

    A picture counts in one of `added`, `replaced`, `renamed`, `touched` and `kept`.

    Attributes:
        index: the index's folder.
        total: pictures in the index now.
        added: pictures that were new.
        replaced: pictures whose file had another content than before.
        renamed: pictures whose file lies at another path than before; they have their id and vector still.
        touched: pictures whose file had another time of change, but the same content.
        kept: pictures that were there already, unchanged.
        removed: pictures whose file is gone, or has changed and can no longer be read.
        copied: of those added or replaced, how many were not encoded, since a picture of the same bytes was.
        relabelled: pictures that have another label because the list of labels has changed.
        skipped: files that were left out, and why; paths relative to the folder of pictures.
        passed: how many files and folders were passed over in the folder, by kind.
        labels: where labels come from: "folders", "none" or "csv".
        classes: how many different labels there are.
        notes: which pictures have no label although others have, and which names in the list are of no picture, a
            sentence each.
        runtime: what ran the network ("onnx", "torch", ...); None if nothing had to be encoded.
        encode_seconds: spent on reading, decoding, encoding and committing.
        seconds: spent in all.
    """

    index: Path | str
    total: int
    added: int
    replaced: int
    renamed: int
    touched: int
    kept: int
    removed: int
    copied: int
    relabelled: int
    skipped: tuple[images.Skipped, ...]
    passed: Mapping[str, int]
    labels: str
    classes: int
    runtime: str | None
    encode_seconds: float
    seconds: float
    notes: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether a search may answer otherwise than before."""
        return bool(self.added or self.replaced or self.renamed or self.removed or self.relabelled)

    @property
    def pictures_per_second(self) -> float | None:
        """Pictures encoded in a second; None if there were none."""
        encoded = self.added + self.replaced - self.copied
        return encoded / self.encode_seconds if encoded else None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            **{name: getattr(self, name) for name in self.__dataclass_fields__},
            "index": printable(self.index),
            "skipped": [skipped._asdict() for skipped in self.skipped],
            "pictures_per_second": self.pictures_per_second,
        }


def nothing_readable(where: str, skipped: Sequence[images.Skipped]) -> RetrievalError:
    """The error that nothing can be read.

    Args:
        where: as in "in 'photos'".
        skipped: what was found there, and why it was left out.
    """
    if not skipped:
        return RetrievalError(f"There is no picture {where}; give a folder with files such as .jpg or .png.")
    first = min(skipped)
    return RetrievalError(
        f"None of the {len(skipped):,} pictures {where} can be read (the first, {first.path!r}: {first.reason}); "
        "give at least one that can."
    )
