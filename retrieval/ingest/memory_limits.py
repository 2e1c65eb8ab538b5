"""How much of a build may be under way at a time, so that its memory stays small, or within what was given."""

from __future__ import annotations

import resource
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from retrieval.base.machine import cores
from retrieval.base.units import show_bytes
from retrieval.encoder import Encoder
from retrieval.encoder.file_encoding import pictures_a_batch
from retrieval.errors import RetrievalError
from retrieval.images.room import Room

COMMIT_PICTURES = 4096
"""Pictures after which what was encoded is committed."""

PICTURES_ON_GPU = 128
"""Pictures that a thread reads before a GPU encodes them: fewer would leave most of it idle."""

_DECODING = 64 * 10**6
"""Bytes for pictures that are being decoded that there must be at least."""

_A_THREAD = 32 * 10**6
"""Bytes for pictures that are being decoded from which another thread is worth it."""

_LATER = 40 * 10**6
"""What is loaded only when the first pictures are decoded and committed: decoders, HDF5 and the catalog's cache."""

_AN_ITEM, _VECTORS = 2000, 5
"""What a picture takes that waits for its commit: bytes for its item, and copies of its vector while it is written."""


@dataclass(frozen=True)
class Limits:
    """How much may be under way at a time.

    Attributes:
        threads: batches that are read and encoded.
        batch: pictures in one; by default what is fast.
        commit: pictures that wait until they are committed.
        room: what decoding may take; without it what the whole process has for that.
    """

    threads: int
    batch: int | None
    commit: int
    room: Room | None = None


def limits(encoder: Encoder, threads: int | None, batch: int | None, memory: int | None) -> Limits:
    """What fits.

    Args:
        encoder: the one that will be used, ready.
        threads: at most so many; by default one a core.
        batch: pictures in a batch; by default what suits the encoder.
        memory: bytes that the whole process may take, with what it has already.

    Raises:
        RetrievalError: `memory` is too little.
    """
    threads = threads or cores()
    batch = batch or (PICTURES_ON_GPU if encoder.runtime.startswith("torch on") else None)
    if memory is None:
        return Limits(threads, batch, COMMIT_PICTURES)
    p = encoder.config.preprocessing
    batch = batch or pictures_a_batch(p)
    pixels = np.zeros((batch, p.size, p.size, p.channels), np.uint8)
    one = _growth(encoder, pixels) + 3 * pixels.nbytes  # as they are read, together, and waiting their turn
    del pixels
    used = resident() + _LATER
    least = (one + _DECODING) * 8 // 7  # an eighth is for what waits
    if memory < used + least:
        raise RetrievalError(
            f"The memory of {show_bytes(memory)} is too little for a build with this encoder; give at least "
            f"{show_bytes(used + least + 10**6)}, or smaller batches."
        )
    free = memory - used
    item = _AN_ITEM + _VECTORS * 4 * encoder.dim
    commit = max(1, min(COMMIT_PICTURES, free // 8 // item))
    free -= commit * item
    threads = max(1, min(threads, (free - _DECODING) // one, free // (one + _A_THREAD)))
    return Limits(threads, batch, commit, Room(free - threads * one))


def resident() -> int:
    """Bytes of memory that this process has now; at most so far, where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except (OSError, ValueError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak
    return pages * resource.getpagesize()


def _growth(encoder: Encoder, pixels: np.ndarray) -> int:
    """Bytes by which the process grows while one thread encodes these pictures."""
    status, marks = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    before = resident()
    try:
        marks.write_text("5", "ascii")  # forget the peak that was
    except OSError:
        encoder.encode(pixels)
        return max(0, resident() - before)
    encoder.encode(pixels)
    lines = dict(line.split(":", 1) for line in status.read_text("ascii").splitlines())
    return max(0, 1024 * int(lines["VmHWM"].split()[0]) - before)
