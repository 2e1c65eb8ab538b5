"""Which encoder suits one's own pictures: two small ones, of which one sees colours and the other next to nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import Tensor, nn

from retrieval import cli
from retrieval.encoder import Encoder, EncoderConfig
from retrieval.evaluation import encoders
from retrieval.evaluation.by_name import evaluate
from retrieval.evaluation.options import EvaluationOptions
from retrieval.images import Preprocessing
from retrieval.networks import hub
from retrieval.networks.hub_models import HUB_MODELS


class Colour(nn.Module):
    """The mean colour."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class Corner(nn.Module):
    """The colour of a corner, which is noise."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, 0, 0]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of three colours under noise, and the two encoders."""
    root = tmp_path_factory.mktemp("encoders")
    random = np.random.default_rng(0)
    for name, colour in (("red", (200, 90, 90)), ("green", (90, 200, 90)), ("blue", (90, 90, 200))):
        (root / "data" / name).mkdir(parents=True)
        for one in range(8):
            pixels = np.clip(random.normal(colour, 60, (16, 16, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / "data" / name / f"{one}.png")
    for network in (Colour(), Corner()):
        name = type(network).__name__.lower()
        config = EncoderConfig(name, {}, 3, Preprocessing(16, mean=(0.5,), std=(0.25,)))
        Encoder.of(network, config).save(root / name)
    return root


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "SECONDS", 0.0)
    monkeypatch.setattr(hub, "cached", lambda: [])


@pytest.mark.parametrize(("default", "other"), [("corner", "colour"), ("colour", "corner")])
def test_the_better_one_is_recommended(place: Path, monkeypatch: pytest.MonkeyPatch, default: str, other: str) -> None:
    monkeypatch.setattr(encoders, "BUILT_IN", (str(place / default),))
    data = str(place / "data")
    found = encoders.measure_encoders(data, [str(place / other)], seed=3)
    options = EvaluationOptions(within="train", probe=False, seed=3)
    for trial in found.trials:
        expected = evaluate(trial.name, data=data, options=options)
        assert trial.measures == (expected["P@1"], expected["MAP@R"])
        assert trial.dim == 3 and trial.speed > 0
    gaps = {gap.name: gap.difference for gap in found.trials[1].gaps}
    for at, name in enumerate(("P@1", "MAP@R")):
        apart = found.trials[1].measures[at].value - found.trials[0].measures[at].value
        assert gaps[name].value == pytest.approx(apart) and (gaps[name].low > 0) == (other == "colour")
    assert found.recommended == str(place / "colour")
    assert ("Use --model" in found.because) == (other == "colour") and found.because in found.table()
    kept = sum(file.stat().st_size for file in (place / other).iterdir())
    assert found.trials[1].size == pytest.approx(kept, abs=50)  # the date has other letters
    assert json.loads(found.text())["trials"][1]["gaps"]["MAP@R"]["told"]


def test_what_is_in_the_cache_is_measured_or_said_to_be_none(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(encoders, "BUILT_IN", (str(place / "colour"),))
    monkeypatch.setattr(hub, "cached", lambda: ["somebody/gone", HUB_MODELS["clip-base"].hub])
    monkeypatch.setattr("retrieval.networks.backbone.fetch", lambda source: place / "nothing")
    found = encoders.measure_encoders(str(place / "data"))
    assert set(found.left_out) == {"hf:somebody/gone", "clip-base"} and len(found.trials) == 1
    assert "Keep the default: by MAP@R on these pictures no other is at hand." in found.table()
    assert cli.main(["encoders", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed["others"] == ["somebody/gone"] and listed["models"].keys() == HUB_MODELS.keys()
    assert [name for name, one in listed["models"].items() if one["here"]] == ["clip-base"]
    assert cli.main(["encoders"]) == 0
    assert all(name in capsys.readouterr().out for name in ["dinov2-small"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--limit", "3"], "--limit says nothing without pictures"),
        (["--also", "default"], "--also says nothing without pictures"),
        (["DATA", "--limit", "0"], "limit is 0"),
        (["DATA", "--also", "nowhere"], "There is no encoder in 'nowhere'"),
        (["nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_measured(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    monkeypatch.setattr(encoders, "BUILT_IN", (str(place / "colour"),))
    monkeypatch.chdir(place)
    assert cli.main(["encoders", *(str(place / "data") if one == "DATA" else one for one in arguments)]) == 1
    assert says in capsys.readouterr().err
