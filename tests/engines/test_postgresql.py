"""What is PostgreSQL's own: its graph, versions that are exchanged, servers that die, names that never become SQL."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from index_model import Model, clustered, create, named, state, unit
from postgres_server import PostgresServer

from retrieval.cli import main
from retrieval.engines import exporting
from retrieval.engines.engine_index import EngineIndex
from retrieval.engines.exporting import export_to_engine
from retrieval.engines.opening import open_index
from retrieval.errors import RetrievalError
from retrieval.index import Index, NewItem
from retrieval.ingest import build
from retrieval.ingest.verify_index import verify
from retrieval.tuning.tune_index import tune


@pytest.fixture
def address(postgres: PostgresServer, request: pytest.FixtureRequest) -> str:
    """Where nothing is yet."""
    return f"{postgres.address}/{request.node.name[-40:]}"


def put(index: Index, address: str, **options: bool) -> exporting.EngineExport:
    return export_to_engine(index, address, **options)


def sql(address: str, query: str, *values: object) -> list[tuple[object, ...]]:
    import psycopg

    with psycopg.connect(address.rpartition("/")[0], autocommit=True) as connection:
        found = connection.execute(query, values or None)
        return found.fetchall() if found.description else []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An index of 50 items."""
    with create(tmp_path / "index", 8) as index:
        index.add(clustered(50, 8), named(50))
        index.attach({3: {"stars": 5}})
    return tmp_path / "index"


# The graph


@pytest.mark.parametrize("storage", ["float32", "float16", "binary"])
def test_a_graph_gives_valid_answers_and_k_if_k_match(tmp_path, address, storage, monkeypatch):
    monkeypatch.setattr(exporting, "FEW_NUMBERS", 1)
    n, d = 1000, 32
    model, vectors, queries = Model(d, storage), unit(n, d), unit(6, d, seed=1)
    with create(tmp_path / "index", d, storage) as index:
        for each in (index, model):
            each.add(vectors, named(n))
            each.attach({i: {"tenth": i % 10, "rare": i} for i in range(n)})
        report = put(index, address)
    assert report.recall is not None and report.recall >= 0.95 and report.structure == "HNSW16 of pgvector"
    assert verify(address).ok and "of the ten nearest" in verify(address).notes[0]
    with open_index(address, write=True) as index:
        for each in (index, model):
            each.remove(range(0, n, 7))
            each.upsert(unit(40, d, seed=2), named(40, 100))
        ids, exact = model.scores(queries)
        for where, may in (
            (None, ids), ("tenth = 3", model.select(lambda _, own: own.get("tenth") == 3)),
            ("rare < 25", model.select(lambda _, own: own.get("rare", 99) < 25)), ("rare < 0", ids[:0]),
        ):  # fmt: skip
            for k in (1, 10, 100):
                scores, found = index.search(queries, k, where=where, exclude=[[1, 5]] * 6)
                truth, _ = model.search(queries, k, among=may, exclude=[[1, 5]] * 6)
                for query in range(6):
                    there = min(k, len(np.setdiff1d(may, [1, 5])))
                    got, mine = found[query, :there], scores[query, :there]
                    assert np.isin(got, may).all() and len(np.unique(got)) == there  # all that match, if asked for
                    np.testing.assert_array_equal(mine, exact[query][np.searchsorted(ids, got)])
                    np.testing.assert_array_equal(np.lexsort((got, -mine)), np.arange(there))
                    assert (found[query, there:] == -1).all()
                if k == 10:
                    assert np.mean(scores >= truth[:, -1:]) > 0.9
        assert index.info()["structure"]["measured"]["recall"] == report.recall
        with pytest.raises(RetrievalError, match="is searched by its database"):
            index.set_structure(None)


