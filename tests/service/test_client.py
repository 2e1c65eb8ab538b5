"""The client, and what is asked by it, against the same calls in the process."""

from __future__ import annotations

import inspect
import io
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tiny

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

from served import serving

from retrieval.client import Client
from retrieval.client import client as client_module
from retrieval.errors import RetrievalError
from retrieval.images import Skipped
from retrieval.ingest import build
from retrieval.search.arrangement import Arrangement
from retrieval.search.search import Search

if TYPE_CHECKING:
    from served import Served

    from retrieval.search.answer import Answer


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[Client]:
    with Client(f"{served.address}/i/photos") as client:
        yield client


@pytest.fixture(scope="module")
def search(index: Path) -> Iterator[Search]:
    with Search.open(index) as search:
        yield search


def same(found: list[Answer], expected: list[Answer]) -> None:
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        assert (one.query, one.label, one.id, one.left_out, one.no_match) == (
            other.query, other.label, other.id, other.left_out, other.no_match,
        )  # fmt: skip
        assert [(hit.rank, hit.id, hit.path, hit.label, hit.relevant) for hit in one] == [
            (hit.rank, hit.id, hit.path, hit.label, hit.relevant) for hit in other
        ]
        np.testing.assert_allclose([hit.score for hit in one], [hit.score for hit in other], atol=1e-6)


def test_it_has_the_signatures_of_search() -> None:
    for name in ("query", "query_ids", "query_paths", "query_vectors", "query_file", "query_texts", "query_parts"):
        mine, theirs = inspect.signature(getattr(Client, name)), inspect.signature(getattr(Search, name))
        assert [str(one) for one in mine.parameters.values()] == [str(one) for one in theirs.parameters.values()], name


def test_the_same_answers(client: Client, search: Search, photos: Path, tmp_path: Path) -> None:
    same(client.query_ids([0, 5], 4), search.query_ids([0, 5], 4))
    same(client.query_ids([0], 4, include_self=True, where='label = "cat"'),
         search.query_ids([0], 4, include_self=True, where='label = "cat"'))  # fmt: skip
    same(client.query_paths(["cat/0.png"], None, above=0.5), search.query_paths(["cat/0.png"], None, above=0.5))
    vectors = np.random.default_rng(0).normal(size=(3, 16)).astype(np.float32)
    same(client.query_vectors(vectors, 3), search.query_vectors(vectors, 3))
    np.save(tmp_path / "v.npy", vectors)
    same(client.query_file(tmp_path / "v.npy", 3), search.query_file(tmp_path / "v.npy", 3))
    same(client.query(photos / "cat" / "1.png", 3), search.query(photos / "cat" / "1.png", 3))
    part = f"{photos / 'cat' / '1.png'}#0,0,20,20"
    same(client.query([part, photos / "dog" / "1.png"], 3), search.query([part, photos / "dog" / "1.png"], 3))
    content = io.BytesIO()
    tiny.picture(99).save(content, "PNG")
    same(client.query([content.getvalue(), np.asarray(tiny.picture(98))], 3),
         search.query([content.getvalue(), np.asarray(tiny.picture(98))], 3))  # fmt: skip
    like, unlike = ["id:3@0.5", content.getvalue(), "path:cat/4.png#0%,0%,50%,50%"], ["id:9@0.2"]
    same([client.query_parts(like, unlike, 5)], [search.query_parts(like, unlike, 5)])


@pytest.mark.parametrize(
    ("arrange", "above"),
    [
        (Arrangement(sort="path:desc"), None), (Arrangement(sort="width", facets=True), 0.2),
        (Arrangement(group_by="label", facets=True), 0.2), (Arrangement(diverse=0.5), None),
        (Arrangement(cursor=""), None),
        (Arrangement(sort="path", cursor=""), 0.2),
    ],
)  # fmt: skip
def test_arranged_answers(client: Client, search: Search, arrange: Arrangement, above: float | None) -> None:
    """Sorted, grouped, counted, chosen, and page by page to the end."""
    mine, theirs = ({"arrange": arrange, "above": above} for _ in range(2))
    for _ in range(5):
        (found,), (expected,) = client.query_ids([3], 4, **mine), search.query_ids([3], 4, **theirs)
        same([found], [expected])
        assert (found.matches, found.facets, found.next) == (expected.matches, expected.facets, expected.next)
        assert [hit.group for hit in found] == [hit.group for hit in expected]
        if found.next is None:
            break
        mine["arrange"] = theirs["arrange"] = replace(arrange, cursor=found.next)


