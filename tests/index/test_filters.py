"""Filters: what they find, against a slow obvious evaluation; what they refuse; that nothing gets past the parser."""

from __future__ import annotations

import datetime
import random
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import vectors
from filter_model import COLUMNS, KINDS, LETTERS, Row, quoted, random_filter, rows

from retrieval.base import moments
from retrieval.errors import RetrievalError
from retrieval.index import Index, NewItem, filters
from retrieval.index.filter_syntax import MAX_CONDITIONS, MAX_DEPTH, MAX_LENGTH, MAX_VALUES, spelled
from retrieval.ingest.attach import attach

DOCUMENT = Path(__file__).parents[2] / "docs" / "filters.md"

SCHEMA = """
CREATE TABLE items (id INTEGER, path TEXT, label TEXT, width INTEGER, height INTEGER, size INTEGER, mtime_ns INTEGER,
                    added INTEGER, removed INTEGER, PRIMARY KEY (id, added));
CREATE TABLE attributes (item INTEGER, name TEXT, value, added INTEGER, removed INTEGER);
CREATE INDEX by_value ON attributes (name, value);
CREATE INDEX by_item ON attributes (item);
"""
NOW = 5
LIVE = "added <= :now AND (removed IS NULL OR removed > :now)"


@pytest.fixture(scope="module")
def made() -> tuple[list[Row], sqlite3.Connection]:
    """Rows, and a database that has them, besides older and newer versions of them that must not be seen."""
    rng = random.Random(1)
    connection = sqlite3.connect(":memory:")
    connection.create_function("moment", 1, moments.start, deterministic=True)
    connection.executescript(SCHEMA)
    live = rows(rng, 400)
    for old, new, row, more in zip(rows(rng, 400), rows(rng, 400), live, rows(rng, 400), strict=True):
        for version, added, removed in ((old, 1, NOW), (row, NOW, rng.choice([None, NOW + 1])), (new, NOW + 1, None)):
            values = [row["id"], *(version[name] for name in COLUMNS[1:]), added, removed]
            connection.execute("INSERT INTO items VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
            for name in KINDS:
                if name in version:
                    attribute = (row["id"], name, version[name], added, removed)
                    connection.execute("INSERT INTO attributes VALUES (?, ?, ?, ?, ?)", attribute)
        if more["id"] % 10 == 0:  # an item that is gone, whose attributes were left behind
            connection.execute(
                "INSERT INTO items VALUES (?, ?, ?, 0, 0, 0, 0, 1, 4)", (1000 + row["id"], more["path"], more["label"])
            )
            connection.execute("INSERT INTO attributes VALUES (?, 'iso', 7, 1, NULL)", (1000 + row["id"],))
    return live, connection


def found(connection: sqlite3.Connection, expression: str) -> list[int]:
    condition, values = filters.compile(expression, KINDS)
    sql = f"SELECT id FROM items WHERE {LIVE} AND ({condition}) ORDER BY id"  # noqa: S608
    rows = connection.execute(sql, {"now": NOW, **values})
    return [id_ for (id_,) in rows]


@pytest.mark.parametrize("seed", range(6))
def test_finds_what_the_slow_obvious_evaluation_finds(seed: int, made: tuple[list[Row], sqlite3.Connection]) -> None:
    live, connection = made
    rng = random.Random(seed)
    some, none = 0, 0
    for depth in [0] * 120 + [1] * 60 + [3] * 40:
        expression, test = random_filter(rng, depth)
        expected = [row["id"] for row in live if test(row)]
        assert found(connection, expression) == expected, expression
        some += 0 < len(expected) < len(live)
        none += not expected
    assert some > 100, "the random filters tell nothing apart"
    assert none < 100


def test_words_bind_as_documented(made: tuple[list[Row], sqlite3.Connection]) -> None:
    live, connection = made
    expected = [
        row["id"] for row in live if (row["width"] != 7 and row["id"] > 9) or (row["id"] < 50 and row["size"] != 0)
    ]
    assert found(connection, "not width = 7 and id > 9 or id < 50 and size != 0") == expected
    assert found(connection, "NOT(width=7)AND(id>9)OR(id<50)AND(size!=0)") == expected
    assert found(connection, "not not not width = 7") == [row["id"] for row in live if row["width"] != 7]


@pytest.mark.parametrize(
    ("stored", "matching"),
    [
        ("2024-05-01 23:30:00", ["> 2024-05-01T12:00", "= 2024-05-01", "= 2024-05-01T23:30:00", "< 2024-05-02"]),
        ("2024-05-01 23:30", [">= 2024-05-01 23:30", "= 2024/05/01", "!= 2024-05-02"]),
        ("2024/5/1 7:05:09.25", ["= 2024-05-01T07:05:09", "= 2024-05-01T07:05:09.25", "> 2024-05-01T07:05:08"]),
        ("20240501T233000", ["= 2024-05-01T23:30", ">= 2024-05-01T12:00"]),
        ("20240501", ["= 2024-05-01", "= 2024-05-01T00:00"]),
        ("2024:05:01 23:30:00", ["= 2024-05-01T23:30:00"]),
        ("2024-05-01T23:30:00Z", ["= 2024-05-01T23:30:00", "= 2024-05-02T01:30:00+02:00"]),
        ("2024-05-02 01:30:00 +0200", ["= 2024-05-01T23:30:00", "< 2024-05-02"]),
        ("2024-05-01 20:30:00-03", ["= 2024-05-01T23:30:00Z"]),
        ("2024-02-30", []),
        ("2024-05-01 25:00", []),
        ("01/05/2024", []),
        ("unknown", []),
    ],
)
def test_dates_are_compared_as_times_however_they_are_written(tmp_path: Path, stored: str, matching: list[str]) -> None:
    with Index.create(tmp_path / "index", 8, root="", encoder_hash="", details={}) as index:
        index.add(vectors.unit(1, 8), [NewItem("a.png")])
        index.attach({0: {"ts": stored}})
        for condition in matching:
            assert index.select(f"ts {condition}").tolist() == [0], condition
        if not matching:
            assert index.select("ts < 2024-05-01 or ts >= 2024-05-01 or ts != 2024-05-01").tolist() == []
        assert index.select(f'ts = "{stored}"').tolist() == [0]


def test_label_and_path_take_numbers_and_dates_as_they_are_written(
    made: tuple[list[Row], sqlite3.Connection],
) -> None:
    live, connection = made
    for expression, labels in (
        ("label = 7", {"7"}),
        ("label = 7.0", set()),
        ("label = 2024-05-01", {"2024-05-01"}),
        ("label in (7, 2024-05-01, 'a')", {"7", "2024-05-01", "a"}),
    ):
        assert found(connection, expression) == [row["id"] for row in live if row["label"] in labels]


# Refusing

REFUSED = [
    ("", "is empty"),
    (" \n ", "is empty"),
    ("label", r"stops where a comparison \(= != .*\) should stand"),
    ("label =", "stops where a value"),
    ("label = cat", "'cat' at position 9, where a value .*a text in quotes"),
    ('label == "cat"', "'=' at position 8, where a value"),
    ('"label" = 3', "at position 1, where a name"),
    ("label = 'a' 'b'", "at position 13, where 'and', 'or' or the end should stand"),
    ("label = 'a' or", "stops where a name"),
    ("and label = 'a'", "'and' at position 1, where a name"),
    ("(label = 'a'", r"stops where 'and', 'or' or '\)' should stand"),
    ("label = 'a')", r"'\)' at position 12"),
    ("()", r"'\)' at position 2, where a name"),
    ("label in 'a'", r"position 10, where '\(' should stand"),
    ("label in ()", r"'\)' at position 11, where a value"),
    ("label in ('a',)", r"'\)' at position 15, where a value"),
    ("label in ('a' 'b')", "where ',' or '\\)' should stand"),
    ("label is", "stops where 'missing' or 'present'"),
    ("label is not missing", "'not' at position 10"),
    ("label not in ('a')", "'not' at position 7, where a comparison"),
    ("path under cat", "'cat' at position 12, where a text in quotes"),
    ("path contains 7", "'7' at position 15, where a text in quotes"),
    ("label = 'a", "position 9, which opens a text that does not end"),
    ('label = "a\\"', "position 9, which opens a text that does not end"),
    ("label = '\\x41'", r"the unknown escape \\x; double a backslash"),
    ("`iso = 3", "position 1, which opens a name that is empty or does not end"),
    ("`` = 3", "position 1, which opens a name that is empty or does not end"),
    ("iso = 3px", "'3px' at position 7, which is no number"),
    ("iso = 1.2.3", "'1.2.3' at position 7, which is no number"),
    ("iso = 1e999", "more than a number can be"),
    ("iso = " + "9" * 5000, "more than a number can be"),
    ("taken > 2024-13-01", "'2024-13-01' at position 9, which is no date"),
    ("taken > 2024-02-30T12:00", "which is no date"),
    ("taken > 2024-05-01T12", "which is no date"),
    ("taken > 2024-05-01T12:00:00X", "which is no date"),
    ("id = 1; DROP TABLE items", "';' at position 7, which means nothing here"),
    ("id = 1 -- and", "'-' at position 8"),
    ("id = :now", "':' at position 6"),
    ("id = ?", r"'\?' at position 6"),
    ("label = 'a\0b'", "which is not Unicode text"),
    ("label = '\udcff'", "which is not Unicode text"),
    ("`\udcff` = 1", "which is not Unicode text"),
    ("Iso = 3", "'Iso' at position 1, which is no name here; there are id, path, label, .*, camera, `f stop```, iso"),
    ("sha256 = 'a'", "'sha256' at position 1, which is no name here"),
    ("items.id = 3", r"'\.' at position 6"),
    ("iso = '400'", "\"'400'\" at position 7, and 'iso' holds numbers only; compare it with one"),
    ("iso in (1, 'x')", "at position 12, and 'iso' holds numbers only"),
    ("iso contains '4'", "'iso' holds numbers only"),
    ("iso < 2024-05-01", "'iso' holds numbers only"),
    ("camera = 4", "'4' at position 10, and 'camera' holds text only; put the value in quotes"),
    ("camera = true", "'camera' holds text only"),
    ("width = 'wide'", "'width' is a number"),
    ("label < 7", "'7' at position 9, and 'label' is text; put the value in quotes"),
    ("path >= 2024-05-01", "'path' is text"),
    ("modified > 2024", "'modified' is a date; compare it with one without quotes"),
    ("modified > '2024-05-01'", "'modified' is a date"),
    ("modified startswith '2024'", "'modified' is a date"),
]


@pytest.mark.parametrize(("expression", "message"), REFUSED, ids=range(len(REFUSED)))
def test_refuses_with_the_place_in_one_sentence(expression: str, message: str) -> None:
    with pytest.raises(RetrievalError, match=message) as error:
        filters.compile(expression, KINDS)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


def test_a_long_filter_is_quoted_around_the_place_only() -> None:
    with pytest.raises(RetrievalError, match=r"has 'x' at position 1001") as error:
        filters.compile("id = 1 or " * 100 + "x = 3" + " or id = 1" * 99, KINDS)
    assert "…" in str(error.value)
    assert len(str(error.value)) < 250


def test_many_attributes_are_not_all_named() -> None:
    with pytest.raises(RetrievalError, match=r"name029 and 970 more\.$"):
        filters.compile("x = 3", {f"name{n:03d}": {"text"} for n in range(1000)})


# As large as it may be


def large() -> Iterator[str]:
    worst = "iso = 1"
    for _ in range(MAX_DEPTH):
        worst = f"(camera = 'x' or id = 3 and {worst})"
    yield worst
    yield "not " * MAX_DEPTH + "iso = 1"
    yield "not(" * (MAX_DEPTH // 2) + "iso = 1 or camera = 'x'" + ")" * (MAX_DEPTH // 2)
    for condition in ("iso != 1", "label = 'x'", "taken = 2024-05-01"):
        for word in (" or ", " and "):
            yield word.join([condition] * MAX_CONDITIONS)
    for name in ("id", "iso", "mixed"):
        yield f"{name} in ({','.join(map(str, range(MAX_VALUES)))})"
    yield f"taken in ({','.join(['2024-05-01'] * 1000)})"


@pytest.mark.parametrize("expression", [*large()], ids=range(13))
def test_sqlite_takes_the_largest_filters(expression: str, made: tuple[list[Row], sqlite3.Connection]) -> None:
    assert isinstance(found(made[1], expression), list)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("(" * (MAX_DEPTH + 1) + "id = 1" + ")" * (MAX_DEPTH + 1), "within 16 brackets or nots"),
        ("not " * 100_000 + "id = 1", "400,006 characters; give at most 100,000"),
        ("not " * 20_000 + "id = 1", "within 16 brackets or nots"),
        ("(" * MAX_LENGTH, "within 16 brackets or nots"),
        (" or ".join(["id = 1"] * (MAX_CONDITIONS + 1)), "after 200 conditions"),
        (f"id in ({','.join(['1'] * (MAX_VALUES + 1))})", "after 5,000 values"),
        ("id = '" + "\\'" * 49_000, "does not end"),
        ("`" + "``" * 49_000, "does not end"),
    ],
    ids=range(8),
)
def test_larger_ones_are_refused_at_once(expression: str, message: str) -> None:
    with pytest.raises(RetrievalError, match=message):
        filters.compile(expression, KINDS)


