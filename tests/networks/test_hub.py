"""Models by one word: the table, and downloads from a server of our own that answers like the hub."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import small_hub
import tiny
import torch

from retrieval.encoder import Encoder, encoder
from retrieval.errors import RetrievalError
from retrieval.networks import hub_models
from retrieval.networks.hub_models import HUB_MODELS

transformers = pytest.importorskip("transformers", reason="the extra `pretrained` is not installed")

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random model of DINOv2's architecture, as its files lie on the hub; and what must not be fetched."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    config = transformers.Dinov2Config(
        image_size=28, patch_size=7, hidden_size=16, num_hidden_layers=2, num_attention_heads=2
    )
    transformers.Dinov2Model(config).save_pretrained(folder)
    transformers.BitImageProcessorPil(
        size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}
    ).save_pretrained(folder)
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "modeling.py").write_text("raise SystemExit")
    return folder


@pytest.fixture
def served(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[small_hub.Hub]:
    """The hub is a server here, its cache is empty, and `small` is the word for its one model."""
    from huggingface_hub import constants

    monkeypatch.setattr(encoder, "compare", tiny.only_vectors)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    name(monkeypatch, sha256=hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest())
    with small_hub.serving(model, "somebody/small", REVISION) as server:
        point_to(monkeypatch, server.url)
        yield server


def point_to(patch: pytest.MonkeyPatch, url: str) -> None:
    """As HF_ENDPOINT does for a new process."""
    from huggingface_hub import constants

    patch.setattr(constants, "ENDPOINT", url)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")


def name(patch: pytest.MonkeyPatch, **changes: object) -> None:
    small = dataclasses.replace(
        HUB_MODELS["dinov2-small"], hub="somebody/small", revision=REVISION, size=30_000, licence="Own", **changes
    )
    patch.setitem(hub_models.HUB_MODELS, "small", small)


def test_by_one_word(
    served: small_hub.Hub,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    made = Encoder.load("small")
    said = capsys.readouterr().err
    assert f"https://huggingface.co/somebody/small/tree/{REVISION} (0 MB). Licence: Own" in said
    assert made.config.network == f"hf:somebody/small@{REVISION}" and made.hash == Encoder.load(f"hf:{model}").hash
    assert made.card is not None and "Licence: Own" in made.card and f"Revision: {REVISION}" in made.card
    assert hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest() in made.card
    fetched = {path.name for path in (tmp_path / "cache").rglob("snapshots/*/*")}
    assert fetched == {"config.json", "preprocessor_config.json", "model.safetensors"}
    made.save(tmp_path / "kept")
    assert Encoder.load(tmp_path / "kept").card == made.card
    served.gated = True  # nothing is downloaded again, and nothing announced
    capsys.readouterr()
    assert Encoder.load("small").hash == made.hash and "Downloading" not in capsys.readouterr().err
    made.save(tmp_path / "small")  # a path comes before a word
    assert Encoder.load("small").config.network == made.config.network
    shutil.rmtree(tmp_path / "small")
    (tmp_path / "small").mkdir()
    with pytest.raises(RetrievalError, match="There is no encoder in 'small'"):
        Encoder.load("small")


def test_what_is_not_pinned_is_recorded(served: small_hub.Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    name(monkeypatch, sha256=None)
    monkeypatch.setitem(
        hub_models.HUB_MODELS, "small", dataclasses.replace(hub_models.HUB_MODELS["small"], revision=None)
    )
    card = Encoder.load("small").card
    assert card is not None and f"Revision: {REVISION}" in card and re.search("SHA-256 [0-9a-f]{64}", card)


def test_a_broken_download_goes_on(served: small_hub.Hub, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1_000)
    served.breaks = 5_000
    assert Encoder.load("small").hash == Encoder.load(f"hf:{model}").hash
    assert served.ranges == [None, "bytes=5000-"]


def test_other_bytes_are_refused(served: small_hub.Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Encoder.load("small")
    (blob,) = {path.resolve() for path in (tmp_path / "cache").rglob("model.safetensors")}
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.write_bytes(content)
    for asked in ("small", "hf:somebody/small"):
        with pytest.raises(RetrievalError, match=r"model\.safetensors' of the model hf:somebody/small.* has SHA-256"):
            Encoder.load(asked)
    content[-1] ^= 1
    blob.write_bytes(content)
    Encoder.load("small")
    name(monkeypatch, sha256="0" * 64)
    with pytest.raises(RetrievalError, match="and not 0000"):
        Encoder.load("small")


def test_what_the_hub_says_no_to(served: small_hub.Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RetrievalError, match="no such model on the Hugging Face hub"):
        Encoder.load("hf:somebody/else")
    served.gated = True
    with pytest.raises(RetrievalError, match="asks you to accept conditions first"):
        Encoder.load("small")
    point_to(monkeypatch, "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(RetrievalError, match="cannot be reached, and there is no model in its cache here"):
        Encoder.load("small")
    point_to(monkeypatch, served.url)
    served.gated = False
    made = Encoder.load("small")
    point_to(monkeypatch, "http://127.0.0.1:9")
    assert Encoder.load("small").hash == made.hash  # from the cache
    with pytest.raises(RetrievalError, match="cannot be reached, and in its cache here are somebody/small;") as error:
        Encoder.load("dinov2-small")
    assert "\n" not in str(error.value)


def test_the_table() -> None:
    """Words that are no paths by habit; revisions, checksums and sources that can be ones."""
    for word, one in HUB_MODELS.items():
        assert re.fullmatch("[a-z0-9-]+", word) and one.hub.count("/") == 1
        assert one.revision is None or re.fullmatch("[0-9a-f]{40}", one.revision)
        assert one.sha256 is None or re.fullmatch("[0-9a-f]{64}", one.sha256)
        assert one.sources and one.licence_url.startswith("https://")
    assert np.unique([one.name for one in HUB_MODELS.values()]).size == len(HUB_MODELS)
