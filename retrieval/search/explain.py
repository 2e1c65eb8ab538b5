"""Why two pictures are alike to an encoder: which parts of either carry the similarity.

Where the network ends in pooling and linear layers, its unit vector a is a sum of shares a_p over the positions p of
the last feature map and a constant c, so that the score ⟨a, b⟩ is the sum of ⟨a_p, b⟩ over the query's positions and of
⟨a, b_q⟩ over the hit's (Stylianou, Souvenir and Pless 2019, "Visualizing Deep Similarity Networks"; Zhu, Yang and Chen
2019, "Visual Explanation for Deep Metric Learning"). Elsewhere each cell of a grid is greyed out in turn, and its part
is what the score loses (Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks").

Either way the parts and the remainder sum to the score. `docs/explain.md` says what the maps do not show.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from retrieval import images
from retrieval.base import progress
from retrieval.base.placed_files import Placed
from retrieval.base.text import printable
from retrieval.errors import RetrievalError
from retrieval.images import Pixels, Preprocessing

if TYPE_CHECKING:
    from retrieval.encoder import Encoder, VectorShares
    from retrieval.search.answer import Answer
    from retrieval.search.search import Search

CELLS = 7
"""Cells of the grid of an occlusion along either side, as many as EfficientNet's last map has for 224 pixels."""

HITS_AT_ONCE = 16
"""Hits whose shares are in memory together; the seed network's take 1.8 MB a picture."""

Method = Literal["decomposition", "occlusion"]


@dataclass(frozen=True)
class HeatMap:
    """What each cell of one picture contributes to a score.

    Attributes:
        values: float32 (h, w), in units of the score; negative where a cell makes the two less alike.
        remainder: what belongs to no cell; ``values.sum() + remainder`` is the score. With "decomposition" the share of
            the last layer's bias, 0 where there is none. With "occlusion" what the cells do not account for one by
            one, which may be most of the score.
        box: what the cells cover: left, top, right and bottom in pixels of the network's square.
        preprocessing: how the network's square was made of the picture.
    """

    values: NDArray[np.float32]
    remainder: float
    box: tuple[float, float, float, float]
    preprocessing: Preprocessing

    def to_json(self) -> dict[str, Any]:
        """Plain values: the map as rows, the remainder, and the box in units of the network's square."""
        return {
            "values": [[float(f"{value:.7g}") for value in row] for row in self.values.tolist()],
            "remainder": self.remainder,
            "box": [edge / self.preprocessing.size for edge in self.box],
            "fit": self.preprocessing.fit,
        }


@dataclass(frozen=True)
class Explanation:
    """Why one hit has its score.

    Attributes:
        method: "decomposition", exact; or "occlusion", where the network does not decompose.
        score: inner product of the two unit vectors.
        query_map: what each cell of the query contributes.
        hit_map: what each cell of the hit contributes.
    """

    method: Method
    score: float
    query_map: HeatMap
    hit_map: HeatMap

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "method": self.method,
            "score": self.score,
            "query": self.query_map.to_json(),
            "hit": self.hit_map.to_json(),
        }


def explain(encoder: Encoder, query: Pixels, hit: Pixels) -> Explanation:
    """Which parts of two pictures make them alike.

    Args:
        encoder: what their vectors are from.
        query: uint8 (size, size, channels), as :func:`retrieval.images.read` makes it for the encoder.
        hit: the same.

    Raises:
        RetrievalError: the pixels have another shape or type, or the network gives no numbers.
    """
    return explain_hits(encoder, query, hit[None])[0]


def explain_hits(encoder: Encoder, query: Pixels, hits: Pixels) -> list[Explanation]:
    """:func:`explain` for several hits of one query, whose own part of the work is then done once.

    Args:
        encoder: what their vectors are from.
        query: uint8 (size, size, channels).
        hits: uint8 (n, size, size, channels).

    Raises:
        RetrievalError: the pixels have another shape or type, or the network gives no numbers.
    """
    found = by_decomposition(encoder, query, hits)
    return by_occlusion(encoder, query, hits) if found is None else found


