"""The picture of the results: what is where, in which frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retrieval.errors import RetrievalError
from retrieval.images import Box
from retrieval.search import results_picture
from retrieval.search.answer import Answer, AskedPart, Hit
from retrieval.search.parts import Part

GREEN, RED, GREY, DARK = (28, 143, 70), (214, 48, 49), (202, 207, 214), (52, 62, 78)


def hits(*relevant: bool | None, path: str = "a.png") -> tuple[Hit, ...]:
    return tuple(Hit(n + 1, n, path, f"class {n}", 0.9 - n / 100, value) for n, value in enumerate(relevant))


@pytest.fixture()
def root(tmp_path: Path) -> Path:
    Image.new("RGB", (32, 32), (0, 0, 255)).save(tmp_path / "a.png")
    Image.new("RGB", (400, 100), (0, 0, 255)).save(tmp_path / "wide.png")
    return tmp_path


def draw(root: Path, *answers: Answer, name: str = "grid.png") -> np.ndarray:
    assert results_picture.draw_answers(answers, root, root / name) == min(len(answers), results_picture.QUERIES)
    with Image.open(root / name) as drawn:
        return np.asarray(drawn.convert("RGB")).astype(int)


def has(pixels: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (pixels == colour).all(axis=2)


def test_frames_tell_right_from_wrong_from_unknown(root: Path) -> None:
    drawn = draw(root, Answer("q.png", "class 0", 7, hits(True, False, None), root / "a.png"))
    middles = [np.flatnonzero(has(drawn, colour).sum(axis=0) > 100).mean() for colour in (DARK, GREEN, RED, GREY)]
    assert middles == sorted(middles)  # left to right: the query, then the hits in their order
    for colour in (DARK, GREEN, RED, GREY):
        rows, columns = np.nonzero(has(drawn, colour))
        assert rows.max() - rows.min() >= results_picture.TILE - 1
    rows, columns = np.nonzero(has(drawn, GREEN))
    assert columns.max() - columns.min() == results_picture.TILE - 1
    inside = drawn[rows.min() + results_picture.TILE // 2, columns.min() + results_picture.TILE // 2]
    assert tuple(inside) == (0, 0, 255)


def test_a_picture_keeps_its_proportions(root: Path) -> None:
    drawn = draw(root, Answer("q", None, None, hits(True, path="wide.png")))
    rows, columns = np.nonzero(has(drawn, (0, 0, 255)))
    width, height = columns.max() - columns.min() + 1, rows.max() - rows.min() + 1
    assert width == results_picture.TILE - 10
    assert height == pytest.approx(width / 4, abs=1)


def test_score_and_label_stand_under_each(root: Path) -> None:
    plain = draw(root, Answer("q", "x", None, hits(True), root / "a.png"))
    one = Hit(1, 0, "a.png", "class 0", 0.1, True)
    other_score = draw(root, Answer("q", "x", None, (one,), root / "a.png"))
    one = Hit(1, 0, "a.png", "another", 0.9, True)
    other_label = draw(root, Answer("q", "x", None, (one,), root / "a.png"))
    changed = [np.flatnonzero((plain != other).any(axis=(1, 2))) for other in (other_score, other_label)]
    bottom = np.flatnonzero(has(plain, GREEN)[:, -results_picture.TILE :].any(axis=1))
    tile_end = bottom[0] + results_picture.TILE
    assert all(len(rows) and rows.min() >= tile_end for rows in changed)
    assert changed[0].max() < changed[1].min()


@pytest.mark.parametrize("letters", ["Ωмега", "ñandú", "東京"])
def test_any_label_can_be_drawn(root: Path, letters: str) -> None:
    with_label = draw(root, Answer("q", letters, None, hits(True), root / "a.png"))
    assert (with_label != draw(root, Answer("q", "", None, hits(True), root / "a.png"))).any()


def test_greek_and_cyrillic_are_more_than_boxes(root: Path) -> None:
    one, other = (draw(root, Answer("q", label, None, (), root / "a.png")) for label in ("ΩΩΩ", "ЖЖЖ"))
    assert (one != other).any()


def test_what_is_gone_is_drawn_as_an_empty_tile(root: Path) -> None:
    (root / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    gone = draw(root, Answer("gone.png", None, None, hits(False, path="gone.png"), root / "gone.png"))
    broken = draw(root, Answer("gone.png", None, None, hits(False, path="broken.jpg"), root / "gone.png"))
    assert has(gone, RED).any()
    assert not has(gone, (0, 0, 255)).any()
    assert (gone != broken).any()  # the reasons differ


def test_long_answers_are_broken_into_lines(root: Path) -> None:
    short = draw(root, Answer("q", None, None, hits(*[None] * results_picture.ROW)))
    assert len(draw(root, Answer("q", None, None, hits(None)))) == len(short)
    long = draw(root, Answer("q", None, None, hits(*[None] * 50)))
    assert long.shape[1] <= short.shape[1]
    assert len(long) > 4 * results_picture.TILE
    assert has(long, (0, 0, 255)).sum() > 49 * (results_picture.TILE - 12) ** 2


def test_a_text_or_a_vector_and_an_answer_without_hits(root: Path) -> None:
    text = draw(root, Answer("a red shoe " * 20, None, None, hits(None)), Answer("v.npy[3]", None, None, ()))
    assert has(text, DARK).sum() > 2 * 4 * results_picture.TILE


def test_a_part_of_a_picture_is_what_is_drawn(root: Path) -> None:
    picture = Image.new("RGB", (400, 100), (0, 0, 255))
    picture.paste((200, 100, 0), (0, 0, 100, 100))
    picture.save(root / "half.png")
    drawn = draw(root, Answer("q", None, None, (), root / "half.png", box=Box(0, 0, 100, 100)))
    assert has(drawn, (200, 100, 0)).sum() > 0.9 * (results_picture.TILE - 10) ** 2
    assert not has(drawn, (0, 0, 255)).any()


def test_every_part_of_a_question_is_drawn(root: Path) -> None:
    Image.new("RGB", (64, 64), (200, 100, 0)).save(root / "b.png")
    asked = [
        AskedPart(Part("file", "a.png"), 1, root / "a.png"),
        AskedPart(Part("file", "b.png", 0.5), -1, root / "b.png"),
        AskedPart(Part("text", "words"), 1),
        AskedPart(Part("id", 3), 1, root / "gone.png"),
    ]
    drawn = draw(root, Answer("like ...", None, None, hits(None), parts=tuple(asked)))
    query = drawn[:, : results_picture.TILE + 28]
    where = [np.argwhere(has(query, colour)).mean(axis=0) for colour in ((0, 0, 255), (200, 100, 0))]
    assert where[0][0] == pytest.approx(where[1][0], abs=5) and where[1][1] - where[0][1] > results_picture.TILE // 3
    assert has(query, RED).any() and has(query, DARK).any()
    for parts in (asked[:1], asked[1:2], 5 * asked):
        draw(root, Answer("like ...", None, None, hits(None), parts=tuple(parts)))


def test_there_is_a_limit(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results_picture, "QUERIES", 2)
    answers = [Answer("q", None, None, hits(None), root / "a.png")] * 5
    assert results_picture.draw_answers(answers, root, root / "grid.png") == 2


def test_formats_and_failures(root: Path) -> None:
    answer = Answer("q", "x", None, hits(True), root / "a.png")
    for name in ("grid.jpg", "grid.webp", "new/folder/grid.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        assert draw(root, answer, name=name).shape[2] == 3
    results_picture.draw_answers([answer], root, root / "grid.pdf")
    assert (root / "grid.pdf").read_bytes().startswith(b"%PDF")
    before = sorted(root.rglob("*"))
    for name in ("grid.xyz", "grid", "a.png/grid.png"):
        with pytest.raises(RetrievalError, match="could not be written"):
            results_picture.draw_answers([answer], root, root / name)
    with pytest.raises(RetrievalError, match="no answer to draw"):
        results_picture.draw_answers([], root, root / "none.png")
    assert sorted(root.rglob("*")) == before