def test_a_graph_is_asked_and_made_when_an_index_grows(tmp_path, address, monkeypatch):
    import psycopg

    create(tmp_path / "index", 16).close()
    with Index.open(tmp_path / "index") as index:
        assert put(index, address).structure is None
    with open_index(address, write=True) as index:
        assert isinstance(index, EngineIndex)
        index.add(clustered(2000, 16), named(2000))
        index.see_to_structure(10**9)
        assert index.structure is None
        index.see_to_structure(1000)
        assert index.structure is not None and index.recall() >= 0.95
        before = sql(address, "SELECT sum(idx_scan) FROM pg_stat_user_indexes WHERE indexrelname = 'nearest'")
        index.search(clustered(1, 16, seed=2), 5)
    end = time.monotonic() + 10  # its counts come late
    while sql(address, "SELECT sum(idx_scan) FROM pg_stat_user_indexes WHERE indexrelname = 'nearest'") == before:
        assert time.monotonic() < end
        time.sleep(0.1)
    schema = address.rpartition("/")[2]
    with psycopg.connect(address.rpartition("/")[0], autocommit=True) as connection:
        connection.execute(f'DROP INDEX "{schema}".nearest')
    assert not verify(address).ok


# Exporting


def test_an_export_goes_on_where_it_was_stopped(tmp_path, folder, address, monkeypatch):
    monkeypatch.setattr(exporting, "BLOCK_NUMBERS", 80)
    rows = exporting.Row
    left = iter(range(25))

    def stopping(*arguments):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return rows(*arguments)

    with Index.open(folder) as index:
        monkeypatch.setattr(exporting, "Row", stopping)
        with pytest.raises(KeyboardInterrupt):
            put(index, address)
        with pytest.raises(RetrievalError, match="There is no index at"):
            open_index(address)
        monkeypatch.setattr(exporting, "Row", rows)
        assert put(index, address).copied == 30
        assert put(index, address).copied == 0
        with open_index(address) as there:
            assert state(there) == state(index)
    with Index.open(folder, write=True) as index:
        index.remove([0])
        assert put(index, address).copied == 49  # a new version, in place of the one that nobody changed
    with open_index(address, write=True) as there:
        there.remove([1])
    with Index.open(folder) as index:
        with pytest.raises(RetrievalError, match="was changed since it was exported"):
            put(index, address)
        put(index, address, overwrite=True)
    with create(tmp_path / "other", 8) as other, pytest.raises(RetrievalError, match="There is another index"):
        other.record_root("elsewhere")
        with Index.open(tmp_path / "other") as index:
            put(index, address)


def test_a_killed_export_leaves_nothing_half(folder, address):
    program = (
        "import os, sys; from retrieval.engines import exporting as e; from retrieval.index import Index\n"
        "e.BLOCK_NUMBERS = 80; row, left = e.Row, iter(range(25))\n"
        "e.Row = lambda *a: row(*a) if next(left, None) is not None else os.kill(os.getpid(), 9)\n"
        "e.export_to_engine(Index.open(sys.argv[1]), sys.argv[2])"
    )
    assert subprocess.run([sys.executable, "-c", program, folder, address], check=False).returncode == -9
    end = time.monotonic() + 20
    while True:  # until the server has noticed, and let the lock go
        try:
            with Index.open(folder) as index:
                assert put(index, address).copied == 30
            break
        except RetrievalError as error:
            assert "is being written by session" in str(error) and time.monotonic() < end
            time.sleep(0.1)
    assert verify(address).ok


def test_a_new_version_takes_its_place_without_a_gap(folder, address):
    with Index.open(folder, write=True) as index:
        put(index, address)
        stop, answers, wrong = threading.Event(), [], []

        def ask() -> None:
            with open_index(address) as reader:
                while not stop.is_set():
                    try:
                        answers.append(int(reader.search(clustered(1, 8), 1)[1][0, 0]))
                    except Exception as error:
                        wrong.append(error)

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        for number in range(6):
            index.add(clustered(1, 8, seed=50 + number), named(1, 100 + number))
            put(index, address)
        stop.set()
        for thread in threads:
            thread.join()
        assert not wrong and len(answers) > 10


def test_what_others_made_of_it_is_not_lost(folder, address):
    schema = address.rpartition("/")[2]
    with Index.open(folder, write=True) as index:
        put(index, address)
        sql(address, f'CREATE VIEW theirs AS SELECT id, path FROM "{schema}".items')  # noqa: S608
        index.remove([0])
        with pytest.raises(RetrievalError, match="would be lost"):
            put(index, address)
        assert len(sql(address, "SELECT * FROM theirs")) == 50
        with open_index(address) as there:
            assert len(there) == 49
        sql(address, "DROP VIEW theirs")


