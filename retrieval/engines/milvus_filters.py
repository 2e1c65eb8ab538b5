"""Filters as expressions of Milvus. They mean what :mod:`retrieval.index.filters` says, to the last letter.

All but ``contains`` becomes ranges of terms (:mod:`.milvus_rows`), whose letters mean nothing in an expression, and
of whole numbers. Milvus 2.3 looks for no text within another: there, and so everywhere, ``contains`` is asked of the
terms of those items that all else lets through.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from retrieval.base import moments
from retrieval.engines.milvus_rows import NUMBER, TEXT, attribute_key, moment_key, number_term, spelled, text_term
from retrieval.index.filter_syntax import Both, Condition, Not, Tree, Value, parse
from retrieval.index.filters import BUILT_IN, Compiler
from retrieval.index.records import Value as Stored

COLUMNS = {name: name for name in BUILT_IN} | {"modified": "mtime_ns"}
"""What every item has, and where."""

WHOLE = ("id", "width", "height", "size", "mtime_ns")
"""Fields that hold whole numbers, of 64 bits."""

FIELDS = (*WHOLE, "terms")
"""What :attr:`Filter.matches` looks at."""

Ranges = Sequence[tuple[Any, Any]]

_ANYTHING, _NOTHING = "id >= 0", "id < 0"
_AFTER = {TEXT: "u", NUMBER: "o"}
_NEXT, _LAST = "!", "~"  # before and behind every letter that is used: what follows a term, and what begins with it


@dataclass(frozen=True)
class Filter:
    """A filter, compiled.

    Attributes:
        expression: Milvus': all that match are let through, and, if `exact`, nothing else.
        exact: whether that is all that there is to it.
        matches: whether an item does, by its :data:`FIELDS`.
    """

    expression: str
    exact: bool
    matches: Callable[[Mapping[str, Any]], bool]


def compile(expression: str, kinds: Mapping[str, set[str]]) -> Filter:
    """Compile a filter; see :func:`retrieval.index.filters.compile`."""
    return _Milvus(expression, kinds).filter(parse(expression), True)


class _Milvus(Compiler):
    """Tree to expression and to a test."""

    def condition(self, condition: Condition) -> str:
        return self.filter(condition, True).expression

    def filter(self, tree: Tree, widened: bool) -> Filter:
        """
        Args:
            widened: what cannot be said is let through; else it is not.
        """
        if isinstance(tree, Condition):
            self.known(tree)
            return self._condition(tree, widened)
        if isinstance(tree, Not):
            return _inverse(self.filter(tree.term, not widened))
        terms = [self.filter(one, widened) for one in tree.terms]
        joined, every = ("and", all) if isinstance(tree, Both) else ("or", any)
        return Filter(
            _joined([term.expression for term in terms], joined),
            all(term.exact for term in terms),
            lambda row: every(term.matches(row) for term in terms),
        )

    def _condition(self, condition: Condition, widened: bool) -> Filter:
        name, operator = condition.name, condition.operator
        if operator in ("missing", "present"):
            there = self._there(name)
            return _inverse(there) if operator == "missing" else there
        values = [self.fitting(condition, value) for value in condition.values]
        if operator == "in":
            tests = [self._compare(name, "=", value) for value in values]
            found = _joined([test.expression for test in tests], "or")
            return Filter(found, True, lambda row: any(test.matches(row) for test in tests))
        if operator == "contains":
            key, piece = _key(name), spelled(str(values[0].value))
            expression = _of_terms(key, [(TEXT, _AFTER[TEXT])]).expression if widened else _NOTHING
            return Filter(expression, False, lambda row: _holds(row["terms"].get(key), piece))
        if operator in ("startswith", "under"):
            return _of_terms(_key(name), _beginning(str(values[0].value), operator == "under"))
        return self._compare(name, operator, values[0])

    def _there(self, name: str) -> Filter:
        if COLUMNS.get(name) in WHOLE:
            return Filter(_ANYTHING, True, lambda row: True)
        return _of_terms(_key(name), [(kind, _AFTER[kind]) for kind in (NUMBER, TEXT)])

    def _compare(self, name: str, operator: str, value: Value) -> Filter:
        column = COLUMNS.get(name)
        if value.kind == "date":
            moment = moments.read(str(value.value))
            assert moment is not None  # the parser took it for a date
            first, end = moment.start, moment.start + moment.length
            if column is not None:
                return _of_whole(column, _apart(operator, 1000 * first, 1000 * end, -math.inf, math.inf))
            return _of_terms(
                moment_key(name),
                _apart(operator, number_term(first), number_term(end), NUMBER, _AFTER[NUMBER]),
            )
        if column in WHOLE:
            assert not isinstance(value.value, str)
            number = min(max(value.value, -(2**64)), 2**64)
            # Up to a number that is none of theirs, and from the next one on.
            return _of_whole(
                str(column), _apart(operator, math.ceil(number), math.floor(number) + 1, -math.inf, math.inf)
            )
        term = text_term(value.value) if isinstance(value.value, str) else number_term(value.value)
        kind = term[0]
        return _of_terms(_key(name), _apart(operator, term, term + _NEXT, kind, _AFTER[kind]))


def _key(name: str) -> str:
    return COLUMNS.get(name) or attribute_key(name)


def _apart(operator: str, first: Any, end: Any, least: Any, most: Any) -> Ranges:
    """Which values compare so with what goes from the first to before the end."""
    return {
        "=": [(first, end)],
        "!=": [(least, first), (end, most)],
        "<": [(least, first)],
        "<=": [(least, end)],
        ">": [(end, most)],
        ">=": [(first, most)],
    }[operator]


def _beginning(text: str, under: bool) -> Ranges:
    if not under or not text:
        return [(text_term(text), text_term(text) + _LAST)]
    folder = text.rstrip("/")
    same, inside = text_term(folder or text), text_term(folder + "/")
    return [(same, same + _NEXT), (inside, inside + _LAST)]


def _holds(term: str | None, piece: str) -> bool:
    return term is not None and term[0] == TEXT and piece in term[1:]


def _of_terms(key: str, ranges: Ranges) -> Filter:
    field = f'terms["{key}"]'
    tests = [f'({field} >= "{low}" and {field} < "{high}")' for low, high in ranges]

    def matches(row: Mapping[str, Any]) -> bool:
        term = row["terms"].get(key)
        return term is not None and any(low <= term < high for low, high in ranges)

    return Filter(_joined(tests, "or"), True, matches)


def _of_whole(field: str, ranges: Ranges) -> Filter:
    tests = [_whole_range(field, low, high) for low, high in ranges]
    return Filter(_joined(tests, "or"), True, lambda row: any(low <= row[field] < high for low, high in ranges))


def _whole_range(field: str, low: float, high: float) -> str:
    """A range of a field; what is beyond its 64 bits, and the least of them, is no number that Milvus reads."""
    if low >= high or low >= 2**63 or high <= -(2**63):
        return _NOTHING
    tests = [f"{field} >= {low}"] if low > -(2**63) else []
    tests += [f"{field} < {high}"] if high < 2**63 else []
    return _joined(tests or [_ANYTHING], "and")


def _inverse(of: Filter) -> Filter:
    return Filter(f"(not ({of.expression}))", of.exact, lambda row: not of.matches(row))


def _joined(tests: Sequence[str], word: str) -> str:
    return tests[0] if len(tests) == 1 else f"({f' {word} '.join(tests)})"


def fields_of(name: str) -> list[str]:
    """What is fetched for the values of a name."""
    if name == "folder":
        return ["id", "path"]
    column = COLUMNS.get(name)
    return ["id", "attributes"] if column is None else ["id", *(["label", "labelled"] if name == "label" else [column])]


def value_of(found: Mapping[str, Any], name: str) -> Stored | None:
    if name == "folder":
        path: str = found["path"]
        return path[: path.rindex("/") + 1].rstrip("/") or path[: path.rindex("/") + 1] if "/" in path else ""
    if name == "label" and not found["labelled"]:
        return None
    value: Stored | None = found[COLUMNS[name]] if name in COLUMNS else found["attributes"].get(name)
    return value
