"""Pictures that are read ahead from disk are those that reading one batch after another gives."""

import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image

from retrieval import datasets
from retrieval.errors import RetrievalError
from retrieval.images import Preprocessing
from retrieval.training import training_set
from retrieval.training.training_set import Source


@pytest.fixture
def source(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    for i in range(30):
        folder = tmp_path / "photos" / f"class {i % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    monkeypatch.setattr(training_set, "IN_MEMORY", 0)
    return Source(datasets.load(tmp_path / "photos"), Preprocessing(size=16))


def batches(count=12, size=7):
    random = np.random.default_rng(1)
    return [random.integers(0, 30, size) for _ in range(count)]


def readers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("reading")]


@pytest.mark.parametrize("count", [0, 1, 3, 12])
def test_every_batch_comes_in_its_turn(source, count):
    asked = batches(count)
    found = list(source.stream(iter(asked)))
    assert len(found) == count
    for pixels, indices in zip(found, asked, strict=True):
        assert torch.equal(pixels, torch.from_numpy(source.pictures.read(source.preprocessing, indices)))
    assert not readers()


def test_so_many_batches_and_no_more_are_read_ahead(source, monkeypatch):
    begun, read = [], source.read

    def counted(indices):
        begun.append(1)
        return read(indices)

    monkeypatch.setattr(source, "read", counted)
    stream = source.stream(iter(batches()))
    for taken in range(1, 4):
        next(stream)
        deadline = time.monotonic() + 10
        while len(begun) < taken + training_set.AHEAD and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(begun) == taken + training_set.AHEAD
    stream.close()
    assert not readers() and len(begun) <= 3 + training_set.AHEAD


def test_a_file_that_is_lost_on_the_way_is_named_when_its_batch_comes(source):
    asked = [np.arange(5), np.arange(5, 10), np.arange(10, 15), np.arange(15, 20), np.arange(20, 25)]
    lost = source.pictures.files[12]
    lost.unlink()
    stream = source.stream(iter(asked))
    assert len(next(stream)) == len(next(stream)) == 5
    with pytest.raises(RetrievalError, match="1 of 5 pictures cannot be read") as caught:
        next(stream)
    assert lost.name in str(caught.value)
    assert not readers()


def test_pictures_in_memory_are_not_read_ahead(tmp_path, source, monkeypatch):
    monkeypatch.setattr(training_set, "IN_MEMORY", 1 << 30)
    kept = Source(source.pictures, source.preprocessing)
    asked = batches()
    for a, b in zip(kept.stream(iter(asked)), source.stream(iter(asked)), strict=True):
        assert torch.equal(a, b)
        assert kept.pixels is not None
