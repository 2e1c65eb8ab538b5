"""What a folder is: an index, a model, or a pair network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from retrieval.base.saved_folder import CONFIG
from retrieval.base.text import printable
from retrieval.encoder import pair_config
from retrieval.engines.opening import is_index, open_index
from retrieval.errors import RetrievalError
from retrieval.index.catalog import FILE as CATALOG
from retrieval.index.folder import ENCODER


def describe(folder: str | Path) -> dict[str, Any]:
    """Say what an index, a model or a pair network is. No vector and no network is loaded: it takes a moment.

    Args:
        folder: of an index, a training or a model; or the address of an index.

    Returns:
        Plain values: ``kind`` ("index", "model" or "pair network"), ``folder``, ``bytes`` on disk, and what the
        catalog, or the model's configuration, says of it.

    Raises:
        RetrievalError: it is none of them, or its description is damaged.
    """
    if is_index(folder):
        with open_index(folder) as index:
            skipped = [{"path": path, "reason": reason} for path, reason in index.skipped()]
            return index.info() | {"skipped_files": skipped}
    folder = Path(folder)
    pair = pair_config.pair_folder(folder)
    return _model(folder) if pair is None else pair_config.describe(pair)


def _model(folder: Path) -> dict[str, Any]:
    place = next((place for place in (folder, folder / ENCODER) if (place / CONFIG).is_file()), None)
    if place is None:
        raise RetrievalError(
            f"{printable(folder)!r} is neither an index (no {CATALOG}) nor a model (no {CONFIG}); give the folder "
            "that `retrieval build` or `retrieval train` wrote."
        )
    try:
        config = json.loads((place / CONFIG).read_text(encoding="utf-8"))
        size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
        for name, kind in (("network", str), ("dim", int), ("classes", list), ("preprocessing", dict)):
            if not isinstance(config[name], kind):
                raise TypeError(name)
        for name in ("size", "mode", "fit"):
            config["preprocessing"][name]
        ", ".join(config["classes"])  # which are texts
    except OSError as error:
        raise RetrievalError(
            f"{printable(place / CONFIG)!r} cannot be read ({error.strerror}); check its permissions."
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RetrievalError(
            f"{printable(place / CONFIG)!r} does not describe an encoder of this program; give the folder that "
            "`retrieval train` wrote."
        ) from error
    return {"kind": "model", "folder": printable(place), "bytes": size, **config}
