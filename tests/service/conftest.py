"""One index and one service of it, for the tests that change neither."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tiny

if TYPE_CHECKING:
    from served import Served


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures: two classes of six, and a copy of one."""
    root = tiny.folder(tmp_path_factory.mktemp("photos") / "photos", each=6)
    (root / "dog" / "copy.png").write_bytes((root / "cat" / "0.png").read_bytes())
    return root


@pytest.fixture(scope="session")
def index(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of it."""
    from retrieval.ingest import build

    out = tmp_path_factory.mktemp("indexes") / "photos"
    build(photos, out, model=tiny.model(tmp_path_factory), threads=1)
    return out


@pytest.fixture(scope="session")
def served(index: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service of it."""
    from served import serving

    with serving(index, cache=tmp_path_factory.mktemp("cache")) as service:
        yield service
