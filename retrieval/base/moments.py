"""Points in time as people write them, in tables and in filters.

Read are dates with ``-``, ``/``, ``.`` or ``:`` between year, month and day, or with nothing (``20240501``); the month
alone (``2024-05``); after a ``T`` or a blank the time, with or without seconds and their fraction; and a zone, ``Z``,
``UTC`` or an offset such as ``+02:00``. A point with a zone is turned into UTC; one without is taken as it
is written, as if it were UTC.
"""

from __future__ import annotations

import calendar
import datetime
import re
from collections import Counter
from functools import lru_cache
from typing import NamedTuple

_DAY = 24 * 60 * 60 * 1_000_000
_BEGAN = datetime.datetime(1970, 1, 1)
_EPOCH = _BEGAN.toordinal()
_SHOWN = 3
_LONGEST = 100  # letters of a text that is looked at

_ZONE = r"(?:\s*(Z|UTC|GMT|[+-][0-9]{2}(?::?[0-9]{2})?))?"
_FRACTION = r"(?:[.,]([0-9]+))?"
_APART = re.compile(
    r"([0-9]{4})([-/.:])([0-9]{1,2})\2([0-9]{1,2})"
    rf"(?:(?:T|\s+)([0-9]{{1,2}}):([0-9]{{2}})(?::([0-9]{{2}}){_FRACTION})?{_ZONE})?",
    re.IGNORECASE,
)
_COMPACT = re.compile(
    rf"([0-9]{{4}})()([0-9]{{2}})([0-9]{{2}})(?:[T\s]?([0-9]{{2}}):?([0-9]{{2}})(?::?([0-9]{{2}}){_FRACTION})?{_ZONE})?",
    re.IGNORECASE,
)
_MONTH = re.compile(r"([0-9]{4})[-/]([0-9]{1,2})")
_LIKE_A_DATE = re.compile(
    r"\b[0-9]{1,4}[-/.][0-9]{1,2}[-/.][0-9]{4}\b|\b[0-9]{1,2}/[0-9]{1,2}/[0-9]{2}\b|^[0-9]{4}[-/][0-9]{1,2}[-/][0-9]{1,2}"
    r"|\b[0-9]{1,2}[- .]+[A-Za-z]{3,9}[- .]+[0-9]{4}\b|\b[A-Za-z]{3,9}\.? [0-9]{1,2},? [0-9: ]*[0-9]{4}\b"
)


class Moment(NamedTuple):
    """What a text stands for.

    Attributes:
        start: microseconds since 1970, UTC.
        length: microseconds that it stands for: a day, a minute, a second or a part of one.
    """

    start: int
    length: int


def read(text: str) -> Moment | None:
    """The moment that a text names; None if it names none."""
    text = text.strip()
    if whole := _MONTH.fullmatch(text):
        return _month(int(whole[1]), int(whole[2]))
    found = _APART.fullmatch(text) or _COMPACT.fullmatch(text)
    if found is None:
        return None
    year, _, month, day, hour, minute, second, fraction, zone = found.groups()
    try:
        start = (datetime.date(int(year), int(month), int(day)).toordinal() - _EPOCH) * _DAY
    except ValueError:
        return None
    if hour is None:
        return Moment(start, _DAY)
    if int(hour) > 23 or int(minute) > 59 or int(second or 0) > 59:
        return None
    start += ((int(hour) * 60 + int(minute)) * 60 + int(second or 0)) * 1_000_000
    digits = (fraction or "")[:6]
    start += int(digits.ljust(6, "0"))
    if zone is not None and zone[0] in "+-":
        offset = int(zone[1:3]) * 60 + int(zone[-2:] if len(zone) > 3 else 0)
        start -= offset * 60_000_000 * (-1 if zone[0] == "-" else 1)
    return Moment(start, 60_000_000 if second is None else 10 ** (6 - len(digits)))


def _month(year: int, month: int) -> Moment | None:
    try:
        first = datetime.date(year, month, 1).toordinal()
    except ValueError:
        return None
    return Moment((first - _EPOCH) * _DAY, calendar.monthrange(year, month)[1] * _DAY)


def start(value: object) -> int | None:
    """Where the moment begins that a value names, in microseconds since 1970; None if it names none.

    A filter calls it for every value of an attribute, so that the commonest form has a way of its own.
    """
    if not isinstance(value, str):
        return None
    if len(value) == 19 and value[10] in "T ":
        try:
            since = datetime.datetime.fromisoformat(value) - _BEGAN
        except (ValueError, TypeError):  # another form of that length, or one with a zone
            pass
        else:
            return since.days * _DAY + since.seconds * 1_000_000
    found = read(value)
    return None if found is None else found.start


class Doubts:
    """Finds the cells of columns of dates that are not understood."""

    def __init__(self) -> None:
        self._columns: dict[str, Counter[str]] = {}
        self._examples: dict[str, list[str]] = {}

    def see(self, column: str, value: object) -> None:
        """Look at a cell; what is no text is passed over."""
        if not isinstance(value, str):
            return
        kind = _kind(value) if len(value) <= _LONGEST else "other"
        counts = self._columns.get(column)
        if counts is None:
            counts = self._columns[column] = Counter()
            self._examples[column] = []
        counts[kind] += 1
        if kind != "date" and len(self._examples[column]) < _SHOWN and value not in self._examples[column]:
            self._examples[column].append(value)

    def notes(self) -> list[str]:
        """A sentence for each column most of whose texts look like dates: how many were not understood, and which."""
        notes = []
        for column, counts in sorted(self._columns.items()):
            strange = counts["like one"] + counts["other"]
            if strange and counts["other"] < counts["date"] + counts["like one"]:
                some = ", ".join(map(_short, self._examples[column]))
                more = ", ..." if len(self._examples[column]) < strange else ""
                notes.append(
                    f"{strange:,} of {counts.total():,} dates in {column!r} were not understood and match no date in a "
                    f"filter: {some}{more}"
                )
        return notes


@lru_cache(1 << 12)
def _kind(text: str) -> str:
    """Whether a text is a "date", looks "like one", or is something "other"; the same one comes again and again."""
    if read(text) is not None:
        return "date"
    return "like one" if len(text) <= 40 and _LIKE_A_DATE.search(text) else "other"


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:39] + "…")
