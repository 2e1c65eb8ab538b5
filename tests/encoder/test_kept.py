"""What is kept of an encoder from elsewhere: found again without torch, and never believed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from retrieval.base import cache
from retrieval.encoder import Encoder, encoder, kept, store
from retrieval.encoder.runtime_check import Comparison
from retrieval.encoder.weights import digest
from retrieval.errors import RetrievalError
from retrieval.networks.published import PUBLISHED

NAME = "efficientnet_lite0"
COMPARED = Comparison(True, "", 0.0, 1.0, 2.0, 1, 8)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder after one index was built with the smaller of the two encoders for photographs."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        patch.setattr(encoder, "compare", lambda *_: COMPARED)
        Encoder.load("fast", threads=1).save(folder / "index" / "encoder")
    return folder


@pytest.fixture
def entry(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The one folder in a cache of this test's own."""
    shutil.copytree(made / "retrieval", tmp_path / "retrieval")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (found,) = (tmp_path / "retrieval" / "encoders").iterdir()
    return found


def pixels(n: int = 2, size: int = 224) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, size, size, 3), np.uint8)


def test_it_is_the_encoder_that_was_made(made: Path, entry: Path, tmp_path: Path) -> None:
    found = Encoder.load("fast", threads=1)
    saved = Encoder.load(made / "index", threads=1)
    assert found.runtime == "onnx" and found._network is None
    assert (found.hash, found.comparison, found.config.preprocessing) == (
        saved.hash,
        COMPARED,
        saved.config.preprocessing,
    )
    np.testing.assert_array_equal(found.encode(pixels()), saved.encode(pixels()))
    shutil.rmtree(entry)  # it is in memory
    found.save(tmp_path / "copy")
    for name in (store.ONNX, store.WEIGHTS):
        assert (tmp_path / "copy" / name).read_bytes() == (made / "index" / "encoder" / name).read_bytes()
    by_torch = Encoder.load(tmp_path / "copy", runtime="torch")
    np.testing.assert_allclose(by_torch.encode(pixels()), saved.encode(pixels()), atol=1e-5)


