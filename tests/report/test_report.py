"""The page about an index: everything in it, nothing fetched, nothing run."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import tiny
from PIL import Image

from retrieval import ingest, report
from retrieval.cli import main
from retrieval.encoder import encoder
from retrieval.errors import RetrievalError
from retrieval.exchange import import_index
from retrieval.index import Index
from retrieval.index.nearest import kinds
from retrieval.report import charts

HOSTILE = "<script>alert('x')<!--&amp;"


class Page(HTMLParser):
    """What a page holds."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("img", "meta", "br", "hr", "link", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    root = tiny.folder(tmp_path_factory.mktemp("pictures"), ("cat", "dog", HOSTILE), each=12)
    copy = Image.open(root / "cat" / "0.png")
    copy.save(root / "cat" / "copy.jpg", quality=92)
    return root


@pytest.fixture(scope="module")
def index(pictures, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("indexes") / "pets"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, "compare", tiny.only_vectors)
        ingest.build(pictures, out, model=tiny.model(tmp_path_factory))
    return out


@pytest.fixture(scope="module")
def contents(index, tmp_path_factory) -> report.Contents:
    run = tmp_path_factory.mktemp("run")
    (run / "curves.csv").write_text("step,loss,spread,precision_at_1\n1,0.5,0.9,nan\n2,0.25,0.8,0.5\n3,0.2,0.8,0.75\n")
    return report.gather(index, run=run)


@pytest.fixture(scope="module")
def text(contents) -> str:
    return report.render(contents)


@pytest.fixture(scope="module")
def page(text) -> Page:
    return Page(text)


def test_it_says_everything(contents, page):
    assert not page.open or page.open == []
    for words in (
        "What was indexed", "How good the answers are", "Class by class", "The embedding in two dimensions",
        "Queries and what was found", "The best", "Typical ones", "The worst", "What may be wrong",
        "How it was trained", "The model", "A card.", "P@10", "MAP@R", "37", "seed 0",
    ):  # fmt: skip
        assert words in page.words, words
    measured = contents.measured
    assert measured is not None
    for measure in measured.measures:
        assert f"{measure.value:.3f}" in page.words or np.isnan(measure.value)
    assert len(page.all("svg")) >= 6
    shown = page.all("img")
    assert len(shown) > 60
    assert all(picture["src"].startswith("data:image/jpeg;base64,") and picture["alt"] for picture in shown)
    sections = [attributes["id"] for attributes in page.all("section")]
    assert sections == [link["href"].removeprefix("#") for link in page.all("a") if link["href"] != "#main"]


def test_nothing_is_fetched_and_nothing_runs(text, page):
    assert not page.all("script") and not page.all("link") and not page.all("iframe")
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/"))
    assert not re.findall(r"url\((?!#)", text) and "@import" not in text
    assert "<script" not in text and HOSTILE in page.words  # it is there, as text


def test_every_picture_of_a_chart_has_words(page):
    drawn = [attributes for attributes in page.all("div") if attributes.get("role") == "img"]
    assert len(drawn) == len(page.all("svg"))
    assert all(len(attributes["aria-label"]) > 15 for attributes in drawn)


def test_colours_are_those_of_the_page(text):
    assert "prefers-color-scheme: dark" in text and "@media print" in text
    inside = "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))
    assert "var(--ink)" in inside and "#010101" not in inside and "#000000" not in inside


