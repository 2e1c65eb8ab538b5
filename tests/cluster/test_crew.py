"""What becomes of work when workers refuse, or end over it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from picky_worker import PickyWorker
from ray_nodes import HEAD, OTHER, RayNodes

from retrieval import RayCluster
from retrieval.cluster.connection import Seats
from retrieval.cluster.crew import Crew
from retrieval.errors import RetrievalError


def crew(cluster: RayNodes, tmp_path: Path, not_on: tuple[str, ...] = ()) -> Crew:
    """A worker on each node, which takes all of it."""
    RayCluster(cluster.address).reach()
    return Crew(PickyWorker, (list(not_on), tmp_path), Seats(2, 2, 0), lambda number: f"the number {number}")


def test_a_node_that_cannot_does_nothing(cluster: RayNodes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither one that refuses at once, nor one that refuses later; if there is no other, it is said why."""
    one = crew(cluster, tmp_path, (OTHER,))
    one.begin()
    try:
        done = list(one.in_order(while_both(one)))
        assert [(work, *result) for work, result in done] == [(n, n * n, HEAD) for n in range(len(done))]
        assert "Nothing is there on 127.0.0.3. Others go on without it." in capsys.readouterr().err
        (tmp_path / HEAD).touch()
        with pytest.raises(RetrievalError, match=r"^Nothing is there any more on 127.0.0.2\.$"):
            list(one.in_order(range(50)))
    finally:
        one.end()
    (tmp_path / HEAD).unlink()
    both = crew(cluster, tmp_path)
    both.begin()
    try:
        found = []
        for work, (square, where) in both.in_order(while_both(both)):
            found.append((work, square))
            if where == OTHER:
                (tmp_path / OTHER).touch()
        assert found == [(n, n * n) for n in range(len(found))]
        assert "Nothing is there any more on 127.0.0.3. Others go on without it." in capsys.readouterr().err
    finally:
        both.end()


def while_both(crew: Crew) -> Iterator[int]:
    """Numbers, as long as neither worker has refused."""
    for number in itertools.count():
        if len(crew._hands) < 2:
            return
        yield number


def test_work_that_ends_every_worker(cluster: RayNodes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is not tried for ever; and what comes before it is done."""
    one = crew(cluster, tmp_path)
    one.begin()
    done = []
    try:
        with pytest.raises(RetrievalError, match="4 workers ended one after the other over the number -1; see whether"):
            for work, (square, _) in one.in_order([3, 4, -1, 5]):
                done.append((work, square))
        assert [work for work, _ in one.in_order([6, 7])] == [6, 7]  # when there are others in their place
        with pytest.raises(RetrievalError, match="There is no square of that"):
            list(one.in_order([-2]))
    finally:
        one.end()
    assert done == [(3, 9), (4, 16)]
    assert "a worker of the cluster was lost; the number -1 go to another" in capsys.readouterr().err
