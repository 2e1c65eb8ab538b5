"""A function of an index takes its folder, too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from retrieval.engines.by_place import or_place
from retrieval.errors import RetrievalError
from retrieval.index import Index, NewItem


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "index"
    with Index.create(folder, 2, root="photos", encoder_hash="0" * 64, details={}, decoder="pillow 11.0") as index:
        index.add(np.eye(2, dtype=np.float32), [NewItem("a.png"), NewItem("b.png")])
    return folder


@or_place(write=True)
def take_out(index: Index, *ids: int, count: bool = False) -> Index | int:
    """Take items out."""
    index.remove(ids)
    return len(index) if count else index


def test_a_folder_is_opened_and_closed_again(folder: Path) -> None:
    assert take_out(str(folder), 0, count=True) == 1
    opened = take_out(folder)
    assert isinstance(opened, Index)
    with Index.open(folder, write=True) as index:  # nobody writes it any more
        assert take_out(index, 1) is index and len(index) == 0
        index.record_skipped([])  # it is open still


def test_a_folder_that_is_none_is_said(tmp_path: Path) -> None:
    with pytest.raises(RetrievalError, match="no index at"):
        take_out(tmp_path / "nothing")


def test_it_is_still_called_what_it_was_called() -> None:
    assert (take_out.__name__, take_out.__doc__) == ("take_out", "Take items out.")


def test_a_folder_needs_no_engine(folder: Path) -> None:
    program = (
        "import sys, retrieval.cli; from retrieval.engines.opening import open_index\n"
        "import retrieval.engines.exporting, retrieval.ingest, retrieval.search.search\n"
        "with open_index(sys.argv[1], write=True) as index: index.remove([0])\n"
        "print(*{name.partition('.')[0] for name in sys.modules} & {'psycopg', 'psycopg_pool', 'pymilvus', 'grpc'})"
    )
    done = subprocess.run([sys.executable, "-c", program, folder], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
