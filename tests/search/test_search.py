"""Queries: the answers against brute force, and every way of asking."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
from PIL import Image

from retrieval import images
from retrieval.encoder import Encoder
from retrieval.errors import RetrievalError
from retrieval.index import Index, NewItem
from retrieval.ingest import build
from retrieval.search.search import Search


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.model(tmp_path_factory)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of six; dog/5 is a copy of cat/0."""
    root = tiny.folder(tmp_path_factory.mktemp("search") / "pictures", ("bird", "cat", "dog"), each=6)
    shutil.copy(root / "cat/0.png", root / "dog/5.png")
    return root


@pytest.fixture(scope="module")
def out(root: Path, model: Path) -> Path:
    return build(root, root.parent / "index", model=model).index


@pytest.fixture()
def search(out: Path):  # type: ignore[no-untyped-def]
    with Search.open(out) as search:
        yield search


def reference(model: Path, root: Path, query: Path) -> list[tuple[float, str]]:
    """Every picture with its score in float64, best first."""
    encoder = Encoder.load(model)
    p = encoder.config.preprocessing
    paths = images.find(root).paths
    vectors = encoder.encode(np.stack([images.read(root / path, p) for path in paths])).astype(np.float64)
    scores = vectors @ encoder.encode(images.read(query, p)[None])[0].astype(np.float64)
    return sorted(((float(score), path) for score, path in zip(scores, paths, strict=True)), key=lambda row: -row[0])


def test_hits_are_those_of_brute_force(search: Search, model: Path, root: Path, tmp_path: Path) -> None:
    tiny.picture(999, 64, 48).save(tmp_path / "new.png")
    (answer,) = search.query(tmp_path / "new.png", k=18)
    expected = reference(model, root, tmp_path / "new.png")
    np.testing.assert_allclose([hit.score for hit in answer.hits], [score for score, _ in expected], atol=1e-6)
    for hit, (_, path) in zip(answer.hits, expected, strict=True):
        if path not in ("cat/0.png", "dog/5.png"):  # which are equal
            assert hit.path == path
        assert hit.label == hit.path.split("/")[0]
    assert [hit.rank for hit in answer.hits] == list(range(1, 19))
    assert (answer.id, answer.label, answer.left_out) == (None, None, ())
    assert {hit.relevant for hit in answer.hits} == {None}
    assert search.query(tmp_path / "new.png", k=4)[0].hits == answer.hits[:4]
    assert len(search.query(tmp_path / "new.png", k=1000)[0].hits) == 18


def test_the_query_itself_is_left_out(search: Search, root: Path, tmp_path: Path) -> None:
    (answer,) = search.query(root / "bird/2.png", k=100)
    item = search.index.find("bird/2.png")
    assert item is not None
    assert (answer.id, answer.label, answer.left_out) == (item.id, "bird", (item.id,))
    assert len(answer.hits) == 17
    assert "bird/2.png" not in {hit.path for hit in answer.hits}
    assert [hit.relevant for hit in answer.hits] == [hit.label == "bird" for hit in answer.hits]

    (kept,) = search.query(root / "bird/2.png", k=100, include_self=True)
    assert (kept.hits[0].path, kept.left_out, kept.label) == ("bird/2.png", (), "bird")
    assert kept.hits[0].score == pytest.approx(1, abs=1e-5)
    assert [hit.path for hit in kept.hits[1:]] == [hit.path for hit in answer.hits]

    shutil.copy(root / "bird/2.png", tmp_path / "elsewhere.png")
    (copied,) = search.query(tmp_path / "elsewhere.png", k=100)
    assert (copied.id, copied.label, copied.hits) == (answer.id, "bird", answer.hits)


def test_exact_copies_are_left_out_as_well(search: Search, root: Path) -> None:
    for path, label in (("cat/0.png", "cat"), ("dog/5.png", "dog")):
        for answer in (*search.query(root / path, k=100), *search.query_paths([path], k=100)):
            assert answer.label == label
            assert {item.path for item in search.index.items(answer.left_out)} == {"cat/0.png", "dog/5.png"}
            assert len(answer.hits) == 16


