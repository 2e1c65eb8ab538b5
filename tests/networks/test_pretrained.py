"""Backbones through transformers: small random models on disk, against that library's own way to a vector."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
import words
from PIL import Image
from sklearn.datasets import load_sample_image

from retrieval import images, networks
from retrieval.encoder import Encoder, EncoderConfig, encoder, save_trained, store, torch_runtime
from retrieval.encoder.head_map import HeadMap
from retrieval.errors import RetrievalError
from retrieval.networks.backbone import Backbone
from retrieval.networks.backbone_input import preprocessing_of

transformers = pytest.importorskip("transformers", reason="the extra `pretrained` is not installed")
# Without torchvision transformers announces for each processor that it takes Pillow; that is what is wanted here.
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
VISION = {"image_size": 28, "patch_size": 7, **SMALL}
TEXT = {
    "vocab_size": 8,
    "max_position_embeddings": 10,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    **SMALL,
}


def clip() -> tuple[Any, Any]:
    config = transformers.CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=12)
    processor = transformers.CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    return transformers.CLIPModel(config), processor


def siglip() -> tuple[Any, Any]:
    config = transformers.SiglipConfig(text_config=TEXT, vision_config=VISION)
    return transformers.SiglipModel(config), transformers.SiglipImageProcessorPil(size={"height": 28, "width": 28})


def dinov2() -> tuple[Any, Any]:
    config = transformers.Dinov2Config(
        image_size=42, patch_size=7, hidden_size=16, num_hidden_layers=2, num_attention_heads=2
    )
    processor = transformers.BitImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 28, "width": 28})
    return transformers.Dinov2Model(config), processor


def dinov3() -> tuple[Any, Any]:
    model = transformers.DINOv3ViTModel(transformers.DINOv3ViTConfig(**VISION))
    return model, transformers.ViTImageProcessorPil(size={"height": 28, "width": 28})


def tipsv2() -> tuple[Any, Any]:
    own = {name: value for name, value in VISION.items() if name != "intermediate_size"}
    model = transformers.Tipsv2Model(transformers.Tipsv2Config(text_config=TEXT, vision_config=own))
    return model, transformers.ViTImageProcessorPil(size={"height": 28, "width": 28})


def vit() -> tuple[Any, Any]:
    model = transformers.ViTModel(transformers.ViTConfig(**VISION), add_pooling_layer=False)
    return model, transformers.ViTImageProcessorPil(size={"height": 28, "width": 28})


def convnext() -> tuple[Any, Any]:
    config = transformers.ConvNextConfig(depths=[1, 1, 1, 1], hidden_sizes=[8, 8, 8, 12])
    return transformers.ConvNextModel(config), transformers.ConvNextImageProcessorPil(size={"shortest_edge": 56})


OWN_VECTOR: dict[Callable[[], tuple[Any, Any]], Callable[[Any, torch.Tensor], torch.Tensor]] = {
    clip: lambda model, x: model(pixel_values=x, input_ids=torch.tensor([[1, 7, 2]])).image_embeds,
    siglip: lambda model, x: model(pixel_values=x, input_ids=torch.tensor([[1, 7, 2]])).image_embeds,
    dinov2: lambda model, x: model(x).last_hidden_state[:, 0],
    dinov3: lambda model, x: model(x).last_hidden_state[:, 0],
    tipsv2: lambda model, x: model.get_image_features(x).pooler_output,
    vit: lambda model, x: model(x).last_hidden_state[:, 0],
    convnext: lambda model, x: model(x).pooler_output,
}
"""How each model's authors get one vector out of a picture."""


WITH_WORDS = (clip, siglip, tipsv2)
"""Those that have a text side."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder a model, as a download would leave it."""
    root = tmp_path_factory.mktemp("hub")
    for make in OWN_VECTOR:
        torch.manual_seed(0)
        model, processor = make()
        for parameter in model.parameters():  # as they begin, most of these networks hardly see the picture
            torch.nn.init.normal_(parameter, std=0.3)
        model.save_pretrained(root / make.__name__)
        processor.save_pretrained(root / make.__name__)
        if make in WITH_WORDS:
            words.write(root / make.__name__, "left" if make is siglip else "right")
    return root


