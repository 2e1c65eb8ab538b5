"""The service that benchmarks ask (benchmarks/service_process.py): where it does not start, they say what it said."""

from __future__ import annotations

import importlib
import json
import urllib.request
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from retrieval.errors import RetrievalError

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def service_process(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("service_process")


def test_what_the_service_said_is_told_in_a_sentence(service_process: ModuleType, tmp_path: Path) -> None:
    """Be it that there is no index, or that the extra is not installed."""
    with pytest.raises(RetrievalError) as raised, service_process.serve(tmp_path / "nowhere"):
        pass
    said = str(raised.value)
    assert said.startswith("The service did not start: ") and len(said.splitlines()) == 1
    assert "nowhere" in said or "retrieval[serve]" in said


def test_it_answers_until_the_block_ends(service_process: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
    from retrieval.index import Index, NewItem

    with Index.create(tmp_path / "index", 2, root=str(tmp_path), encoder_hash="imported:x", details={}) as index:
        index.add(np.eye(1, 2, dtype=np.float32), [NewItem("a.jpg")])
    with service_process.serve(tmp_path / "index", "--write") as begun:
        assert begun.address == f"http://127.0.0.1:{begun.port}/"
        with urllib.request.urlopen(f"{begun.address}session", timeout=30) as answer:
            assert json.load(answer)["write"]
    with pytest.raises(OSError):
        urllib.request.urlopen(f"{begun.address}healthz", timeout=5)