def explain_answer(
    search: Search, answer: Answer, *, skipped: list[images.Skipped] | None = None
) -> list[Explanation | None]:
    """Why each hit of an answer is one, from the picture files.

    Args:
        search: what gave the answer.
        answer: of a query by picture, id or path.
        skipped: takes in the hits whose files cannot be read, or have changed since they were indexed, so that they
            explain another score; without it that is an error.

    Returns:
        One for each hit; None for those in `skipped`.

    Raises:
        RetrievalError: the query is no picture, its file cannot be read or has changed, or the index has no encoder.
    """
    from retrieval.images.reading import read_picture, recorded_decoder

    if answer.picture is None:
        what = "is not one picture to be like" if answer.parts else "is no picture"
        raise RetrievalError(
            f"The query {printable(answer.query)!r} {what}, and only a picture has parts to explain a hit by; ask with "
            "one, --id or --path."
        )
    decoder = recorded_decoder(search.index.decoder)
    p = search.encoder.config.preprocessing
    ids = [hit.id for hit in answer.hits] + ([] if answer.id is None else [answer.id])
    indexed = {item.id: item.sha256 for item in search.index.items(ids)}

    def read(path: Path | Placed, id_: int | None, box: images.Box | None = None) -> Pixels:
        picture = read_picture(path, p, decoder, box=box)
        sha256 = None if id_ is None else indexed[id_]
        if sha256 and picture.sha256 != sha256:  # an imported index need not have any
            raise images.UnreadableImage(printable(path), "changed since it was indexed")
        assert picture.pixels is not None  # as no content counts as known
        return picture.pixels

    query = read(answer.picture, answer.id, answer.box)
    there: list[int] = []
    pixels: list[Pixels] = []
    for position, hit in enumerate(answer.hits):
        try:
            pixels.append(read(search.pictures / hit.path, hit.id))
            there.append(position)
        except images.UnreadableImage as problem:
            if skipped is None:
                raise
            skipped.append(images.Skipped(problem.path, problem.reason))
    found: list[Explanation | None] = [None] * len(answer.hits)
    if pixels:
        for position, one in zip(there, explain_hits(search.encoder, query, np.stack(pixels)), strict=True):
            found[position] = one
    return found


def by_decomposition(encoder: Encoder, query: Pixels, hits: Pixels) -> list[Explanation] | None:
    """The exact way; see :func:`explain_hits`.

    Returns:
        One for each hit; None if the network's vectors are no sums over positions.
    """
    ours = encoder.shares(query[None])
    if ours is None:
        return None
    # All sums in float64, so that what is left of rounding is that of the network itself.
    a_parts, a_constant = ours.positions[0].astype(np.float64), ours.constant[0].astype(np.float64)
    a = a_parts.sum((0, 1)) + a_constant
    p = encoder.config.preprocessing
    found = []
    with progress.bar(len(hits), "Explaining", "hits") as bar:
        for start in range(0, len(hits), HITS_AT_ONCE):
            theirs = cast("VectorShares", encoder.shares(hits[start : start + HITS_AT_ONCE]))
            for parts, constant in zip(theirs.positions.astype(np.float64), theirs.constant, strict=True):
                b = parts.sum((0, 1)) + constant
                found.append(
                    Explanation(
                        "decomposition",
                        float(a @ b),
                        HeatMap((a_parts @ b).astype(np.float32), float(a_constant @ b), ours.box, p),
                        HeatMap((parts @ a).astype(np.float32), float(constant @ a), theirs.box, p),
                    )
                )
                bar.update()
    return found


def by_occlusion(encoder: Encoder, query: Pixels, hits: Pixels) -> list[Explanation]:
    """The way that any network can be asked; see :func:`explain_hits`.

    Each picture goes through the network :data:`CELLS` ² + 1 times. The cells are filled with the mean colour that the
    encoder's preprocessing subtracts.
    """
    p = encoder.config.preprocessing
    box = (0.0, 0.0, float(p.size), float(p.size))
    found = []
    with progress.bar(1 + len(hits), "Explaining", "pictures") as bar:
        query_vectors = encoder.encode(_occluded(query, p)).astype(np.float64)
        bar.update()
        for hit in hits:
            hit_vectors = encoder.encode(_occluded(hit, p)).astype(np.float64)
            score = float(query_vectors[0] @ hit_vectors[0])
            maps = []
            for occluded, whole in ((query_vectors, hit_vectors[0]), (hit_vectors, query_vectors[0])):
                losses = score - occluded[1:] @ whole
                side = round(len(losses) ** 0.5)
                values = losses.reshape(side, side).astype(np.float32)
                maps.append(HeatMap(values, score - float(losses.sum()), box, p))
            found.append(Explanation("occlusion", score, maps[0], maps[1]))
            bar.update()
    return found


def _occluded(pixels: Pixels, p: Preprocessing) -> Pixels:
    """A picture, and then once for each cell of the grid the picture without that cell, row by row."""
    side = min(CELLS, p.size)
    edges = np.linspace(0, p.size, side + 1).round().astype(int)
    copies = np.repeat(pixels[None], 1 + side * side, axis=0)
    for cell, copy in enumerate(copies[1:]):
        row, column = divmod(cell, side)
        copy[edges[row] : edges[row + 1], edges[column] : edges[column + 1]] = images.blank(p)
    return copies
