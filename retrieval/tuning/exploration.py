"""Structures built and measured one after another, the cheap ones first, within a time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from retrieval import measures
from retrieval.base.given import seeded
from retrieval.base.progress import bar
from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.tuning.candidates import Candidate, estimate_bytes, for_sample
from retrieval.tuning.choice import EXACT, Point, Wishes, in_order
from retrieval.tuning.effort_ladder import Glance, Parameters, halfway, scan, worth_measuring
from retrieval.tuning.held_out import Floats, Trial, Vectors, draw
from retrieval.tuning.timing import Measuring, Speed

if TYPE_CHECKING:
    from retrieval.index.nearest.structure import Structure

SAMPLE = 2000
"""Vectors of the sample whose building says how long building all will take."""

FINALISTS = 3
"""Structures that take turns in the end, and are kept in memory for it."""

FIRST, FINAL = (0.05, 0.0005), (0.25, 0.001)
"""Seconds for which single queries are timed, about: at first sight, and in each of the final rounds. At most the first
number, and at most the second one's share of the whole time."""

HALVINGS = 3
"""Times that the gap between the last setting below the wanted recall and the first above is halved."""

ESTIMATING = 0.25
"""Share of the time that may go into estimates."""

RESERVED = 0.15
"""Share of the time that is kept for the final rounds and what comes after them."""

NO_TIME = "no time to build it"


class OutOfTimeError(Exception):
    """What was being built has taken all the time that there was."""


class Budget:
    """How much time there is.

    Args:
        minutes: from now on.
        strict: whether what is being built is given up when they are over. Otherwise only nothing new is begun.

    Attributes:
        strict: the same, from now on.
    """

    def __init__(self, minutes: float, *, strict: bool = False) -> None:
        self._began = time.monotonic()
        self._seconds = 60 * minutes
        self.strict = strict

    def update(self, _: int) -> None:
        """Called by what is being built, whenever it has got on a little.

        Raises:
            OutOfTimeError: there is no time left, and the budget is strict.
        """
        if self.strict and self.spent() > self._seconds:
            raise OutOfTimeError

    def slice(self, most: float, share: float) -> float:
        """Seconds: a share of the whole time, but no more than `most`."""
        return min(most, share * self._seconds)

    def spent(self) -> float:
        """Seconds."""
        return time.monotonic() - self._began

    def used(self) -> float:
        """The share of the time that is spent."""
        return self.spent() / self._seconds

    def left(self) -> float:
        """Seconds, without those reserved for the final rounds; negative when there is none."""
        return (1 - RESERVED) * self._seconds - self.spent()


