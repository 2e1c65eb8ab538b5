"""One question of many parts, against its definition written out in float64."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import tiny
from PIL import Image, ImageOps
from vectors import clustered

from retrieval import images
from retrieval.encoder import Encoder
from retrieval.errors import RetrievalError
from retrieval.index import Index, NewItem
from retrieval.index.nearest import kinds
from retrieval.index.records import NO_ENCODER
from retrieval.ingest import build
from retrieval.search.combining import combined
from retrieval.search.parts import Part
from retrieval.search.search import Search

DIM = 32
N = 400

# The definition


def units(row: Sequence[float], storage: str) -> list[float]:
    """A vector of unit length; of a code ±1/√d, a number above 0 being a 1."""
    if storage == "binary":
        return [(1.0 if number > 0 else -1.0) / math.sqrt(len(row)) for number in row]
    length = math.sqrt(sum(number * number for number in row))
    return [number / length for number in row]


def defined(rows: Sequence[Sequence[float]], weights: Sequence[float], storage: str) -> list[float]:
    """The vector of a question, in loops."""
    total = [0.0] * len(rows[0])
    for row, weight in zip(rows, weights, strict=True):
        for place, number in enumerate(units(row, storage)):
            total[place] += weight * number
    if storage == "binary":
        ties = 0
        for place, number in enumerate(total):
            if abs(number) < 1e-9:
                total[place] = -1.0 if ties % 2 else 1.0
                ties += 1
    return units(total, storage)


@pytest.mark.parametrize("storage", ["float32", "float16", "binary"])
def test_the_vector_is_the_weighted_sum(storage: str) -> None:
    draw = np.random.default_rng(3)
    for count in (2, 3, 7):
        for _ in range(20):
            rows = draw.standard_normal((count, 16))
            weights = draw.choice([1, 2, 0.5, 0.1, 0.3, -1, -0.25], count)
            vectors = [np.asarray(units(row, ""), np.float32) for row in rows.tolist()]
            if storage == "binary":  # some as codes
                vectors[::2] = [np.packbits(row > 0, bitorder="little") for row in vectors[::2]]  # type: ignore[misc]
            found = combined(vectors, weights.tolist(), storage)
            expected = defined(rows.tolist(), weights.tolist(), storage)
            if storage == "binary":
                np.testing.assert_array_equal(found, np.packbits(np.array(expected) > 0, bitorder="little"))
            else:
                assert found.dtype == np.float32
                np.testing.assert_allclose(found, expected, atol=2e-7)


def test_a_tie_of_codes_favours_neither() -> None:
    one, other = np.array([0b00001111], np.uint8), np.array([0b00110011], np.uint8)
    # equal in the places 0, 1 (both 1) and 6, 7 (both 0); of the others every second one is a 1
    assert combined([one, other], [1, 1], "binary").tolist() == [0b00010111]
    assert combined([other, one], [2, 2], "binary").tolist() == [0b00010111]
    assert combined([one, other], [0.3, 0.1 + 0.2], "binary").tolist() == [0b00010111]  # but for rounding the same
    assert combined([one, other], [2, 1], "binary").tolist() == one.tolist()


def test_one_part_is_its_vector_to_the_last_bit() -> None:
    vector = clustered(1, DIM)[0]
    assert combined([vector], [0.3], "float32") is vector
    np.testing.assert_array_equal(combined([vector], [-0.3], "float32"), -vector)


@pytest.mark.parametrize("weight", [1.0, 1e-300, 1e300])
def test_weights_of_any_size_are_those_of_their_ratio(weight: float) -> None:
    vectors = list(clustered(3, DIM))
    expected = combined(vectors, [1, 2, -0.5], "float32")
    np.testing.assert_allclose(combined(vectors, [weight, 2 * weight, -0.5 * weight], "float32"), expected, atol=1e-7)


@pytest.mark.parametrize("storage", ["float32", "binary"])
def test_a_sum_of_nothing_is_one_sentence(storage: str) -> None:
    vector = clustered(1, DIM)[0]
    near = (vector + np.float32(1e-4) * clustered(2, DIM, 5)[1]).astype(np.float32)  # as far as rounding may take it
    for rows, weights in (([vector, vector], [1.0, -1.0]), ([vector, near], [0.5, -0.5]), ([vector, -vector], [1, 1])):
        with pytest.raises(RetrievalError, match="cancel out"):
            combined(rows, weights, storage)


# On every structure


def stored(storage: str) -> np.ndarray:
    """Vectors in groups; every fifth is the same as the one before it."""
    vectors = clustered(N, DIM)
    vectors[5::5] = vectors[4:-1:5]
    return vectors


@pytest.fixture(scope="module", params=["float32", "float16", "binary", "HNSW16,Flat", "IVF16,Flat", "BHNSW16"])
def indexed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Search]:
    storage = request.param if request.param in ("float32", "float16", "binary") else "float32"
    folder = tmp_path_factory.mktemp("parts") / "index"
    with Index.create(folder, DIM, root="photos", encoder_hash=NO_ENCODER, details={}, storage=storage) as index:
        vectors = stored(storage)
        index.add(vectors, [NewItem(f"class{i % 7}/{i}.png", f"class{i % 7}") for i in range(N)])
        if request.param != storage:
            built = kinds.build(request.param, index.all_vectors()[1])
            index.set_structure(built, kinds.efforts(request.param, N)[-1])
    with Search.open(folder) as search:
        yield search


def test_the_answer_is_that_of_brute_force(indexed: Search) -> None:
    draw = np.random.default_rng(8)
    index = indexed.index
    exact = index.structure is None
    ids, rows = index.all_vectors()
    numbers = np.where(np.unpackbits(rows, axis=1, bitorder="little"), 1.0, -1.0) if rows.dtype == np.uint8 else rows
    wide = numbers.astype(np.float64) / (math.sqrt(DIM) if rows.dtype == np.uint8 else 1)
    found = expected_in_all = 0
    for where, among in ((None, ids), ("label = 'class3'", ids[3::7])):
        for _ in range(12):
            asked = draw.choice(ids, draw.integers(1, 5), replace=False).tolist()
            given = draw.standard_normal((draw.integers(0, 3), DIM))
            weights = draw.choice([1, 2, 0.5, 0.1], len(asked) + len(given))
            parts = [Part("id", id_, weight) for id_, weight in zip(asked, weights, strict=False)]
            parts += [
                Part("vector", tuple(row), weight)
                for row, weight in zip(given.tolist(), weights[len(asked) :], strict=True)
            ]
            unlike = [bool(one) for one in draw.random(len(parts)) < 0.3]
            signed = [-weight if other else weight for weight, other in zip(weights, unlike, strict=True)]
            vector = defined([*wide[np.searchsorted(ids, asked)].tolist(), *given.tolist()], signed, index.storage)
            if signed == [weights[0]] and asked:  # a single part is its own vector, as it is stored
                vector = wide[asked[0] - ids[0]].tolist()
            scores = wide @ np.array(vector)

            answer = indexed.query_parts(
                [part for part, other in zip(parts, unlike, strict=True) if not other],
                [part for part, other in zip(parts, unlike, strict=True) if other],
                10,
                where=where,
            )
            assert answer.left_out == tuple(sorted(asked))
            kept = among[~np.isin(among, asked)]
            order = kept[np.lexsort((kept, -scores[kept - ids[0]]))][:10]
            hits = [hit.id for hit in answer]
            assert len(hits) == 10 and len({*hits}) == 10 and np.isin(hits, kept).all()
            np.testing.assert_allclose([hit.score for hit in answer], scores[np.array(hits) - ids[0]], atol=1e-6)
            if exact:
                np.testing.assert_allclose([hit.score for hit in answer], scores[order - ids[0]], atol=2e-6)
            for better, worse in zip(answer.hits, answer.hits[1:], strict=False):
                assert (-better.score, better.id) < (-worse.score, worse.id)  # ties by id
            found += len({*hits} & {*order.tolist()})
            expected_in_all += 10

            least = float(np.sort(scores[kept - ids[0]])[-7]) - 1e-6
            ranged = indexed.query_parts(
                [part for part, other in zip(parts, unlike, strict=True) if not other],
                [part for part, other in zip(parts, unlike, strict=True) if other],
                None,
                where=where,
                above=least,
            )
            assert {hit.id for hit in ranged} == {*kept[scores[kept - ids[0]] >= least].tolist()}
    assert found >= 0.9 * expected_in_all


def test_one_part_is_the_question_without_parts(indexed: Search) -> None:
    plain = indexed.query_ids([17], 5)[0]
    for part in ("id:17", "id:17@0.3", f"path:{indexed.index.items([17])[0].path}", 17):
        answer = indexed.query_parts(part, k=5)
        assert (answer.hits, answer.id, answer.label, answer.left_out) == (
            plain.hits, plain.id, plain.label, plain.left_out
        )  # fmt: skip
    vector = clustered(1, DIM, 4)[0]
    assert indexed.query_parts(vector, k=5).hits == indexed.query_vectors(vector, 5)[0].hits


def test_include_self_leaves_nothing_out(indexed: Search) -> None:
    answer = indexed.query_parts(["id:4", "id:9@0.001"], ["id:3@0.001"], 3, include_self=True)
    assert answer.hits[0].id == 4 and answer.left_out == () == answer.parts[0].left_out
    assert indexed.query_parts(["id:4", "id:9@0.001"], ["id:3@0.001"], 3).left_out == (3, 4, 9)


@pytest.mark.parametrize("how", ["alpha-qe", "k-reciprocal"])
def test_a_reranker_takes_the_sum_like_any_vector(indexed: Search, how: str) -> None:
    vectors = clustered(3, DIM, 6)
    weights = [2.0, 1.0, -0.5]
    parts = [Part("vector", tuple(row), abs(weight)) for row, weight in zip(vectors.tolist(), weights, strict=True)]
    with Search.open(indexed.folder, reranker=how) as search:
        answer = search.query_parts(parts[:2], parts[2], 20)
        vector = np.array(defined(vectors.tolist(), weights, search.index.storage), np.float32)
        (plain,) = search.query_vectors(vector, 20)
    assert len(answer) == 20
    for hit, other in zip(answer, plain, strict=True):
        assert hit.score == pytest.approx(other.score, abs=1e-6)
        assert hit.reranked == pytest.approx(other.reranked, abs=1e-5)


@pytest.mark.parametrize(
    ("like", "unlike", "says"),
    [
        ([], [], "has no part"),
        (["id:17"], ["id:17"], "cancel out"),
        (["id:17", "id:4444"], [], "no item 4444"),
        (["path:nowhere.png"], [], "There is no picture 'nowhere.png' in the index"),
        (["id:4444", "path:x", "id:1"], ["id:5555"], "no item 4444.*; nor can 2 more of the 4 parts"),
        ([np.ones(DIM + 1)], [], "shape"),
        ([np.zeros(DIM)], [], "^'<?vector.* is zero or not finite"),
        (["a.png"], [], "imported without a model"),
        (["a red dog"], [], "There is no picture 'a red dog' here; if words are meant, write 'text:a red dog'"),
        (["text:a red dog"], [], "imported without a model"),
        (["id:3#1,2,3,4"], [], "imported without a model"),
    ],
)
def test_what_cannot_be_answered_is_one_sentence(
    indexed: Search, like: list[object], unlike: list[object], says: str
) -> None:
    with pytest.raises(RetrievalError, match=says):
        indexed.query_parts(like, unlike)  # type: ignore[arg-type]
    with pytest.raises(RetrievalError, match="k is 0"):
        indexed.query_parts(like, unlike, 0)  # type: ignore[arg-type]


# Pictures


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures larger than the network's square, two of them the same and one on its side."""
    root = tmp_path_factory.mktemp("parts") / "pictures"
    for number, name in enumerate(("cat/0", "cat/1", "cat/2", "dog/0", "dog/1", "dog/2")):
        file = root / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        tiny.picture(number, 90, 60).save(file)
    shutil.copy(root / "cat/0.png", root / "dog/copy.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    tiny.picture(50, 90, 60).save(root / "dog/sideways.jpg", exif=exif, quality=95)
    return root


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.model(tmp_path_factory)


@pytest.fixture(scope="module")
def built(root: Path, model: Path) -> Path:
    return build(root, root.parent / "index", model=model, decoder="pillow").index


@pytest.fixture()
def search(built: Path) -> Iterator[Search]:
    with Search.open(built) as search:
        yield search


def encoded(model: Path, *pictures: Image.Image) -> np.ndarray:
    """Vectors of pictures as they are, in float64."""
    encoder = Encoder.load(model)
    pixels = [images.prepare(picture.convert("RGB"), encoder.config.preprocessing) for picture in pictures]
    return encoder.encode(np.stack(pixels)).astype(np.float64)


def scores_of(search: Search, vector: np.ndarray) -> dict[str, float]:
    ids, rows = search.index.all_vectors()
    scores = rows.astype(np.float64) @ (vector / np.linalg.norm(vector))
    return {item.path: score for item, score in zip(search.index.items(ids), scores.tolist(), strict=True)}


def assert_scores(search: Search, answer, vector: np.ndarray) -> None:  # type: ignore[no-untyped-def]
    expected = scores_of(search, vector)
    assert len(answer) == len(expected) - len(answer.left_out)
    for hit in answer:
        assert hit.score == pytest.approx(expected[hit.path], abs=2e-5)
    assert [hit.score for hit in answer] == sorted((hit.score for hit in answer), reverse=True)


BOXES = {
    "#10,20,30,25": (10, 20, 40, 45),
    "#0%,50%,50%,50%": (0, 30, 45, 60),
    "#-20,-20,60,60": (0, 0, 40, 40),
    "#70,40,900,900": (70, 40, 90, 60),
}


@pytest.mark.parametrize("box", BOXES)
def test_a_part_of_a_picture_is_what_is_cut_out_of_it(search: Search, root: Path, model: Path, box: str) -> None:
    whole = Image.open(root / "cat/1.png")
    (vector,) = encoded(model, whole.crop(BOXES[box]))
    for part in (f"{root / 'cat/1.png'}{box}", "path:cat/1.png" + box, f"id:{search.index.find('cat/1.png').id}{box}"):  # type: ignore[union-attr]
        answer = search.query_parts(part, k=99)
        assert_scores(search, answer, vector)
        assert [search.index.items([id_])[0].path for id_ in answer.left_out] == ["cat/1.png"]
        assert (answer.id, answer.label, answer.calibrated) == (None, None, False)
        assert str(answer.box) == box[1:]
    (plain,) = search.query(f"{root / 'cat/1.png'}{box}", k=99)
    assert plain.hits == answer.hits and plain.query == f"{root / 'cat/1.png'}{box}"
    in_memory = Part("memory", Part.of(whole).value, box=images.Box.parse(box[1:]))
    assert_scores(search, search.query_parts(in_memory, k=99), vector)


def test_a_box_lies_in_the_upright_picture(search: Search, root: Path, model: Path) -> None:
    file = root / "dog/sideways.jpg"
    upright = ImageOps.exif_transpose(Image.open(file))
    assert upright.size == (60, 90)
    (vector,) = encoded(model, upright.crop((5, 50, 55, 90)))
    assert_scores(search, search.query_parts(f"{file}#5,50,50,40", k=99), vector)
    assert_scores(search, search.query_parts("path:dog/sideways.jpg#5,50,50,40", k=99), vector)


def test_a_question_of_every_kind_of_part(
    search: Search, root: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.picture(70, 80, 50).save(tmp_path / "new.png")
    np.save(tmp_path / "v.npy", np.random.default_rng(1).standard_normal((3, 16)))
    words = np.linspace(-1, 1, 16, dtype=np.float32)

    class Words:
        config = search.encoder.config
        encode = search.encoder.encode

        def encode_text(self, texts: Sequence[str]) -> np.ndarray:
            assert texts == ["a red dog"]
            return (words / np.linalg.norm(words))[None]

    whole = Image.open(root / "cat/0.png")
    new = Image.open(tmp_path / "new.png")
    item = search.index.find("dog/1.png")
    assert item is not None
    rows = [
        *encoded(model, new, new.crop((0, 0, 40, 50)), whole.crop((0, 0, 30, 30)), tiny.picture(71), whole),
        *search.index.vectors([item.id]).astype(np.float64),
        words.astype(np.float64) / np.linalg.norm(words),
        np.load(tmp_path / "v.npy")[2],
    ]
    like = [
        str(tmp_path / "new.png"), f"{tmp_path / 'new.png'}#0%,0%,50%,100%@2", "path:cat/0.png#0,0,30,30@0.5",
        tiny.picture(71), (root / "cat/0.png").read_bytes(),
    ]  # fmt: skip
    unlike = [f"id:{item.id}@0.25", "text:a red dog", f"vector:{tmp_path / 'v.npy'}[2]@0.75"]
    monkeypatch.setattr(search, "encoder", Words())
    answer = search.query_parts(like, unlike, k=99)  # type: ignore[arg-type]
    vector = np.array(defined([row.tolist() for row in rows], [1, 2, 0.5, 1, 1, -0.25, -1, -0.75], "float32"))
    assert_scores(search, answer, vector)
    copies = tuple(search.index.find(path).id for path in ("cat/0.png", "dog/copy.png"))  # type: ignore[union-attr]
    assert [asked.sign for asked in answer.parts] == 5 * [1] + 3 * [-1]
    assert [asked.left_out for asked in answer.parts] == [(), (), copies, (), copies, (item.id,), (), ()]
    assert answer.left_out == tuple(sorted((*copies, item.id)))
    assert [asked.to_json()["part"] for asked in answer.parts] == [
        *like[:3], "picture 0", "bytes 0", *unlike
    ]  # fmt: skip
    assert (answer.id, answer.label, answer.picture, answer.calibrated) == (None, None, None, False)
    assert {hit.relevant for hit in answer} == {None}
    shown = answer._repr_html_()
    assert shown.count("data:image/jpeg") == 4 + len(answer) and shown.count(">unlike<") == 3


def test_a_file_of_an_item_is_read_where_its_owner_lets_it_lie(root: Path, model: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(root / "cat", photos)
    with Search.open(build(photos, tmp_path / "index", model=model).index) as search:
        search.query_parts("path:0.png#0,0,20,20")
        tiny.picture(99, 90, 60).save(photos / "0.png")
        with pytest.raises(RetrievalError, match="changed since it was indexed"):
            search.query_parts("path:0.png#0,0,20,20")
        assert len(search.query_parts("path:0.png")) == 2  # whole, its vector is in the index
        (photos / "1.png").rename(tmp_path / "elsewhere.png")
        (photos / "1.png").symlink_to(tmp_path / "elsewhere.png")
        with pytest.raises(RetrievalError, match="a link out of the folder"):
            search.query_parts("path:1.png#0,0,20,20")
        os.remove(photos / "2.png")  # noqa: PTH107
        with pytest.raises(RetrievalError, match="no such file"):
            search.query_parts("path:2.png#0,0,20,20")


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ("{root}/cat/1.png#90,0,5,5", "its 90×60 pixels have no part #90,0,5,5"),
        ("{root}/cat/1.png#1,2", "no part of a picture"),
        ("{root}/nowhere.png", "no such file"),
        ("{root}/cat", "a folder"),
        ("text:a dog", "knows pictures only"),
        ("vector:{root}/cat/1.png", "cannot be read as a .npy file"),
    ],
)
def test_a_part_that_cannot_be_read_is_one_sentence(search: Search, root: Path, part: str, says: str) -> None:
    with pytest.raises(RetrievalError, match=says):
        search.query_parts(["id:1", part.format(root=root)])


def test_parts_of_pictures_beside_whole_ones(search: Search, root: Path) -> None:
    skipped: list[images.Skipped] = []
    whole, part = f"{root}/cat/0.png", f"{root}/cat/1.png#0,0,30,30"
    answers = search.query([whole, part, f"{root}/cat/2.png#900,0,1,1", whole], 3, skipped=skipped)
    assert [answer.query for answer in answers] == [whole, part, whole]
    assert answers[0].hits == answers[2].hits == search.query(whole, 3)[0].hits
    assert [one.reason for one in skipped] == ["its 90×60 pixels have no part #900,0,1,1"]


def test_the_rest_of_the_answer_is_the_same_for_parts_alone(search: Search, root: Path) -> None:
    """A single picture asked as a part has the label, id and file that it has without."""
    (plain,) = search.query(root / "cat/0.png", 4)
    part = search.query_parts(root / "cat/0.png", k=4)
    assert (part.hits, part.id, part.label, part.picture, part.left_out, part.calibrated) == (
        plain.hits, plain.id, plain.label, plain.picture, plain.left_out, True
    )  # fmt: skip
    least = search.query_parts(unlike=root / "cat/0.png", k=4)
    assert (least.id, least.label, least.calibrated, least.left_out) == (None, None, False, plain.left_out)
    assert least.hits[0].score == -search.query(root / "cat/0.png", 99)[0].hits[-1].score
