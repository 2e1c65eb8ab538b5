"""Filters: which items a search may return, as an expression that becomes a condition in SQL.

``label = "cat" and iso <= 400 and not path under "holiday"``: the grammar stands in
:mod:`retrieval.index.filter_syntax`, and ``docs/filters.md`` explains it to people. The names are those in
:data:`BUILT_IN` and of the attributes that somebody attached.

What it means:

- A comparison with what an item does not have is false, ``!=`` too; ``not`` turns that round, so that
  ``not iso > 400`` also matches items that have no ``iso``.
- Numbers are compared with numbers and text with text, letter by letter and by code point, so capitals matter.
  Of an attribute that has both kinds of values, those of the other kind do not match. If it has only the other kind,
  the filter is refused.
- A date without quotes stands for all of its day, minute or second: ``= 2024-05-01`` is any moment of that day,
  ``<= 2024-05-01`` up to its end, ``> 2024-05-01`` from the next day on. Attributes are read as
  :mod:`retrieval.base.moments` reads dates, however they are written, and compared as times; what is no date matches
  none. ``modified`` is the file's time of change in UTC.
- ``label`` and ``path`` are text. A number or date after ``=``, ``!=`` or in ``in`` is taken as it is written, so that
  ``label = 3`` finds the label "3".
- ``true`` and ``false`` are 1 and 0.
- ``under "a/b"`` matches "a/b" itself and whatever begins with "a/b/".
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from retrieval.base import moments
from retrieval.index.filter_syntax import Both, Condition, Not, Tree, Value, parse, refuse, spelled

BUILT_IN: Mapping[str, str] = {
    "id": "number",
    "path": "text",
    "label": "text",
    "width": "number",
    "height": "number",
    "size": "number",
    "modified": "date",
}
"""What every item has, and its kind. Attributes cannot have these names."""

COLUMNS = {name: f"items.{name}" for name in BUILT_IN} | {"modified": "items.mtime_ns"}
"""Where the catalog has it."""
_LIVE = "attributes.added <= :now AND (attributes.removed IS NULL OR attributes.removed > :now)"
_VALUE = "attributes.value"

MOST_NAMED = 30
"""Attributes that the error about an unknown one names, at most."""


def compile(expression: str, kinds: Mapping[str, set[str]]) -> tuple[str, dict[str, str | int | float]]:
    """Turn a filter into SQL.

    Args:
        expression: the filter.
        kinds: the attributes that there are, each with the kinds of its values: "number", "text" or both.

    Returns:
        A condition on a row of ``items``, true, false or NULL, and the values of its named parameters ``f0``, ``f1``
        and so on. It also uses ``:now``, the generation that is read. Nothing of the expression stands in the SQL.

    Raises:
        RetrievalError: it is no filter, names something unknown, or compares what cannot be compared.
    """
    compiler = _Sqlite(expression, kinds)
    return compiler.tree(parse(expression)), compiler.values


class Compiler(ABC):
    """Tree to SQL, of whatever database: what fits what, and how conditions are joined, is the same for all.

    Args:
        source: the filter. kinds: the attributes that there are, as :func:`compile` takes them.

    Attributes:
        values: those of the parameters that the SQL names.
    """

    def __init__(self, source: str, kinds: Mapping[str, set[str]]) -> None:
        self._source = source
        self._kinds = kinds
        self.values: dict[str, Any] = {}

    def tree(self, tree: Tree) -> str:
        """The condition, true, false or NULL."""
        if isinstance(tree, Condition):
            self.known(tree)
            return self.condition(tree)
        if isinstance(tree, Not):
            return f"({self.tree(tree.term)}) IS NOT TRUE"  # a plain NOT would make NULL of NULL
        # The longest first: SQLite's parser remembers what stands before a bracket until it is closed, and not much.
        terms = sorted((self.tree(term) for term in tree.terms), key=len, reverse=True)
        return all_of(terms) if isinstance(tree, Both) else any_of(terms)

    @abstractmethod
    def condition(self, condition: Condition) -> str:
        """One thing that is asked of an item, which has or may have what it names."""

    def known(self, condition: Condition) -> None:
        """See to it that there is what a condition names.

        Raises:
            RetrievalError: there is not.
        """
        if condition.name not in BUILT_IN and condition.name not in self._kinds:
            self._unknown(condition)

    def kinds(self, condition: Condition) -> set[str]:
        """Of what values a condition's name is."""
        return {BUILT_IN[condition.name]} if condition.name in BUILT_IN else self._kinds[condition.name]

    def fitting(self, condition: Condition, value: Value) -> Value:
        """The value as it is compared with what the condition names, if it can be.

        Raises:
            RetrievalError: it cannot.
        """
        kinds = self.kinds(condition)
        name, built_in = condition.name, condition.name in BUILT_IN
        if kinds == {"text"} and built_in and value.kind != "text" and condition.operator in ("=", "!=", "in"):
            return Value("text", value.written, value.written, value.position)
        fits = value.kind in kinds or (value.kind == "date" and "text" in kinds and not built_in)
        if fits or not kinds:
            return value
        trouble = {
            "number": f"{name!r} {'is a number' if built_in else 'holds numbers only'}; compare it with one",
            "text": f"{name!r} {'is text' if built_in else 'holds text only'}; put the value in quotes",
            "date": f"{name!r} is a date; compare it with one without quotes, as in modified >= 2024-05-01",
        }[min(kinds)]
        refuse(self._source, value.position, value.written, f", and {trouble}")

    def _unknown(self, condition: Condition) -> NoReturn:
        attached = sorted(self._kinds)
        known = ", ".join([*BUILT_IN, *(spelled(name) for name in attached[:MOST_NAMED])])
        more = f" and {len(attached) - MOST_NAMED:,} more" if len(attached) > MOST_NAMED else ""
        refuse(
            self._source,
            condition.position,
            condition.name,
            f", which is no name here; there are {known}{more}",
        )


