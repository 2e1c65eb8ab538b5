"""Attaching: what a file of attributes becomes, and what is refused."""

from __future__ import annotations

import datetime
import json
import random
from pathlib import Path
from typing import Any

import pytest
import vectors

from retrieval.base.table import LINE
from retrieval.cli import main
from retrieval.errors import RetrievalError
from retrieval.index import Index, NewItem
from retrieval.ingest.attach import AttachReport
from retrieval.ingest.attach import attach as attach_file

PATHS = ("cat/1.png", "cat/2.png", "dog/1.png", "3.png", "a,b;c.png", "00123", "  x.png")


def make(folder: Path) -> Index:
    """An index of `PATHS` below the folder `pictures`."""
    (folder / "pictures").mkdir()
    index = Index.create(folder / "index", 8, root=str(folder / "pictures"), encoder_hash="", details={})
    index.add(vectors.unit(len(PATHS), 8), [NewItem(path) for path in PATHS])
    return index


@pytest.fixture()
def index(tmp_path: Path):  # type: ignore[no-untyped-def]
    with make(tmp_path) as index:
        yield index


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """One that nothing is attached to."""
    with make(tmp_path_factory.mktemp("attach")) as index:
        yield index


def attach(index: Index, content: str | bytes, name: str = "list.csv") -> AttachReport:
    file = index.folder.parent / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return attach_file(index, file)


def attached(index: Index) -> dict[str, dict[str, Any]]:
    """What every picture has, if it has anything; with the types, as 1 == 1.0 == True."""
    found = zip(PATHS, index.attributes(range(len(PATHS))), strict=True)
    return {path: typed(**values) for path, values in found if values}


def typed(**values: Any) -> dict[str, Any]:
    return {name: (type(value), value) for name, value in values.items()}


# CSV


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_columns_become_attributes(index: Index, separator: str, bom: bytes, end: str) -> None:
    lines = ["iso,path,camera,f", '400,cat/1.png,"Pentax ""K""",2.8', '100,"a,b;c.png",Canon,4', "", ",3.png,é,"]
    text = end.join(line if '"a' in line else line.replace(",", separator) for line in lines)
    text = text.replace('100,"a,b;c.png",Canon,4', separator.join(["100", '"a,b;c.png"', "Canon", "4"]))
    report = attach(index, bom + text.encode())
    assert report == AttachReport(3, (), ("camera", "f", "iso"))
    assert attached(index) == {
        "cat/1.png": typed(iso=400, camera='Pentax "K"', f=2.8),
        "a,b;c.png": typed(iso=100, camera="Canon", f=4),
        "3.png": typed(camera="é"),
    }


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["1", "-2", "9223372036854775807"], [1, -2, 2**63 - 1]),
        (["1", "2.50", "-1e-3"], [1, 2.5, -0.001]),
        ([".5", "7.", ""], [0.5, 7.0, None]),
        (["1", "00123", "2"], ["1", "00123", "2"]),
        (["1", "two", "3"], ["1", "two", "3"]),
        (["+49", "1", "2"], ["+49", "1", "2"]),
        (["1", "9223372036854775808", "2"], ["1", "9223372036854775808", "2"]),
        (["1", "0x10", "1_000"], ["1", "0x10", "1_000"]),
        (["１", "2", "3"], ["１", "2", "3"]),
        (["2024-05-01", "2024-05-01T12:00", ""], ["2024-05-01", "2024-05-01T12:00", None]),
        (["true", "False", ""], [1, 0, None]),
        (["true", "no", "1"], ["true", "no", "1"]),
        (["nan", "Ann", ""], ["nan", "Ann", None]),
        (["inf", "nan", ""], ["inf", "nan", None]),
        (["1", "nan", "text"], ["1", "nan", "text"]),
        (["", "", "x"], [None, None, "x"]),
        ([" 5 ", "6", "7"], [5, 6, 7]),
    ],
    ids=range(17),
)
def test_a_column_is_numbers_only_as_a_whole(index: Index, cells: list[str], values: list[Any]) -> None:
    attach(index, "path,x\n" + "".join(f"{path},{cell}\n" for path, cell in zip(PATHS, cells, strict=False)))
    expected = zip(PATHS, values, strict=False)
    assert attached(index) == {path: typed(x=value) for path, value in expected if value is not None}