# Nothing gets past the parser

SOUP = [
    *("and", "or", "not", "in", "under", "contains", "startswith", "is", "missing", "present", "true", "False"),
    *("=", "!=", "<", "<=", ">", ">=", "(", ")", ",", "`", '"', "'", "\\", ";", "--", "/*", "*/", ":now", "?", "\0"),
    *("id", "label", "path", "modified", "iso", "mixed", "`f stop```", "nothing", "items", "SELECT", "1", "-.5", "1e9"),
    *("2024-05-01", "2024-99-01", '"a"', "'b'", "'it''s'", "\n", "é", "\udc80", "９", "²", "\u2028", "\U0010ffff"),
]


@pytest.mark.parametrize("seed", range(3))
def test_soup_is_a_filter_or_refused(seed: int, made: tuple[list[Row], sqlite3.Connection]) -> None:
    rng = random.Random(seed)
    understood = 0
    for _ in range(3000):
        if rng.random() < 0.4:  # a filter with something amiss
            expression, _ = random_filter(rng, 2)
            place = rng.randrange(len(expression))
            expression = expression[:place] + rng.choice([*SOUP, ""]) + expression[place + rng.randint(0, 2) :]
        else:
            expression = rng.choice(["", " "]).join(rng.choices(SOUP, k=rng.randint(1, 9)))
        try:
            found(made[1], expression)
            understood += 1
        except RetrievalError as error:
            assert "\n" not in str(error)
    assert understood > 50


