"""The parts of a question: how each is written and read."""

from __future__ import annotations

import io
import random
from pathlib import Path

import numpy as np
import pytest
import tiny

from retrieval.errors import RetrievalError
from retrieval.images.box import Box
from retrieval.search.parts import Kind, Part


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a.jpg", Part("file", "a.jpg")),
        ("./x//a.jpg", Part("file", "x/a.jpg")),
        ("a.jpg@0.5", Part("file", "a.jpg", 0.5)),
        ("a.jpg#1,2,3,4", Part("file", "a.jpg", box=Box(1, 2, 3, 4))),
        ("a.jpg#10%,20%,50%,50%@2", Part("file", "a.jpg", 2, Box(10, 20, 50, 50, per_cent=True))),
        ("a.jpg@2#1,2,3,4", Part("file", "a.jpg@2", box=Box(1, 2, 3, 4))),  # the weight comes last
        ("a#b.jpg", Part("file", "a#b.jpg")),
        ("me@home.jpg", Part("file", "me@home.jpg")),
        ("ID:17", Part("file", "ID:17")),
        ("id:17", Part("id", 17)),
        ("id:017#1,2,3,4@1e-3", Part("id", 17, 0.001, Box(1, 2, 3, 4))),
        ("path:2019/a@b.jpg@.5", Part("path", "2019/a@b.jpg", 0.5)),
        ("text: a red dog @2", Part("text", "a red dog", 2)),
        ("text:mail me@home", Part("text", "mail me@home")),
        ("text:path:x", Part("text", "path:x")),
        ("vector:v.npy[3]", Part("vector", "v.npy[3]")),
        ("a.jpg#0%,0%,100%,100%", Part("file", "a.jpg")),  # the whole of a picture is the picture
    ],
)
def test_a_part_is_read(text: str, part: Part) -> None:
    assert Part.parse(text) == part
    assert Part.parse(str(part)) == part
    assert Part.parse(text, files=False) == part


PIECES = ("a", "@", "#", "1,2,3,4", "0%,0%,100%,100%", "@2", "@nan", "id:", "text:", "vector:", ":", "/", ".", "[3]",
          " ", "\n", "-", "é", "\udcff", "犬", "%", "1", ",")  # fmt: skip


def test_a_part_is_read_as_it_is_written() -> None:
    draw = random.Random(14)
    read = 0
    for _ in range(5000):
        kind: Kind = draw.choice(("file", "path", "text", "vector", "id"))
        value: str | int = "".join(draw.choices(PIECES, k=draw.randint(1, 7)))
        weight = draw.choice((1, 2, 0.5, draw.lognormvariate(0, 5)))
        x, y, width, height = (draw.uniform(0.1, 99) for _ in range(4))
        box = Box(x, y, width, height, per_cent=draw.random() < 0.5)
        try:
            part = Part(kind, draw.randrange(10**9) if kind == "id" else value, weight, draw.choice((None, box)))
        except RetrievalError:  # words with a box, or nothing but blanks
            continue
        read += 1
        assert Part.parse(str(part), files=False) == part
    assert read > 3000


def test_any_text_is_a_part_or_one_sentence() -> None:
    draw = random.Random(15)
    for _ in range(5000):
        text = "".join(draw.choices(PIECES, k=draw.randint(0, 8)))
        try:
            part = Part.parse(text, files=draw.random() < 0.5)
        except RetrievalError as error:
            assert "\n" not in str(error)
        else:
            assert Part.parse(str(part), files=False) == part


