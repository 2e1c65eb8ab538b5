"""Rectangles in pictures: what is read as one, and which pixels it is."""

from __future__ import annotations

import random

import pytest

from retrieval.errors import RetrievalError
from retrieval.images.box import Box, split


@pytest.mark.parametrize(
    ("text", "edges"),
    [
        ("10,20,30,40", (10, 20, 40, 60)),
        ("0,0,200,100", (0, 0, 200, 100)),
        ("-5,-7,30,40", (0, 0, 25, 33)),  # what lies beside the picture is cut off
        ("190,90,500,500", (190, 90, 200, 100)),
        ("10%,20%,50%,50%", (20, 20, 120, 70)),
        ("0%,0%,100%,100%", (0, 0, 200, 100)),
        ("-10%,50%,20%,1e3%", (0, 50, 20, 100)),
        ("1.4,2.6,10,10", (1, 3, 11, 13)),
        ("0.1,0.1,0.1,0.1", (0, 0, 1, 1)),  # never without a pixel
        ("199.9,99.9,5,5", (199, 99, 200, 100)),
    ],
)
def test_the_pixels_of_a_box(text: str, edges: tuple[int, ...]) -> None:
    assert Box.parse(text).edges(200, 100) == edges


def test_a_box_is_read_as_it_is_written() -> None:
    draw = random.Random(5)
    for _ in range(500):
        numbers = [draw.choice((draw.uniform(-9, 9), draw.randint(-9, 9), draw.gauss(0, 1e9))) for _ in range(4)]
        box = Box(numbers[0], numbers[1], abs(numbers[2]) + 1e-9, abs(numbers[3]) + 1e-9, draw.random() < 0.5)
        assert Box.parse(str(box)) == box


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,4,5", "a,b,c,d", "1;2;3;4", "1, 2, 3, 4", "١,٢,٣,٤", "0x1,0,1,1"])
def test_other_texts_are_no_box(text: str) -> None:
    assert split(f"a#{text}") is None
    with pytest.raises(RetrievalError, match="is no part of a picture"):
        Box.parse(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1,2,0,4", "#1,2,0,4 of a picture is empty"),
        ("1,2,3,-4", "is empty"),
        ("nan,2,3,4", "is empty"),
        ("1,2,inf,4", "is empty"),
        ("1e999,2,3,4", "is empty"),
        ("1%,2,3,4", "mixes pixels and per cent"),
    ],
)
def test_an_empty_box_is_one_sentence(text: str, says: str) -> None:
    with pytest.raises(RetrievalError, match=says):
        Box.parse(text)


@pytest.mark.parametrize("text", ["200,0,5,5", "0,100,5,5", "-5,0,5,5", "0,-5,5,5", "100%,0%,5%,5%", "1e300,0,1,1"])
def test_a_box_beside_the_picture_is_none_of_it(text: str) -> None:
    assert Box.parse(text).edges(200, 100) is None