def test_ids_name_pictures_too(index: Index) -> None:
    report = attach(index, "ID,x\n2,a\n0,b\n99,c\n")
    assert report == AttachReport(2, ("99",), ("x",))
    assert attached(index) == {"dog/1.png": typed(x="a"), "cat/1.png": typed(x="b")}


def test_places_of_files_name_pictures_too(index: Index) -> None:
    paths = ["pictures/cat/1.png", "./pictures/dog/../cat/2.png", f"{index.root}/3.png", "../3.png"]
    report = attach(index, "path,x\n" + "".join(f"{path},{number}\n" for number, path in enumerate(paths, 1)))
    assert report == AttachReport(3, ("../3.png",), ("x",))
    assert attached(index) == {"cat/1.png": typed(x=1), "cat/2.png": typed(x=2), "3.png": typed(x=3)}


@pytest.mark.parametrize(
    "named",
    ["./cat/1.png", "cat/../cat/1.png", "cat//1.png", "cat\\1.png", " cat/1.png ", "Cat/1.PNG", "pictures/./CAT/1.png"],
)
def test_names_may_be_written_otherwise(index: Index, named: str) -> None:
    assert attach(index, f'path,x\n"{named}",1\n').attached == 1
    assert attached(index) == {"cat/1.png": typed(x=1)}


def test_names_in_another_unicode_form_are_the_same(tmp_path: Path) -> None:
    paths = ["cafe\u0301/\u1e9b\u0323.png", "A.png", "a.png", "straße.png"]
    with Index.create(tmp_path / "index", 8, root=str(tmp_path), encoder_hash="", details={}) as index:
        index.add(vectors.unit(4, 8), [NewItem(path) for path in paths])
        names = ["caf\u00e9/\u1e9b\u0323.png", "a.png", "STRASSE.png"]
        assert attach(index, "path,x\n" + "".join(f"{name},{name}\n" for name in names)).unknown == ()
        assert [values.get("x") for values in index.attributes(range(4))] == [names[0], None, names[1], names[2]]
        report = attach(index, "path,x\nA.PNG,1\na.png,2\n")  # the first may be either
        assert (report.attached, report.unknown) == (1, ("A.PNG",))
        with pytest.raises(RetrievalError, match=r"Line 3 of .* names 'straße.png' again, after line 2"):
            attach(index, "path,x\nSTRASSE.png,1\nstraße.png,2\n")


def test_dates_that_are_not_understood_are_named(index: Index) -> None:
    cells = ["2024-05-01 23:30:00", "2024-05-01T07:00Z", "1/5/2024", "2024/05/02", "2024-13-01"]
    rows = [f"{path!r},{cell},{cell[:4]}".replace("'", '"') for path, cell in zip(PATHS, cells, strict=False)]
    report = attach(index, "path,ts,note\n" + "\n".join(rows))
    assert report.notes == (
        "2 of 5 dates in 'ts' were not understood and match no date in a filter: '1/5/2024', '2024-13-01'",
    )
    assert index.select("ts >= 2024-05-01T12:00").tolist() == [0, 3]
    assert attached(index)["cat/1.png"]["ts"] == (str, "2024-05-01 23:30:00")  # as it was written