def test_what_is_documented_can_be_joined(folder, address):
    """docs/engines.md says which columns there are, and gives this query."""
    schema = address.rpartition("/")[2]
    with Index.open(folder) as index:
        put(index, address)
        sql(address, "CREATE TABLE IF NOT EXISTS prices (path text, price int)")
        sql(address, "INSERT INTO prices VALUES ('class3/00003.png', 7)")
        columns = "price, (attributes->>'stars')::int, embedding::real[]"
        joined = sql(address, f'SELECT {columns} FROM "{schema}".items JOIN prices USING (path)')  # noqa: S608
        assert joined[0][:2] == (7, 5)
        np.testing.assert_array_equal(np.array(joined[0][2], np.float32), index.vectors([3])[0])
    document = (Path(__file__).parents[2] / "docs" / "engines.md").read_text()
    for table in ("items", "meta", "encoder"):
        for (column,) in sql(
            address, "SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s",
            schema, table,
        ):  # fmt: skip
            assert f"`{column}`" in document, f"{table}.{column}"


# Names, and what is refused


def test_hostile_names_of_an_index(postgres, folder):
    for name in ('x"; DROP SCHEMA public; --', "Ünï {schema} $1", "a.b", "select"):
        from urllib.parse import quote

        with Index.open(folder) as index:
            address = f"{postgres.address}/{quote(name, safe='')}"
            put(index, address)
            put(index, address, overwrite=True)
            with open_index(address) as there:
                assert state(there) == state(index)


def test_what_is_no_address_or_cannot_be_reached_is_said_without_the_password(postgres, folder, capsys):
    here = f"postgresql://postgres:secret@127.0.0.1:{postgres.port}"
    wrong = {
        "postgresql://me:secret@127.0.0.1/photos": "is no address of an index",
        f"{here}/postgres/photos?password=secret": "There is no index at",
        "postgresql://me:secret@127.0.0.1:1/db/photos": "cannot be reached",
        "postgresql://me:secret@127.0.0.1:x/db/photos": "cannot be reached",
        "postgresql://me:secret@[::1/db/photos": "is no address that PostgreSQL understands",
        f"{here}/postgres/pg_catalog": "An index cannot be called",
        f"{here}/postgres/public": "An index cannot be called",
        f"{here}/nowhere/photos": "cannot be reached",
    }
    for address, message in wrong.items():
        for line in (
            ["query", address, "--id", "1"],
            ["remove", address, "--id", "1"],
            ["info", address],
            ["verify", address],
        ):
            assert main(line) == 1
            error = capsys.readouterr().err
            assert message in error and "secret" not in error and len(error.splitlines()) == 1, line


@pytest.mark.parametrize("verb", ["tune", "compact", "dedup"])
def test_verbs_of_folders_alone_say_so(verb, folder, address, capsys):
    with Index.open(folder) as index:
        put(index, address)
    assert main([verb, address]) == 1
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1 and "the address of an index in a database" in error
    for function in (lambda: Index.open(address), lambda: build("photos", address), lambda: tune(address)):
        with pytest.raises(RetrievalError):
            function()
    assert not Path("postgresql:").exists()


def test_a_schema_of_another_program_is_left_alone(postgres, folder, address):
    schema = address.rpartition("/")[2]
    sql(address, f'CREATE SCHEMA "{schema}"')
    sql(address, f'CREATE TABLE "{schema}".meta (key text, value text)')
    with Index.open(folder) as index, pytest.raises(RetrievalError, match="belongs to another program"):
        put(index, address, overwrite=True)
    with pytest.raises(RetrievalError, match="belongs to another program"):
        open_index(address)


def test_what_postgresql_cannot_keep_is_refused(tmp_path, folder, address):
    with create(tmp_path / "nul", 8) as index:
        index.add(clustered(1, 8), [NewItem("a", "b\0c")])
        with pytest.raises(RetrievalError, match="can neither keep nor look for what was given"):
            put(index, address)
    with Index.open(folder) as index:
        put(index, address)
    with open_index(address, write=True) as index:
        before = state(index)
        for change in (
            lambda: index.add(clustered(1, 8), [NewItem("new", "b\0c")]),
            lambda: index.attach({0: {"a\0": 1}}),
            lambda: index.update({0: NewItem("x\0")}),
        ):
            with pytest.raises(RetrievalError, match="can neither keep nor look for"):
                change()
        assert state(index) == before