def test_it_takes_no_torch_and_says_nothing(entry: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from retrieval.encoder import Encoder; e = Encoder.load('fast', threads=1); e.optimise();"
        "e.save(sys.argv[1]); print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "copy")], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n" and done.stderr == ""


def test_the_first_time_says_what_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    Encoder.load("fast")
    assert capsys.readouterr().err == "Loading EfficientNet-Lite0\n"
    assert not list(tmp_path.iterdir())  # nothing is exported before it is needed


def described(entry: Path, **changes: object) -> None:
    """Another configuration, with checksums that fit."""
    values = json.loads((entry / store.CONFIG).read_text())
    files = {name: hashlib.sha256((entry / name).read_bytes()).hexdigest() for name in values["files"]}
    (entry / store.CONFIG).write_text(json.dumps({**values, "files": files, **changes}))


def poisoned(entry: Path, name: str) -> None:
    """Some of the numbers in a file are others, and the checksum fits."""
    content = bytearray((entry / name).read_bytes())
    first, last = (int(share * len(content)) // 4 * 4 for share in (0.9, 0.91))
    content[first:last] = bytes(last - first)
    (entry / name).write_bytes(content)
    described(entry)


def without(entry: Path, name: str) -> None:
    (entry / name).unlink()


def linked(entry: Path) -> None:
    entry.rename(entry.with_name("elsewhere"))
    entry.symlink_to("elsewhere")


def a_file(entry: Path) -> None:
    shutil.rmtree(entry)
    entry.write_bytes(b"no folder")


DAMAGE: dict[str, Callable[[Path], object]] = {
    "graph cut off": lambda entry: os.truncate(entry / store.ONNX, 1000),
    "graph gone": lambda entry: without(entry, store.ONNX),
    "graph a pipe": lambda entry: (without(entry, store.ONNX), os.mkfifo(entry / store.ONNX)),
    "weights gone": lambda entry: without(entry, store.WEIGHTS),
    "weights cut off": lambda entry: (os.truncate(entry / store.WEIGHTS, 1000), described(entry)),
    "another graph": lambda entry: poisoned(entry, store.ONNX),
    "no graph": lambda entry: ((entry / store.ONNX).write_bytes(b"nonsense"), described(entry)),
    "other weights": lambda entry: poisoned(entry, store.WEIGHTS),
    "no configuration": lambda entry: without(entry, store.CONFIG),
    "no JSON": lambda entry: (entry / store.CONFIG).write_bytes(b"\xff{"),
    "a list": lambda entry: (entry / store.CONFIG).write_text("[]"),
    "another network": lambda entry: described(entry, network="seed"),
    "a file outside": lambda entry: described(entry, files={"../x": "00"}),
    "not compared": lambda entry: described(entry, onnx=None),
    "compared to nothing": lambda entry: described(
        entry, onnx={**dataclasses.asdict(COMPARED), "onnx": "fast", "kept": "yes"}
    ),
    "a link": linked,
    "a file": a_file,
    "open to others": lambda entry: entry.chmod(0o777),
    "in a folder open to others": lambda entry: entry.parent.chmod(0o777),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_not_as_it_was_is_not_used(damage: str, entry: Path) -> None:
    assert Encoder._made_before(NAME, 1) is not None
    DAMAGE[damage](entry)
    assert Encoder._made_before(NAME, 1) is None


def test_it_is_made_anew(entry: Path, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = Encoder.load(made / "index", threads=1).encode(pixels())
    for damage in ("another graph", "in a folder open to others"):
        DAMAGE[damage](entry)
    monkeypatch.setattr(encoder, "compare", lambda *_: COMPARED)
    Encoder.load("fast", threads=1).save(tmp_path / "encoder")
    np.testing.assert_allclose(Encoder.load(tmp_path / "encoder", threads=1).encode(pixels()), expected, atol=1e-5)
    assert Encoder._made_before(NAME, 1) is not None
    assert cache.private(entry) and cache.private(entry.parent)


def test_other_versions_make_their_own(entry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, changed in (
        ("versions", lambda *_: {"torch": "9"}),
        ("processor", lambda: "a newer one"),
        ("VERSION", kept.VERSION + 1),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(kept, name, changed)
            assert Encoder._made_before(NAME, 1) is None
    assert Encoder._made_before(NAME, 1) is not None


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").write_bytes(b"no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    config = Encoder.load("fast", threads=1).config
    kept.keep(config, "00", COMPARED, lambda into: None)
    assert kept.find(config.hash("00")) is None
    assert (tmp_path / "cache").read_bytes() == b"no folder"


def test_there_is_room_for_so_much(entry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = kept.find(Encoder.load("fast").hash, PUBLISHED[NAME].digest)
    assert found is not None and found.comparison is not None

    def fill(into: Path) -> None:
        (into / store.ONNX).write_bytes(bytes(1000))

    other = dataclasses.replace(found.config, dim=7)
    monkeypatch.setattr(kept, "SIZE", 10_000)
    kept.keep(other, found.weights, found.comparison, fill)
    (left,) = entry.parent.iterdir()
    assert left != entry and (left / store.ONNX).stat().st_size == 1000


def test_the_published_answer_is_that_of_the_weights() -> None:
    from retrieval.encoder.runtime_check import sample_pictures

    for name, published in PUBLISHED.items():
        made = Encoder._pretrained(name, 1)
        assert digest(made._loaded_network()) == published.digest
        (vector,) = made.encode(sample_pictures(1, published.preprocessing, seed=0))
        assert published.answers(vector)
        assert not published.answers(-vector) and not published.answers(np.full(made.dim, np.nan, np.float32))


def test_a_model_of_transformers_is_compared_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    transformers = pytest.importorskip("transformers", reason="the extra `pretrained` is not installed")
    config = transformers.ConvNextConfig(depths=[1, 1, 1, 1], hidden_sizes=[8, 8, 8, 12])
    transformers.ConvNextModel(config).save_pretrained(tmp_path / "model")
    transformers.ConvNextImageProcessorPil(size={"shortest_edge": 56}).save_pretrained(tmp_path / "model")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    times: list[int] = []
    monkeypatch.setattr(encoder, "compare", lambda *_: times.append(1) or COMPARED)
    name = f"hf:{tmp_path / 'model'}"
    for _ in range(2):
        Encoder.load(name, threads=1).save(tmp_path / "encoder")
    assert times == [1]
    (entry,) = (tmp_path / "cache" / "retrieval" / "encoders").iterdir()
    assert {path.name for path in entry.iterdir()} == {store.CONFIG, store.ONNX}
    poisoned(entry, store.ONNX)  # torch is at hand, and says otherwise
    Encoder.load(name, threads=1).save(tmp_path / "encoder")
    assert times == [1, 1]
    assert "choosing the runtime" in capsys.readouterr().err
    with pytest.raises(RetrievalError):
        Encoder.load(tmp_path / "nothing")
