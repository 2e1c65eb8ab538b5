"""Training a head on vectors that are there already: seconds, where a network takes an hour."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from retrieval import measures
from retrieval.base.files import write_durably
from retrieval.base.text import printable
from retrieval.datasets import PictureSet
from retrieval.encoder import Encoder
from retrieval.encoder.head_map import HeadMap
from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.index.folder import is_index
from retrieval.ingest.update import Workers
from retrieval.networks import HEAD
from retrieval.search.marks import read_marks
from retrieval.training.card import card
from retrieval.training.head.choosing import Choice, Learner, choose
from retrieval.training.head.gain import Gain, Sample, held_out, on_classes, on_pictures
from retrieval.training.head.gradient import by_loss
from retrieval.training.head.labelled_source import ABOUT, LabelledVectors, labelled, own_encoder
from retrieval.training.head.marked_pairs import MarkedPairs, from_marks
from retrieval.training.head_recipe import CLOSED, HeadRecipe
from retrieval.training.run_folder import finished, open_run

GAIN = "gain.json"
"""In the run's folder: what was gained, for programs."""

WORSE = 0.01
"""Words may be looked for through a head if they lose no more average precision than this, with 97.5 % certainty."""


@dataclass(frozen=True)
class TrainedHead:
    """What came of a training.

    Attributes:
        folder: the run's, with ``encoder/``.
        recipe: what was asked for.
        choice: how the head is made.
        gains: over the encoder below it, on held-out pictures and on held-out classes.
        text: words can be looked for, too; None where the encoder below knows none.
        dim: length of its vectors.
        seconds: how long it took, with encoding.
    """

    folder: Path
    recipe: HeadRecipe
    choice: Choice
    gains: tuple[Gain, ...]
    text: bool | None
    dim: int
    seconds: float


def train_head(
    source: str | Path | PictureSet | Index,
    out: str | Path,
    recipe: HeadRecipe | None = None,
    *,
    on: Workers | None = None,
    resume: bool = False,
    warn: Callable[[str], None] = lambda message: None,
) -> TrainedHead:
    """Train a head over an encoder and keep it, with that encoder, as one encoder in a folder.

    Args:
        source: an index with labels, open or its folder: nothing is decoded or encoded; or a labelled set of pictures,
            which is encoded once. Its ``test`` split is left alone, and its ``val`` split measures the gain.
        out: the run's folder: ``encoder/``, ``recipe.json``, ``gain.json``.
        recipe: what to do.
        on: who encodes the pictures, such as a :class:`retrieval.RayCluster`; this process by default.
        resume: use what an unfinished training has encoded.
        warn: told what speaks against the result.

    Raises:
        RetrievalError: nothing to learn from, a folder that holds something else, or nobody who can encode.
    """
    began, out, recipe = time.perf_counter(), Path(out), recipe or HeadRecipe()
    if on is not None:
        _require_pictures(source)
        on.reach()
    if finished(out) or not (out / ABOUT).is_file():
        _clear_leftovers(out)
        open_run(out, resume)
    elif not resume:
        raise RetrievalError(
            f"{out} holds an unfinished training; add --resume to go on with it, or choose another --out."
        )
    learned = _from_labels(source, out, recipe, on) if recipe.marks is None else _from_marks(source, recipe)
    messages = [] if learned.enough else ["Too few classes or pictures to say what was gained on both."]
    for message in messages:
        warn(message)
    base = learned.encoder.config.network
    gained = [
        f"The head learned from {learned.name}, {learned.what}: figures on these are better than on others",
        *(f"Gain on {gain}" for gain in learned.gains),
        *learned.words,
    ]
    facts = [
        f"Learned from: {learned.name}, {learned.what}",
        f"Over: {base}, encoder {learned.encoder.hash[:12]}",
        f"Made of: {learned.choice}; {learned.head.dim:,} numbers",
        *gained[1:],
    ]
    described = card(
        recipe,
        f"{learned.name}: head over {base}",
        facts,
        took=f"{time.perf_counter() - began:,.0f} s",
        fingerprint=learned.fingerprint,
        warnings=messages,
    )
    out.mkdir(parents=True, exist_ok=True)
    write_durably(out / "recipe.json", (json.dumps(dataclasses.asdict(recipe), indent=2) + "\n").encode())
    kept = {
        "choice": dataclasses.asdict(learned.choice),
        "gains": [gain.to_json() for gain in learned.gains],
        "text": learned.text,
    }
    write_durably(out / GAIN, (json.dumps(kept, indent=2) + "\n").encode())
    learned.encoder.with_head(
        learned.head,
        classes=learned.classes,
        trained_on=learned.name,
        text=bool(learned.text),
        gain=gained,
        card=described,
    ).save(out / "encoder")
    took = time.perf_counter() - began
    return TrainedHead(out, recipe, learned.choice, learned.gains, learned.text, learned.head.dim, took)


def _require_pictures(source: str | Path | PictureSet | Index) -> None:
    """See that there is something to encode.

    Raises:
        RetrievalError: it is an index.
    """
    if isinstance(source, Index) or (not isinstance(source, PictureSet) and is_index(source)):
        name = printable(source.folder if isinstance(source, Index) else source)
        raise RetrievalError(
            f"The index {name!r} has its vectors already, so that a cluster would have nothing to encode; leave --ray "
            "out."
        )


def _clear_leftovers(out: Path) -> None:
    """Take away what a training leaves that was cut off while its encoder, the last of it, was written."""
    names = {"recipe.json", GAIN}
    try:
        if {path.name for path in out.iterdir()} <= names and json.loads((out / "recipe.json").read_bytes())[
            "net"
        ] == HEAD:
            for name in names:
                (out / name).unlink(missing_ok=True)
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no folder, or somebody else's: `open_run` says so


