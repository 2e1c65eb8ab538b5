"""A Ray cluster of two nodes, for all tests of this folder."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import s3_server
from ray_nodes import RayNodes, installed

from retrieval.cluster import cluster_encoding
from retrieval.ingest import encode_new

MUST_START = {"cluster": "ENGINES_MUST_START", "store": "OBJECTS_MUST_START"}
"""The environment variables with which .ci/run has what does not start fail, rather than be skipped."""


@pytest.fixture(scope="session")
def store() -> Iterator[s3_server.S3Server | None]:
    """An S3 server, where one is installed: the nodes are to find it in their environment, and so it is there first."""
    if not installed() or not s3_server.installed():
        yield None
        return
    running = s3_server.S3Server()
    yield running
    running.close()


@pytest.fixture(scope="session")
def nodes(store: s3_server.S3Server | None) -> Iterator[RayNodes]:
    """The head, and whatever else is started."""
    if not installed():
        _cannot("cluster", "Ray is not installed here: pip install ray")
    try:
        nodes = RayNodes({} if store is None else store.environment)
    except RuntimeError as error:
        _cannot("cluster", str(error))
    yield nodes
    import ray

    ray.shutdown()
    nodes.close()


@pytest.fixture
def cluster(nodes: RayNodes) -> RayNodes:
    """Both nodes."""
    nodes.start_other()
    return nodes


@pytest.fixture
def many_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight pictures in a task, and a commit after each, so that segments are merged, too."""
    monkeypatch.setattr(cluster_encoding, "PICTURES", 8)
    monkeypatch.setattr(encode_new, "COMMIT_SECONDS", 0.0)


@pytest.fixture
def bucket(store: s3_server.S3Server | None, monkeypatch: pytest.MonkeyPatch) -> tuple[s3_server.S3Server, str]:
    """A server with a bucket that this process reads with what the nodes have in their environment."""
    if store is None:
        _cannot("store", "an S3 server is not installed here: pip install s3fs 'moto[s3]' flask flask-cors")
    assert store is not None
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    store.make("pictures-of-many")
    return store, "pictures-of-many"


def _cannot(what: str, reason: str) -> None:
    if os.environ.get(MUST_START[what]):
        pytest.fail(reason)
    pytest.skip(reason)