def test_a_link_and_another_spelling_are_the_same_place(
    search: Search, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(root)
    monkeypatch.chdir(root / "cat")
    for path in (tmp_path / "link" / "cat" / "1.png", Path("1.png"), Path("../cat/../cat/1.png")):
        assert search.query(path)[0].label == "cat"


def test_a_file_that_changed_since_is_not_itself(model: Path, tmp_path: Path) -> None:
    root = tiny.folder(tmp_path / "pictures")
    build(root, tmp_path / "index", model=model)
    tiny.picture(55).save(root / "cat/1.png")
    with Search.open(tmp_path / "index") as search:
        (answer,) = search.query(root / "cat/1.png", k=100)
    assert (answer.id, answer.label, answer.left_out, len(answer.hits)) == (None, "cat", (), 8)


def test_pictures_from_elsewhere_have_the_label_of_their_folder(search: Search, tmp_path: Path) -> None:
    for number, name in enumerate(("cat", "horse")):
        (tmp_path / "test" / name).mkdir(parents=True)
        tiny.picture(5000 + number).save(tmp_path / "test" / name / "new.png")
    cat, horse = search.query(tmp_path / "test")
    assert (cat.label, horse.label) == ("cat", None)
    assert [hit.relevant for hit in cat.hits] == [hit.label == "cat" for hit in cat.hits]


def test_copies_are_found_however_many_pictures_score_the_same(tmp_path: Path) -> None:
    """A collapsed network gives every picture the same vector; the answer still is right."""
    vectors = np.tile(np.eye(1, 8, dtype=np.float32), (500, 1))
    with Index.create(tmp_path / "index", 8, root=str(tmp_path), encoder_hash="x", details={}) as index:
        index.add(vectors, [NewItem(f"{n}.png", sha256=str(n % 250)) for n in range(500)])
    with Search.open(tmp_path / "index") as search:
        (answer,) = search.query_ids([70], k=5)
        assert answer.left_out == (70, 320)
        assert [hit.id for hit in answer.hits] == [0, 1, 2, 3, 4]
        (answer,) = search.query_ids([0], k=499)
        assert len(answer.hits) == 498


def test_ids_paths_and_vectors_agree(search: Search, root: Path, tmp_path: Path) -> None:
    item = search.index.find("dog/1.png")
    assert item is not None
    (by_picture,) = search.query(root / "dog/1.png")
    (by_id,) = search.query_ids([item.id])
    (by_path,) = search.query_paths(["dog/1.png"])
    assert (by_id.query, by_path.query) == (f"id {item.id}", "dog/1.png")
    assert by_id.picture == by_path.picture
    assert by_id.picture is not None
    assert Path(by_id.picture) == root / "dog/1.png"
    for answer in (by_id, by_path):
        assert answer.hits == by_path.hits
        assert [hit.path for hit in answer.hits] == [hit.path for hit in by_picture.hits]
        assert (answer.id, answer.label, answer.left_out) == (item.id, "dog", (item.id,))
    vector = search.index.vectors([item.id])
    np.save(tmp_path / "v.npy", np.concatenate([7 * vector, vector]).astype(np.float64))
    by_vector = search.query_file(tmp_path / "v.npy", k=11)
    assert [answer.query for answer in by_vector] == ["v.npy[0]", "v.npy[1]"]
    for answer in (*by_vector, *search.query_vectors(vector[0], k=11)):
        assert [hit.id for hit in answer.hits] == [item.id, *(hit.id for hit in by_id.hits)]


def test_vectors_that_do_not_fit_are_refused(search: Search, tmp_path: Path) -> None:
    good = np.ones((3, 16), np.float32)
    for bad, message in (
        (np.ones((3, 15)), r"shape \(3, 15\).*shape \(n, 16\)"),
        (np.ones((1, 3, 16)), r"shape \(1, 3, 16\)"),
        (np.ones((3, 16), complex), "complex128"),
        (np.where(np.arange(3)[:, None] == 1, np.nan, good), "Row 1 of the vectors is zero or not finite"),
        (np.where(np.arange(3)[:, None] == 2, 0, good), "Row 2 of the vectors is zero or not finite"),
    ):
        with pytest.raises(RetrievalError, match=message):
            search.query_vectors(bad)
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object))
    (tmp_path / "text.npy").write_text("not an array")
    np.savez(tmp_path / "several.npz", good)
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04" + bytes(40))
    with (tmp_path / "endless.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (10**13, 16)})
    for name in ("objects.npy", "text.npy", "several.npz", "absent.npy", "cut.npz", "endless.npy"):
        with pytest.raises(RetrievalError, match="cannot be read"):
            search.query_file(tmp_path / name)
    assert search.query_vectors(np.empty((0, 16))) == []


def test_what_cannot_be_read_is_an_error_or_is_reported(search: Search, root: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_text("no picture")
    (tmp_path / "lost.png").symlink_to("nowhere")
    asked = [tmp_path / "bad.jpg", root / "cat/1.png", tmp_path / "absent.png"]
    with pytest.raises(images.UnreadableImage, match=r"bad\.jpg' cannot be read: not a picture"):
        search.query(asked)
    skipped: list[images.Skipped] = []
    answers = search.query([*asked, tmp_path], skipped=skipped)
    assert [answer.picture for answer in answers] == [root / "cat/1.png"]
    assert sorted((Path(path).name, reason) for path, reason in skipped) == [
        ("absent.png", "no such file"),
        ("bad.jpg", "not a picture"),
        ("bad.jpg", "not a picture"),
        ("lost.png", "broken link"),
    ]


def test_a_pipe_is_refused_and_not_waited_for(search: Search, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(images.UnreadableImage, match="not a regular file"):
        search.query(tmp_path / "pipe.png")


def test_another_model_is_refused(out: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with Search.open(out, model=model) as search:
        assert len(search.query_ids([0])) == 1
    with pytest.raises(RetrievalError, match="was built with another model") as error:
        Search.open(out, model=tiny.model(tmp_path_factory, seed=1))
    assert "\n" not in str(error.value)


def test_an_index_with_somebody_elses_encoder_is_refused(
    out: Path, root: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    shutil.copytree(out, tmp_path / "index")
    shutil.rmtree(tmp_path / "index" / "encoder")
    shutil.copytree(tiny.model(tmp_path_factory, seed=1) / "encoder", tmp_path / "index" / "encoder")
    with Search.open(tmp_path / "index") as search:
        with pytest.raises(RetrievalError, match="than the encoder in it"):
            search.query(root / "cat/1.png")
        assert len(search.query_ids([0])) == 1


def test_what_is_not_there_is_said(search: Search) -> None:
    with pytest.raises(RetrievalError, match=r"There is no picture 'cat/99\.png' in the index"):
        search.query_paths(["cat/99.png"])
    with pytest.raises(RetrievalError, match="99"):
        search.query_ids([99])
    with pytest.raises(RetrievalError, match="k is 0"):
        search.query_ids([0], k=0)
    with pytest.raises(RetrievalError, match="pictures only"):
        search.query_texts(["a cat"])


def test_a_text_is_a_query_where_the_model_knows_words(search: Search) -> None:
    vector = search.index.vectors([4])

    class KnowsWords:
        def encode_text(self, texts: list[str]) -> np.ndarray:
            return np.repeat(vector, len(texts), axis=0)

    search.__dict__["encoder"] = KnowsWords()
    answers = search.query_texts(["a bird", "a plane"], k=3)
    assert [(answer.query, answer.label, answer.id, answer.picture) for answer in answers] == [
        ("a bird", None, None, None),
        ("a plane", None, None, None),
    ]
    assert answers[0].hits[0].id == 4


@pytest.mark.parametrize(
    ("ask", "without"),
    [
        ("search.query_ids([0])", {"torch", "onnxruntime", "matplotlib", "sklearn", "tqdm"}),
        ("search.query(PICTURE)", {"torch", "matplotlib", "sklearn"}),
    ],
)
def test_only_what_is_needed_is_loaded(out: Path, root: Path, ask: str, without: set[str]) -> None:
    code = (
        f"import sys; from retrieval.search.search import Search; PICTURE = {str(root / 'cat/1.png')!r}\n"
        f"search = Search.open({str(out)!r}); assert {ask}[0].hits\n"
        f"print(*({without!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_decoder_that_is_missing_is_said(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("simplejpeg")
    root = tmp_path / "pictures"
    root.mkdir()
    Image.new("RGB", (50, 50), "red").save(root / "red.jpg")
    build(root, tmp_path / "index", model=model, decoder="simplejpeg")
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    with Search.open(tmp_path / "index") as search, pytest.raises(RetrievalError, match="simplejpeg is not installed"):
        search.query(root / "red.jpg")