def test_the_same_content_as_json(index, tmp_path, capsys):
    assert main(["report", str(index), "--json", "--no-explain"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["index"]["items"] == 37
    assert found["measured"]["measures"]["P@10"]["value"] > 0
    assert {"best", "typical", "worst"} == set(found["examples"])
    assert len(found["map"]) == 37
    assert {finding["name"] for finding in found["findings"]} >= {"leakage", "collapse", "hubs", "labels"}
    assert found["tuning"] is None


def test_the_copy_is_found_and_shown(contents):
    (leakage,) = [finding for finding in contents.findings if finding.name == "leakage"]
    pairs = [{contents.items[id_].path for id_ in example.ids} for example in leakage.worst]
    assert {"cat/0.png", "cat/copy.jpg"} in pairs


def test_best_is_better_than_worst_and_they_vary(contents):
    best, worst = ([example.value for example in contents.examples[kind]] for kind in ("best", "worst"))
    assert min(best[:3]) >= max(worst[:3])
    assert len({example.answer.label for example in contents.examples["best"][:3]}) == 3
    assert all(len(example.answer.hits) == 7 for example in contents.examples["best"])


def test_hits_are_explained_where_the_pictures_are(contents, text):
    assert any(found is not None for example in contents.examples["best"] for found in example.explanations)
    assert "why: query" in text


def test_the_same_seed_gives_the_same_page(index, contents):
    again = report.gather(index, explain=False)
    other = report.gather(index, explain=False)
    np.testing.assert_array_equal(again.places, other.places)
    first, second = (report.render(one).replace(one.made.replace("T", " at "), "") for one in (again, other))
    strip = re.compile(r"[\d.]+ s")  # times that parts took
    assert strip.sub("", first) == strip.sub("", second)


def test_vectors_of_somebody_else_without_labels(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "theirs.npy", rng.standard_normal((60, 8)).astype(np.float32))
    import_index(tmp_path / "theirs.npy", tmp_path / "theirs")
    contents = report.gather(tmp_path / "theirs")
    assert contents.measured is None and not contents.examples
    page = Page(report.render(contents))
    assert "Not measured" in page.words and "The embedding in two dimensions" in page.words
    assert not page.all("img")


@pytest.mark.parametrize("n", [1, 2, 3, 12])
def test_few_pictures(tmp_path, n):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "few.npy", rng.standard_normal((n, 8)).astype(np.float32))
    import_index(tmp_path / "few.npy", tmp_path / "few")
    assert f"{n} pictures" in Page(report.render(report.gather(tmp_path / "few"))).words


def test_identical_vectors(tmp_path):
    np.save(tmp_path / "same.npy", np.ones((40, 8), np.float32))
    (tmp_path / "same.csv").write_text("path,label\n" + "".join(f"{i}.png,{'ab'[i % 2]}\n" for i in range(40)))
    import_index(tmp_path / "same.npy", tmp_path / "same")
    contents = report.gather(tmp_path / "same")
    assert "collapse" in {finding.name for finding in contents.findings if finding.severity == "warning"}
    assert "a collapsed embedding" in Page(report.render(contents)).words


def test_binary_codes(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "codes.npy", rng.integers(0, 256, (50, 8), np.uint8))
    import_index(tmp_path / "codes.npy", tmp_path / "codes", storage="binary")
    assert "binary" in Page(report.render(report.gather(tmp_path / "codes"))).words


def test_what_tuning_and_calibration_found_is_shown(index, tmp_path):
    import shutil

    copy = Path(shutil.copytree(index, tmp_path / "pets"))
    points = [
        {"factory": name, "parameters": {}, "recall": recall, "single": speed, "memory": 1000, "pareto": True}
        for name, recall, speed in (("exact", 1.0, 100.0), ("HNSW32,Flat", 0.97, 900.0))
    ]
    with Index.open(copy, write=True) as opened:
        opened.record_tuning({"k": 10, "points": points, "chosen": points[1]})
        opened.set_structure(kinds.build("SQ8", opened.all_vectors()[1], seed=0), {"candidates": 2})
    assert main(["calibrate", str(copy)]) == 0
    page = Page(report.render(report.gather(copy, explain=False)))
    assert "Recall against speed" in page.words and "→ HNSW32,Flat" in page.words
    assert "When is a hit a match?" in page.words and " · P " in page.words
    assert "approximate" in page.words


def test_what_is_wrong_is_one_sentence(index, tmp_path, capsys):
    for arguments, message in (
        (["report", str(index), "-o", str(tmp_path / "no" / "r.html")], "There is no folder"),
        (["report", str(tmp_path)], "is not an index"),
        (["report", str(index), "--run", str(tmp_path)], "cannot be read as the curves"),
        (["report", str(index), "--limit", "0"], "limit is 0"),
    ):
        assert main(arguments) == 1
        captured = capsys.readouterr()
        assert message in captured.err and captured.err.count("\n") == 1 and not captured.out
    (tmp_path / "curves.csv").write_text("step,loss\n1,many\n")
    with pytest.raises(RetrievalError, match="cannot be read as the curves"):
        report.gather(index, run=tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_charts_escape_names():
    drawn = charts.lines({HOSTILE: ([0, 1], [0, 1]), "other": ([0, 1], [1, 0])}, x=HOSTILE, y="$x_1$ & <b>")
    assert "<script" not in drawn and "<b>" not in drawn
    shares = np.eye(3)
    assert charts.heat_map(shares, ["a", HOSTILE, "c"], x="x", y="y").count("<script") == 0
