"""The encoder: its vectors against plain torch, its folder against damage, ONNX Runtime only where it is equal."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from retrieval import networks
from retrieval.base import files
from retrieval.encoder import Encoder, EncoderConfig, encoder, runtime_check, save_trained, store
from retrieval.encoder.runtime_check import TOLERANCE, Comparison, compare, sample_pictures
from retrieval.encoder.torch_runtime import TorchRunner, export, precisely
from retrieval.errors import RetrievalError
from retrieval.images import Preprocessing

OPTIONS = {"dim": 8, "size": 16, "widths": [8, 16]}
KEPT = Comparison(True, "", 0.0, 1.0, 2.0, 1, 8)


def make(seed: int = 0, **changes: object) -> tuple[nn.Module, EncoderConfig]:
    torch.manual_seed(seed)
    network = networks.create("convnet", **OPTIONS).train()
    p = Preprocessing(size=16, fit="stretch", mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25))
    config = EncoderConfig("convnet", OPTIONS, 8, p, classes=("cat", "dog"), trained_on="made-up pictures")
    return network, dataclasses.replace(config, **changes)


def pictures(n: int, size: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), np.uint8)


def by_hand(network: nn.Module, p: Preprocessing, pixels: np.ndarray) -> np.ndarray:
    """The definition, in float64."""
    x = (pixels / 255 - np.array(p.mean)) / np.array(p.std)
    with torch.no_grad():
        raw = network.double().eval()(torch.from_numpy(x.transpose(0, 3, 1, 2))).numpy()
    network.float()
    return raw / np.linalg.norm(raw, axis=1, keepdims=True)


@pytest.fixture
def keep_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the graph whatever this moment's timing says."""
    monkeypatch.setattr(encoder, "compare", lambda *_: KEPT)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved encoder with all of its files; tests that change it copy it."""
    path = tmp_path_factory.mktemp("runs") / "first" / "encoder"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, "compare", lambda *_: KEPT)
        save_trained(path, *make(), "# A card\n")
    return path


@pytest.fixture
def damaged(folder: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    copy = tmp_path / "encoder"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    return copy


def one_sentence(error: pytest.ExceptionInfo[RetrievalError]) -> str:
    text = str(error.value)
    assert "\n" not in text and text.endswith(".") and len(text) < 500
    return text


@pytest.mark.kernels
@pytest.mark.parametrize("runtime", ["torch", "onnx"])
@pytest.mark.parametrize("threads", [1, 2])
def test_vectors_are_what_the_definition_says(folder: Path, runtime: encoder.Runtime, threads: int) -> None:
    loaded = Encoder.load(folder, runtime=runtime, threads=threads)
    network, config = make()
    pixels = pictures(37)
    vectors = loaded.encode(pixels)
    assert loaded.runtime == runtime
    assert vectors.dtype == np.float32 and vectors.shape == (37, 8) and vectors.flags.c_contiguous
    np.testing.assert_allclose(vectors, by_hand(network, config.preprocessing, pixels), atol=2e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


@pytest.mark.kernels
@pytest.mark.parametrize("runtime", ["torch", "onnx"])
def test_the_batch_does_not_matter(folder: Path, runtime: encoder.Runtime) -> None:
    loaded = Encoder.load(folder, runtime=runtime, threads=1 if runtime == "torch" else 2)
    pixels = pictures(30)
    together = loaded.encode(pixels)
    for batch in (1, 7, 1000):
        np.testing.assert_allclose(loaded.encode(pixels, batch=batch), together, atol=1e-6)
    np.testing.assert_allclose(loaded.encode(pixels[11:12]), together[11:12], atol=1e-6)
    np.testing.assert_array_equal(loaded.encode(pixels), together)
    every_second = pixels[::2]  # not contiguous
    np.testing.assert_allclose(loaded.encode(every_second), together[::2], atol=1e-6)
    assert loaded.encode(pixels[:0]).shape == (0, 8)


@pytest.mark.kernels
def test_many_threads_may_share_an_encoder(folder: Path) -> None:
    pixels = pictures(40)
    for runtime in ("torch", "onnx"):
        shared = Encoder.load(folder, runtime=runtime, threads=1)
        expected = shared.encode(pixels)
        before = torch.get_num_threads(), torch.backends.cudnn.conv.fp32_precision
        with ThreadPoolExecutor(4) as pool:
            parts = pool.map(lambda i, e=shared: e.encode(pixels[i : i + 2]), range(0, 40, 2))
            np.testing.assert_allclose(np.concatenate(list(parts)), expected, atol=1e-6)
            inside = list(pool.map(lambda _: torch.get_num_threads(), range(8)))
        assert (torch.get_num_threads(), torch.backends.cudnn.conv.fp32_precision) == before
        assert {1, before[0]}.issuperset(inside)
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result() == before[0]


def test_a_thread_that_was_new_inside_leaves_the_process_as_it_was() -> None:
    before = torch.get_num_threads()
    with ThreadPoolExecutor(1) as pool:

        def enter() -> int:
            with precisely(1):
                return torch.get_num_threads()

        try:
            torch.set_num_threads(2)
            with precisely(1):
                assert pool.submit(torch.get_num_threads).result() == 1
            assert pool.submit(enter).result() == 1  # now it is the only one inside
            with ThreadPoolExecutor(1) as others:
                assert others.submit(torch.get_num_threads).result() == 2
        finally:
            torch.set_num_threads(before)


def test_a_query_does_not_import_torch(folder: Path) -> None:
    code = f"""
