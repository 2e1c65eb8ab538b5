"""What is Milvus' own: its structure, changes made of many steps, leases, versions that are exchanged, servers that
die."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from index_model import Model, clustered, create, named, state, unit
from milvus_server import MilvusServer

from retrieval.cli import main
from retrieval.engines import engine_index, exporting
from retrieval.engines.engine_index import EngineIndex
from retrieval.engines.exporting import export_to_engine
from retrieval.engines.opening import open_index
from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.index.lock import WriterAtWorkError
from retrieval.ingest.verify_index import verify


@pytest.fixture
def address(milvus: MilvusServer, request: pytest.FixtureRequest) -> str:
    """Where nothing is yet."""
    return f"milvus:http://127.0.0.1:{milvus.port}/{request.node.name[-40:]}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An index of 50 items."""
    with create(tmp_path / "index", 8) as index:
        index.add(clustered(50, 8), named(50))
        index.attach({3: {"stars": 5}})
    return tmp_path / "index"


def put(folder: Path, address: str, **options: bool) -> exporting.EngineExport:
    with Index.open(folder) as index:
        return export_to_engine(index, address, **options)


def asked(address: str) -> object:
    with open_index(address) as index:
        return state(index)


# Its structure


@pytest.mark.parametrize("storage", ["float32", "float16", "binary"])
def test_a_structure_gives_valid_answers_and_k_if_k_match(tmp_path, address, storage, monkeypatch, long):
    if storage != "float32" and not long:
        pytest.skip("the other storages are searched with --long")
    from retrieval.engines import milvus_index

    monkeypatch.setattr(exporting, "FEW_NUMBERS", 1)
    monkeypatch.setattr(engine_index, "_ASKED", 100 if long else 20)
    n, d = 1500, 32
    model, vectors, queries = Model(d, storage), unit(n, d), unit(2, d, seed=1)
    with create(tmp_path / "index", d, storage) as index:
        for each in (index, model):
            each.add(vectors, named(n))
            each.attach({i: {"tenth": i % 10, "rare": i, "text": f"n{i}"} for i in range(n)})
    report = put(tmp_path / "index", address)
    assert report.recall is not None and report.recall >= 0.95 and "IVF_FLAT of Milvus" in str(report.structure)
    found = verify(address)
    assert found.ok and "of the ten nearest" in found.notes[0]
    with open_index(address, write=True) as index:
        for settling in (False, True):
            if settling:
                monkeypatch.setattr(milvus_index, "TAIL", 10)
            for each in (index, model):
                each.remove([1 + settling, 7 + settling])
                each.upsert(unit(80, d, seed=2 + settling), named(80, 100))
            there = index._engine._state
            assert (there.settled == there.generation) == settling  # what is not in the structure is looked at
            ids, exact = model.scores(queries)
            for where, may in (
                (None, ids), ("tenth = 3", model.select(lambda _, own: own.get("tenth") == 3)),
                ("rare < 25", model.select(lambda _, own: own.get("rare", 9999) < 25)), ("rare < 0", ids[:0]),
                ("text contains '77'", model.select(lambda _, own: "77" in own.get("text", ""))),
            ):  # fmt: skip
                for k in (1, 10)[settling:]:
                    scores, found = index.search(queries, k, where=where, exclude=[[4, 5]] * 2)
                    truth, _ = model.search(queries, k, among=may, exclude=[[4, 5]] * 2)
                    for query in range(2):
                        there = min(k, len(np.setdiff1d(may, [4, 5])))
                        got, mine = found[query, :there], scores[query, :there]
                        assert np.isin(got, may).all() and len(np.unique(got)) == there
                        np.testing.assert_array_equal(mine, exact[query][np.searchsorted(ids, got)])
                        np.testing.assert_array_equal(np.lexsort((got, -mine)), np.arange(there))
                        assert (found[query, there:] == -1).all()
                    if k == 10:
                        assert np.mean(scores >= truth[:, -1:]) > 0.9
            true = zip(*model.search(queries, 10), strict=True)
            for mine, theirs in zip(index._answers.exactly([(q, ()) for q in queries], 10), true, strict=True):
                np.testing.assert_array_equal(mine[0], theirs[0])
                np.testing.assert_array_equal(mine[1], theirs[1])


