"""The verbs on the command line: what they say of an engine's index is what they say of the folder it came from."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import tiny

from retrieval.cli import main
from retrieval.engines.opening import open_index
from retrieval.ingest import build, remove_pictures
from retrieval.search.search import Search

SAID_OF_A_PLACE = {
    "index", "folder", "seconds", "encode_seconds", "pictures_per_second", "format", "bytes", "segments", "subject",
    "first", "second", "created", "generation",
}  # fmt: skip
"""What is not the same of two places, or at two times."""


@pytest.fixture(scope="module")
def photos(some_engine: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures: two classes of six, a copy of one, and the index of it beside; none without an engine."""
    root = tiny.folder(tmp_path_factory.mktemp("photos") / "photos", each=6)
    (root / "dog" / "copy.png").write_bytes((root / "cat" / "0.png").read_bytes())
    build(root, root.parent / "index", model=tiny.model(tmp_path_factory), threads=1)
    return root


@pytest.fixture
def both(photos: Path, tmp_path: Path, put_in_engine: Any, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a verb on a copy of the index, and on the same in an engine, which must say the same; what it said."""
    folder = Path(shutil.copytree(photos.parent / "index", tmp_path / "index"))
    places = [folder, put_in_engine(folder)]

    def run(verb: str, *arguments: object, code: int = 0) -> Any:
        said = []
        for place in places:
            capsys.readouterr()
            assert main([verb, str(place), *map(str, arguments), "--json"]) == code, capsys.readouterr().err
            said.append(_alike(json.loads(capsys.readouterr().out)))
        assert said[1] == said[0]
        return said[0]

    run.places = places
    return run


def _alike(told: Any) -> Any:
    if isinstance(told, dict):
        return {name: _alike(value) for name, value in told.items() if name not in SAID_OF_A_PLACE}
    return [_alike(one) for one in told] if isinstance(told, list) else told


def test_ask(both, photos):
    picture = photos / "cat" / "1.png"
    answer = both("query", picture, "-k", 20)["answers"][0]
    assert len(answer["hits"]) == 12 and answer["label"] == "cat"
    both("query", "--id", 3, 4, "-k", 5)
    both("query", "--path", "dog/copy.png", "--where", "label = 'cat' and width > 3 and not id in (1, 2)")
    both("query", picture, "--where", "label is missing")
    both("query", picture, "--sort", "path", "--group-by", "label", "--facets")
    both("query", picture, "--above", 0.5)
    both("query", "--like", f"{picture}@0.5", "--like", "id:3", "--unlike", "id:9")
    both("query", picture, "--rerank", "aqe", "-k", 3)
    both("info")
    both("evaluate")
    both("evaluate", "--rerank", "alpha-qe")


def test_change(both, photos, tmp_path):
    root = Path(shutil.copytree(photos, tmp_path / "moved"))
    (root / "cat" / "0.png").rename(root / "cat" / "renamed.png")
    (root / "cat" / "1.png").unlink()
    tiny.picture(77).save(root / "cat" / "2.png")
    tiny.picture(78).save(root / "dog" / "new.png")
    (root / "dog" / "broken.png").write_bytes(b"no picture")
    (tmp_path / "list.jsonl").write_text(
        '{"path": "cat/3.png", "stars": 5}\n{"path": "dog/1.png", "taken": "2024-05-01"}'
    )
    both("attach", tmp_path / "list.jsonl")
    report = both("sync", root)
    assert (report["added"], report["replaced"], report["renamed"], report["removed"]) == (1, 1, 1, 1)
    both("sync")
    tiny.picture(79).save(tmp_path / "elsewhere.png")
    assert both("add", tmp_path / "elsewhere.png")["added"] == 1
    assert both("remove", "--where", "stars = 5", "--dry-run")["removed"] == 1
    assert both("remove", "--where", "stars = 5 or taken = 2024-05-01")["removed"] == 2
    both("query", root / "dog" / "new.png", "-k", 20)
    both("calibrate", "--fmr", 0.3, "--miss", 0.4)
    assert "probability" in both("query", root / "dog" / "new.png")["answers"][0]["hits"][0]
    states = []
    for place in both.places:
        with open_index(place) as index:
            ids, vectors = index.all_vectors()
            states.append(
                (index.items(ids), index.attributes(ids), vectors.tobytes(), index.skipped(), index.left_out())
            )
            assert not index.find("dog/broken.png") and index.details["complete"]
    assert states[0] == states[1]


def test_verify_and_another_model(both, photos, tmp_path, capsys, tmp_path_factory):
    _, address = both.places
    assert main(["verify", str(address)]) == 0
    assert "whole, 13 items, 13 vectors" in capsys.readouterr().out
    other = tiny.model(tmp_path_factory, seed=1)
    assert main(["query", str(address), str(photos / "cat" / "1.png"), "--model", str(other)]) == 1
    assert "was built with another model" in capsys.readouterr().err


def test_serve(both, photos, tmp_path):
    pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
    from served import serving

    from retrieval.client import Client

    folder, address = both.places
    with serving(address, cache=tmp_path / "cache", write=True) as service, Client(service.address) as client:
        assert client.info()["items"] == 13
        (answer,) = client.query(photos / "cat" / "1.png", 5)
        with Search.open(folder) as search:
            (expected,) = search.query(photos / "cat" / "1.png", 5)
        assert [(hit.id, hit.score) for hit in answer] == [(hit.id, hit.score) for hit in expected]
        assert "127.0.0.1" not in json.dumps(client.info())
        remove_pictures(address, ids=[expected.hits[0].id])  # by another program: seen in a moment
        end = time.monotonic() + 20
        while client.info()["items"] != 12:
            assert time.monotonic() < end
            time.sleep(0.05)
        (answer,) = client.query(photos / "cat" / "1.png", 5)
        assert [hit.id for hit in answer][:4] == [hit.id for hit in expected][1:5]
