"""Cars196: 16,185 photographs of 196 models of cars (Krause et al. 2013).

The first 98 models train, the other 98 are asked among themselves (Song et al. 2016). The file's own division into
`test` and the rest is one for classification, with all classes in both, and is not used.
"""

from __future__ import annotations

from pathlib import Path

from retrieval.base import sandbox
from retrieval.base.text import printable
from retrieval.errors import RetrievalError
from retrieval.protocols import cars_annos
from retrieval.protocols.listing import home, once, required
from retrieval.protocols.protocol import CLUSTERED, MAP_AT_R, OfficialSet, Protocol, among_themselves, halves, recalls

ANNOTATIONS = "cars_annos.mat"
LAYOUT = f"{ANNOTATIONS} and car_ims/"


def _home(folder: Path) -> Path | None:
    return home(folder, ANNOTATIONS, "car_ims")


def recognises(folder: Path) -> bool:
    """Whether a folder holds the annotations and the pictures."""
    return _home(folder) is not None


def read(folder: Path) -> OfficialSet:
    """The set in a folder; the annotations, a file of MATLAB's, are read by a process of its own.

    Raises:
        RetrievalError: the annotations cannot be read, or are not those of this set.
    """
    place = required(_home(folder), folder, PROTOCOL.title, LAYOUT)
    path = place / ANNOTATIONS
    try:
        found = sandbox.ask(Path(cars_annos.__file__), path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RetrievalError(f"{printable(path)!r} cannot be read ({reason}); get the file once more.") from None
    names = once([str(name) for name in found["names"]], path)
    numbers: list[int] = found["classes"]
    titles: list[str] = found["titles"]
    splits = halves(numbers, of=196)
    return among_themselves(place, names, [f"{number:03d} {titles[number - 1]}" for number in numbers], splits)


PROTOCOL = Protocol(
    name="cars196",
    title="Cars196",
    layout=LAYOUT,
    recognises=recognises,
    read=read,
    asked="{queries} pictures of the second half of the classes, each against all others of {gallery}",
    measures={**recalls(1, 2, 4, 8), **MAP_AT_R},
    marks=(ANNOTATIONS,),
    sizes=(8054, 8131, 8131),
    clusters=True,
    differs=CLUSTERED,
    sources=(
        "Krause et al., 3D Object Representations for Fine-Grained Categorization, 3dRR 2013",
        "Song et al., Deep Metric Learning via Lifted Structured Feature Embedding, CVPR 2016",
        "Musgrave et al., A Metric Learning Reality Check, ECCV 2020",
    ),
)