import sys, numpy as np
from retrieval.encoder import Encoder
encoder = Encoder.load({str(folder.parent)!r})
assert encoder.encode(np.zeros((2, 16, 16, 3), np.uint8)).shape == (2, 8)
print(encoder.hash, encoder.runtime, "torch" in sys.modules)
"""
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.split() == [Encoder.load(folder).hash, "onnx", "False"]


def test_saving_and_loading_changes_nothing(folder: Path, tmp_path: Path) -> None:
    network, config = make()
    again = Encoder.load(folder, runtime="torch")
    assert again.hash == Encoder.of(network, config).hash
    assert dataclasses.replace(again.config, created="") == config and again.config.created
    assert again.card == "# A card\n" and again.comparison == KEPT
    again.save(tmp_path / "copy")
    for file in folder.iterdir():
        assert (tmp_path / "copy" / file.name).read_bytes() == file.read_bytes(), file.name
    assert Encoder.load(tmp_path / "copy").hash == again.hash


def test_training_may_go_on(tmp_path: Path, keep_onnx: None) -> None:
    network, config = make()
    trained = [weight.requires_grad for weight in network.parameters()]
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    save_trained(tmp_path / "encoder", network, config, "")
    Encoder.load(tmp_path / "encoder", runtime="torch")
    assert torch.equal(torch.rand(1), expected)  # nobody else's random numbers were drawn
    assert network.training and [weight.requires_grad for weight in network.parameters()] == trained
    assert all(torch.equal(before[name], weight) for name, weight in network.state_dict().items())


def test_hash_is_of_what_vectors_depend_on() -> None:
    network, config = make()
    same = Encoder.of(network, config).hash
    elsewhere = dataclasses.replace(config, classes=(), trained_on="", created="2026-01-01")
    assert Encoder.of(network, elsewhere).hash == same
    larger = dataclasses.replace(config.preprocessing, size=32)
    others = [
        Encoder.of(make(seed=1)[0], config),
        Encoder.of(network, dataclasses.replace(config, preprocessing=larger)),
        Encoder.of(network, dataclasses.replace(config, options={**OPTIONS, "dim": 9})),
    ]
    assert len({same, *(other.hash for other in others)}) == 4


@pytest.mark.parametrize("name", [store.WEIGHTS, store.ONNX])
@pytest.mark.parametrize("how", ["missing", "truncated", "empty", "one bit", "other"])
def test_damaged_files_are_refused(damaged: Path, name: str, how: str) -> None:
    file = damaged / name
    content = bytearray(file.read_bytes())
    if how == "missing":
        file.unlink()
    elif how == "one bit":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    else:
        file.write_bytes({"truncated": content[:-1], "empty": b"", "other": b"something else"}[how])
    runtime: encoder.Runtime = "torch" if name == store.WEIGHTS else "onnx"
    with pytest.raises(RetrievalError) as error:
        Encoder.load(damaged, runtime=runtime)
    assert name in one_sentence(error)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("{", "not JSON"),
        ("[]", "does not describe an encoder"),
        ({"format": None}, "does not describe an encoder"),
        ({"format": None, "model_type": "clip"}, "give hf:"),
        ({"version": 2}, "update it"),
        ({"version": "1"}, "version"),
        ({"dim": "8"}, "damaged"),
        ({"preprocessing": {"size": -1}}, "damaged"),
        ({"preprocessing": {"size": 16, "surprise": 1}}, "damaged"),
        ({"files": {}}, "does not list it"),
        ({"files": None}, "damaged"),
        ({"normalised": False}, "normalised"),
    ],
)
def test_damaged_configurations_are_refused(damaged: Path, change: str | dict, says: str) -> None:
    path = damaged / store.CONFIG
    values = json.loads(path.read_text())
    path.write_text(change if isinstance(change, str) else json.dumps({**values, **change}))
    with pytest.raises(RetrievalError) as error:
        Encoder.load(damaged)
    assert says in one_sentence(error)


def test_nothing_is_ever_unpickled(damaged: Path, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "exploded",))

    for name, runtime in ((store.WEIGHTS, "torch"), (store.ONNX, "onnx")):
        content = pickle.dumps(Bomb())
        (damaged / name).write_bytes(content)
        values = json.loads((damaged / store.CONFIG).read_text())
        values["files"][name] = hashlib.sha256(content).hexdigest()  # an attacker would see to that
        (damaged / store.CONFIG).write_text(json.dumps(values))
        with pytest.raises(RetrievalError) as error:
            Encoder.load(damaged, runtime=runtime)
        one_sentence(error)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    "options", [{"widths": [8, 24]}, {"dim": 10**9}, {"dim": -1}, {"widths": [10**30, 8]}, {"size": "16"}]
)
def test_weights_of_another_network_are_refused(damaged: Path, options: dict[str, object]) -> None:
    """Without memory for what the configuration asks for."""
    values = json.loads((damaged / store.CONFIG).read_text())
    values["options"].update(options)
    (damaged / store.CONFIG).write_text(json.dumps(values))
    with pytest.raises(RetrievalError) as error:
        Encoder.load(damaged, runtime="torch")
    assert "do not fit" in one_sentence(error)


def test_a_file_outside_the_folder_is_not_copied(damaged: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    values = json.loads((damaged / store.CONFIG).read_text())
    values["files"]["../secret"] = hashlib.sha256(b"secret").hexdigest()
    (damaged / store.CONFIG).write_text(json.dumps(values))
    with pytest.raises(RetrievalError, match="outside the folder"):
        Encoder.load(damaged).save(tmp_path / "deep" / "copy")
    assert not list((tmp_path / "deep").iterdir())


@pytest.mark.parametrize("source", ["nowhere", "nowhere/at/all", "."])
def test_no_encoder_there(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RetrievalError) as error:
        Encoder.load(source)
    assert "There is no encoder in" in one_sentence(error)


def test_saving_replaces_an_encoder_but_nothing_else(damaged: Path, tmp_path: Path, keep_onnx: None) -> None:
    other = Encoder.of(*make(seed=1))
    other.save(damaged)
    assert Encoder.load(damaged).hash == other.hash
    assert not (damaged / store.CARD).exists()  # the old one's card went with it
    for name in ("notes.txt", "more/a", "network.onnx.bak"):  # what somebody put there stays
        (damaged / name).parent.mkdir(exist_ok=True)
        (damaged / name).write_text(name)
    other.save(damaged)
    assert all((damaged / name).read_text() == name for name in ("notes.txt", "more/a", "network.onnx.bak"))
    assert Encoder.load(damaged).hash == other.hash
    precious = tmp_path / "photos"
    precious.mkdir()
    (precious / "config.json").write_text('{"format": "something else"}')
    with pytest.raises(RetrievalError, match="no encoder"):
        other.save(precious)
    (precious / "config.json").unlink()
    (precious / "cat.jpg").write_bytes(b"cat")
    with pytest.raises(RetrievalError) as error:
        other.save(precious)
    assert "no encoder" in one_sentence(error)
    with pytest.raises(RetrievalError) as error:
        other.save(precious / "cat.jpg")
    one_sentence(error)
    assert [path.name for path in precious.iterdir()] == ["cat.jpg"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["encoder", "photos"]


@pytest.mark.parametrize("in_one_step", [True, False])
def test_an_interrupted_save_leaves_the_old_encoder(
    damaged: Path, monkeypatch: pytest.MonkeyPatch, keep_onnx: None, in_one_step: bool
) -> None:
    """Where two folders can change places in one step, and where they cannot."""
    old = Encoder.load(damaged).hash
    other = Encoder.of(*make(seed=1))
    rename = Path.rename

    def stop_at_the_last_moment(self: Path, target: Path) -> Path:
        if target == damaged and self.joinpath(store.CONFIG).exists() and old != Encoder.load(self).hash:
            raise KeyboardInterrupt
        return rename(self, target)

    def stop_before_the_exchange(one: Path, target: Path) -> bool:
        assert target == damaged and old != Encoder.load(one).hash
        if in_one_step:
            raise KeyboardInterrupt
        return False

    monkeypatch.setattr(Path, "rename", stop_at_the_last_moment)
    monkeypatch.setattr(files, "exchange", stop_before_the_exchange)
    with pytest.raises(KeyboardInterrupt):
        other.save(damaged)
    assert Encoder.load(damaged).hash == old
    assert [path.name for path in damaged.parent.iterdir()] == ["encoder"]


@pytest.mark.kernels
def test_onnx_runtime_equals_torch_on_each_network() -> None:
    for name, options in (("convnet", OPTIONS), ("seed", {"dim": 16, "size": 16})):
        torch.manual_seed(0)
        network = networks.create(name, **options).eval().requires_grad_(False)
        p = dataclasses.replace(network.preprocessing, size=16)
        graph = encoder.OnnxRunner(export(network, p), 2)
        reference = TorchRunner(network, p, torch.device("cpu"), 2)
        pixels = np.concatenate([sample_pictures(8, p, seed=3), pictures(3)])
        assert np.abs(graph(pixels) - reference(pixels)).max() <= TOLERANCE


P = Preprocessing(size=8)


class Clock:
    """Goes on by what the runners below say they take, however busy the machine is."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now


