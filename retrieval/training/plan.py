"""How many steps a training has, and how far it is at each: settled from the start, or decided by a clock on the way.

What a clock decides is written down before it is done, so that the training can be repeated without one.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from retrieval.base.files import write_durably
from retrieval.errors import RetrievalError

FILE = "plan.json"
"""Where in a run's folder the decisions of its clock stand."""

FORMAT = 1

LOOKS = 100
"""So often at least the clock is asked in the course of a training."""

OVER = 1.05
"""Times its minutes, after which a training does without its last look at held-out pictures."""


AnyRecipe = TypeVar("AnyRecipe")


class Decision(NamedTuple):
    """From a step on: how much of the training is done by then, and where it ends.

    Attributes:
        step: steps that are done. share: of the training, in [0, 1].
        steps: of the whole training. lr: the learning rate of the next step (0 at the end), for readers.
    """

    step: int
    share: float
    steps: int
    lr: float = 0.0

    def place(self, step: int) -> tuple[float, int]:
        """Which of so many steps one would be if each moved the training on as much as every other: the schedule knows
        no other training. Without a clock that is the step itself, to the last bit."""
        each = (1 - self.share) * self.steps / (self.steps - self.step)
        return self.share * self.steps + (step - self.step) * each, self.steps


@dataclass
class Plan:
    """The decisions of a training in the order of their steps.

    Attributes:
        decisions: at least one, the first at step 0.
        kind: what the training leaves behind, one of :data:`retrieval.training.run_folder.RESULTS`.
        minutes: that it was to take. fingerprint: of its pictures. recipe: as it was settled, without the minutes.
    """

    decisions: list[Decision]
    kind: str = ""
    minutes: float | None = None
    fingerprint: str = ""
    recipe: dict[str, Any] = field(default_factory=dict)

    def at(self, step: int) -> Decision:
        """The decision that holds when so many steps are done."""
        return self.decisions[bisect_right(self.decisions, step, key=lambda decision: decision.step) - 1]

    def share(self, step: int) -> float:
        """How much of the training is done after so many steps, in [0, 1]."""
        decision = self.at(step)
        if step >= decision.steps:
            return 1.0
        place, steps = decision.place(step)
        return place / steps

    def repeated(self, kind: type[AnyRecipe]) -> AnyRecipe:
        """The recipe that repeats the training; without its minutes, since nothing is left to a clock.

        Args:
            kind: of recipe.

        Raises:
            RetrievalError: the plan is of another kind.
        """
        try:
            return kind(**self.recipe)
        except TypeError as error:
            raise RetrievalError(
                f"The plan has no recipe of a training of this kind ({error}); give the plan of another run."
            ) from None

    def write(self, folder: Path) -> None:
        """Durably: the file holds all decisions or, after a crash, all but the last."""
        content = {
            "format": FORMAT,
            "kind": self.kind,
            "minutes": self.minutes,
            "fingerprint": self.fingerprint,
            "recipe": self.recipe,
        }
        head = json.dumps(content, indent=2).removesuffix("\n}")
        rows = ",\n".join(f"    {json.dumps(decision._asdict())}" for decision in self.decisions)
        write_durably(folder / FILE, f'{head},\n  "decisions": [\n{rows}\n  ]\n}}\n'.encode())

    @classmethod
    def read(cls, path: Path) -> Plan:
        """What :meth:`write` wrote.

        Raises:
            RetrievalError: there is no plan, or what is there is none.
        """
        try:
            content = json.loads(path.read_bytes())
            if content["format"] > FORMAT:
                raise RetrievalError(f"{path} was written by a newer version of retrieval; update, or train anew.")
            decisions = [Decision(**row) for row in content["decisions"]]
            plan = cls(decisions, *(content[name] for name in ("kind", "minutes", "fingerprint", "recipe")))
            _check(decisions)
            dict(**plan.recipe)
        except OSError as error:
            raise RetrievalError(
                f"The plan {str(path)!r} cannot be read ({error.strerror}); give a run's {FILE}, or train anew."
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise RetrievalError(
                f"{path} is no plan of a training ({type(error).__name__}: {error}); "
                f"give a run's {FILE}, or train anew."
            ) from None
        return plan


def _check(decisions: Sequence[Decision]) -> None:
    for before, now in zip((Decision(-1, 0.0, 1), *decisions), decisions, strict=False):
        whole = type(now.step) is type(now.steps) is int
        if not (whole and before.step < now.step <= now.steps and before.share <= now.share <= 1 and now.steps):
            raise ValueError(f"{now} cannot follow {before}")
    if not decisions or decisions[0].step:
        raise ValueError("it does not begin at step 0")


class Pace:
    """What a clock says of the steps that are left. It is asked after each, and answers now and then.

    Args:
        seconds: that the training is to take, from its very beginning to its last validation.
        step, share, gone: where it stands now, which is at its first step or where it was resumed: steps done, its
            share, and the seconds that are gone. From here on the share grows with the time.
        ending: how many steps take as long as a validation, by an estimate that counts until there was one.
    """

    def __init__(self, seconds: float, *, step: int, share: float, gone: float, ending: float) -> None:
        self.seconds = seconds
        self._steps_of_ending = ending
        self._start = self._before = step, gone
        self._share = share
        self._each = math.nan
        self._usual = math.nan

    @property
    def ending(self) -> float:
        """The seconds of a validation; 0 while nothing is known."""
        return 0.0 if math.isnan(self._usual) else self._steps_of_ending * self._usual

    def due(self, step: int, steps: int, gone: float) -> bool:
        """Whether something is to be decided: the training would end here, or must; a hundredth of its time is over; or
        the first steps are done, whose number doubles, since nothing is known of the machine before."""
        done = step - self._start[0]
        late = gone - self._before[1] >= self.seconds / LOOKS
        return step >= steps or gone >= self.seconds - self.ending or late or done & (done - 1) == 0

    def look(self, step: int, gone: float) -> tuple[float, int]:
        """How much of the training is done and how many steps it has, by what the last ones took.

        Args:
            step: steps done, more than at the last look. gone: seconds.
        """
        last, then = self._before
        each = max(1e-6, (gone - then) / (step - last))
        self._each = each if math.isnan(self._each) else (self._each + each) / 2
        # A validation takes as long as many steps: so many say how fast the machine is at it, and no single one.
        weight = min(1.0, (step - last) / max(1.0, self._steps_of_ending))
        self._usual = each if math.isnan(self._usual) else self._usual + weight * (each - self._usual)
        self._before = step, gone
        begun, end = self._start[1], self.seconds - self.ending
        left = max(0, round((end - gone) / self._each))
        if not left:
            return 1.0, step
        return self._share + (1 - self._share) * (gone - begun) / (end - begun), step + left

    def validated(self, seconds: float) -> None:
        """A validation took so long, which says nothing of the steps, but how many of them take as long."""
        if not math.isnan(self._each):  # halfway, as the machine may have been another than for the steps before
            self._steps_of_ending = math.sqrt(self._steps_of_ending * max(1e-6, seconds) / self._each)
        self._before = self._before[0], self._before[1] + seconds

    def over(self, gone: float) -> bool:
        """Whether nothing may go on any more, not even a look at held-out pictures."""
        return gone > OVER * self.seconds
