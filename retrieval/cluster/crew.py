"""Workers of a cluster that come and go, and work that is done once and in order whoever is lost meanwhile."""

from __future__ import annotations

import contextlib
import itertools
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from retrieval.base import progress
from retrieval.base.text import for_terminal
from retrieval.cluster.connection import Seats, imported
from retrieval.cluster.refusal import Refusal
from retrieval.errors import RetrievalError

QUEUED = 2
"""Tasks that a worker has at a time: one that it works at, and one so that it need not wait for the next."""

AHEAD = 4
"""Tasks for each worker, at most, that are begun beyond the one whose result comes next."""

TRIES = 4
"""Workers that may end over one task, or one after the other before they are ready."""

FILES = "files"
"""The thread of a worker that puts segments together, beside its encoding."""

WAITING = 10.0
"""Seconds without any worker after which that is said."""

_Work = TypeVar("_Work")


@dataclass(eq=False)
class _Hand:
    """One worker: Ray's handle; what it said when it was ready; its tasks, the one that it works at first."""

    actor: Any
    starting: Any
    ready: Any = None
    tasks: list[_Task[Any]] = field(default_factory=list)


@dataclass(eq=False)
class _Task(Generic[_Work]):
    """One piece of work, where it stands among all, and who has it."""

    work: _Work
    hand: _Hand | None = None
    ref: Any = None
    lost: int = 0
    done: bool = False
    result: Any = None