class _Sqlite(Compiler):
    """Tree to SQLite's SQL.

    A condition on an attribute asks whether the item is among those that ``attributes`` gives for it, as that is read
    once, from the index on (name, value). The same as a subselect for each item would take a second for a million
    items however few match, and, where SQLite guesses wrong, hours.
    """

    def condition(self, condition: Condition) -> str:
        if condition.name in BUILT_IN:
            column = COLUMNS[condition.name]
            if condition.operator in ("missing", "present"):
                return f"{column} IS {'NOT ' * (condition.operator == 'present')}NULL"
            return self._test(column, condition)
        tests = [f"attributes.name = {self._bind(condition.name)}"]
        if condition.operator not in ("missing", "present"):
            tests.append(self._test(_VALUE, condition))
        matching = f"SELECT attributes.item FROM attributes WHERE {' AND '.join(tests)} AND {_LIVE}"  # noqa: S608
        return f"items.id {'NOT ' * (condition.operator == 'missing')}IN ({matching})"

    # What is asked of one value

    def _test(self, column: str, condition: Condition) -> str:
        values = [self.fitting(condition, value) for value in condition.values]
        value, operator = values[0], condition.operator
        if operator in ("contains", "startswith", "under"):
            return self._text_test(column, operator, str(value.value))
        if operator != "in":
            return self._compare(column, operator, value)
        exact = [self._bind(value.value) for value in values if value.kind != "date"]
        tests = [self._compare(column, "=", value) for value in values if value.kind == "date"]
        if exact:
            tests.append(f"{column} IN ({', '.join(exact)})")
        return any_of(tests)

    def _compare(self, column: str, operator: str, value: Value) -> str:
        if value.kind == "date":
            return self._compare_span(column, operator, str(value.value))
        return all_of([f"{column} {operator} {self._bind(value.value)}", *_guard(column, operator, value.kind)])

    def _compare_span(self, column: str, operator: str, date: str) -> str:
        """Compare with all of the moment that a date stands for, as if it were one value."""
        moment = moments.read(date)
        assert moment is not None  # the parser took it for a date
        first, end = moment.start, moment.start + moment.length
        if column == COLUMNS["modified"]:
            first, end = (min(max(1000 * time, -(2**63)), 2**63 - 1) for time in (first, end))
        else:
            column = f"moment({column})"
        before, after = f"{column} < {{}}", f"{column} >= {{}}"
        if operator == "=":
            return all_of([after.format(self._bind(first)), before.format(self._bind(end))])
        if operator == "!=":
            return any_of([before.format(self._bind(first)), after.format(self._bind(end))])
        test, limit = {"<": (before, first), "<=": (before, end), ">": (after, end), ">=": (after, first)}[operator]
        return test.format(self._bind(limit))

    def _text_test(self, column: str, operator: str, text: str) -> str:
        if operator == "contains":
            # of anything but text, SQLite would look into the digits
            return all_of([f"instr({column}, {self._bind(text)}) > 0", *_guard(column, "<", "text")])
        if operator == "startswith" or not text:
            return self._starts(column, text)
        folder = text.rstrip("/")
        return any_of([f"{column} = {self._bind(folder or text)}", self._starts(column, folder + "/")])

    def _starts(self, column: str, prefix: str) -> str:
        """A range, which an index can give, and in which no letter has a meaning, unlike in LIKE and GLOB."""
        tests = [f"{column} >= {self._bind(prefix)}"]
        end = _after(prefix)
        if end:
            tests.append(f"{column} < {self._bind(end)}")
        return all_of(tests)

    def _bind(self, value: str | int | float) -> str:
        name = f"f{len(self.values)}"
        self.values[name] = value
        return f":{name}"


def all_of(tests: Sequence[str]) -> str:
    """What is true where all of one or more tests are."""
    return tests[0] if len(tests) == 1 else f"({' AND '.join(tests)})"


def any_of(tests: Sequence[str]) -> str:
    """What is true where one of them is. Halved and halved again, as SQLite takes no expression a thousand deep."""
    if len(tests) == 1:
        return tests[0]
    half = len(tests) // 2
    return f"({any_of(tests[:half])} OR {any_of(tests[half:])})"


def _guard(column: str, operator: str, kind: str) -> list[str]:
    """What keeps values of the other kind out, where an attribute has both. SQLite puts all numbers before any text."""
    if column != _VALUE:
        return []
    if kind == "text" and operator in ("<", "<=", "!="):
        return [f"{column} >= ''"]
    if kind == "number" and operator in (">", ">=", "!="):
        return [f"{column} < ''"]
    return []


def _after(prefix: str) -> str:
    """The least text that is greater than all that begin with the prefix; empty if there is none."""
    stem = prefix.rstrip(chr(sys.maxunicode))
    if not stem:
        return ""
    following = ord(stem[-1]) + 1
    return stem[:-1] + chr(0xE000 if following == 0xD800 else following)  # there are no surrogates in UTF-8
