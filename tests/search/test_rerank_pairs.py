"""A pair network orders hits anew: it sees the pictures themselves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from retrieval import images
from retrieval.cli import main
from retrieval.errors import RetrievalError
from retrieval.images import Preprocessing
from retrieval.index import Index
from retrieval.ingest import build
from retrieval.search.rerank.pair_network import PairReranker
from retrieval.search.search import Search


class Beside:
    """Stands for a pair network: the share of pixels that are the same."""

    preprocessing = Preprocessing(tiny.SIZE)
    config = None

    def score(self, query, hits):
        return (hits == query).mean(axis=(1, 2, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """An index of pictures, of which two cannot be read any more."""
    root = tiny.folder(tmp_path_factory.mktemp("pairs") / "pictures", each=6)
    out = build(root, root.parent / "index", model=tiny.model(tmp_path_factory)).index
    (root / "cat" / "2.png").unlink()
    (root / "dog" / "3.png").write_bytes(b"no picture")
    return out


def test_a_pair_network_sees_query_and_hits(pictures, tmp_path):
    tiny.picture(55).save(tmp_path / "new.png")
    query = np.asarray(Image.open(tmp_path / "new.png"))
    with Search.open(pictures) as search:
        (plain,) = search.query(tmp_path / "new.png", 12)
    with Search.open(pictures, reranker=PairReranker(Beside(), "beside", 11)) as search:
        (answer,) = search.query(tmp_path / "new.png", 12)
        root = search.root
    same, unread = {}, []
    for hit in plain.hits[:11]:
        if hit.path in ("cat/2.png", "dog/3.png"):
            unread.append(hit.path)
        else:
            same[hit.path] = float((np.asarray(Image.open(root / hit.path)) == query).mean())
    order = sorted(same, key=lambda path: -same[path])  # stable: ties by the first ranking
    expected = [*order, *unread, *(hit.path for hit in plain.hits[11:])]
    assert [hit.path for hit in answer.hits] == expected
    assert [hit.reranked for hit in answer.hits[: len(order)]] == pytest.approx([same[path] for path in order])
    assert all(hit.reranked is None for hit in answer.hits[len(order) :])
    assert unread
    assert sorted(one.path for one in answer.unread) == sorted(str(root / path) for path in unread)


def test_a_pair_network_needs_pictures(pictures):
    with Search.open(pictures, reranker=PairReranker(Beside(), "beside")) as search:
        for ask in (
            lambda: search.query_vectors(np.eye(16)[:1], 3),
            lambda: search.query_parts(["id:1", "id:2"]),
            lambda: search.query_parts(unlike="id:1"),
            lambda: search.query_parts("path:cat/1.png#0,0,9,9"),
        ):
            with pytest.raises(RetrievalError, match="compares whole pictures"):
                ask()
        assert search.query_parts("id:1", k=3).hits == search.query_ids([1], 3)[0].hits
        (answer,) = search.query_ids([1], 3)
        assert answer.hits[0].reranked is not None
        gone = search.index.find("cat/2.png")
        with pytest.raises(RetrievalError, match=r"2\.png"):
            search.query_ids([gone.id], 3)


def test_the_command_line_takes_a_run_of_a_pair_network(pictures, tmp_path, capsys):
    from retrieval.encoder import pair_store
    from retrieval.encoder.pair_scorer import PairScorer
    from retrieval.networks import pairs as networks

    options = {"size": 64, "channels": 3, "widths": [8, 8, 8]}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = networks.create("two-channel", **options)
    config = pair_store.PairConfig("two-channel", options, network.preprocessing)
    run = tmp_path / "run"
    pair_store.save(run / "pair", network, config, "A card.")
    command = ["query", str(pictures), "--id", "1", "-k", "3", "--rerank", str(run), "--rerank-top", "12", "--json"]
    assert main(command) == 0
    printed, said = capsys.readouterr()
    hits = json.loads(printed)["answers"][0]["hits"]
    assert said.count("is not ranked anew") == 2
    scorer = PairScorer.load(run)
    with Index.open(pictures) as index:
        root = Path(index.root)
        (asked,) = index.items([1])
        read = [images.read(root / path, scorer.preprocessing) for path in (asked.path, *(hit["path"] for hit in hits))]
    np.testing.assert_allclose([hit["reranked"] for hit in hits], scorer.score(read[0], np.stack(read[1:])), atol=1e-5)
    assert main(["evaluate", str(pictures), "--rerank", str(run), "--json"]) == 0
    gain = json.loads(capsys.readouterr().out)
    assert (gain["differences"]["queries"], gain["unreadable"], gain["unread"]) == (10, 2, 20)
    assert main(["query", str(pictures), "--id", "1", "--rerank", str(tmp_path)]) == 1
    capsys.readouterr()