# Changes, which Milvus makes row after row


class Stopped(BaseException):
    """The writer dies here: nothing of it runs any more."""


@pytest.mark.long
def test_a_writer_that_dies_at_any_step_leaves_the_change_whole_or_not_there(folder, address, monkeypatch):
    from retrieval.engines import milvus_index
    from retrieval.engines.milvus import Milvus

    put(folder, address)
    insert, delete = Milvus._insert, Milvus._delete_rows
    few = milvus_index.FEW_DEAD
    outcomes = set()
    for large in (False, True):
        for step in range(6):
            writer = open_index(address, write=True)
            before = state(writer)
            ids = writer.ids()
            monkeypatch.setattr(milvus_index, "FEW_DEAD", 1 if large else few)
            left = iter(range(step))

            def dying(real):
                def act(self, *arguments):
                    if next(left, None) is None:  # noqa: B023
                        raise Stopped
                    return real(self, *arguments)

                return act

            monkeypatch.setattr(Milvus, "_insert", dying(insert))
            monkeypatch.setattr(Milvus, "_delete_rows", dying(delete))
            try:
                fresh = named(4, 1000 + 10 * step + 100 * large)
                writer.upsert(clustered(4, 8, seed=step), [*fresh[1:], writer.items(ids[:1])[0]])
                died = False
            except Stopped:
                died = True
            monkeypatch.setattr(Milvus, "_insert", insert)
            monkeypatch.setattr(Milvus, "_delete_rows", delete)
            monkeypatch.setattr(milvus_index, "WHOLE", 0.3)
            try:
                seen = asked(address)
            except RetrievalError as error:
                assert large and "has not been ended by who made it" in str(error)
                seen = None
            monkeypatch.setattr(milvus_index, "WHOLE", 30.0)
            writer.close()
            with open_index(address, write=True) as index:  # ends what was begun
                after = state(index)
            assert seen in (None, after) and asked(address) == after
            outcomes.add((large, died, after == before))
            there = open_ids(address)
            assert len(there) in (len(ids), len(ids) + 3) and len({*there}) == len(there)
    assert {(False, True, True), (False, True, False), (True, True, True), (True, True, False)} <= outcomes
    assert verify(address).ok


def open_ids(address: str) -> list[int]:
    with open_index(address) as index:
        return index.ids().tolist()


def test_readers_see_each_change_whole(folder, address):
    put(folder, address)
    stop, seen, wrong = threading.Event(), [], []

    def ask() -> None:
        with open_index(address) as reader:
            while not stop.is_set():
                try:
                    found = reader._engine.rows(range(60))
                    marks = {row.attributes.get("mark") for row in found}
                    seen.append(marks)
                    if len(found) != 50 or len(marks) != 1:
                        wrong.append((len(found), marks))
                    if (reader.search(clustered(1, 8), 60)[1] >= 0).sum() != 50:
                        wrong.append("search")
                except Exception as error:
                    wrong.append(error)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    with open_index(address, write=True) as writer:
        for thread in threads:
            thread.start()
        for mark in range(8):
            writer.attach({id_: {"mark": mark} for id_ in range(50)})
        stop.set()
        for thread in threads:
            thread.join()
    assert not wrong and len(seen) > 4


def test_a_change_of_more_rows_than_a_state_can_name(folder, address, monkeypatch):
    from retrieval.engines import milvus_index

    monkeypatch.setattr(milvus_index, "FEW_DEAD", 5)
    monkeypatch.setattr(milvus_index, "NAMED", 7)
    put(folder, address)
    model = Model(8)
    model.add(clustered(50, 8), named(50))
    model.attach({3: {"stars": 5}})
    with open_index(address, write=True) as index:
        for each in (index, model):
            each.attach({id_: {"a": id_} for id_ in range(0, 50, 2)})
            each.remove(range(5, 45))
        assert state(index) == state(model)
        for each in (index, model):
            each.remove(each.all_vectors()[0].tolist())
        assert state(index) == state(model)
    assert verify(address).ok


# Who writes


