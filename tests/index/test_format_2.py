"""An index as a program before pixels had a version wrote it (format 2, without the tables that came later)."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from vectors import named, unit

from retrieval.index import Index
from retrieval.index.integrity import verify

KEPT = Path(__file__).parent / "format_2"


def test_it_opens_answers_and_is_changed(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    shutil.copytree(KEPT, folder)
    assert verify(folder).ok
    with Index.open(folder) as index:
        ids, vectors = index.all_vectors()
        assert ids.tolist() == [0, 1, 2, *range(4, 12)]
        np.testing.assert_array_equal(vectors, unit(12, 8)[ids])
        assert index.attributes([4]) == [{"iso": 100, "taken": "2024-05-01 12:00"}]
        assert index.select("iso <= 100 and taken >= 2024-05-01T11:00").tolist() == [4]
        assert index.skipped() == [("a.png", "empty file")]
        assert index.search(unit(12, 8)[[7]], 1)[1].tolist() == [[7]]
    with Index.open(folder, write=True) as index:
        index.upsert(unit(1, 8, seed=3), named(1, 100), facts=[(("iso", 200),)])
        index.remove([0])
        index.compact()
        assert index.select("iso > 100").tolist() == [12]
    assert verify(folder).ok
