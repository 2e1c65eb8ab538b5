"""The one reader of tables: forms, hostile files, and CSV that splits where it was joined."""

from __future__ import annotations

import csv
import io
import os
import random
import threading
from pathlib import Path

import pytest

from retrieval.base.picture_names import DiskNames
from retrieval.base.table import LINE, Table, csv_text
from retrieval.errors import RetrievalError

KNOWN = ("path", "label")


def rows(tmp_path: Path, content: str | bytes, name: str = "t.csv", known: tuple[str, ...] = KNOWN) -> list[dict]:
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [row.cells for row in Table(file, known=known).typed_rows(("path", "label"))]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", "path,label,n\na.png,1,.5\nb.png,,7\n"),
        ("t.csv", "Path, Label, n\na.png, 1, .5\nb.png, , 7\n"),
        ("t.csv", "\r\n\r\nPATH;label;n\r\na.png;1;.5\r\n\r\nb.png;;7\r\n"),
        ("t.txt", "\ufeffpath\tlabel\tn\na.png\t1\t.5\nb.png\t\t7"),
        ("t.csv", "path,label,n\ra.png,1,.5\rb.png,,7\r"),
        ("t.csv", '"path","label","n"\n"a.png","1",".5"\n"b.png","","7"\n'),
        ("t.jsonl", '{"path": "a.png", "label": "1", "n": 0.5}\n\n{"Path": "b.png", "label": null, "n": 7}\n'),
        ("t.json", '[{"path": "a.png", "label": "1", "n": 0.5},\n{"path": "b.png", "label": null, "n": 7}]'),
        ("t.json", '{"path": "a.png", "label": "1", "n": 0.5}\n{"path": "b.png", "label": null, "n": 7}'),
        ("t", '\n {"path": "a.png", "label": "1", "n": 0.5}\n{"path": "b.png", "label": null, "n": 7}'),
    ],
)
def test_one_table_in_every_form(tmp_path: Path, name: str, content: str) -> None:
    expected = [{"path": "a.png", "label": "1", "n": 0.5}, {"path": "b.png", "label": None, "n": 7}]
    assert rows(tmp_path, content, name) == expected


def test_what_comes_through_a_pipe_is_a_table_too(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    content = "path,n\n" + "a.png,7\n" * 50_000
    writer = threading.Thread(target=(tmp_path / "pipe.csv").write_text, args=(content,))
    writer.start()
    table = Table(tmp_path / "pipe.csv")
    writer.join()
    assert [row.cells["n"] for row in table.typed_rows(("path",))] == [7] * 50_000


def test_parquet_is_a_table_too(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pa.table({"Path": ["a", "b"], "n": [0.5, None]}), tmp_path / "t.parquet")
    found = [(row.number, row.cells) for row in Table(tmp_path / "t.parquet", known=KNOWN).rows()]
    assert found == [(1, {"path": "a", "n": 0.5}), (2, {"path": "b", "n": None})]
    (tmp_path / "t.parquet").write_bytes((tmp_path / "t.parquet").read_bytes()[:-9])
    with pytest.raises(RetrievalError, match=r"The table .* is not parquet"):
        Table(tmp_path / "t.parquet")


def test_rows_without_anything_count_where_the_order_does(tmp_path: Path) -> None:
    assert rows(tmp_path, "a,b\n,\n\n1,2\n") == [{"a": None, "b": None}, {"a": 1, "b": 2}]
    assert rows(tmp_path, "label\nx\n\ny\n") == [{"label": "x"}, {"label": None}, {"label": "y"}]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"path,n\na,1\nb\n", "Line 3 of .* has 1 cells instead of 2"),
        ("t.csv", b"path,n\na,1\nb,2,3\n", "Line 3 of .* has 3 cells instead of 2"),
        ("t.csv", b'path,n\n"a\nb",1\nc\n', "Line 4 of .* has 1 cells"),
        ("t.csv", b'path,n\n"a,1\nb,2\n', "Line 2 of .* is not CSV"),
        ("t.csv", b"path,n\na,\xe9\n", r"Line 2 of .* is not UTF-8 \(byte 3 of it\)"),
        ("t.csv", "path,n\né,1\n".encode("utf-16"), "Line 1 of .* is not UTF-8"),
        ("t.csv", b"path,n\na,\0\n", "Line 2 of .* has a zero byte"),
        ("t.csv", b"path,Path\na,b\n", "Line 1 of .* has the column 'Path' twice"),
        ("t.csv", b"path,n\n" + b"x" * (LINE + 1), "Line 2 of .* is longer than 16,777,216 letters"),
        ("t.csv", b"path,n\n" + b'"\n",' * (LINE // 4 + 9), "Line .* goes on with a row of more than 16,777,216"),
        ("t.jsonl", b'{"path": 1}\n{"path"\n', "Line 2 of .* is not a JSON object"),
        ("t.jsonl", b'{"path": 1}\n[]\n', "Line 2 of .* is not a JSON object; give one for each item"),
        ("t.jsonl", b'{"path": 1, "path": 2}\n', r"Line 1 of .* \(it has a name twice\)"),
        ("t.json", b'[{"path": 1}, {"PATH": 1, "path": 2}]', "Item 2 of .* has the column 'path' twice"),
        ("t.json", b'[{"path": "\xff"}]', r"Line 1 of .* is not UTF-8"),
        ("t.json", b"[1, 2", "The table .* is not json"),
        ("t.parquet", b"PAR1PAR1", "The table .* is not parquet|cannot be read"),
    ],
    ids=range(17),
)
def test_what_is_no_table_is_one_sentence_with_the_row(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    with pytest.raises(RetrievalError, match=message) as error:
        rows(tmp_path, content, name)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400 + len(str(tmp_path))


def test_csv_comes_back_from_every_reader(tmp_path: Path) -> None:
    letters = ["a", ",", '"', "\r", "\n", " ", ";", "\t", "\u2028", "\x85", "\x0c", "é", "'", "\r\n", ""]
    rng = random.Random(0)
    table = [["".join(rng.choices(letters, k=rng.randint(0, 4))) for _ in range(3)] for _ in range(300)]
    text = csv_text([("x", "y", "z"), *table])
    assert list(csv.reader(io.StringIO(text, newline="")))[1:] == table
    (tmp_path / "t.csv").write_bytes(text.encode())
    read = [list(row.cells.values()) for row in Table(tmp_path / "t.csv").rows()]
    assert read == table
    assert csv_text([["only"], [""], [None], ["x"]]) == 'only\n""\n""\nx\n'


def test_files_are_found_as_the_disk_spells_them(tmp_path: Path) -> None:
    folder = tmp_path / "Cafe\u0301"
    folder.mkdir()
    for name in ("IMG_3.JPG", "twice.png", "TWICE.png"):
        (folder / name).touch()
    find = DiskNames().find
    assert find(tmp_path / "caf\u00e9" / "img_3.jpg") == folder / "IMG_3.JPG"
    assert find(folder / "TWICE.png") == folder / "TWICE.png"
    for name in ("Twice.png", "none.png"):
        assert find(folder / name) == folder / name