INJECTIONS = [
    "' OR 1=1 --",
    "'; DROP TABLE items; --",
    '" OR ""="',
    "x') OR items.id IN (SELECT id FROM items",
    "\\' OR 1=1",
    ":now",
    "%",
    "*",
    "' || sqlite_version() || '",
]


@pytest.mark.parametrize("attempt", INJECTIONS)
def test_what_is_written_stays_a_value(attempt: str, made: tuple[list[Row], sqlite3.Connection]) -> None:
    _, connection = made
    before = list(connection.iterdump())
    text = quoted(attempt, random.Random(0))
    for name in ("label", "camera", "mixed"):
        for operator in ("=", "under", "startswith", "contains"):
            if attempt in LETTERS:
                continue  # of which there are some
            assert found(connection, f"{name} {operator} {text}") == []
    assert found(connection, f"not label = {text}") == list(range(400)) or attempt in LETTERS
    condition, values = filters.compile(f"{spelled(attempt)} = {text}", {attempt: {"text"}})
    assert attempt not in condition.replace(":now", "").replace("%", "")
    assert set(values.values()) == {attempt}
    sql = f"SELECT id FROM items WHERE {condition}"  # noqa: S608
    assert connection.execute(sql, {"now": NOW, **values}).fetchall() == []
    assert list(connection.iterdump()) == before