CLOCK = Clock()


def runner(seconds: float, offset: float = 0.0):
    def run(pixels: np.ndarray) -> np.ndarray:
        CLOCK.now += seconds
        return np.full((len(pixels), 4), 0.5 + offset, np.float32)

    return run


@pytest.mark.parametrize(
    ("onnx", "kept", "faster", "reason"),
    [
        (runner(0.001), True, True, ""),
        (runner(0.05), True, False, ""),
        (runner(0.001, 2e-5), False, False, "vectors differ by 2.0e-05"),
        (runner(0.001, np.nan), False, False, "vectors differ by nan"),
        (runner(0.001, 5e-6), True, True, ""),
    ],
)
def test_onnx_runtime_is_kept_if_equal_and_preferred_if_faster(
    onnx: object, kept: bool, faster: bool, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime_check, "time", CLOCK)
    result = compare(runner(0.02), onnx, P, 1)
    assert (result.kept, result.faster, result.reason) == (kept, faster, reason)


def test_sample_pictures_are_noise_and_nature() -> None:
    p = Preprocessing(size=64)
    made = sample_pictures(6, p, seed=0)
    assert made.shape == (6, 64, 64, 3) and made.dtype == np.uint8
    np.testing.assert_array_equal(made, sample_pictures(6, p, seed=0))
    neighbours = [
        np.corrcoef(one[:, :-1].ravel().astype(float), one[:, 1:].ravel().astype(float))[0, 1] for one in made
    ]
    assert max(neighbours[1::2]) < 0.1 and min(neighbours[::2]) > 0.6