def test_all_hits_in_as_many_pages_as_it_takes(client: Client, search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_MOST", 3)
    same(client.query_ids([3], None, above=-1), search.query_ids([3], None, above=-1))
    same(client.query_ids([3], 8), search.query_ids([3], 8))


def test_names_that_look_like_weights_and_boxes(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path / "odd"
    root.mkdir()
    names = ["a@2.png@0.5", "b#0,0,5,5", "id:3"]
    for number, name in enumerate(names):
        tiny.picture(number).save(root / name, "PNG")
    build(root, tmp_path / "index", model=tiny.model(tmp_path_factory), threads=1)
    with (
        serving(tmp_path / "index") as service,
        Client(service.address) as client,
        Search.open(tmp_path / "index") as one,
    ):
        same(client.query_paths(names, 2), one.query_paths(names, 2))


def test_what_cannot_be_read(client: Client, search: Search, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("none")
    tiny.picture(3).save(tmp_path / "b.png")
    skipped: list[Skipped] = []
    expected: list[Skipped] = []
    found = client.query([tmp_path / "a.png", tmp_path / "gone.png", tmp_path / "b.png"], skipped=skipped)
    search.query([tmp_path / "a.png", tmp_path / "gone.png", tmp_path / "b.png"], skipped=expected)
    assert (len(found), sorted(skipped)) == (1, sorted(expected))
    with pytest.raises(RetrievalError, match=r"a\.png' cannot be read: not a picture"):
        client.query(tmp_path / "a.png")


def test_the_sentences_of_the_service(client: Client) -> None:
    with pytest.raises(RetrievalError, match="no picture 999"):
        client.query_ids([999])
    with pytest.raises(RetrievalError, match="position 9"):
        client.query_ids([1], where='label = "dog')
    with pytest.raises(RetrievalError, match="knows pictures only"):
        client.query_texts(["a dog"])
    with pytest.raises(RetrievalError, match="Neither k"):
        client.query_ids([1], None)


def test_addresses_and_tokens(served: Served, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ("ftp://x", "http://", "http://[", "photos"):
        with pytest.raises(RetrievalError, match="is no address"):
            Client(wrong)
    with pytest.raises(RetrievalError, match="no index 'nowhere'"):
        Client(f"{served.address}/i/nowhere").query_ids([1])
    with pytest.raises(RetrievalError, match=r"cannot be asked .*; see that it runs"):
        Client("http://127.0.0.1:1", timeout=2).query_ids([1])
    with pytest.raises(RetrievalError, match="speaks no TLS, so write http://"):
        Client(served.address.replace("http", "https")).query_ids([1])
    with serving(index, readers=frozenset({"r" * 20}), root_path="/p") as guarded:
        with pytest.raises(RetrievalError, match=r"asks for a token; set RETRIEVAL_TOKEN"):
            Client(guarded.address).query_ids([1])
        assert Client(guarded.address, "r" * 20).query_ids([1])
        monkeypatch.setenv("RETRIEVAL_TOKEN", "r" * 20)
        assert Client(f"{guarded.address}/i/photos").info()["items"] == 13


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"query": 1, "hits": {}}', b"[" * 10_000])
def test_another_program_that_answers(body: bytes) -> None:
    class Odd(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Odd)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with pytest.raises(RetrievalError, match="no service of this program"):
            Client(f"http://127.0.0.1:{server.server_port}").query_ids([1])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_connection_that_was_closed_is_opened_again(index: Path) -> None:
    with serving(index) as first:
        port, client = first.server.port, Client(first.address)
        assert client.query_ids([1])
    with serving(index, port=port) as _:
        assert client.query_ids([1])
    client.close()


def test_it_needs_no_server_library() -> None:
    code = (
        "import retrieval.client, sys; print([m for m in ('fastapi', 'uvicorn', 'torch', 'faiss') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.replace("'", '"')) == []


def as_json(*arguments: Any, capsys: pytest.CaptureFixture[str]) -> Any:
    from retrieval.cli import main

    assert main(["query", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_command_line_takes_an_address(
    served: Served, index: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from retrieval.cli import main

    assert main(["info", served.address]) == 0
    assert json.loads(capsys.readouterr().out)["items"] == Client(served.address).info()["items"] > 0
    picture = photos / "dog" / "2.png"
    mine = as_json(served.address, picture, "--id", 3, "-k", 4, capsys=capsys)
    theirs = as_json(index, picture, "--id", 3, "-k", 4, capsys=capsys)
    for one, other in zip(mine["answers"], theirs["answers"], strict=True):
        for hit in (*one["hits"], *other["hits"]):
            hit["score"] = round(hit["score"], 5)
    assert mine["answers"] == theirs["answers"]
    assert main(["query", served.address, str(picture), "--save", str(tmp_path / "hits.png")]) == 0
    assert (tmp_path / "hits.png").stat().st_size > 1000
    assert main(["query", served.address, "--id", "3", "--save", str(tmp_path / "id.png"), "--files"]) == 0
    assert "cat/" in capsys.readouterr().out
    for bare in (f"127.0.0.1:{served.server.port}", "localhost:80/i/photos", "[::1]:8000"):
        assert main(["query", bare, "--id", "3"]) == 1
        assert "write http:// before an address" in capsys.readouterr().err
    for flags in (["--model", "x"], ["--mapped"], ["--explain", "--json"]):
        assert main(["query", served.address, "--id", "3", *flags]) == 1
        assert "index on this machine" in capsys.readouterr().err
