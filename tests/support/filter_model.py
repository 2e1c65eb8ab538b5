"""Random items and random filters of them, each written down and evaluated without SQL: what a filter must find."""

from __future__ import annotations

import datetime
import random
from collections.abc import Callable
from typing import Any

from retrieval.index import filters
from retrieval.index.filter_syntax import spelled

NOON = 1714564800  # 2024-05-01T12:00 in UTC, in seconds since 1970
SECONDS = [-43201, -43200, -1, 0, 1, 29, 30, 31, 59, 60, 43199, 43200, -NOON, -NOON - 1, -NOON - 86401]
COLUMNS = ("id", "path", "label", "width", "height", "size", "mtime_ns")

# Letters that mean something in LIKE, GLOB, SQL or the filters themselves, and the last ones before and after the gap
# of the surrogates and at the end of Unicode.
LETTERS = [
    "a",
    "A",
    "b",
    "%",
    "_",
    "*",
    "[",
    "'",
    '"',
    "\\",
    "`",
    ";",
    "é",
    "\ud7ff",
    "\ue000",
    "\U0010ffff",
    " ",
    "/",
    "0",
]
TEXTS = [
    "",
    "a",
    "a/b",
    "a/b/a",
    "a/",
    "a0",
    "/a",
    "7",
    "2024-05-01",
    "2024-05-01T12:00",
    "2024-05-02T00:00:00",
    *LETTERS,
]
NUMBERS = [0, 1, -1, 7, 400, 0.5, -2.75, 1e300, 2**53, 2**53 + 1, 2**63 - 1, -(2**63)]
DATES = [
    "2024-05-01",
    "2024-05-01T12:00",
    "2024-05-01T12:00:30",
    "2024-05-01 12:00",
    "2024-04-30",
    "1969-12-31",
    "0001-01-01",
    "9999-12-31",
]
TIMES = ["", "T12:00", "T12:00:30Z", " 12:00:30", " 23:59:59.5", " 23:30:00-02:00", "T01:30:00+02:00"]
KINDS = {"iso": {"number"}, "camera": {"text"}, "taken": {"text"}, "mixed": {"number", "text"}, "f stop`": {"number"}}

Row = dict[str, Any]
Test = Callable[[Row], bool]


# Random rows


def rows(rng: random.Random, count: int) -> list[Row]:
    made = []
    for id_ in range(count):
        row: Row = {
            "id": id_,
            "path": "/".join(rng.choice(["a", "b", "a b", "%", "a%", "_", "[a]"]) for _ in range(rng.randint(1, 3))),
            "label": rng.choice([None, *TEXTS]),
            "width": rng.choice([0, 7, 400]),
            "height": rng.randrange(1000),
            "size": rng.choice([0, 2**40, 400]),
            "mtime_ns": (NOON + rng.choice(SECONDS)) * 10**9 + rng.choice([0, 1, 999_999_999]),
        }
        for name, values in (
            ("iso", NUMBERS),
            ("camera", TEXTS),
            (
                "taken",
                [f"2024-0{rng.choice('45')}-{rng.choice(['01', '30'])}{rng.choice(TIMES)}", "2024/05/01", "unknown"],
            ),
            ("mixed", [*NUMBERS, *TEXTS]),
            ("f stop`", NUMBERS),
        ):
            if rng.random() < 0.7:
                row[name] = rng.choice(values)
        made.append(row)
    return made


# Random filters, each written down and evaluated without SQL


def number(text: str) -> bool:
    return isinstance(text, int | float)


COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def compared(value: Any, operator: str, other: Any) -> bool:
    """With a number or a text."""
    return value is not None and number(value) == number(other) and COMPARE[operator](value, other)


def when(text: str) -> datetime.datetime | None:
    """The time that a text names, in UTC."""
    try:
        time = datetime.datetime.fromisoformat(text.replace("/", "-"))
    except ValueError:
        return None
    return time if time.tzinfo is None else time.astimezone(datetime.UTC).replace(tzinfo=None)


def compared_date(value: str | None, operator: str, date: str) -> bool:
    """With the moment: by truncating the time to whole seconds, minutes or days."""
    time = when(value) if isinstance(value, str) else None
    return time is not None and COMPARE[operator](time.isoformat()[: len(date)], date.replace(" ", "T"))


def compared_time(mtime_ns: int, operator: str, date: str) -> bool:
    moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=mtime_ns // 1000)
    return compared_date(moment.isoformat(), operator, date)


def quoted(text: str, rng: random.Random) -> str:
    mark = rng.choice("\"'")
    return mark + text.replace("\\", "\\\\").replace(mark, "\\" + mark) + mark


def random_condition(rng: random.Random) -> tuple[str, Test]:
    name = rng.choice(["id", "path", "label", "width", "size", "modified", *KINDS])
    written = spelled(name)
    kinds = KINDS.get(name) or {filters.BUILT_IN[name]}
    operator = rng.choice([*COMPARE, "in", "missing", "present", "under", "contains", "startswith"])
    if operator in ("missing", "present"):
        column = "mtime_ns" if name == "modified" else name
        return f"{written} is {operator}", lambda row: (row.get(column) is None) == (operator == "missing")
    if name == "modified":
        operator = operator if operator in COMPARE else "="
        date = rng.choice(DATES)
        return f"modified{operator}{date}", lambda row: compared_time(row["mtime_ns"], operator, date)
    if "text" in kinds and operator in ("under", "contains", "startswith"):
        text = rng.choice(TEXTS)

        def test(row: Row) -> bool:
            value = row.get(name)
            if not isinstance(value, str):
                return False
            if operator == "contains":
                return text in value
            if operator == "startswith" or not text:
                return value.startswith(text)
            parts = text.rstrip("/").split("/") if text.strip("/") else [""]
            if not text.strip("/"):
                return value.startswith("/")
            return value == text or value.split("/")[: len(parts)] == parts

        return f"{written} {operator} {quoted(text, rng)}", test
    choices: list[tuple[str, Callable[[Any, str], bool]]] = []
    if "number" in kinds:
        choices += [(repr(n), lambda value, op, n=n: compared(value, op, n)) for n in NUMBERS]
        choices += [("TRUE", lambda value, op: compared(value, op, 1))]
    if "text" in kinds:
        choices += [(quoted(t, rng), lambda value, op, t=t: compared(value, op, t)) for t in TEXTS]
        if name in KINDS:
            choices += [(d, lambda value, op, d=d: compared_date(value, op, d)) for d in DATES]
    if operator == "in":
        some = rng.choices(choices, k=rng.randint(1, 4))
        listed = ", ".join(text for text, _ in some)
        return f"{written} IN ({listed})", lambda row: any(test(row.get(name), "=") for _, test in some)
    operator = operator if operator in COMPARE else "!="
    text, compare = rng.choice(choices)
    return f"{written} {operator} {text}", lambda row: compare(row.get(name), operator)


def random_filter(rng: random.Random, depth: int) -> tuple[str, Test]:
    kind = rng.choice(["condition", "not", "and", "or"]) if depth else "condition"
    if kind == "condition":
        return random_condition(rng)
    if kind == "not":
        text, test = random_filter(rng, depth - 1)
        return f"not ({text})", lambda row: not test(row)
    parts = [random_filter(rng, depth - 1) for _ in range(rng.randint(2, 3))]
    combine = all if kind == "and" else any
    return f" {kind} ".join(f"({text})" for text, _ in parts), lambda row: combine(test(row) for _, test in parts)
