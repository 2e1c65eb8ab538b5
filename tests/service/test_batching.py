"""The lane: what waits is done together, nobody's mistake is another's, and it is bounded."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

from retrieval.errors import RetrievalError
from retrieval.service import batching, limits
from retrieval.service.batching import Lane
from retrieval.service.problems import Problem

if TYPE_CHECKING:
    from served import Served


class Blocked:
    """Keeps a lane busy until it is let go."""

    def __init__(self, lane: Lane) -> None:
        self._go, self._there = threading.Event(), threading.Event()
        lane.submit("blocked", None, self._wait)
        assert self._there.wait(10)

    def _wait(self, jobs: Sequence[Any]) -> list[None]:
        self._there.set()
        assert self._go.wait(10)
        return [None] * len(jobs)

    def let_go(self) -> None:
        self._go.set()


@pytest.fixture
def seen() -> list[int]:
    return []


@pytest.fixture
def lane(seen: list[int]) -> Iterator[Lane]:
    lane = Lane(lambda size, *_: seen.append(size))
    yield lane
    lane.close()


def doubled(jobs: Sequence[int]) -> list[int]:
    return [2 * job for job in jobs]


def test_an_idle_lane_answers_at_once(lane: Lane, seen: list[int]) -> None:
    assert lane.submit("a", 3, doubled).result(10) == 6
    lane.close()
    assert seen == [1]


def test_what_waits_is_done_together_by_kind_and_in_order(lane: Lane, seen: list[int]) -> None:
    blocked = Blocked(lane)
    batches: list[tuple[str, list[int]]] = []

    def noted(kind: str) -> Any:
        return lambda jobs: batches.append((kind, list(jobs))) or doubled(jobs)

    together = {kind: noted(kind) for kind in "ab"}
    futures = [lane.submit("ab"[number % 2], number, together["ab"[number % 2]], most=3) for number in range(10)]
    blocked.let_go()
    assert [future.result(10) for future in futures] == [2 * number for number in range(10)]
    assert batches == [("a", [0, 2, 4]), ("b", [1, 3, 5]), ("a", [6, 8]), ("b", [7, 9])]
    lane.close()
    assert seen == [1, 3, 3, 2, 2]


def test_one_that_is_wrong_spoils_nothing_for_the_others(lane: Lane) -> None:
    def strict(jobs: Sequence[int]) -> list[Any]:
        if 13 in jobs:
            raise RetrievalError("13 is no number.")
        return [ValueError("7") if job == 7 else job for job in jobs]

    blocked = Blocked(lane)
    futures: list[Future[Any]] = [lane.submit("a", job, strict) for job in (1, 13, 7, 2)]
    blocked.let_go()
    wait(futures, 10)
    assert [str(future.exception() or future.result()) for future in futures] == ["1", "13 is no number.", "7", "2"]


def test_a_lane_survives_whatever_happens(lane: Lane) -> None:
    def broken(jobs: Sequence[int]) -> list[int]:
        raise MemoryError

    assert isinstance(lane.submit("a", 1, broken).exception(10), MemoryError)
    assert isinstance(lane.submit("a", 1, lambda jobs: []).exception(10), ValueError)
    assert lane.submit("a", 1, doubled).result(10) == 2


def test_it_is_bounded_in_length_and_time(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = Blocked(lane)
    futures = [lane.submit("a", number, doubled) for number in range(limits.WAITING)]
    with pytest.raises(Problem) as told:
        lane.submit("a", 0, doubled)
    assert (told.value.status, told.value.headers["Retry-After"]) == (503, "1")
    futures[0].cancel()
    monkeypatch.setattr(limits, "PATIENCE", 0.0)
    time.sleep(0.01)
    blocked.let_go()
    assert isinstance(futures[1].exception(10), Problem)


def test_what_waits_is_still_done_when_it_closes() -> None:
    lane = Lane()
    blocked = Blocked(lane)
    future = lane.submit("a", 1, doubled)
    closing = threading.Thread(target=lane.close)
    closing.start()
    while not lane._closed:
        time.sleep(0.001)
    with pytest.raises(Problem):
        lane.submit("a", 1, doubled)
    blocked.let_go()
    closing.join(10)
    assert future.result(0) == 2


def test_answers_do_not_depend_on_what_they_came_with(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty questions at a time, of five kinds, against the same one by one."""
    questions = [
        {"like": [f"id:{number % 13}"], "k": 3 + number % 3, **({"filter": 'label = "cat"'} if number % 2 else {})}
        for number in range(40)
    ]
    alone = [served("POST", "/search", question).json for question in questions]
    answers: list[Any] = [None] * len(questions)
    started = threading.Barrier(len(questions))
    sizes: list[int] = []
    monkeypatch.setattr(batching, "_do", _slowly(batching._do, sizes))

    def ask(number: int) -> None:
        started.wait(30)
        answers[number] = served("POST", "/search", questions[number]).json

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(questions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == alone
    assert max(sizes) > 1


def _slowly(do: Any, sizes: list[int]) -> Any:
    """Batches that take their time, so that others gather meanwhile."""

    def done(batch: Sequence[Any]) -> None:
        sizes.append(len(batch))
        time.sleep(0.05)
        do(batch)

    return done


def test_what_is_counted(served: Served) -> None:
    served("GET", "/items/1/similar")
    served("GET", "/items/x")
    text = served("GET", "/metrics").body.decode()
    for line in (
        'retrieval_answers_total{path="/items/{id}/similar",status="200"}',
        'retrieval_answers_total{path="/items/{id}",status="422"}',
        'retrieval_stage_seconds_count{stage="work"}',
        'retrieval_generation{index="photos"}',
        'retrieval_items{index="photos"} 13.0',
        "retrieval_queue 0.0",
        "retrieval_batch_size_bucket",
    ):
        assert line in text, line
