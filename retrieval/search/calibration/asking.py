"""Who asks where labelled pictures do not: altered copies of an index's own pictures, and the names of its labels."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image

from retrieval import images
from retrieval.base import progress
from retrieval.base.given import seeded
from retrieval.base.placed_files import NotOpenedError
from retrieval.base.text import printable
from retrieval.encoder import Encoder
from retrieval.errors import RetrievalError
from retrieval.images.altering import ALTERATIONS
from retrieval.images.perceptual import PREPROCESSING, Hashes, hash_files, hash_pixels
from retrieval.index import Index, Item
from retrieval.index.records import NO_ENCODER
from retrieval.search.calibration.halves import Asking

PICTURES = 500
"""Pictures that are altered, at most."""

SIDE = 512
"""The shorter side that is decoded of a picture to be altered, at least, pixels."""

NEAR = 20
"""Nearest pictures that are looked at for near-duplicates of one that would be altered."""

SAME_BITS = 10
"""Bits in which both perceptual hashes of two pictures may differ that count as near-duplicates; as `dedup` has it."""

Vectors = npt.NDArray[np.float32]


def encoder_of(index: Index) -> Encoder:
    """The encoder in an index.

    Raises:
        RetrievalError: it has none, or another than its vectors were made with.
    """
    where = printable(index.name)
    if index.encoder_hash.startswith(NO_ENCODER):
        raise RetrievalError(
            f"The index {where!r} was imported without a model, so that nothing can be encoded to ask it; import it "
            "again with --model."
        )
    encoder = Encoder.load(index.folder)
    if encoder.hash != index.encoder_hash:
        raise RetrievalError(
            f"The encoder in the index {where!r} is not the one that it was built with; build it anew."
        )
    return encoder


def names_of_labels(index: Index, encoder: Encoder) -> Asking:
    """The names of the labels of an index, as words: `red_shoe` asks as "red shoe".

    Raises:
        RetrievalError: the encoder knows no words.
    """
    labels = tuple(sorted({label for label in index.labels() if label is not None}))
    vectors = encoder.encode_text([label.replace("_", " ") for label in labels])
    return Asking("the names of its labels", vectors, labels)


def altered_copies(index: Index, encoder: Encoder, seed: int) -> Asking:
    """Altered copies of some pictures of an index, which should find these and no others.

    A picture of which there is a copy in the index, or by perceptual hashes a near-duplicate among the pictures nearest
    to it, is not altered: nobody could say which of them should be found. Nor is one whose file is another by now.

    Raises:
        RetrievalError: there are fewer than four pictures to alter.
    """
    generator = seeded(seed)
    ids = index.ids()
    chosen: list[int] = []
    rows: list[Vectors] = []
    places = {id_: place for place, id_ in enumerate(ids.tolist())}
    with progress.bar(min(PICTURES, len(ids)), "Altering", "pictures") as bar:
        for item, picture in _singles(index, generator.permutation(ids)):
            altered = [alter(picture, generator) for alter in ALTERATIONS.values()]
            p = encoder.config.preprocessing
            rows.append(encoder.encode(np.stack([images.prepare(one, p) for one in altered])))
            chosen.append(places[item.id])
            bar.update()
            if len(chosen) == PICTURES:
                break
    if len(chosen) < 4:
        raise RetrievalError(
            f"Only {len(chosen)} pictures of the index {printable(index.name)!r} can be read and have no copy in it, "
            "too few to alter; calibration needs 4."
        )
    return Asking(
        f"{len(ALTERATIONS)} altered copies of {len(chosen):,} of its pictures",
        np.concatenate(rows),
        tuple(str(place) for place in chosen for _ in ALTERATIONS),
        gallery=tuple(map(str, range(len(ids)))),
    )


def _singles(index: Index, order: npt.NDArray[np.int64]) -> Iterator[tuple[Item, Image.Image]]:
    """The pictures of an index in some order, those that can be read and have no near-duplicate."""
    hashed: dict[int, Hashes] = {}
    for id_ in order.tolist():
        (item,) = index.items([id_])
        if len(index.find_sha256(item.sha256)) != 1:  # a copy, or a vector of no file
            continue
        try:
            with (index.pictures / item.path).open() as file:
                data = file.read()
            if hashlib.sha256(data).hexdigest() != item.sha256:
                continue
            picture = images.open_picture(io.BytesIO(data), size=SIDE)
        except (images.UnreadableImage, NotOpenedError, OSError):
            continue
        _, near = index.search(index.vectors([id_]), NEAR, exclude=[[id_]])
        others = [other for other in near[0].tolist() if other >= 0]
        unknown = [other for other in others if other not in hashed]
        if unknown:
            files = [other.path for other in index.items(unknown)]
            found = hash_files(files, index.pictures).aligned(len(files))
            hashed.update((other, found.take([row])) for row, other in enumerate(unknown))
        own = hashed[id_] = hash_pixels(images.prepare(picture, PREPROCESSING)[None])
        if not any(_same(own, hashed[other]) for other in others):
            yield item, picture


def _same(one: Hashes, other: Hashes) -> bool:
    """Whether two pictures are near-duplicates, as far as can be told."""
    if not (one.telling[0] and other.telling[0]):
        return False
    return all(
        int(np.bitwise_count(getattr(one, kind)[0] ^ getattr(other, kind)[0])) <= SAME_BITS
        for kind in ("phash", "dhash")
    )
