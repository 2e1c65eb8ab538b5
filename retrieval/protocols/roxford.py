"""Revisited Oxford and Revisited Paris: 4,993 and 6,322 photographs, and 70 questions to each (Radenović et al. 2018).

A question is a part of a picture that is not in the gallery itself. Each has easy, hard and junk answers, in three
settings: easy (the hard ones are ignored, too), medium (easy and hard ones are right) and hard (the easy ones are
ignored). A million distractors more, the set's R1M, can be given as vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.base.pickled import Array, plain
from retrieval.base.placed_files import NotOpenedError, open_file
from retrieval.base.text import printable
from retrieval.errors import RetrievalError
from retrieval.images.box import Box
from retrieval.measures import Ranking
from retrieval.protocols.listing import home, required
from retrieval.protocols.protocol import AVERAGE_PRECISION, Ints, OfficialSet, Protocol, Published, Setting

MOST = 1 << 23
"""Bytes of a ground truth: thirty times the official ones. Each byte of a forged one may make a list of sixty."""

KS = (1, 5, 10)

SETTINGS = {
    "easy": (("easy",), ("junk", "hard")),
    "medium": (("easy", "hard"), ("junk",)),
    "hard": (("hard",), ("junk", "easy")),
}
"""For each setting which of a question's lists are right, and which are ignored."""


def _home(folder: Path, truth: str) -> Path | None:
    return home(folder, truth, "jpg", inside=(truth.removeprefix("gnd_").removesuffix(".pkl"),))


def read(folder: Path, truth: str) -> OfficialSet:
    """The set in a folder; nothing of its ground truth, a pickle, is executed.

    Args:
        folder: with the ground truth and the pictures. truth: what the former is called.

    Raises:
        RetrievalError: the ground truth cannot be read, or holds something else.
    """
    place = required(_home(folder, truth), folder, truth.removesuffix(".pkl"), f"{truth} and jpg/")
    path = place / truth
    try:
        with open_file(path, MOST) as file:
            found = plain(file.readall())
        gallery, asking = (_names(found, key) for key in ("imlist", "qimlist"))
        questions = _of(found, "gnd")
        if not isinstance(questions, list) or len(questions) != len(asking):
            raise ValueError(f"gnd is not a list of one question for each of {len(asking)} pictures of qimlist")
        boxes = tuple(_box(question) for question in questions)
        lists = {name: [_places(q, name, len(gallery)) for q in questions] for name in ("easy", "hard", "junk")}
    except (OSError, NotOpenedError, ValueError) as error:
        reason = printable(str(getattr(error, "strerror", None) or error))[:200]
        raise RetrievalError(f"{printable(path)!r} is no ground truth ({reason}); get the file once more.") from None
    files = (*(place / "jpg" / f"{name}.jpg" for name in (*asking, *gallery)),)
    names = (
        *(f"queries/{row:02d}/{name}.jpg" for row, name in enumerate(asking, 1)),
        *(f"jpg/{n}.jpg" for n in gallery),
    )
    count = len(names)
    return OfficialSet(
        names=names,
        files=files,
        labels=(None,) * count,
        splits=("test",) * count,
        asks=np.arange(len(asking)),
        ranked=np.arange(len(asking), count),
        boxes=boxes,
        settings=tuple(
            Setting(
                name,
                relevant=tuple(np.concatenate(rows) for rows in zip(*(lists[one] for one in right), strict=True)),
                ignored=tuple(np.concatenate(rows) for rows in zip(*(lists[one] for one in ignored), strict=True)),
            )
            for name, (right, ignored) in SETTINGS.items()
        ),
    )


def _of(values: Any, key: str) -> Any:
    """A dictionary's value; Python 2 wrote its keys as bytes."""
    if isinstance(values, dict):
        for known in (key, key.encode()):
            if known in values:
                return values[known]
    raise ValueError(f"it has no {key}")