def test_a_list_of_json_and_parquet_are_tables_too(index: Index, tmp_path: Path) -> None:
    content = '[{"Path": "cat/1.png", "x": 1},\n {"Path": "cat/2.png", "x": null, "y": true}]'
    assert attach(index, content, "list.json").names == ("x", "y")
    assert attached(index) == {"cat/1.png": typed(x=1), "cat/2.png": typed(y=1)}
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = {"ID": [2, 3], "when": [datetime.datetime(2024, 5, 1, 23, 30), None], "f": [float("nan"), 0.5]}
    parquet.write_table(pa.table(table), tmp_path / "list.parquet")
    assert attach_file(index, tmp_path / "list.parquet").attached == 2
    assert {path: attached(index)[path] for path in ("dog/1.png", "3.png")} == {
        "dog/1.png": typed(when="2024-05-01T23:30:00"),
        "3.png": typed(f=0.5),
    }


def test_empty_cells_take_away_and_other_attributes_stay(index: Index) -> None:
    attach(index, "path,x,y\ncat/1.png,1,a\ncat/2.png,2,b\n")
    attach(index, "path,x\ncat/1.png,\n3.png,\n")
    assert attached(index) == {"cat/1.png": typed(y="a"), "cat/2.png": typed(x=2, y="b")}
    attach(index, '{"path": "cat/2.png", "y": null}\n{"path": "cat/1.png", "y": 7}', "list.jsonl")
    assert attached(index) == {"cat/1.png": typed(y=7), "cat/2.png": typed(x=2)}


def test_what_is_not_in_the_index_is_reported(index: Index) -> None:
    report = attach(index, "path,x\nnowhere.png,1\ncat/1.png,2\nnowhere.png,3\n")
    assert report == AttachReport(1, ("nowhere.png", "nowhere.png"), ("x",))
    assert attached(index) == {"cat/1.png": typed(x=2)}
    with pytest.raises(RetrievalError, match=r"names none of the 7 pictures in the index"):
        attach(index, "path,x\nnowhere.png,1\n")


# JSON lines


def test_json_keeps_kinds(index: Index) -> None:
    lines = [
        {"path": "cat/1.png", "i": 4, "f": 4.0, "t": "4", "yes": True, "no": False, "date": "2024-05-01", "none": None},
        {"id": 1, "i": -(2**63), "é `x`": "\u2028"},
    ]
    report = attach(index, "\n".join(map(json.dumps, lines)) + "\n\n", "list.txt")
    assert report == AttachReport(2, (), ("date", "f", "i", "no", "none", "t", "yes", "é `x`"))
    assert attached(index) == {
        "cat/1.png": typed(i=4, f=4.0, t="4", yes=1, no=0, date="2024-05-01"),
        "cat/2.png": typed(i=-(2**63)) | {"é `x`": (str, "\u2028")},
    }
    assert index.select("`é ``x``` is present").tolist() == [1]


# Refusing