def test_damage_is_seen(folder, address):
    schema = address.rpartition("/")[2]
    for damage, message in (
        ("DELETE FROM {}.items WHERE id = 3", "49 items and counts 50"),
        (
            "UPDATE {}.items SET embedding = (SELECT embedding FROM {}.items WHERE id = 1) WHERE id = 2",
            "not what was written",
        ),
        ("UPDATE {}.items SET embedding = '[1,1,1,1,1,1,1,1]' WHERE id = 2", "not of unit length"),
        ("UPDATE {}.items SET attributes = '{{\"a\": [1]}}' WHERE id = 2", "neither number nor text"),
        ("UPDATE {}.items SET moments = '{{\"a\": 1}}' WHERE id = 2", "whose moments are not"),
        ("UPDATE {}.meta SET value = '7' WHERE key = 'next_id'", "still to be given"),
    ):
        with Index.open(folder) as index:
            put(index, address, overwrite=True)
        assert verify(address).problems == ()
        sql(address, damage.format(*[f'"{schema}"'] * 2))
        found = verify(address)
        assert any(message in problem.what for problem in found.problems), message
        assert json.dumps(found.to_json()) and "Export the index anew" in found.problems[0].remedy


# Servers that die


@pytest.fixture
def pair(postgres: PostgresServer) -> Iterator[tuple[PostgresServer, PostgresServer]]:
    """A primary and its standby, of their own."""
    primary = PostgresServer()
    standby = PostgresServer(primary)
    yield primary, standby
    standby.close()
    primary.close()


def test_a_lost_primary_is_survived(folder, pair):
    primary, standby = pair
    one = f"{primary.address}/photos"
    both = f"postgresql://postgres@127.0.0.1:{primary.port},127.0.0.1:{standby.port}/postgres/photos"
    with Index.open(folder) as index:
        put(index, one)
        expected, query = state(index), clustered(3, 8, seed=1)
        answer = index.search(query, 10, where="label != 'class2'")
    end = time.monotonic() + 20
    while (there := _state(f"{standby.address}/photos")) != expected:  # until it has come over
        assert time.monotonic() < end, there
        time.sleep(0.05)
    with open_index(both) as reader:
        assert sql(both, "SELECT 1") == [(1,)]
        primary.kill()
        for found, true in zip(reader.search(query, 10, where="label != 'class2'"), answer, strict=True):
            np.testing.assert_array_equal(found, true)
        assert state(reader) == expected
        with pytest.raises(RetrievalError, match="cannot be reached"):
            open_index(both, write=True)
        standby.promote()
        while True:
            try:
                writer = open_index(both, write=True)
                break
            except RetrievalError:
                assert time.monotonic() < end
                time.sleep(0.1)
        with writer:
            writer.remove([0])
            writer.add(clustered(1, 8, seed=3), named(1, 60))
        assert verify(both).ok
        renewed = reader.renewed()
        assert renewed is not None
        with renewed:
            assert len(renewed) == 50 and 0 not in renewed.ids()


def _state(address: str) -> str:
    try:
        with open_index(address) as index:
            return state(index)
    except RetrievalError as error:
        return str(error)


def test_a_server_that_starts_again_is_waited_for(folder, pair):
    primary, _ = pair
    address = f"{primary.address}/photos"
    with Index.open(folder) as index:
        put(index, address)
        expected = state(index)
    writer, reader = open_index(address, write=True), open_index(address)
    writer.remove([7])
    primary.kill()
    thread = threading.Timer(0.5, primary.start)
    thread.start()
    assert reader.find("class3/00003.png") is not None
    thread.join()
    with pytest.raises(RetrievalError, match="was lost"):
        writer.remove([8])
    writer.close()
    with open_index(address, write=True) as writer:
        assert writer.ids().tolist() == [n for n in range(50) if n != 7]
        assert state(writer) != expected
    reader.close()