def _names(found: Any, key: str) -> list[str]:
    names = _of(found, key)
    if not isinstance(names, list | tuple) or not names:
        raise ValueError(f"{key} is no list of names")
    texts = [name.decode(errors="replace") if isinstance(name, bytes) else name for name in names]
    for name in texts:
        if not isinstance(name, str) or not name or "/" in name or "\\" in name or "\0" in name:
            raise ValueError(f"{key} holds {name!r:.60}, which is no name of a picture")
    if key == "imlist" and len(set(texts)) < len(texts):
        raise ValueError("imlist names a picture twice")
    return texts


def _numbers(value: Any, what: str) -> np.ndarray[Any, np.dtype[Any]]:
    """A list of numbers, or an array, as an array of one row."""
    if isinstance(value, Array):
        return value.array().ravel()
    if not isinstance(value, list | tuple):
        raise ValueError(f"{what} is no list of numbers")
    plain_ones = [one.array().item() if isinstance(one, Array) else one for one in value]
    if not all(isinstance(one, int | float) and not isinstance(one, bool) and abs(one) < 2**53 for one in plain_ones):
        raise ValueError(f"{what} is no list of numbers")
    return np.array(plain_ones)


def _places(question: Any, key: str, gallery: int) -> Ints:
    """The gallery's places that a question names, which the official files count from 0."""
    numbers = _numbers(_of(question, key), key)
    with np.errstate(invalid="ignore"):
        places = numbers.astype(np.int64)
    if (places != numbers).any() or (places.size and (places.min() < 0 or places.max() >= gallery)):
        raise ValueError(f"{key} names pictures beyond 0 to {gallery - 1}")
    return np.unique(places)


def _box(question: Any) -> Box:
    """Left, top, right and bottom in pixels, as the official program cuts a question out."""
    edges = _numbers(_of(question, "bbx"), "bbx")
    if edges.shape != (4,):
        raise ValueError("a bbx is not of four numbers")
    left, top, right, bottom = edges.tolist()
    try:
        return Box(left, top, right - left, bottom - top)
    except RetrievalError:
        raise ValueError(f"the bbx {edges.tolist()} is empty") from None


def _protocol(name: str, title: str, truth: str, gallery: int, published: Published) -> Protocol:
    recognises: Callable[[Path], bool] = lambda folder: _home(folder, truth) is not None  # noqa: E731
    return Protocol(
        name=name,
        title=title,
        layout=f"{truth} and jpg/",
        recognises=recognises,
        read=partial(read, truth=truth),
        asked="{queries} parts of pictures against {gallery} pictures, easy, medium and hard",
        measures={
            **AVERAGE_PRECISION,
            **{f"mP@{k} to the last": partial(Ranking.precision_to_last, k=k) for k in KS},
            **{f"P@{k}": partial(Ranking.precision, k=k) for k in KS},
        },
        marks=(truth,),
        sizes=(0, 70, gallery),
        differs="Published mAP is the area by trapezoids, which also takes the precision just before each right "
        "answer; mAP is the average precision itself. Published mP@k looks at no rank behind the last right "
        "answer (mP@k to the last); P@k divides by k. Of equal scores the official program takes the first it meets.",
        sources=(
            "Radenović et al., Revisiting Oxford and Paris: Large-Scale Image Retrieval Benchmarking, CVPR 2018",
            "filipradenovic/revisitop, python/evaluate.py and python/example_evaluate.py",
        ),
        published=(published,),
    )


README = "filipradenovic/revisitop, README.md"
GEM = "the example features, R-[37]-GeM"

PROTOCOL = _protocol(
    "roxford",
    "Revisited Oxford",
    "gnd_roxford5k.pkl",
    4993,
    Published(
        GEM,
        {"easy mAP by trapezoids": 0.8481, "medium mAP by trapezoids": 0.6467, "hard mAP by trapezoids": 0.3847},
        README,
    ),
)
PARIS = _protocol(
    "rparis",
    "Revisited Paris",
    "gnd_rparis6k.pkl",
    6322,
    Published(
        GEM,
        {"easy mAP by trapezoids": 0.9212, "medium mAP by trapezoids": 0.7720, "hard mAP by trapezoids": 0.5632},
        README,
    ),
)