REFUSED: list[tuple[str | bytes, str]] = [
    ("", "are empty"),
    ("\n\n", "are empty"),
    ("iso,camera\n1,2\n", "Line 1 of .* names no column path or id, but 'iso,camera'; name the columns there"),
    ("\n\niso\n1\n", "Line 3 of .* names no column path or id"),
    ("path\ncat/1.png\n", "Line 1 of .* has no column but path"),
    ("path,id,x\ncat/1.png,0,1\n", "Line 1 of .* has the columns path and id; keep one"),
    ("path,x,x\ncat/1.png,0,1\n", "Line 1 of .* has the column 'x' twice"),
    ("path,label\ncat/1.png,cat\n", "Line 1 of .* has the attribute 'label', which every picture has of its own"),
    ("path,Width\ncat/1.png,1\n", "has the attribute 'Width', which every picture has of its own; rename it"),
    (",path,x\n0,cat/1.png,1\n", "has an attribute called ''; give it 1 to 200 printable letters"),
    ("path,a\x07b\ncat/1.png,1\n", r"has an attribute called 'a\\x07b'"),
    (f"path,{'x' * 201}\ncat/1.png,1\n", "has an attribute called 'xxx.*…; give it 1 to 200"),
    ("path,x\ncat/1.png\n", "Line 2 of .* has 1 cells instead of 2"),
    ("path,x\ncat/1.png,1\n\n,2\n", "Line 4 of .* names no picture"),
    ("path,x\ncat/1.png,1,2\n", "Line 2 of .* has 3 cells instead of 2; quote what has a separator"),
    ('path,x\n"cat/1.png,1\n2\n', "Line 2 of .* is not CSV"),
    ('path,x\n"cat/1.png"1,2\n', "Line 2 of .* is not CSV"),
    ("path,x\ncat/1.png,1\ncat/2.png,1\ncat/1.png,1\n", "Line 4 of .* names 'cat/1.png' again, after line 2"),
    ("path,x\ncat/1.png,1\npictures/cat/1.png,1\n", "Line 3 of .* names 'pictures/cat/1.png' again, after line 2"),
    ('path,x\n"cat/1.png","a\nb"\ncat/2.png,1\ncat/2.png,2\n', "Line 5 of .* again, after line 4"),
    ("id,x\none,1\n", "Line 2 of .* has the id 'one'; give a whole number"),
    ("id,x\n-1,1\n", "Line 2 of .* has the id '-1'"),
    ("id,x\n" + "9" * 5000 + ",1\n", "Line 2 of .* has the id '999.*…; give"),
    (
        "path,x\ncat/1.png,1\ncat/2.png,NaN\n",
        "Line 3 of .* has nan for 'x', which is no finite number; leave",
    ),
    ("path,x\ncat/1.png,1\ncat/2.png,-inf\n", "Line 3 of .* has -inf for 'x', which is no finite number"),
    ("path,x\ncat/1.png,1\ncat/2.png,1e999\n", "Line 3 of .* has inf for 'x', which is no finite number"),
    (b"path,x\ncat/1.png,1\ncat/2.png,\xff\n", r"Line 3 of .* is not UTF-8 \(byte 11 of it\)"),
    ("path,x\n".encode("utf-16"), "Line 1 of .* (is not UTF-8|has a zero byte)"),
    (b"path,x\ncat/1.png,a\0b\n", "Line 2 of .* has a zero byte"),
    (b"path,x\n" + b"x" * (LINE + 1), "Line 2 of .* is longer than 16,777,216 letters"),
    (b"x" * (LINE + 1), "Line 1 of .* is longer than"),
    ("path,x\ncat/1.png," + "y" * 200_000, "Line 2 of .* is not CSV .*limit"),
    ('[{"path": "cat/1.png"}, 7]', "Item 2 of .* is not a JSON object; give one for each item"),
    ('[{"path": "cat/1.png", "x": 1}', "is not json"),
    ('[{"path": "cat/1.png", "x": 1}, {"path": "cat/1.png"}]', "Item 2 of .* names 'cat/1.png' again, after item 1"),
    ('{"path": "cat/1.png", "x": 1\n}', "Line 1 of .* is not a JSON object"),
    ('{"path": "cat/1.png", "x": 1}\n7\n', "Line 2 of .* is not a JSON object"),
    ('{"path": "cat/1.png", "x": 1} {}', "Line 1 of .* is not a JSON object"),
    ('{"x": 1}', "Line 1 of .* has neither path nor id; name the picture"),
    ('{"path": "cat/1.png", "id": 0, "x": 1}', "has path and id; name the picture by one of them"),
    ('{"path": 7, "x": 1}', "has the path 7; give a text"),
    ('{"path": "\\u0000", "x": 1}', r"has the path '\\x00'; give a text"),
    ('{"path": "\\ud800", "x": 1}', r"has the path '\\ud800'; give a text"),
    ('{"id": "7", "x": 1}', "has the id '7'; give a whole number"),
    ('{"id": true, "x": 1}', "has the id True; give a whole number"),
    ('{"id": 1.0, "x": 1}', "has the id 1.0; give a whole number"),
    ('{"id": 0, "x": [1, 2]}', r"has \[1, 2\] for 'x', which is a list or an object"),
    ('{"id": 0, "x": {"y": 1}}', "for 'x', which is a list or an object"),
    ('{"id": 0, "x": NaN}', "Line 1 of .* has nan for 'x', which is no finite number"),
    ('{"id": 0, "x": -Infinity}', "has -inf for 'x', which is no finite number"),
    ('{"id": 0, "x": 1e999}', "has inf for 'x', which is no finite number"),
    ('{"id": 0, "x": 9223372036854775808}', "for 'x', which is larger than the index can keep"),
    ('{"id": 0, "x": ' + "9" * 5000 + "}", "Line 1 of .* is not a JSON object"),
    ('{"id": 0, "x": "\\ud800"}', r"has '\\ud800' for 'x', which is not Unicode text"),
    ('{"id": 0, "x": "\\u0000"}', r"has '\\x00' for 'x', which is not Unicode text"),
    ('{"id": 0, "x": 1, "x": 2}', "it has a name twice"),
    ('{"id": 0, "size": 2}', "has the attribute 'size', which every picture has of its own"),
    ('{"id": 0, "": 2}', "has an attribute called ''"),
    ('{"id": 0, "\\ud800": 2}', "has an attribute called"),
    ('{"id": 0}', "name no attribute"),
    ('{"id": 0, "x": ' + "[" * 100_000, "Line 1 of .* is not a JSON object"),
]


