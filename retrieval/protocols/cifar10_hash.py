"""CIFAR-10 as hashing takes it, by two protocols that papers draw for themselves (Lai et al. 2015).

I: 100 pictures of each class ask all 59,000 others. II: the 10,000 test pictures ask the 50,000 others. There is no
list of who asks in I: here it is the first hundred of each class of the test split, so that no one asks who trains.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from retrieval.errors import RetrievalError
from retrieval.protocols.hashing import DIFFERS, MEASURES
from retrieval.protocols.protocol import Ints, OfficialSet, Protocol, Setting

EACH = 100
"""Pictures of each class that ask in I."""


def recognises(folder: Path) -> bool:
    """`retrieval data` knows CIFAR-10 in all its layouts by itself."""
    return False


def divides(names: tuple[str, ...], labels: Ints, splits: npt.NDArray[np.str_]) -> OfficialSet:
    """Who asks whom, of the whole set.

    Raises:
        RetrievalError: there is no test split, or nothing else.
    """
    test = np.flatnonzero(splits == "test")
    train = np.flatnonzero(splits != "test")
    if not test.size or not train.size:
        raise RetrievalError("CIFAR-10 is asked with both its splits: give a folder or a file that has train and test")
    asked = labels[test]
    turn = np.array([int((asked[:row] == label).sum()) for row, label in enumerate(asked)])
    first = np.flatnonzero(turn < EACH)
    everything = np.arange(len(names))
    return OfficialSet(
        names=names,
        files=(),
        labels=(),
        splits=(),
        asks=test,
        ranked=everything,
        settings=(
            Setting("I", asks=first, among=np.setdiff1d(everything, test[first])),
            Setting("II", among=train),
        ),
    )


PROTOCOL = Protocol(
    name="cifar10-hash",
    title="CIFAR-10",
    layout="CIFAR-10 in any layout that `retrieval data` takes",
    recognises=recognises,
    divides=divides,
    asked="{queries} queries, in I against 59,000 and in II against 50,000 others, by Hamming distance",
    measures=MEASURES,
    codes=True,
    differs=DIFFERS,
    sources=(
        "Lai et al., Simultaneous Feature Learning and Hash Coding with Deep Neural Networks, CVPR 2015",
        "swuxyj/DeepHash-pytorch, utils/tools.py",
    ),
)
