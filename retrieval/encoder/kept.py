"""What was found about an encoder from elsewhere, kept for this user: its graph, and which runtime is faster.

Exporting a network and comparing runtimes takes seconds, and importing torch another two. For each such encoder (by its
hash), versions of the libraries and processor, an encoder's folder (:mod:`retrieval.encoder.store`) keeps what came of
it; of one whose weights come as a package also the weights, so that the next index of one picture needs no torch.

Nothing there is believed. The folder is this user's alone; each file is read whole and checked against its SHA-256; the
configuration must have the hash that was asked for, and weights that come along the digest that was published. A graph
is run only once :mod:`retrieval.encoder.onnx_graph` has looked at it, and must then give the vector that is known:
torch's where torch is at hand, else the published one. What fails is not used, and is made anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from retrieval.base import cache
from retrieval.base.machine import processor, versions
from retrieval.encoder import store
from retrieval.encoder.config import EncoderConfig
from retrieval.encoder.runtime_check import Comparison
from retrieval.errors import RetrievalError

VERSION = 2
"""Of what is kept. It goes up with every change that makes another graph of some network."""

SIZE = 2**31
"""Bytes that all of it may take; what was used longest ago makes room."""


@dataclass(frozen=True)
class Kept(store.Saved):
    """A saved encoder in memory, whatever becomes of its folder.

    Attributes:
        contents: of its files, checked.
    """

    contents: Mapping[str, bytes]

    def read(self, name: str) -> bytes:
        """A file's content."""
        return self.contents[name]

    def card(self) -> None:
        """It has none."""


def find(encoder_hash: str, digest: str | None = None) -> Kept | None:
    """What is kept about an encoder; None if nothing is, or something is wrong with it.

    Args:
        encoder_hash: the encoder's.
        digest: what its weights must have, which are then there, too.
    """
    folder = _folder(encoder_hash)
    if not cache.private(folder.parent) or not cache.private(folder):
        return None
    try:
        saved = store.Saved.open(folder)
        if saved.comparison is None or saved.config.hash(saved.weights) != encoder_hash:
            return None
        needed = [store.ONNX] * saved.comparison.kept + [store.WEIGHTS] * (digest is not None)
        needed += [store.TEXT, store.TOKENIZER] * (store.TEXT in saved.files)
        if sorted(saved.files) != sorted(needed) or sum((folder / name).lstat().st_size for name in needed) > SIZE:
            return None
        contents = {name: saved.read(name) for name in needed}
    except (RetrievalError, OSError):
        return None
    if digest is not None and _digest(contents[store.WEIGHTS]) != digest:
        return None
    with contextlib.suppress(OSError):
        os.utime(folder)  # it is in use: it had better stay
    return Kept(folder, saved.files, saved.config, saved.weights, saved.comparison, contents)


def keep(config: EncoderConfig, weights: str, comparison: Comparison, fill: Callable[[Path], None]) -> None:
    """Keep what was found about an encoder: whole, or not at all, as on a full disk.

    Args:
        config: the encoder's.
        weights: SHA-256 of its weights.
        comparison: what came of comparing ONNX Runtime with torch.
        fill: writes the files into the folder that it is given.
    """
    folder = _folder(config.hash(weights))
    try:
        cache.make_private(folder.parent)
        with contextlib.suppress(FileNotFoundError):
            cache.remove(folder)
        store.write(folder, config, weights, comparison, fill)
        folder.chmod(0o700)
    except (RetrievalError, OSError):
        return
    cache.make_room(folder.parent, SIZE)


def forget(encoder_hash: str) -> None:
    """Remove what is kept about an encoder."""
    with contextlib.suppress(OSError):
        cache.remove(_folder(encoder_hash))


def _folder(encoder_hash: str) -> Path:
    means = {"encoder": encoder_hash, "kept": VERSION, "processor": processor(), **versions(("torch", "onnxruntime"))}
    name = hashlib.sha256(json.dumps(means, sort_keys=True).encode()).hexdigest()[:32]
    return cache.cache_folder("encoders") / name


def _digest(content: bytes) -> str:
    """:func:`retrieval.encoder.weights.digest` of weights in a file, without torch; empty if it is none."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        weights = load(content)
    except (SafetensorError, ValueError, KeyError):
        return ""
    sha256 = hashlib.sha256()
    for name, weight in sorted(weights.items()):
        sha256.update(f"{name} torch.{weight.dtype} {weight.shape}\n".encode())
        sha256.update(np.ascontiguousarray(weight).tobytes())
    return sha256.hexdigest()