@pytest.mark.parametrize(("content", "message"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_wrong_is_refused_as_a_whole(untouched: Index, content: str | bytes, message: str) -> None:
    before = untouched.generation
    with pytest.raises(RetrievalError, match=message) as error:
        attach(untouched, content)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400 + len(str(untouched.folder))
    assert (untouched.generation, attached(untouched)) == (before, {})


def test_a_file_that_cannot_be_read_is_refused(index: Index, tmp_path: Path) -> None:
    for file in (tmp_path / "absent.csv", tmp_path):
        with pytest.raises(RetrievalError, match=r"cannot be read \("):
            attach_file(index, file)


NOISE = [b"", *(bytes([letter]) for letter in b',"\n\r\0\xff{[}:\\9;'), b"1e999", b"nan"]


@pytest.mark.parametrize("seed", range(3))
def test_noise_is_attached_or_refused(index: Index, seed: int) -> None:
    rng = random.Random(seed)
    whole = b'path,iso,camera\ncat/1.png,400,"Pentax ""K"""\ncat/2.png,100,Canon\n'
    lines = b'{"path": "cat/1.png", "iso": 400}\n{"id": 1, "camera": "Canon", "iso": null}\n'
    done = 0
    for _ in range(150):
        content = bytearray(rng.choice([whole, lines]))
        for _ in range(rng.randint(1, 3)):
            place = rng.randrange(len(content) + 1)
            content[place : place + rng.randint(0, 3)] = rng.choice(NOISE)
        try:
            attach(index, bytes(content))
            done += 1
        except RetrievalError as error:
            assert "\n" not in str(error)
    assert 5 < done < 145


# The command


def test_the_command_says_what_it_did(index: Index, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index.close()
    (tmp_path / "list.csv").write_text("path,iso,camera\ncat/1.png,400,K\n1\x1b.png,1,\n2.png,,\n5.png,,\n6.png,,\n")
    assert main(["attach", str(tmp_path / "index"), str(tmp_path / "list.csv")]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "attached   camera, iso",
        "pictures   1",
        "unknown    4 that are not in the index: 1\\x1b.png, 2.png, 5.png, ...",
    ]
    assert main(["attach", str(tmp_path / "index"), str(tmp_path / "list.csv"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "index": str(tmp_path / "index"),
        "attached": 1,
        "names": ["camera", "iso"],
        "unknown": ["1\x1b.png", "2.png", "5.png", "6.png"],
        "notes": [],
    }
    assert main(["attach", str(tmp_path / "index"), str(tmp_path / "absent.csv")]) == 1
    assert "absent.csv' cannot be read" in capsys.readouterr().err
    with Index.open(tmp_path / "index") as opened:
        assert opened.attributes([0]) == [{"iso": 400, "camera": "K"}]