@pytest.mark.parametrize(
    "name", ["a@0.5.jpg", "a.jpg@0.5", "a.jpg#1,2,3,4", "id:17", "text:dog", "path:x@2", "vector:v.npy", "b#c.jpg@3"]
)
def test_a_file_wins(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tiny.picture(1).save(tmp_path / name, "PNG")
    assert Part.parse(name) == Part("file", name)
    assert Part.parse(str(tmp_path / name)) == Part("file", str(tmp_path / name))
    assert Part.parse(f"{name}@3") == Part("file", name, 3)
    assert Part.parse(f"{name}#1,2,3,4@3") == Part("file", name, 3, Box(1, 2, 3, 4))
    for part in (Part("file", name), Part("file", name, 3), Part("file", name, 2, Box(1, 2, 3, 4))):
        assert Part.parse(str(part)) == part
    assert Part.parse("id:18") == Part("id", 18)
    if name == "id:17":
        assert Part.parse(name, files=False) == Part("id", 17)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("@2", "is empty"),
        ("text: ", "is empty"),
        ("path:", "is empty"),
        ("id:", "'id:' is no id"),
        ("id:1.5", "'id:1.5' is no id"),
        ("id:-3", "'id:-3' is no id"),
        ("id:" + 30 * "9", "is no id"),
        ("a.jpg@0", "The weight 0 of 'a.jpg' is no number above 0"),
        ("a.jpg@-1", "The weight -1"),
        ("text:dog@nan", "The weight nan of 'text:dog'"),
        ("id:1@inf", "The weight inf"),
        ("id:1@1e999", "The weight inf"),
        ("text:dog#1,2,3,4", "no part #1,2,3,4"),
        ("vector:v.npy#1,2,3,4", "no part #1,2,3,4"),
        ("a.jpg#1,2,0,4", "is empty"),
        ("a.jpg#1%,2,3,4", "mixes pixels and per cent"),
    ],
)
def test_what_is_no_part_is_one_sentence(text: str, says: str) -> None:
    with pytest.raises(RetrievalError, match=says):
        Part.parse(text)


def test_a_wrong_box_of_a_file_that_is_there_is_named(tmp_path: Path) -> None:
    tiny.picture(1).save(tmp_path / "a.png")
    with pytest.raises(RetrievalError, match="'#1,2' is no part of a picture"):
        Part.parse(f"{tmp_path / 'a.png'}#1,2")


def test_the_vector_of_a_file(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((3, 8))
    for name, array in {"v.npy": rows, "one.npy": rows[1], "v.npy[1]": rows[2:]}.items():
        with (tmp_path / name).open("wb") as file:
            np.save(file, array)
    np.save(tmp_path / "none.npy", rows[:0])
    np.save(tmp_path / "deep.npy", rows[None])

    def read(name: str) -> np.ndarray:
        return Part.parse(f"vector:{tmp_path / name}").vector()

    for name, row in {
        "v.npy[0]": 0,
        "v.npy[2]": 2,
        "one.npy": 1,
        "one.npy[0]": 1,
        "v.npy[1]": 2,
        "v.npy[1][0]": 2,
    }.items():
        np.testing.assert_array_equal(read(name), rows[row])
    np.testing.assert_array_equal(Part.of(rows[1]).vector(), rows[1])
    for name in ("v.npy", "v.npy[3]", "one.npy[1]", "none.npy", "deep.npy", "deep.npy[0]"):
        with pytest.raises(RetrievalError, match="is not one vector"):
            read(name)
    with pytest.raises(RetrievalError, match="cannot be read"):
        read("nowhere.npy")


def test_what_a_program_has_is_a_part(tmp_path: Path) -> None:
    picture, file = tiny.picture(3), io.BytesIO()
    picture.save(file, "PNG")
    given: list[tuple[object, Kind]] = [
        ("a.jpg@2", "file"), (Path("a.jpg@2"), "file"), (17, "id"), (np.int64(17), "id"), (Part("id", 3), "id"),
        (file.getvalue(), "memory"), (picture, "memory"), (np.asarray(picture), "memory"),
        (np.ones(4, np.float32), "vector"),
    ]  # fmt: skip
    for one, kind in given:
        part = Part.of(one)  # type: ignore[arg-type]
        assert part.kind == kind
        assert hash(part) == hash(Part.of(one))  # type: ignore[arg-type]
    assert Part.of(Path("a.jpg@2")).value == "a.jpg@2"
    assert str(Part.of(np.ones(4))) == "vector of 4 numbers"
    for wrong in (None, True, 1.5, np.ones((2, 4)), np.zeros((2, 4, 4, 3), np.uint8), [tmp_path], object()):
        with pytest.raises(RetrievalError):
            Part.of(wrong)  # type: ignore[arg-type]