@pytest.fixture(scope="module")
def saved(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder a model, each with an encoder as an index keeps it; tests that change one copy it."""
    root = tmp_path_factory.mktemp("indexes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, "compare", tiny.only_vectors)
        for make in OWN_VECTOR:
            Encoder.load(f"hf:{models / make.__name__}").save(root / make.__name__ / "encoder")
    return root


def picture(side: int) -> Image.Image:
    return Image.fromarray(load_sample_image("china.jpg")).crop((100, 100, 100 + side, 100 + side))


@pytest.mark.parametrize("make", OWN_VECTOR)
@pytest.mark.parametrize("runtime", ["torch", "onnx"])
def test_vectors_are_those_of_transformers(make: Any, runtime: encoder.Runtime, models: Path, saved: Path) -> None:
    folder = models / make.__name__
    ours = Encoder.load(f"hf:{folder}" if runtime == "torch" else saved / make.__name__, runtime=runtime)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    # Already of the right size, so that only the rest of the preparation and the network are compared.
    shown = [picture(ours.config.preprocessing.size).rotate(90 * turn) for turn in range(3)]
    pixels = np.stack([images.prepare(one, ours.config.preprocessing) for one in shown])
    with torch.inference_mode():
        expected = OWN_VECTOR[make](model, processor(shown, return_tensors="pt")["pixel_values"]).flatten(1)
        expected = torch.nn.functional.normalize(expected, dim=1).numpy()
    vectors = ours.encode(pixels)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    assert np.linalg.norm(vectors[0] - vectors[1]) > 1e-3  # it sees the picture
    assert ours.dim == vectors.shape[1] and ours.runtime == runtime


@pytest.mark.parametrize("make", OWN_VECTOR)
def test_a_saved_backbone_needs_nothing_else(make: Any, models: Path, saved: Path, tmp_path: Path) -> None:
    from_hub = Encoder.load(f"hf:{models / make.__name__}")
    assert str(models) not in json.dumps(from_hub.config.to_json())
    kept = Encoder.load(saved / make.__name__, runtime="torch")
    assert kept.hash == from_hub.hash and kept.config.text == (make in WITH_WORDS)
    size = kept.config.preprocessing.size
    pixels = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), np.uint8)
    np.testing.assert_array_equal(kept.encode(pixels), from_hub.encode(pixels))
    kept.save(tmp_path / "copy")
    assert Encoder.load(tmp_path / "copy", runtime="torch").hash == from_hub.hash
    transformers.AutoModel.from_pretrained(tmp_path / "copy" / store.BACKBONE)  # others can use it too


@pytest.mark.parametrize("make", WITH_WORDS)
@pytest.mark.parametrize("runtime", ["torch", "auto"])
def test_texts_are_where_transformers_puts_them(make: Any, runtime: encoder.Runtime, models: Path, saved: Path) -> None:
    folder = models / make.__name__
    ours = Encoder.load(saved / make.__name__, runtime=runtime)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    texts = ["a red shoe", "cat", "a red cat a red cat a red cat a red cat"]
    tokens = tokenizer(
        texts,
        return_tensors="pt",
        truncation=True,
        max_length=10,
        padding="max_length" if make is siglip else True,
    )
    tokens = {name: tokens[name] for name in (["input_ids"] if make is siglip else ["input_ids", "attention_mask"])}
    with torch.inference_mode():
        expected = model(pixel_values=torch.zeros(1, 3, 28, 28), **tokens).text_embeds
        expected = torch.nn.functional.normalize(expected, dim=1).numpy()
    vectors = ours.encode_text(texts)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    np.testing.assert_allclose(ours.encode_text(texts[1:2]), vectors[1:2], atol=1e-5)
    assert np.linalg.norm(vectors[0] - vectors[1]) > 1e-3
    assert ours.encode_text([]).shape == (0, ours.dim)
    if make is siglip:  # which learned from small letters
        np.testing.assert_allclose(ours.encode_text(["A RED Shoe"]), vectors[:1], atol=1e-5)
    with pytest.raises(RetrievalError, match=r"a cat\\\\xff' is not Unicode"):
        ours.encode_text(["a cat", "a cat\udcff"])


def test_a_query_needs_neither_torch_nor_transformers(saved: Path) -> None:
    """By picture, and by words with each kind of text side."""
    code = f"""
import sys, numpy as np
from retrieval.encoder import Encoder
print(Encoder.load({str(saved / "clip")!r}).encode(np.zeros((1, 28, 28, 3), np.uint8)).shape)
for name in {[make.__name__ for make in WITH_WORDS]!r}:
    print(Encoder.load({str(saved)!r} + "/" + name).encode_text(["a red shoe"]).shape)
print("torch" in sys.modules, "transformers" in sys.modules)
"""
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.split("\n")[:5] == ["(1, 12)", "(1, 12)", "(1, 16)", "(1, 16)", "False False"]


def test_what_was_exported_of_words_is_kept(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "compare", tiny.only_vectors)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Encoder.load(f"hf:{models / 'clip'}").save(tmp_path / "first")
    with monkeypatch.context() as patch:
        patch.setattr(torch_runtime, "_exported", None)
        Encoder.load(f"hf:{models / 'clip'}").save(tmp_path / "next")
    for name in (store.TEXT, store.TOKENIZER):
        assert (tmp_path / "next" / name).read_bytes() == (tmp_path / "first" / name).read_bytes()


def test_without_a_tokenizer_one_sentence(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model is taken for pictures; its words are asked for in vain."""
    monkeypatch.setattr(encoder, "compare", tiny.only_vectors)
    shutil.copytree(models / "tipsv2", tmp_path / "model")
    (tmp_path / "model" / "tokenizer.json").write_text("{}")
    Encoder.load(f"hf:{tmp_path / 'model'}").save(tmp_path / "encoder")
    made = Encoder.load(tmp_path / "encoder")
    assert made.runtime == "onnx" and not (tmp_path / "encoder" / store.TEXT).exists()
    with pytest.raises(RetrievalError, match="install what is missing, or choose a model with a tokenizer") as error:
        made.encode_text(["a cat"])
    assert "\n" not in str(error.value)


PROCESSORS = {
    "clip": lambda: transformers.CLIPImageProcessorPil(),
    "dinov2": lambda: transformers.BitImageProcessorPil(size={"shortest_edge": 256}, image_mean=[0.485, 0.456, 0.406]),
    "vit": lambda: transformers.ViTImageProcessorPil(),
    "siglip": lambda: transformers.SiglipImageProcessorPil(),
    "convnext at 224": lambda: transformers.ConvNextImageProcessorPil(size={"shortest_edge": 224}, crop_pct=0.875),
    "convnext at 384": lambda: transformers.ConvNextImageProcessorPil(),
    "raw pixels": lambda: transformers.ViTImageProcessorPil(do_rescale=False, do_normalize=False),
    "other factor": lambda: transformers.ViTImageProcessorPil(rescale_factor=1 / 127.5, image_mean=[1.0] * 3),
}


@pytest.mark.parametrize("name", PROCESSORS)
@pytest.mark.parametrize("box", [(0, 0, 448, 224), (0, 0, 256, 384), (0, 0, 512, 256), (17, 5, 640, 421)])
def test_pixels_are_those_of_transformers(name: str, box: tuple[int, int, int, int], tmp_path: Path) -> None:
    processor = PROCESSORS[name]()
    processor.save_pretrained(tmp_path)
    p, crop = preprocessing_of(name, tmp_path, None)
    shown = Image.fromarray(load_sample_image("china.jpg")).crop(box)
    start = (p.size - crop) // 2
    pixels = images.prepare(shown, p)[start : start + crop, start : start + crop]
    ours = (pixels / 255 - p.mean) / p.std
    theirs = processor(shown, return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
    assert ours.shape == theirs.shape
    levels = np.abs(ours - theirs) * p.std * 255
    width, height = shown.size
    longer = max(width, height) * p.size / min(width, height)
    if p.fit == "stretch" or (longer.is_integer() and int(longer) % 2 == 0):
        # Pillow may scale rows and columns in another order when it cuts at once; it rounds in between.
        assert levels.mean() < 0.5 and levels.max() < 10
    else:
        # transformers rounds the scaled picture and the cut to whole pixels, we do not: at most half a pixel apart.
        assert levels.mean() < 10 and np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.97


def test_old_files_leave_things_out(tmp_path: Path) -> None:
    """As published for google/vit-base-patch16-224: no resample, no dictionary, another key for the class."""
    values = {"feature_extractor_type": "ViTFeatureExtractor", "size": 224, "image_mean": [0.5] * 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**values, "image_std": [0.5] * 3}))
    expected = images.Preprocessing(size=224, fit="stretch", resample="bilinear")
    assert preprocessing_of("old", tmp_path, None) == (expected, 224)


