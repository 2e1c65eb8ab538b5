"""The file of marks (retrieval/search/marks.py): what it holds comes back, and what is wrong is one sentence."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from retrieval.errors import RetrievalError
from retrieval.index import Index, NewItem
from retrieval.search.marks import Asked, Mark, append_marks, read_marks
from retrieval.search.parts import Part

A, B = "a" * 64, "b" * 64
GOOD = {"query": "a.jpg", "item": "x/1.png", "right": True}


def mark(query: object = "a.jpg", item: str = "x/1.png", right: bool = True, *more: str | None) -> Mark:
    return Mark(Asked.of(query), item, right, *more)


def written(folder: Path, *lines: object) -> Path:
    file = folder / "marks.jsonl"
    file.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return file


def test_what_is_appended_is_read(tmp_path):
    marks = (
        mark(),
        mark("id:17", "ü/\n 1.png", False, A),
        mark("text:a red dog", 'quo"te', True, A, B),
        mark({"like": ["a.jpg@0.5", "path:b#1,2,3,4"], "unlike": ["vector:v.npy[3]"]}),
        mark({"unlike": ["a.jpg"]}, "x"),
    )
    file = tmp_path / "marks.jsonl"
    append_marks(file, marks[:2])
    append_marks(file, [])
    append_marks(file, iter(marks[2:]))
    assert read_marks(file) == marks
    assert len(file.read_text().splitlines()) == len(marks)
    assert [json.loads(line) for line in file.read_text().splitlines()] == [one.to_json() for one in marks]


def test_a_question_is_the_same_however_its_parts_are_ordered():
    assert Asked.of("a.jpg@0.5") == Asked.of("a.jpg") == Asked.of({"like": ["a.jpg@3"], "unlike": []})
    assert Asked.of({"like": ["b", "a@2"]}) == Asked.of({"like": ["a@2", "b"]}) != Asked.of({"like": ["a", "b"]})
    assert Asked.of({"like": ["a"], "unlike": ["b"]}) != Asked.of({"like": ["a", "b"]})
    assert Asked.of("a#1,2,3,4") != Asked.of("a")
    assert Asked.of({"unlike": ["a"]}).to_json() == {"unlike": ["a"]}
    with pytest.raises(RetrievalError, match="lies in no file"):
        Asked((Part.of(np.ones(3)),))


def test_the_last_mark_of_an_item_counts(tmp_path):
    lines = [
        GOOD,
        {**GOOD, "item": "y"},
        {**GOOD, "right": False},
        {**GOOD, "query": "b.jpg"},
        {**GOOD, "query": "a.jpg@2"},
    ]
    found = read_marks(written(tmp_path, *lines[:4]))
    assert found == (mark(item="y"), mark(right=False), mark("b.jpg"))
    lines.append({**GOOD, "query": "a.jpg@2"})  # the same query again
    assert read_marks(written(tmp_path, *lines)) == (mark(item="y"), mark("b.jpg"), mark())


def test_other_names_and_empty_lines_are_left_alone(tmp_path):
    file = written(tmp_path, "", {**GOOD, "by": "me", "sha256": None}, "  ")
    assert read_marks(file) == (mark(),)
    file.write_text("")
    assert read_marks(file) == ()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("[1]", "not a JSON object"),
        ('{"query": ', "not a JSON object"),
        ('{"query": "a", "query": "b"}', "twice"),
        ({"item": "x", "right": True}, 'no "query"'),
        ({"query": "a", "right": True}, 'no "item"'),
        ({"query": "a", "item": "x"}, 'no "right"'),
        ({**GOOD, "right": 1}, "true or false"),
        ({**GOOD, "right": None}, "true or false"),
        ({**GOOD, "right": "yes"}, "true or false"),
        ({**GOOD, "item": 3}, "its path in the index"),
        ({**GOOD, "item": ""}, "its path in the index"),
        ('{"query": "a", "item": "\\ud800", "right": true}', "its path in the index"),
        ({**GOOD, "sha256": "A" * 64}, "64 hexadecimal"),
        ({**GOOD, "sha256": A + "\n"}, "64 hexadecimal"),
        ({**GOOD, "query_sha256": 7}, "64 hexadecimal"),
        ({**GOOD, "query": 7}, "give a text"),
        ({**GOOD, "query": ["a"]}, "give a text"),
        ({**GOOD, "query": {}}, "give a text"),
        ({**GOOD, "query": {"like": "a"}}, "give a text"),
        ({**GOOD, "query": {"like": [1]}}, "give a text"),
        ({**GOOD, "query": {"like": ["a"], "more": []}}, "give a text"),
        ({**GOOD, "query": {"like": []}}, "nothing was asked"),
        ({**GOOD, "query": "id:seven"}, "no id"),
        ({**GOOD, "query": "a@0"}, "weight"),
        ({**GOOD, "query": ""}, "empty"),
    ],
)
def test_a_wrong_line_is_one_sentence_with_its_number(tmp_path, line, says):
    with pytest.raises(RetrievalError) as error:
        read_marks(written(tmp_path, GOOD, line))
    text = str(error.value)
    assert text.startswith("Line 2 of") and says in text
    assert text.endswith(".") and "\n" not in text and len(text) < 400


def test_what_is_no_list_of_marks_is_refused(tmp_path):
    table = tmp_path / "marks.csv"
    table.write_text("query,item,right\na,b,true\n")
    with pytest.raises(RetrievalError, match="not JSON lines but csv"):
        read_marks(table)
    with pytest.raises(RetrievalError, match="cannot be read"):
        read_marks(tmp_path / "missing.jsonl")
    with pytest.raises(RetrievalError, match="cannot be read"):
        read_marks(tmp_path)


def test_bytes_at_random_are_marks_or_one_sentence(tmp_path, long):
    draw = random.Random(0)
    lines = [{**GOOD, "sha256": A}, {**GOOD, "query": {"like": ["a", "vector:b@2"]}}, {**GOOD, "query": "id:7"}]
    file = written(tmp_path, *lines)
    good, letters = file.read_bytes(), b'{}[]",:\\u0d8@#\n\xff\x00ae1'
    read = refused = 0
    with Index.create(tmp_path / "index", 2, root=str(tmp_path), encoder_hash="x", details={}) as index:
        for _ in range(5000 if long else 300):
            content = bytearray(good)
            for _ in range(draw.randint(1, 4)):
                place = draw.randrange(len(content))
                content[place : place + draw.randint(0, 3)] = bytes(draw.choices(letters, k=draw.randint(0, 3)))
            file.write_bytes(content)
            try:
                for one in read_marks(file):
                    assert Asked.of(one.query.to_json()) == one.query and one.query.known_by(index, one.query_sha256)
                read += 1
            except RetrievalError as error:
                assert len(str(error)) < 600 and "\n" not in str(error)
                refused += 1
    assert read and refused


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 5000, "loop/a", "/", "..", "vector:a\0[1]", "path:\ud800"])
def test_no_name_of_a_query_is_too_odd(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    query = read_marks(written(tmp_path, {**GOOD, "query": name}))[0].query
    with Index.create(tmp_path / "index", 2, root=str(tmp_path), encoder_hash="x", details={}) as index:
        assert query.known_by(index)


def test_two_writers_lose_nothing(tmp_path):
    file = tmp_path / "marks.jsonl"
    code = (
        "import sys\n"
        "from retrieval.search.marks import Asked, Mark, append_marks\n"
        "a, (file, who) = Asked.of('a'), sys.argv[1:]\n"
        "for number in range(40):\n"
        "    append_marks(file, [Mark(a, f'{who}-{number}-{part}', True) for part in range(3)])\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(file), str(n)]) for n in range(2)]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    items = [one.item for one in read_marks(file)]
    assert sorted(items) == sorted(f"{w}-{n}-{part}" for w in range(2) for n in range(40) for part in range(3))
    for w in range(2):  # in order, and the marks of one call together
        own = [(place, item) for place, item in enumerate(items) if item.startswith(f"{w}-")]
        assert [item for _, item in own] == [f"{w}-{n}-{part}" for n in range(40) for part in range(3)]
        assert all(own[row + 2][0] - own[row][0] == 2 for row in range(0, len(own), 3))


@pytest.mark.parametrize("torn", ['{"que', '{"query": "a.jpg", "item": "x/', "{"])
def test_a_line_that_a_crash_left_is_taken_away(tmp_path, torn):
    file = written(tmp_path, GOOD)
    file.write_text(file.read_text() + torn)
    append_marks(file, [mark("b.jpg")])
    assert read_marks(file) == (mark(), mark("b.jpg"))


def test_a_last_line_without_its_end_stays(tmp_path):
    file = tmp_path / "marks.jsonl"
    file.write_text(json.dumps(GOOD))
    append_marks(file, [mark("b.jpg")])
    assert read_marks(file) == (mark(), mark("b.jpg"))


def test_nothing_is_added_to_something_else(tmp_path):
    for content, says in ((b"\xff\xd8\xff picture", "no list of marks"), (b'{"a": 1}\nrest', "middle of a line")):
        file = tmp_path / "other"
        file.write_bytes(content)
        with pytest.raises(RetrievalError, match=says):
            append_marks(file, [mark()])
        assert file.read_bytes() == content
    target = written(tmp_path, GOOD)
    before = target.read_bytes()
    (tmp_path / "link").symlink_to(target)
    os.mkfifo(tmp_path / "pipe")
    for name, says in (("link", "it is a link"), ("pipe", "not a regular file"), (".", "cannot be written")):
        with pytest.raises(RetrievalError, match=says):
            append_marks(tmp_path / name, [mark()])
    with pytest.raises(RetrievalError, match="cannot be written"):
        append_marks(tmp_path / "no" / "folder", [mark()])
    assert target.read_bytes() == before


def test_what_cannot_be_written_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    file = written(tmp_path, GOOD)
    before = file.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("retrieval.search.marks.os.fsync", full)
    with pytest.raises(RetrievalError, match="No space left"):
        append_marks(file, [mark("b.jpg"), mark("c.jpg")])
    assert file.read_bytes() == before


def test_a_query_is_known_by_its_item_its_place_and_its_bytes(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    root = tmp_path / "in"
    with Index.create(tmp_path / "index", 2, root=str(root), encoder_hash="x", details={}) as index:
        vectors = np.eye(2, dtype=np.float32)
        first, _ = index.add(vectors, [NewItem("a.png", sha256=A), NewItem("b.png")]).tolist()
        monkeypatch.chdir(root)
        spellings = (f"id:{first}", "path:a.png", "a.png", "./a.png", str(root / "a.png"))
        names = [Asked.of(one).known_by(index) for one in spellings]
        assert all(f"id:{first}" in one and f"sha256:{A}" in one for one in names)
        assert Asked.of("id:99").known_by(index).isdisjoint(names[0])
        assert Asked.of("a.png#0,0,5,5").known_by(index).isdisjoint(names[0])
        assert Asked.of("path:b.png").known_by(index) == {"id:1"}
        elsewhere = Asked.of("../c.png").known_by(index)
        assert elsewhere == Asked.of(str(tmp_path / "c.png")).known_by(index) and elsewhere.isdisjoint(names[0])
        # another picture lay there
        assert Asked.of("a.png").known_by(index, B) == {f"sha256:{B}"}
        many = [Asked.of({"like": [one, "text:dog"]}).known_by(index) for one in spellings]
        assert len(set(many)) == 1 and many[0].isdisjoint(names[0])
        assert Asked.of("text:id:0").known_by(index).isdisjoint(names[0])
        assert Asked.of("vector:v.npy").known_by(index) == Asked.of("vector:./v.npy[0]").known_by(index)
