"""What every verb that measures gives back: a table for people, JSON for programs, a file to keep."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from retrieval.base.files import write_durably
from retrieval.base.notebook import preformatted
from retrieval.base.text import json_text, plain


class Found(ABC):
    """Something that was measured: a dataclass."""

    def to_json(self) -> dict[str, Any]:
        """Plain values, as JSON can hold them; what is open is None."""
        return {name: plain(value) for name, value in vars(self).items()}

    @abstractmethod
    def table(self) -> str:
        """For a terminal."""

    def text(self) -> str:
        """The JSON as text for a file or a terminal, where each row of numbers is one line."""
        return json_text(self.to_json())

    def shown(self, *, as_json: bool) -> str:
        """What a verb prints: the text if JSON was asked for, the table otherwise."""
        return self.text() if as_json else self.table()

    def _repr_html_(self) -> str:
        """The table, in a notebook."""
        return preformatted(self.table())

    def save(self, path: str | Path) -> None:
        """Write the text to a file, whole or not at all.

        Raises:
            RetrievalError: it cannot be written.
        """
        write_durably(Path(path), (self.text() + "\n").encode())
