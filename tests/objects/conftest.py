"""A real S3 server on loopback, and buckets in it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
from faulty_proxy import FaultyProxy
from s3_server import S3Server, installed

OBJECTS_MUST_START = "OBJECTS_MUST_START"
"""The environment variable with which .ci/run has a server that does not start fail, rather than be skipped."""

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def server() -> Iterator[S3Server]:
    """A server."""
    if not installed():
        reason = "an S3 server is not installed here: pip install s3fs 'moto[s3]' flask flask-cors"
        if os.environ.get(OBJECTS_MUST_START):
            pytest.fail(reason)
        pytest.skip(reason)
    running = S3Server()
    yield running
    running.close()


@pytest.fixture
def bucket(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket that nobody else has, and an environment in which it can be read."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    name = f"bucket-{os.getpid()}-{next(_NUMBERS)}"
    server.make(name)
    return name


@pytest.fixture
def proxy(server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """Stands between the bucket and who reads it; does nothing until it is told to."""
    between = FaultyProxy(server.port, lambda method, path: None)
    monkeypatch.setenv("AWS_ENDPOINT_URL", between.address)
    yield between
    between.close()


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.model(tmp_path_factory)
