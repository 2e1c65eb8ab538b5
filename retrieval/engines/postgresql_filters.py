"""Filters as conditions of PostgreSQL. They mean what :mod:`retrieval.index.filters` says, to the last letter.

Texts are compared in the collation "C", by code point; numbers as ``numeric``, without rounding; dates by the moments
that stand beside the attributes, read as everywhere by :mod:`retrieval.base.moments`. An attribute's name and whatever
an expression compares with are parameters, never SQL.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from retrieval.base import moments
from retrieval.index.filter_syntax import Condition, Value, parse
from retrieval.index.filters import BUILT_IN, Compiler, all_of, any_of

COLUMNS = {name: name for name in BUILT_IN} | {"modified": "mtime_ns", "folder": "rtrim(path, replace(path, '/', ''))"}
"""What every item has, and where; the folder is the path without what stands behind its last slash."""


def compile(expression: str, kinds: Mapping[str, set[str]]) -> tuple[str, dict[str, Any]]:
    """Turn a filter into SQL; see :func:`retrieval.index.filters.compile`. Parameters are psycopg's, by name."""
    compiler = _PostgreSQL(expression, kinds)
    return compiler.tree(parse(expression)), compiler.values


def exactly(number: int | float) -> Decimal:
    """A number as ``numeric`` and JSON keep it: other floats become other numbers, in the same order, also beside whole
    numbers; and it comes back as it was."""
    if isinstance(number, int):
        return Decimal(number)
    # Below 2**53 the shortest digits that come back as it are enough; above, these would fall between whole numbers.
    return Decimal(repr(number)) if abs(number) < 2**53 else Decimal(f"{int(number)}.0")


class _PostgreSQL(Compiler):
    """Tree to SQL on a row of ``items``."""

    def condition(self, condition: Condition) -> str:
        built_in = condition.name in BUILT_IN
        if condition.operator in ("missing", "present"):
            if built_in:
                return f"{COLUMNS[condition.name]} IS {'NOT ' * (condition.operator == 'present')}NULL"
            there = f"attributes ? {self._bind(condition.name, 'text')}"
            return f"(NOT {there})" if condition.operator == "missing" else f"({there})"
        values = [self.fitting(condition, value) for value in condition.values]
        if condition.operator in ("contains", "startswith", "under"):
            return self._text_test(self._column(condition, "text"), condition.operator, str(values[0].value))
        if condition.operator != "in":
            return self._compare(condition, condition.operator, values[0])
        tests = [self._compare(condition, "=", value) for value in values if value.kind == "date"]
        for kind in ("number", "text"):
            alike = [value.value for value in values if value.kind == kind]
            if alike:
                among = self._bind([_kept(value) for value in alike], f"{_TYPES[kind]}[]")
                tests.append(f"{self._column(condition, kind)} = ANY({among})")
        return any_of(tests)

    def _column(self, condition: Condition, kind: str) -> str:
        """What a condition names, as a value of this kind; NULL where it is of the other."""
        if condition.name in BUILT_IN:
            return COLUMNS[condition.name]
        name = self._bind(condition.name, "text")
        if kind == "date":
            return f"(moments->>{name})::bigint"
        of, value = {
            "number": ("number", f"(attributes->{name})::numeric"),
            "text": ("string", f"attributes->>{name}"),
        }[kind]
        # A CASE, since what stands beside an AND may be looked at first.
        found = f"(CASE WHEN jsonb_typeof(attributes->{name}) = '{of}' THEN {value} END)"
        return f'{found} COLLATE "C"' if kind == "text" else found

    def _compare(self, condition: Condition, operator: str, value: Value) -> str:
        column = self._column(condition, value.kind)
        if value.kind == "date":
            return self._compare_span(column, operator, str(value.value))
        whole = condition.name in BUILT_IN and isinstance(value.value, int)  # which an index on the column can find
        kept = value.value if whole else _kept(value.value)
        return f"{column} {operator} {self._bind(kept, 'bigint' if whole else _TYPES[value.kind])}"

    def _compare_span(self, column: str, operator: str, date: str) -> str:
        """Compare with all of the moment that a date stands for, as if it were one value."""
        moment = moments.read(date)
        assert moment is not None  # the parser took it for a date
        first, end = moment.start, moment.start + moment.length
        if column == COLUMNS["modified"]:
            first, end = (min(max(1000 * time, -(2**63)), 2**63 - 1) for time in (first, end))
        before, after = f"{column} < {{}}", f"{column} >= {{}}"
        if operator == "=":
            return all_of([after.format(self._bind(first, "bigint")), before.format(self._bind(end, "bigint"))])
        if operator == "!=":
            return any_of([before.format(self._bind(first, "bigint")), after.format(self._bind(end, "bigint"))])
        test, limit = {"<": (before, first), "<=": (before, end), ">": (after, end), ">=": (after, first)}[operator]
        return test.format(self._bind(limit, "bigint"))

    def _text_test(self, column: str, operator: str, text: str) -> str:
        if operator == "contains":
            return f"strpos({column}, {self._bind(text, 'text')}) > 0"
        if operator == "startswith" or not text:
            return f"starts_with({column}, {self._bind(text, 'text')})"
        folder = text.rstrip("/")
        return any_of(
            [
                f"{column} = {self._bind(folder or text, 'text')}",
                f"starts_with({column}, {self._bind(folder + '/', 'text')})",
            ]
        )

    def _bind(self, value: object, kind: str) -> str:
        name = f"f{len(self.values)}"
        self.values[name] = value
        return f"%({name})s::{kind}"


_TYPES = {"number": "numeric", "text": "text"}


def _kept(value: str | int | float) -> str | Decimal:
    return value if isinstance(value, str) else exactly(value)