def test_a_processor_that_only_torchvision_has(tmp_path: Path) -> None:
    values = {
        "image_processor_type": "DINOv3ViTImageProcessorFast",
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "resample": 2,
        "rescale_factor": 1 / 255,
        "size": {"height": 224, "width": 224},
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
    }
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(values))
    p, crop = preprocessing_of("dinov3", tmp_path, None)
    assert (p.size, crop, p.fit, p.resample) == (224, 224, "stretch", "bilinear")
    np.testing.assert_allclose(p.mean, values["image_mean"])


def test_start_of_a_training(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "compare", tiny.only_vectors)
    name = f"hf:{models / 'dinov2'}"
    torch.manual_seed(0)
    network = networks.create(name, dim=5)
    assert isinstance(network, Backbone) and network.dim == 5
    network(torch.zeros(2, 3, 32, 32)).sum().backward()
    assert all(parameter.grad is not None for parameter in network.embedding.parameters())
    with torch.no_grad():
        network.model.layernorm.bias += 1  # something was learned
    config = EncoderConfig(name, {"dim": 5}, 5, network.preprocessing)
    save_trained(tmp_path / "encoder", network, config, "")
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    expected = Encoder.of(network, config).encode(pixels)
    for runtime in ("torch", "onnx"):
        np.testing.assert_allclose(Encoder.load(tmp_path, runtime=runtime).encode(pixels), expected, atol=1e-5)
    assert str(models) not in (tmp_path / "encoder" / store.CONFIG).read_text()


