"""Which rows of a collection are true: Milvus changes one row after another, and an index changes as a whole.

Every row says from which generation on it is true, and rows are only ever added, and deleted: what changes is added
anew. A change adds its rows, which nobody takes for true yet; then one row, the state, which makes them true and says
which others are not true any more; and then deletes those. Whoever asks reads the state before and after, and asks
again if it changed.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from retrieval.engines.milvus_rows import STATE, of_part

FEW_DEAD = 2000
"""Rows that a state can name as not true any more; for more, whoever asks waits until they are deleted."""


@dataclass(frozen=True)
class MilvusState:
    """What is true.

    Attributes:
        row: of this state; of several, that with the highest is true.
        generation: rows from later ones are not true.
        items: that there are.
        dead: rows that are not true any more, and may be there still.
        sweeping: whether there are more of these, which are listed in rows of their own.
        lists: of the structure; 0 where there is none, and all rows are looked at.
        settled: the generation of which all rows are in the structure.
        loading: of a version in the making: of what, and the last id that is there.
    """

    row: int
    generation: int
    items: int
    dead: tuple[int, ...] = ()
    sweeping: bool = False
    lists: int = 0
    settled: int = -1
    loading: dict[str, Any] | None = None

    @classmethod
    def of(cls, found: list[dict[str, Any]]) -> MilvusState | None:
        """The one that is true, among rows of states."""
        if not found:
            return None
        last = max(found, key=lambda one: int(one["row"]))
        told = json.loads(last["content"])
        return cls(**{**told, "row": last["row"], "dead": tuple(told["dead"])})

    def to_row(self, nothing: Any) -> dict[str, Any]:
        """As it is kept."""
        told = json.dumps({name: value for name, value in asdict(self).items() if name != "row"})
        return of_part(self.row, self.generation, STATE, "", 0, told, nothing)

    @property
    def items_there(self) -> str:
        """The condition for items that are true."""
        return f"id >= 0 and {self.there}"

    @property
    def there(self) -> str:
        """The condition for all rows that are true."""
        alive = f" and row not in {list(self.dead)}" if self.dead else ""
        return f"since <= {self.generation}{alive}"