class Trying:
    """The table as it grows.

    Args:
        index: which structures are tried for; not empty.
        wishes: what is asked of them.
        k: neighbours that a query asks for.
        budget: the time for it all.
        queries: as :func:`retrieval.tuning.held_out.draw` takes them.
        mapped: whether the stored vectors are read from the disk, so that they do not count as memory.
        seed: of everything that is drawn.

    Attributes:
        trial: what structures are built from.
        measuring: what they are asked.
        held_out: int64, the ids that the trial lacks; where there are any, the choice is built once more, over all.
        points: everything measured, exact search first.
        left_out: (factory, reason) of what was not built.
        kept: the structures of the best points so far, by factory.
    """

    def __init__(
        self,
        index: Index,
        wishes: Wishes,
        k: int,
        budget: Budget,
        *,
        queries: Vectors | None = None,
        mapped: bool = False,
        seed: int = 0,
    ) -> None:
        self._wishes, self._budget, self._seed = wishes, budget, seed
        self.held_out, asked = draw(index, queries, seeded(seed))
        self.trial = Trial(index, self.held_out, k)
        self.measuring = Measuring(self.trial, asked, k)
        self._items = len(index)
        vectors = bytes_of(index)
        self._stored = 0 if mapped else vectors
        found, speed = self.measuring.first(self.trial.exact, budget.slice(*FIRST))
        self._exact = _with_speed(Point(EXACT, memory=vectors), speed)
        self._found = [found]
        self.points = [self._exact]
        self.left_out: list[tuple[str, str]] = []
        self.kept: dict[str, Structure] = {}

    def everything(self, candidates: Sequence[Candidate], dim: int) -> None:
        """Try what fits into memory and time."""
        fitting = []
        for candidate in candidates:
            if self.fits(candidate.factory, dim):
                fitting.append(candidate)
            else:
                self.left_out.append((candidate.factory, "more memory than allowed, by estimate"))
        try:
            priced = self.prices(fitting)
        except OutOfTimeError:
            named = {factory for factory, _ in self.left_out}
            self.left_out += [(one.factory, NO_TIME) for one in fitting if one.factory not in named]
            return
        with bar(len(priced), "Trying structures", "structures") as progress:
            for seconds, factory in priced:
                progress.set_postfix_str(factory, refresh=False)
                # The longest that might have to be built once more to be the choice.
                again = max([seconds, *(self._built(name) for name in self.kept)]) if len(self.held_out) else 0
                if seconds + again > self._budget.left():
                    self.left_out.append((factory, NO_TIME))
                else:
                    try:
                        self.add(factory)
                    except RetrievalError as error:  # one kind that fails here is no reason to give up the others
                        self.left_out.append((factory, _unbuilt(error)))
                    except OutOfTimeError:
                        self.left_out.append((factory, NO_TIME))
                progress.update()

    def fits(self, factory: str, dim: int) -> bool:
        """Whether a structure of vectors of `dim` numbers fits into the memory, by estimate."""
        size = self._stored + estimate_bytes(factory, self._items, dim)
        return self._wishes.memory is None or size <= self._wishes.memory

    def finals(self) -> None:
        """Measure speeds once more, in turns: exact search, and of each structure kept its best setting and the two
        beside that."""
        some: list[Point] = [self._exact]
        for factory in self.kept:
            settings = sorted((p for p in self.points if p.factory == factory), key=lambda p: (p.recall, -p.single))
            best = in_order(settings, self._lenient)[0]
            at = settings.index(best)
            some += settings[max(0, at - 1) : at + 2]
        searches = {
            str(number): self.trial.search(self.kept.get(point.factory), point.parameters)
            for number, point in enumerate(some)
        }
        speeds = self.measuring.speeds(searches, self._budget.slice(*FINAL))
        for number, point in enumerate(some):
            self.points[self.points.index(point)] = replace(_with_speed(point, speeds[str(number)]), in_turns=True)

    def table(self) -> list[Point]:
        """:attr:`points`, with the intervals of their recall."""
        intervals = measures.mean_intervals(np.stack(self._found, axis=1))
        return [replace(point, low=i.low, high=i.high) for point, i in zip(self.points, intervals, strict=True)]

    def take(self, index: Index, chosen: Point) -> None:
        """Make a point's structure the index's."""
        if chosen.factory == EXACT:
            index.set_structure(None)
            return
        structure = None if len(self.held_out) else self.kept.get(chosen.factory)
        if structure is None:
            structure = self._build(chosen.factory, index.all_vectors()[1])[0]
        speeds = {"single": chosen.single, "latency": chosen.latency, "batched": chosen.batched}
        interval = {"low": chosen.low, "high": chosen.high} if chosen.low == chosen.low else {}
        about = {"k": self.measuring.k, "queries": len(self.measuring.queries), "recall": chosen.recall}
        index.set_structure(structure, chosen.parameters, measured=about | interval | speeds)

    @property
    def _lenient(self) -> Wishes:
        """The wishes, with a fifth more latency: it is measured again."""
        return replace(self._wishes, latency=None if self._wishes.latency is None else 1.2 * self._wishes.latency)

    def prices(self, candidates: Sequence[Candidate]) -> list[tuple[float, str]]:
        """(seconds, factory), the cheapest first: about how long building each takes."""
        n = len(self.trial)
        if n <= 2 * SAMPLE:  # building all takes hardly longer than finding out
            return [(0.0, candidate.factory) for candidate in candidates]
        rows = np.sort(seeded(self._seed).choice(n, SAMPLE, replace=False))
        sample = np.ascontiguousarray(self.trial.vectors[rows])
        seconds: dict[str, float] = {}  # of each structure for the sample; some differ only in the number of lists
        out = []
        with bar(len(candidates), "Estimating", "structures") as progress:
            for candidate in candidates:
                factory = for_sample(candidate.factory, SAMPLE)
                try:
                    if factory not in seconds and self._budget.used() < ESTIMATING:
                        seconds[factory] = self._build(factory, sample)[1]
                    if factory in seconds:
                        out.append((seconds[factory] * (n / SAMPLE) ** candidate.growth, candidate.factory))
                    else:
                        self.left_out.append((candidate.factory, NO_TIME))
                except RetrievalError as error:
                    self.left_out.append((candidate.factory, _unbuilt(error)))
                progress.update()
        return sorted(out)

    def add(self, factory: str) -> None:
        """Build a structure and measure it.

        Raises:
            RetrievalError: it cannot be built here.
        """
        from retrieval.index.nearest import kinds

        structure, seconds = self._build(factory, self.trial.vectors)
        size = round(structure.bytes() * self._items / len(self.trial))
        blank = Point(factory, structure_bytes=size, memory=size + self._stored, build_seconds=seconds)

        def look(parameters: Parameters) -> Glance:
            return Glance(parameters, *self.measuring.glance(self.trial.search(structure, parameters)))

        glances = scan(kinds.efforts(factory, len(self.trial)), look, self._exact.single / 2)
        low = high = None
        for parameters in worth_measuring(glances):
            point = self._measure(structure, parameters, blank)
            if high is None and self._suffices(point):
                high = point
            elif high is None:
                low = point
        for _ in range(HALVINGS):
            if low is None or high is None:
                break
            between = halfway(low.parameters, high.parameters)
            if between in (low.parameters, high.parameters):
                break
            point = self._measure(structure, between, blank)
            low, high = (low, point) if self._suffices(point) else (point, high)
        self.kept[factory] = structure
        best = dict.fromkeys(point.factory for point in in_order(self.points, self._lenient))
        names = [name for name in best if name != EXACT][:FINALISTS]
        self.kept = {name: kept for name, kept in self.kept.items() if name in names}

    def _build(self, factory: str, vectors: Floats) -> tuple[Structure, float]:
        """A structure, and the seconds that building it took."""
        from retrieval.index.nearest import kinds

        began = time.monotonic()
        structure = kinds.build(factory, vectors, seed=self._seed, progress=self._budget)
        return structure, time.monotonic() - began

    def _suffices(self, point: Point) -> bool:
        """Whether a setting is beyond the one that is looked for: as much recall as is wanted, or too much time."""
        if self._wishes.latency is not None:
            return point.latency > self._wishes.latency
        return self._wishes.recall is not None and point.recall >= self._wishes.recall

    def _measure(self, structure: Structure, parameters: Parameters, blank: Point) -> Point:
        found, speed = self.measuring.first(self.trial.search(structure, parameters), self._budget.slice(*FIRST))
        point = replace(blank, parameters=dict(parameters), recall=float(found.mean()))
        self.points.append(_with_speed(point, speed))
        self._found.append(found)
        return self.points[-1]

    def _built(self, factory: str) -> float:
        return next(point.build_seconds for point in self.points if point.factory == factory)


def bytes_of(index: Index) -> int:
    """What its stored vectors take in memory."""
    return len(index) * index.dim * 4 if index.storage != "binary" else len(index) * index.dim // 8


def _unbuilt(error: RetrievalError) -> str:
    return f"cannot be built here ({str(error).rstrip('.')})"


def _with_speed(point: Point, speed: Speed) -> Point:
    return replace(point, single=speed.single, latency=speed.latency, batched=speed.batched)