def test_the_sql_is_made_of_few_letters(made: tuple[list[Row], sqlite3.Connection]) -> None:
    rng = random.Random(3)
    for _ in range(300):
        condition, values = filters.compile(random_filter(rng, 2)[0], KINDS)
        rest = re.sub(r":f\d+|:now|''", "", condition)
        assert re.fullmatch(r"[a-zA-Z_., ()<>=!0]*", rest), condition
        assert {name[1:] for name in re.findall(r":f\d+", condition)} == values.keys()


# With an index, and the documentation


def table(text: str, first: str) -> list[list[str]]:
    """The rows of the document's table whose first column has this name."""
    rest = text[text.index(f"\n| {first} |") :].split("\n\n")[0].strip().splitlines()[2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))] for line in rest]


def test_the_documents_examples_find_what_it_says(tmp_path: Path) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    items = []
    for path, label, width, height, size, modified in table(text, "path"):
        moment = datetime.datetime.fromisoformat(modified).replace(tzinfo=datetime.UTC)
        items.append(NewItem(path, label or None, int(width), int(height), int(size), int(moment.timestamp()) * 10**9))
    csv = re.search(r"```csv\n(.*?)```", text, re.DOTALL)
    assert csv is not None
    (tmp_path / "attributes.csv").write_text(csv[1], encoding="utf-8")
    with Index.create(tmp_path / "index", 8, root="", encoder_hash="", details={}) as index:
        index.add(vectors.unit(len(items), 8), items)
        attach(index, tmp_path / "attributes.csv")
        examples = table(text, "filter")
        assert len(examples) > 25
        for filter_, paths in examples:
            expression = filter_.strip("`").strip() if not filter_.startswith("``") else filter_[2:-2].strip()
            assert [item.path for item in index.items(index.select(expression))] == paths.split(), filter_
        refused = re.search(r"`(The filter '(iso = [^']*)'.*?)`", text, re.DOTALL)
        assert refused is not None
        with pytest.raises(RetrievalError) as error:
            index.select(refused[2])
        assert str(error.value) == " ".join(refused[1].split())


def test_every_limit_is_documented() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for limit in (MAX_LENGTH, MAX_CONDITIONS, MAX_VALUES, MAX_DEPTH):
        assert f"{limit:,}" in text
    for name in filters.BUILT_IN:
        assert f"`{name}`" in text


def test_a_search_returns_k_of_what_matches(tmp_path: Path) -> None:
    """Selective and unselective filters, against brute force over the items that match."""
    data = vectors.clustered(700, 16)
    with vectors.make(tmp_path / "index", data, parts=3) as index:
        index.attach({id_: {"n": id_ % 100, "text": f"{id_ % 3}"} for id_ in range(700) if id_ % 5})
        index.remove([10, 11, 12])
        queries = vectors.clustered(4, 16, seed=5)
        for where in (
            "n = 7",
            "n >= 0",
            'text = "1" and n < 50',
            'label = "class3"',
            "n is missing",
            "id < 3",
            "id < 0",
        ):
            ids = index.select(where)
            scores, found = index.search(queries, 10, where=where)
            expected_scores, expected = vectors.brute(queries, data[ids], ids, 10)
            np.testing.assert_array_equal(found, expected)
            np.testing.assert_allclose(scores, expected_scores, atol=1e-6)