@dataclass(frozen=True)
class _Learned:
    """A head, and what is known of it.

    Attributes:
        name, what: of what it learned from. encoder: below it. fingerprint: of what it learned from.
        enough: whether it is known what was gained on all that was to be measured.
        words, text: a line on words, and whether they go through the head.
    """

    name: str
    what: str
    encoder: Encoder
    head: HeadMap
    choice: Choice
    gains: tuple[Gain, ...]
    enough: bool
    fingerprint: str
    classes: Sequence[str] = ()
    words: Sequence[str] = ()
    text: bool | None = None


def _from_labels(
    source: str | Path | PictureSet | Index, out: Path, recipe: HeadRecipe, workers: Workers | None
) -> _Learned:
    found = labelled(source, recipe.on, out, recipe.seed, workers)
    rows = np.flatnonzero((found.labels >= 0) & ~found.asking)
    there, labels = np.unique(found.labels[rows], return_inverse=True)
    if len(there) < 2 or np.bincount(labels).max(initial=0) < 2:
        raise RetrievalError(
            f"{found.name} has {len(rows):,} labelled pictures of {len(there):,} classes; a head needs two classes, "
            "and a class with two pictures."
        )
    vectors = found.vectors if len(rows) == len(found.vectors) else found.vectors[rows]  # which may be a gigabyte
    names = [found.classes[place] for place in there]
    numbered = labels.astype(np.int64)

    def made(some: npt.NDArray[np.bool_]) -> tuple[HeadMap, Choice]:
        _, own = np.unique(numbered[some], return_inverse=True)
        own = own.astype(np.int64)
        learn = None if recipe.loss == CLOSED else by_loss(vectors[some], own, recipe)
        learner = Learner(vectors[some], own, learn, recipe.dim)
        choice, _ = choose(learner, shrinkage=recipe.shrinkage, mix=recipe.mix, seed=recipe.seed)
        return learner.made(choice), choice

    everything = np.ones(len(rows), bool)
    head, choice = made(everything)
    asking = _asking(found, there)
    held = ~everything if asking is not None else held_out(numbered, recipe.seed)
    asking = asking or (vectors[held], numbered[held])
    partial = head if not held.any() else made(~held)[0]
    measured = (
        on_pictures(partial, asking, (vectors[~held], numbered[~held]), recipe.seed),
        on_classes(lambda some: made(some)[0], vectors, numbered, recipe.seed),
    )
    words, text = _words(found.encoder, partial, names, asking)
    return _Learned(
        name=found.name,
        what=f"{len(rows):,} pictures of {len(there):,} classes",
        encoder=found.encoder,
        head=head,
        choice=choice,
        gains=tuple(gain for gain in measured if gain is not None),
        enough=None not in measured,
        fingerprint=found.fingerprint,
        classes=names,
        words=words,
        text=text,
    )


def _from_marks(source: str | Path | PictureSet | Index, recipe: HeadRecipe) -> _Learned:
    if isinstance(source, PictureSet) or not (isinstance(source, Index) or is_index(source)):
        raise RetrievalError("--marks are of an index's pictures; give that index to learn from.")
    assert recipe.marks is not None
    with contextlib.nullcontext(source) if isinstance(source, Index) else Index.open(source) as index:
        encoder = own_encoder(index, recipe.on)
        marks = read_marks(recipe.marks)
        pairs = MarkedPairs.of(index, marks)
        head, choice, gain = from_marks(
            pairs, shrinkage=recipe.shrinkage, mix=recipe.mix, dim=recipe.dim, seed=recipe.seed
        )
        name = printable(index.folder.name)
    left_out = f", {pairs.left_out:,} left out" if pairs.left_out else ""
    return _Learned(
        name=name,
        what=f"{len(pairs.right):,} marks of {int(pairs.groups.max()) + 1:,} questions{left_out}",
        encoder=encoder,
        head=head,
        choice=choice,
        gains=() if gain is None else (gain,),
        enough=gain is not None,
        fingerprint=hashlib.sha256(pairs.queries.tobytes() + pairs.items.tobytes() + pairs.right.tobytes()).hexdigest(),
    )


def _asking(
    found: LabelledVectors, there: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]] | None:
    """Validation pictures of the learned classes, numbered as these; None without any."""
    number = {label: place for place, label in enumerate(there.tolist())}
    rows = [row for row in np.flatnonzero(found.asking).tolist() if int(found.labels[row]) in number]
    if not rows:
        return None
    return found.vectors[rows], np.array([number[int(found.labels[row])] for row in rows], np.int64)


def _words(encoder: Encoder, head: HeadMap, classes: Sequence[str], asking: Sample) -> tuple[list[str], bool | None]:
    """Whether words go through a head: average precision of the classes' names among held-out pictures, with it and
    without.

    Returns:
        A line for the card, and the verdict; nothing where the encoder knows no words.
    """
    there = np.unique(asking[1])
    if not encoder.config.text or not len(there):
        return [], None
    asked = encoder.encode_text([classes[place].rpartition("/")[2].replace("_", " ") for place in there])
    mine, base = (
        measures.rank(one(asked), there, one(asking[0]), asking[1]).values["mAP"] for one in (head, np.asarray)
    )
    gap = measures.compare(mine, base, names=("the head", "the base")).difference
    good = bool(gap.low >= -WORSE or np.array_equal(mine, base))
    said = "words go through the head" if good else "words do not go through the head, which would find less"
    return [
        f"Words: mAP of {len(there):,} class names {gap.value:+.3f} ({gap.low:+.3f} to {gap.high:+.3f}): {said}"
    ], good