def test_damaged_or_added_files_are_refused(saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved / "clip", tmp_path, dirs_exist_ok=True)
    folder = tmp_path / "encoder" / store.BACKBONE
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        content = (folder / name).read_bytes()
        for other in (content[:-1], content[:-1] + b"?", None):
            (folder / name).unlink()
            if other is not None:
                (folder / name).write_bytes(other)
            with pytest.raises(RetrievalError, match=name):
                Encoder.load(tmp_path, runtime="torch")
            (folder / name).write_bytes(content)
    Encoder.load(tmp_path, runtime="torch")
    (folder / "added_tokens.json").write_text("{}")
    with pytest.raises(RetrievalError, match=r"added_tokens\.json.*does not list it"):
        Encoder.load(tmp_path, runtime="torch")


def test_pickled_weights_are_not_read(models: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    for file in (models / "vit").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(RetrievalError, match="safetensors"):
        Encoder.load(f"hf:{tmp_path}")


def test_code_that_comes_with_a_model_is_not_run(models: Path, tmp_path: Path) -> None:
    for file in (models / "vit").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config", "AutoModel": "mine.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "mine.py").write_text(f"open({str(tmp_path / 'exploded')!r}, 'w')")
    with pytest.raises(RetrievalError, match="cannot be loaded"):
        Encoder.load(f"hf:{tmp_path}")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("drop", "says"), [("encoder.layer.0", "lacks"), ("preprocessor_config.json", "preprocessor_config.json")]
)
def test_incomplete_models_are_refused(drop: str, says: str, models: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    for file in (models / "convnext").iterdir():
        if file.name != drop:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    if says == "lacks":
        weights = load_file(tmp_path / "model.safetensors")
        weights.pop(min(name for name in weights if "layers.0" in name))
        save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(RetrievalError, match=says):
        Encoder.load(f"hf:{tmp_path}")


def test_a_model_of_texts_is_refused(tmp_path: Path) -> None:
    config = transformers.BertConfig(vocab_size=8, **SMALL)
    transformers.BertModel(config).save_pretrained(tmp_path)
    with pytest.raises(RetrievalError, match="does not take pictures"):
        Encoder.load(f"hf:{tmp_path}")


@pytest.mark.parametrize("name", ["facebook/dinov2-small", "no such name", "/nowhere/at/all", ""])
def test_without_the_hub_one_sentence(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(RetrievalError) as error:
        Encoder.load(f"hf:{name}")
    assert "\n" not in str(error.value) and f"hf:{name}" in str(error.value)


def test_without_transformers_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(RetrievalError, match=r'pip install "retrieval\[pretrained\]"'):
        Encoder.load("hf:facebook/dinov2-small")


@pytest.mark.parametrize(
    ("processor", "config", "options", "says"),
    [
        ({"size": {"height": 56, "width": 56}}, {}, {}, "does not take what its preprocessor_config.json asks for"),
        ({}, {}, {"num_channels": 1}, "does not take what its preprocessor_config.json asks for"),
        ({}, {"hidden_size": 32}, {}, "weights of other shapes than its config.json says"),
        ({}, {"patch_size": 14}, {}, "weights of other shapes than its config.json says"),
    ],
)
def test_parts_that_disagree_are_one_sentence(
    processor: dict[str, Any], config: dict[str, Any], options: dict[str, Any], says: str, tmp_path: Path
) -> None:
    model = transformers.ViTModel(transformers.ViTConfig(**VISION, **options), add_pooling_layer=False)
    model.save_pretrained(tmp_path)
    transformers.ViTImageProcessorPil(size={"height": 28, "width": 28}).save_pretrained(tmp_path)
    for name, changes in (("preprocessor_config.json", processor), ("config.json", config)):
        said = json.loads((tmp_path / name).read_text())
        (tmp_path / name).write_text(json.dumps(said | changes))
    with pytest.raises(RetrievalError, match=says):
        Encoder.load(f"hf:{tmp_path}")


@pytest.mark.parametrize("text", [True, False])
def test_a_head_over_a_model_keeps_the_model_with_it(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: bool
) -> None:
    monkeypatch.setattr(encoder, "compare", tiny.only_vectors)
    base = Encoder.load(f"hf:{models / 'clip'}")
    random = np.random.default_rng(0)
    layers = [random.standard_normal((rows, base.dim)).astype(np.float32) for rows in (3, 5)]
    head = HeadMap(layers[0], np.ones(3, np.float32), (layers[1], np.zeros(5, np.float32)), 0.5)
    base.with_head(head, text=text).save(tmp_path / "head")
    loaded = Encoder.load(tmp_path / "head")
    assert (loaded.dim, loaded.hash) == (8, base.with_head(head, text=text).hash)
    p = base.config.preprocessing
    pixels = random.integers(0, 256, (3, p.size, p.size, 3), np.uint8)
    np.testing.assert_allclose(loaded.encode(pixels), head(base.encode(pixels)), atol=1e-5)
    if text:
        np.testing.assert_allclose(loaded.encode_text(["a cat"]), head(base.encode_text(["a cat"])), atol=1e-5)
    else:
        with pytest.raises(RetrievalError, match="Words are not looked for through this head"):
            loaded.encode_text(["a cat"])
    loaded.save(tmp_path / "again")
    found = Encoder.load(tmp_path / "again").head()
    assert found is not None and found[0] == base.hash