@dataclass
class Crew:
    """Workers on a Ray cluster. One that is lost is replaced, wherever there is room; where one refuses to work, others
    go on without it.

    Attributes:
        kind: their class, with `ready()`, `work(...)` and perhaps `gather(...)`; whatever is wrong they answer as a
            :class:`Refusal`.
        job: what they know.
        seats: how many, with what.
        named: what a piece of work is called where workers end over it.
    """

    kind: type
    job: Any
    seats: Seats
    named: Callable[[Any], str]
    _hands: list[_Hand] = field(default_factory=list)
    _turn: Iterator[int] = field(default_factory=itertools.count)
    _vain: int = 0

    def begin(self) -> Any:
        """Start the workers, and wait for the first; what it says when it is ready.

        Raises:
            RetrievalError: none can do the job.
        """
        self._ray = imported()
        self._class = self._ray.remote(
            num_cpus=self.seats.cores,
            num_gpus=self.seats.gpus,
            max_restarts=0,
            max_task_retries=0,
            concurrency_groups={FILES: 1},
        )(self.kind)
        while len(self._hands) < self.seats.workers:
            self._hire()
        return self._first()

    def in_order(self, works: Iterable[_Work], *given: Any) -> Iterator[tuple[_Work, Any]]:
        """Have the workers' ``work(piece, *given)`` done for each of some works; each with its result, in order.

        Args:
            works: taken as they are needed.
            given: the same for each.

        Raises:
            RetrievalError: it is refused, or several workers ended over one piece of it.
        """
        coming = iter(works)
        more = True
        tasks: deque[_Task[_Work]] = deque()
        lost: deque[_Task[_Work]] = deque()
        while more or tasks:
            if tasks and tasks[0].done:
                first = tasks.popleft()
                yield first.work, first.result
                continue
            while lost or (more and len(tasks) < AHEAD * self.seats.workers):
                hand = min((one for one in self._hands if one.ready), key=lambda one: len(one.tasks), default=None)
                if hand is None or len(hand.tasks) >= QUEUED:
                    break
                if lost:
                    task = lost.popleft()
                else:
                    try:
                        task = _Task(next(coming))
                    except StopIteration:
                        more = False
                        break
                    tasks.append(task)
                hand.tasks.append(task)
                task.hand, task.ref = hand, hand.actor.work.remote(task.work, *given)
            if more or tasks:
                self._settle(tasks, lost)

    def do(self, gathering: Any) -> Any:
        """Have one of the workers, beside its other work, do ``gather(gathering)``.

        Raises:
            RetrievalError: it is refused, or several workers ended over it.
        """
        for _ in range(TRIES):
            self._first()
            ready = [hand for hand in self._hands if hand.ready]
            hand = ready[next(self._turn) % len(ready)]
            try:
                return self._told(self._ray.get(hand.actor.gather.options(concurrency_group=FILES).remote(gathering)))
            except self._ray.exceptions.RayTaskError:
                raise
            except self._ray.exceptions.RayError:
                self._replace(hand)
        raise RetrievalError(
            f"{TRIES} workers ended one after the other while they wrote a segment; see whether they have enough "
            "memory, and run it again: what is committed stays."
        )

    def end(self) -> None:
        """Let all of them go."""
        for hand in self._hands:
            with contextlib.suppress(Exception):  # as there may be no cluster any more
                self._ray.kill(hand.actor)
        self._hands.clear()

    def _hire(self) -> None:
        actor = self._class.remote(self.job)
        self._hands.append(_Hand(actor, actor.ready.remote()))

    def _replace(self, hand: _Hand) -> None:
        """One is lost: have another, unless that was said of it already."""
        if hand in self._hands:
            self._hands.remove(hand)
            with contextlib.suppress(Exception):
                self._ray.kill(hand.actor)
            self._hire()

    def _do_without(self, hand: _Hand, refusal: Refusal) -> None:
        """It cannot do the job where it runs: others do, if there are any."""
        if hand not in self._hands:
            return
        self._hands.remove(hand)
        self._ray.kill(hand.actor)
        if not self._hands:
            raise RetrievalError(refusal.reason)
        progress.note(f"note: {refusal.reason} Others go on without it.")

    def _first(self) -> Any:
        """What a worker that is ready said; waits until there is one."""
        since = time.monotonic()
        said = False
        while True:
            for hand in self._hands:
                if hand.ready:
                    return hand.ready
            self._settle(deque(), deque())
            if not said and time.monotonic() - since > WAITING:
                progress.note("Waiting for the Ray cluster to have room for a worker")
                said = True

    def _settle(self, tasks: deque[_Task[Any]], lost: deque[_Task[Any]]) -> None:
        """Wait until something happens, a second at most, and see what that was."""
        running = {task.ref: task for task in tasks if task.ref is not None}
        starting = {hand.starting: hand for hand in self._hands if hand.ready is None}
        done, _ = self._ray.wait([*running, *starting], num_returns=1, timeout=1.0)
        for ref in done:
            hand = starting.get(ref)
            if hand is not None:
                self._see_ready(hand)
                continue
            task = running[ref]
            self._see_done(task, ref, lost)

    def _see_done(self, task: _Task[Any], ref: Any, lost: deque[_Task[Any]]) -> None:
        hand, task.ref = task.hand, None
        assert hand is not None
        try:
            result = self._ray.get(ref)
        except self._ray.exceptions.RayTaskError:
            raise
        except self._ray.exceptions.RayError:  # the worker, its node, or what it left there
            progress.note(f"note: a worker of the cluster was lost; {self.named(task.work)} go to another")
            self._replace(hand)
            task.lost += hand.tasks[0] is task  # those that waited behind it are not to blame
            if task.lost == TRIES:
                raise RetrievalError(
                    f"{TRIES} workers ended one after the other over {self.named(task.work)}; see whether each "
                    "has enough memory, and run it again: what was done stays."
                ) from None
            lost.append(task)
            return
        if isinstance(result, Refusal) and result.here:
            self._do_without(hand, result)
            lost.append(task)
            return
        hand.tasks.remove(task)
        task.result, task.done = self._told(result), True

    def _see_ready(self, hand: _Hand) -> None:
        try:
            said = self._ray.get(hand.starting)
        except self._ray.exceptions.RayTaskError:
            raise
        except self._ray.exceptions.RayError as error:
            self._vain += 1
            if self._vain == TRIES * self.seats.workers:
                raise RetrievalError(
                    f"{self._vain} workers of the Ray cluster ended before they were ready, the last with: "
                    f"{_reason(error)}; see that each node has the same Python and retrieval, and enough memory."
                ) from None
            self._replace(hand)
            return
        if isinstance(said, Refusal) and said.here:
            self._do_without(hand, said)
        else:
            hand.ready, self._vain = self._told(said), 0

    @staticmethod
    def _told(result: Any) -> Any:
        """A result, unless it is a refusal.

        Raises:
            RetrievalError: it is one.
        """
        if isinstance(result, Refusal):
            raise RetrievalError(result.reason)
        return result


def _reason(error: Exception) -> str:
    """What Ray says of a worker's end, in a line: what Python raised there, if it says that."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    raised = [line for line in lines if re.match(r"\w*Error: ", line)]
    return for_terminal((raised or lines)[-1 if raised else 0].rstrip("."))[:300]