class Unexportable(nn.Module):
    """Spectra are beyond the exporter."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.svdvals(x.mean(1)) * self.scale


def test_what_cannot_be_exported_runs_in_torch(tmp_path: Path) -> None:
    config = dataclasses.replace(make()[1], dim=16)
    made = Encoder.of(Unexportable(), config)
    made.optimise()
    assert made.runtime == "torch" and made.comparison is not None
    assert not made.comparison.kept and "cannot be exported" in made.comparison.reason
    assert made.encode(pictures(3)).shape == (3, 16)
    made.save(tmp_path / "encoder")
    assert not (tmp_path / "encoder" / store.ONNX).exists()
    assert (tmp_path / "encoder" / store.WEIGHTS).exists()


def test_optimise_decides_by_the_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    slower = dataclasses.replace(KEPT, torch=KEPT.onnx, onnx=KEPT.torch)
    for decided, runtime in ((KEPT, "onnx"), (slower, "torch"), (dataclasses.replace(KEPT, kept=False), "torch")):
        monkeypatch.setattr(encoder, "compare", lambda *_, decided=decided: decided)
        made = Encoder.of(*make())
        made.optimise()
        assert made.runtime == runtime


def test_wrong_arguments_are_one_sentence(folder: Path) -> None:
    loaded = Encoder.load(folder)
    for wrong in (
        lambda: loaded.encode(pictures(2, size=15)),
        lambda: loaded.encode(pictures(2).astype(np.float32)),
        lambda: loaded.encode(pictures(2)[0]),
        lambda: loaded.encode(pictures(2), batch=0),
        lambda: loaded.encode_text(["a red shoe"]),
        lambda: Encoder.load(folder, threads=0),
        lambda: Encoder.load(folder, runtime="gpu"),
    ):
        with pytest.raises(RetrievalError) as error:
            wrong()
        one_sentence(error)


def test_vectors_that_are_not_numbers_are_refused() -> None:
    network, config = make()
    with torch.no_grad():
        network.embedding.weight[0, 0] = torch.nan
    with pytest.raises(RetrievalError, match="not numbers"):
        Encoder.of(network, config).encode(pictures(1))
