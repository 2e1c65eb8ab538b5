"""What each statement of the catalog costs: the indexes it goes by, and how its work grows with the collection."""

from __future__ import annotations

import itertools
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from vectors import make, named, unit

from retrieval.index import Index

WHOLE = (
    "SELECT id, path, label",  # what asks for every item goes through every item
    "SELECT id, items.size FROM items WHERE added",
    "SELECT items.label FROM items NOT INDEXED",
    "SELECT item, value FROM attributes INDEXED BY attributes_by_value",  # or for every item of an attribute
    "SELECT value, count(*) FROM attributes INDEXED BY attributes_by_value",
    "SELECT label",
    "SELECT path, size",
    "SELECT DISTINCT id FROM items AS old INDEXED BY items_removed",
    "DELETE FROM items WHERE removed IS NOT NULL",
    "DELETE FROM attributes WHERE removed IS NOT NULL",
    "INSERT INTO attribute_kinds SELECT DISTINCT name, CASE",
)


def everything(index: Index, n: int) -> None:
    """All that changes an index, and what asks for one or some of its items."""
    index.attach({id_: {"iso": id_, "camera": f"c{id_ % 9}"} for id_ in range(n)})
    index.attach({id_: {"iso": id_ + 1, "camera": None} for id_ in range(n // 2)})
    index.upsert(unit(20, 8, seed=2), named(20))
    index.update({n - 1: named(1, 10 * n)[0]})
    index.remove([n - 2, n - 3])
    index.items([n - 5, n - 4])
    index.find("class1/00001.png")
    index.find_sha256("ab" * 32)
    index.attributes([n - 5, n - 4])
    index.select("label = 'class3'")
    for few_or_many in ([n - 5, n - 4], range(n - 5)):
        index.values("size", few_or_many)
        index.values("iso", few_or_many)
        index.counts(["label", "camera"], few_or_many)
    index.record_skipped([("a", "b")])
    index.compact()


def test_every_statement_goes_by_an_index(tmp_path: Path) -> None:
    said: set[str] = set()
    with make(tmp_path / "index", unit(300, 8)) as index:
        connection = index._catalog._connection
        connection.set_trace_callback(said.add)
        everything(index, 300)
        connection.set_trace_callback(None)
        looked_at = 0
        for statement in sorted(said):
            text = " ".join(statement.split())
            if not re.match(r"SELECT|UPDATE|DELETE|INSERT", text) or text.startswith(WHOLE) or "sqlite_schema" in text:
                continue
            try:
                plan = connection.execute("EXPLAIN QUERY PLAN " + statement.replace(":now", "1")).fetchall()
            except sqlite3.OperationalError as error:
                raise AssertionError(f"{text}: {error}") from error
            looked_at += 1
            for *_, step in plan:
                table = re.match(r"SCAN (items|attributes|old|new)\b", step)
                assert table is None, f"{text}: {step}"
                if re.match(r"SEARCH attributes\b.*attributes_by_value \(name=\?\)", step):
                    raise AssertionError(f"{text}: {step}, which is every item of an attribute")
    assert looked_at > 25


def steps(index: Index, work: Callable[[], object]) -> int:
    """How many hundred steps SQLite's machine takes for it."""
    count = 0

    def one() -> int:
        nonlocal count
        count += 1
        return 0

    index._catalog._connection.set_progress_handler(one, 100)
    work()
    return count


@pytest.mark.parametrize("again", [1, 2])
def test_attaching_grows_with_what_is_attached(tmp_path: Path, again: int) -> None:
    """Also the second time, when every value takes the place of another, and beside a name that all items share."""
    needed = []
    for n in (500, 1000, 2000, 4000):
        with make(tmp_path / str(n), unit(n, 8)) as index:
            for turn in range(again + 1):
                values = {id_: {"iso": id_ * turn, "camera": f"c{id_}", "same": 5} for id_ in range(n)}
                count = steps(index, lambda values=values: index.attach(values))
            needed.append(count)
    assert all(after < 2.6 * before for before, after in itertools.pairwise(needed)), needed


def test_attaching_in_blocks_grows_with_what_is_attached(tmp_path: Path) -> None:
    """As an import does: a block may not look at what the blocks before it brought."""
    n, block = 4000, 250
    with make(tmp_path / "index", unit(n, 8)) as index:
        needed = [
            steps(
                index,
                lambda start=start: index.attach(
                    {id_: {"iso": id_, "camera": "x"} for id_ in range(start, start + block)}
                ),
            )
            for start in range(0, n, block)
        ]
    assert max(needed) < 2 * min(needed), needed
