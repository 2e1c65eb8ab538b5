"""A Ray cluster of two nodes, for all tests of this folder."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from ray_nodes import RayNodes, installed

ENGINES_MUST_START = "ENGINES_MUST_START"
"""The environment variable with which .ci/run has a cluster that does not start fail, rather than be skipped."""


@pytest.fixture(scope="session")
def nodes() -> Iterator[RayNodes]:
    """The head, and whatever else is started."""
    if not installed():
        _cannot("Ray is not installed here: pip install ray")
    try:
        nodes = RayNodes()
    except RuntimeError as error:
        _cannot(str(error))
    yield nodes
    import ray

    ray.shutdown()
    nodes.close()


@pytest.fixture
def cluster(nodes: RayNodes) -> RayNodes:
    """Both nodes."""
    nodes.start_other()
    return nodes


def _cannot(reason: str) -> None:
    if os.environ.get(ENGINES_MUST_START):
        pytest.fail(reason)
    pytest.skip(reason)