def test_a_lease_ends_with_its_holder(folder, address, monkeypatch):
    from retrieval.engines import milvus_lease

    put(folder, address)
    program = (
        "import sys, time; from retrieval.engines.opening import open_index\n"
        "index = open_index(sys.argv[1], write=True); print('open', flush=True); time.sleep(600)"
    )
    other = subprocess.Popen([sys.executable, "-c", program, address], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None and other.stdout.readline() == "open\n"
        with pytest.raises(WriterAtWorkError, match=f"is being written by process {other.pid} on .*its lease ends at"):
            open_index(address, write=True)
    finally:
        other.send_signal(signal.SIGKILL)
        other.wait()
    with open_index(address, write=True) as index:  # that process of this machine is no more
        index.remove([0])
    monkeypatch.setattr(milvus_lease.socket, "gethostname", lambda: "elsewhere")
    index = open_index(address, write=True)
    monkeypatch.setattr(milvus_lease.socket, "gethostname", lambda: "here")
    with pytest.raises(WriterAtWorkError, match="on elsewhere since"):
        open_index(address, write=True)
    later = {"time": lambda: time.time() + 100, "monotonic": lambda: time.monotonic() + 100}
    monkeypatch.setattr(milvus_lease, "time", SimpleNamespace(**{**vars(time), **later}))  # nobody renewed it meanwhile
    with open_index(address, write=True) as other_index:
        with pytest.raises(RetrievalError, match=r"The right to write .* has ended"):
            index.remove([1])
        assert len(other_index) == 49


def test_of_two_who_want_it_at_once_one_writes(folder, address):
    put(folder, address)
    had, lock = [0, 0], threading.Lock()

    def want() -> None:
        try:
            with open_index(address, write=True):
                with lock:
                    had[0] += 1
                    had[1] = max(had)
                time.sleep(0.2)
                with lock:
                    had[0] -= 1
        except WriterAtWorkError:
            pass

    threads = [threading.Thread(target=want) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert had[1] <= 1


# Exporting


def test_an_export_goes_on_where_it_was_stopped(tmp_path, folder, address, monkeypatch):
    monkeypatch.setattr(exporting, "BLOCK_NUMBERS", 80)
    program = (
        "import os, sys; from retrieval.engines import exporting as e; from retrieval.index import Index\n"
        "e.BLOCK_NUMBERS = 80; row, left = e.Row, iter(range(25))\n"
        "e.Row = lambda *a: row(*a) if next(left, None) is not None else os.kill(os.getpid(), 9)\n"
        "e.export_to_engine(Index.open(sys.argv[1]), sys.argv[2])"
    )
    assert subprocess.run([sys.executable, "-c", program, folder, address], check=False).returncode == -9
    with pytest.raises(RetrievalError, match="There is no index at"):
        open_index(address)
    assert put(folder, address).copied == 30
    assert put(folder, address).copied == 0
    with Index.open(folder) as index:
        assert asked(address) == state(index)
    stop, answers, wrong = threading.Event(), [], []

    def ask() -> None:
        with open_index(address) as reader:
            while not stop.is_set():
                try:
                    answers.append(int(reader.search(clustered(1, 8), 1)[1][0, 0]))
                except Exception as error:
                    wrong.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    with Index.open(folder, write=True) as index:
        index.remove([0])
    assert put(folder, address).copied == 49  # a new version, without a gap, in place of the one that nobody changed
    stop.set()
    thread.join()
    assert not wrong and len(answers) > 10
    with open_index(address, write=True) as there:
        there.remove([1])
    with pytest.raises(RetrievalError, match="was changed since it was exported"):
        put(folder, address)
    create(tmp_path / "other", 8).close()
    with pytest.raises(RetrievalError, match="There is another index"):
        put(tmp_path / "other", address)
    put(tmp_path / "other", address, overwrite=True)
    assert open_ids(address) == []


# What is refused


def test_what_is_no_address_or_cannot_be_reached_is_said_without_the_password(milvus, folder, capsys):
    here = f"milvus:http://127.0.0.1:{milvus.port}"
    wrong = {
        "milvus:http://me:secret@127.0.0.1": "is no address of an index",
        "milvus:ftp://me:secret@127.0.0.1/photos": "is no address of an index",
        "milvus:pictures.db/photos": "Milvus Lite would search without the structures",
        "milvus:http://me:secret@127.0.0.1:1/photos": "cannot be reached",
        "milvus://me:secret@127.0.0.1:1/default/photos": "cannot be reached",
        "milvus:http://me:secret@127.0.0.1:x/photos": "is no address that Milvus understands",
        f"{here}/nothing": "There is no index at",
        f"{here}/nowhere/photos": "nowhere",
        f"{here}/{'x' * 60}": "An index cannot be called",
    }
    for address, message in wrong.items():
        for line in (["query", address, "--id", "1"], ["info", address], ["verify", address]):
            assert main(line) == 1
            error = capsys.readouterr().err
            assert message in error and "secret" not in error and len(error.splitlines()) == 1, (line, error)
    for name in ('x"; drop', "Ünï {a} $1", "9a_b", "a__b"):  # an index may be called so
        from urllib.parse import quote

        with pytest.raises(RetrievalError, match="There is no index at"):
            open_index(f"{here}/{quote(name, safe='')}")


def test_what_milvus_cannot_keep_is_refused_and_what_is_not_ours_is_left_alone(folder, address, milvus):
    from pymilvus import DataType, MilvusClient

    put(folder, address)
    with open_index(address, write=True) as index:
        before = state(index)
        for change in (
            lambda: index.add(clustered(1, 8), [named(1, 60)[0].__class__("new", "x" * 70_000)]),
            lambda: index.attach({0: {"a": "ü" * 20_000}}),
            lambda: index.update({0: named(1)[0].__class__("y" * 66_000)}),
        ):
            with pytest.raises(RetrievalError, match="can neither keep nor look for what was given"):
                change()
        assert state(index) == before
        index.record_skipped([(f"{n}/" + "long" * 20, "no picture") for n in range(3000)])  # in parts
    with open_index(address) as index:
        assert len(index.skipped()) == 3000
    client = MilvusClient(uri=f"http://127.0.0.1:{milvus.port}")
    schema = MilvusClient.create_schema(auto_id=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=4)
    client.create_collection("theirs", schema=schema)
    theirs = f"{address.rpartition('/')[0]}/theirs"
    for act in (lambda: put(folder, theirs, overwrite=True), lambda: open_index(theirs)):
        with pytest.raises(RetrievalError, match="belongs to another program"):
            act()
    assert client.has_collection("theirs")


def test_damage_is_seen(folder, address, milvus):
    from pymilvus import MilvusClient

    put(folder, address)
    assert verify(address).ok
    client = MilvusClient(uri=f"http://127.0.0.1:{milvus.port}")
    with open_index(address) as index:
        assert isinstance(index, EngineIndex)
        collection = index._engine._collection
    rows = client.query(collection, filter="id in [2, 3, 4, 5]", output_fields=["*"], consistency_level="Strong")
    by_id = {row["id"]: dict(row) for row in rows}
    changed = [
        {**by_id[2], "embedding": by_id[3]["embedding"]},
        {**by_id[4], "attributes": {"a": [1]}},
        {**by_id[5], "terms": {}},
    ]
    client.upsert(collection, changed)
    client.delete(collection, ids=[by_id[3]["row"]])
    client.query(collection, filter="id == 1", output_fields=["id"], consistency_level="Strong")
    found = " ".join(problem.what for problem in verify(address).problems)
    for message in ("49 items and counts 50", "not what was written", "neither number nor text", "terms are not those"):
        assert message in found, found


# Servers that die


def test_a_lost_server_is_said_and_waited_for(folder, long):
    if not long:
        pytest.skip("a server of its own takes a minute to be back; --long kills it")
    server = MilvusServer()
    address = f"{server.address}/photos"
    try:
        put(folder, address)
        writer, reader = open_index(address, write=True), open_index(address)
        writer.remove([7])
        server.kill()
        with pytest.raises(RetrievalError, match="was lost, or could not be had"):
            writer.remove([8])
        writer.close()
        reader.close()
        server.start()
        end = time.monotonic() + 180
        while True:
            try:
                with open_index(address, write=True) as writer:
                    assert writer.ids().tolist() == [n for n in range(50) if n != 7]
                    writer.remove([9])
                break
            except RetrievalError:
                assert time.monotonic() < end
                time.sleep(1)
        assert verify(address).ok
    finally:
        server.close()
