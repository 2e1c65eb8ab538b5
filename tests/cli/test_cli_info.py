"""`retrieval info`, and the reader in docs/index-format.md."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from retrieval.cli import main
from retrieval.index import Index, NewItem
from retrieval.index.nearest import kinds

REPOSITORY = Path(__file__).resolve().parents[2]


def unit(n: int, d: int) -> np.ndarray:
    vectors = np.random.default_rng(0).standard_normal((n, d))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "index"
    with Index.create(
        folder, 16, root="photos", encoder_hash="0123456789abcdef" * 4, details={}, decoder="pillow 11.0"
    ) as index:
        items = [NewItem(f"{i}.png", None if i % 10 == 9 else f"class{i % 9 % 7}") for i in range(1200)]
        index.add(unit(1200, 16)[:1000], items[:1000])
        index.add(unit(1200, 16)[1000:], items[1000:])
        index.remove([4])
        index.record_skipped([("broken.jpg", "truncated")])
    (folder / "encoder").mkdir()
    (folder / "encoder" / "config.json").write_text(json.dumps(MODEL))
    return folder


MODEL = {
    "format": "retrieval-encoder",
    "network": "convnet",
    "dim": 16,
    "preprocessing": {"size": 32, "mode": "RGB", "fit": "crop"},
    "classes": [f"class{i}" for i in range(7)],
    "trained_on": "50,000 pictures",
    "text": False,
    "created": "2026-01-02T03:04:05+00:00",
}


def test_an_index_is_described_in_text(folder, capsys):
    assert main(["info", str(folder)]) == 0
    shown = dict(line.split(None, 1) for line in capsys.readouterr().out.replace("left out", "left-out").splitlines())
    assert shown["index"] == str(folder)
    assert shown["pictures"] == "1,199 (and 1 that were removed)"
    assert shown["root"] == "photos"
    assert shown["left-out"].startswith("1 ")
    assert re.match(r"7: class\d \d+, .*, \.\.\.$", shown["labels"])
    assert shown["unlabelled"] == "120"
    assert shown["vectors"] == "16 numbers each (float32), in 2 files"
    assert shown["search"] == "exact"
    assert shown["encoder"] == "convnet (0123456789ab)"
    assert shown["decoder"] == "pillow 11.0"


def test_an_index_is_described_as_json(folder, capsys):
    with Index.open(folder, write=True) as index:
        ids, vectors = index.all_vectors()
        structure = kinds.build("HNSW32,Flat", vectors, seed=0)
        index.set_structure(structure, {"efSearch": 64}, ids=ids, measured={"k": 10, "recall": 0.995, "queries": 300})
        index.attach({int(ids[0]): {"price": 3}})
        labels = index.labels()
    assert main(["info", str(folder), "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert described["kind"] == "index" and described["items"] == 1199 and described["dim"] == 16
    assert described["labelled"] == sum(label is not None for label in labels)
    assert all(count == labels.count(label) for label, count in described["largest"].items())
    assert described["skipped_files"] == [{"path": "broken.jpg", "reason": "truncated"}]
    assert described["structure"]["measured"] == {"k": 10, "recall": 0.995, "queries": 300}
    assert described["attributes"] == ["price"]
    assert described["bytes"] == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert main(["info", str(folder)]) == 0
    assert re.search(r"search +HNSW32,Flat over 1,199, recall@10 0\.9950 on 300 queries", capsys.readouterr().out)


def test_a_model_is_described(folder, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (folder / "encoder").rename(tmp_path / "run" / "encoder")
    for place in (tmp_path / "run", tmp_path / "run" / "encoder"):
        assert main(["info", str(place)]) == 0
        out = capsys.readouterr().out
        assert re.search(r"^network +convnet$", out, re.MULTILINE)
        assert re.search(r"^input +32×32 RGB, fitted by crop$", out, re.MULTILINE)
        assert re.search(r"^classes +7: class0, .*class4, \.\.\.$", out, re.MULTILINE)
        assert "texts" not in out
    assert main(["info", str(tmp_path / "run"), "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert described["kind"] == "model" and described["network"] == "convnet" and described["bytes"] > 0


PAIR = {
    "format": "retrieval-pair-network",
    "version": 1,
    "network": "comparison",
    "options": {"trunk": "convnet", "size": 32},
    "preprocessing": {"size": 32, "mode": "L", "fit": "stretch", "mean": [0.9], "std": [0.2]},
    "trained_on": "images_background",
    "created": "2026-01-02T03:04:05+00:00",
    "together": {"encoder": "0123456789abcdef" * 4, "weight": 0.0125},
    "measures": {
        name: {"value": 0.0875, "low": 0.0512, "high": 0.25, "pairs": 2000} for name in ("EER", "FPR at 95 % recall")
    },
    "warnings": ["The network still guesses."],
    "files": {},
}


def pair_run(folder: Path) -> Path:
    """A run of a pair network, without card and weights."""
    (folder / "pair").mkdir(parents=True)
    (folder / "pair" / "config.json").write_text(json.dumps(PAIR))
    return folder


def test_a_pair_network_is_described(tmp_path, capsys):
    run = pair_run(tmp_path / "run")
    for place in (run, run / "pair"):
        assert main(["info", str(place)]) == 0
        out = capsys.readouterr().out
        for name, says in (
            ("network", "comparison"),
            ("trunk", "convnet"),
            ("input", "two of 32×32 L, fitted by stretch"),
            ("trained on", "images_background"),
            ("re-ranks", r"hits of encoder 0123456789ab by score \+ 0\.0125 · logit"),
            ("measured", r"EER 0\.087 \(95 % interval 0\.051 to 0\.250; 2,000 validation pairs\)"),
            ("measured", r"FPR at 95 % recall 0\.087 .*"),
            ("warning", r"The network still guesses\."),
        ):
            assert re.search(rf"^{name} +{says}$", out, re.MULTILINE), out
    assert main(["info", str(run), "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert described["kind"] == "pair network" and described["options"] == PAIR["options"]
    assert described["measures"]["EER"] == PAIR["measures"]["EER"]
    assert described["warnings"] == ["The network still guesses."] and described["bytes"] > 0
    older = {name: value for name, value in PAIR.items() if name not in ("measures", "warnings", "together")}
    (run / "pair" / "config.json").write_text(json.dumps(older))
    assert main(["info", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["measures"] == {}


@pytest.mark.parametrize(
    "change",
    [
        {"network": 3},
        {"options": [1]},
        {"preprocessing": {}},
        {"version": 99},
        {"together": 3},
        {"measures": 3},
        {"measures": {"EER": 0.1}},
        {"measures": {"EER": {"value": 0.1, "low": 0.0, "high": "?", "pairs": 2}}},
        {"measures": {"EER": {"value": 0.1, "low": 0.0, "high": 1.0}}},
        {"warnings": 3},
        {"warnings": [3]},
    ],
)
def test_damaged_pair_networks_are_refused(tmp_path, capsys, change):
    run = pair_run(tmp_path / "run")
    (run / "pair" / "config.json").write_text(json.dumps(PAIR | change))
    assert main(["info", str(run)]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and str(run) in error


def test_sizes_are_shown_as_everywhere_else(folder, capsys):
    rest = 999_999 - (folder / "encoder" / "config.json").stat().st_size
    (folder / "encoder" / "weights.safetensors").write_bytes(bytes(rest))
    assert main(["info", str(folder / "encoder")]) == 0
    assert re.search(r"^on disk +1\.0 MB$", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"model_type": "vit"}', '{"preprocessing": 3}']
    + [json.dumps(MODEL | wrong) for wrong in ({"classes": 3}, {"classes": [3]}, {"dim": "16"}, {"preprocessing": {}})],
)
def test_other_configurations_are_refused(tmp_path, capsys, content):
    (tmp_path / "config.json").write_text(content)
    assert main(["info", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "does not describe an encoder" in error


def test_other_folders_are_refused(tmp_path, capsys):
    for path in (tmp_path, tmp_path / "nowhere"):
        assert main(["info", str(path)]) == 1
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and "neither an index" in error and str(path) in error


def test_neither_torch_nor_faiss_is_needed(folder, tmp_path):
    code = (
        "import sys; from retrieval.cli import main; assert not any(main(['info', path]) for path in sys.argv[1:]); "
        "assert not {'torch', 'faiss', 'h5py'} & set(sys.modules)"
    )
    run = pair_run(tmp_path / "run")
    subprocess.run([sys.executable, "-c", code, folder, run], cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)


def test_the_documented_reader_finds_what_search_finds(folder, tmp_path):
    text = (REPOSITORY / "docs" / "index-format.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "reader.py").write_text(code)
    done = subprocess.run(
        [sys.executable, tmp_path / "reader.py", folder, "33.png"], capture_output=True, text=True, check=True
    )
    printed = [line.split() for line in done.stdout.splitlines()]
    with Index.open(folder) as index:
        scores, ids = index.search(index.vectors([33]), len(index))
        assert [int(id_) for id_, _, _ in printed] == ids[0].tolist()
        assert [path for _, path, _ in printed] == [item.path for item in index.items(ids[0])]
        np.testing.assert_allclose([float(score) for *_, score in printed], scores[0], atol=1e-6)


def test_the_documented_tables_are_the_ones_written(folder):
    import sqlite3

    text = (REPOSITORY / "docs" / "index-format.md").read_text(encoding="utf-8")
    with sqlite3.connect(folder / "catalog.sqlite") as catalog:
        for table in ("segments", "items", "structures"):
            section = text.split(f"**{table}**")[1].split("\n\n**")[0]
            documented = [
                name
                for line in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
                for name in re.findall(r"`(\w+)`", line)
            ]
            assert documented == [row[1] for row in catalog.execute(f"PRAGMA table_info({table})")]
        keys = re.findall(r"^\| `(\w+)`", text.split("**meta**")[1].split("**segments**")[0], re.MULTILINE)
        assert set(keys) - {"tuning", "calibration"} == {key for (key,) in catalog.execute("SELECT key FROM meta")}
        assert catalog.execute("PRAGMA application_id").fetchone() == (1381257814,)
    catalog.close()
