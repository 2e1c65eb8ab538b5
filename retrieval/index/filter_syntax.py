"""The text of a filter, taken apart by hand: characters to tokens, tokens to a tree. Nothing is evaluated.

The grammar, in which words may be written in capitals too::

    filter     = both { "or" both }
    both       = term { "and" term }
    term       = "not" term | "(" filter ")" | condition
    condition  = name ( "=" | "!=" | "<" | "<=" | ">" | ">=" ) value
               | name "in" "(" value { "," value } ")"
               | name ( "under" | "contains" | "startswith" ) text
               | name "is" ( "missing" | "present" )
    name       = letters, digits and "_", not beginning with a digit, and none of the words of this grammar;
                 or anything between backticks, in which a backtick is doubled
    value      = number | text | date | "true" | "false"
    number     = 3, -0.5, 1e6
    text       = "..." or '...'; \\", \\', \\\\, \\n and \\t stand for the character
    date       = 2024-05-01, 2024-05-01T12:00, 2024-05-01 12:00:30 or what else :mod:`retrieval.base.moments` reads,
                 with - or / between year, month and day

What it means is said by :mod:`retrieval.index.filters` and, for people, in ``docs/filters.md``.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import NamedTuple, NoReturn, TypeAlias

from retrieval.base import moments
from retrieval.errors import RetrievalError

MAX_LENGTH = 100_000
"""Most characters of a filter."""
MAX_DEPTH = 16
"""Most brackets and ``not`` within one another."""
MAX_CONDITIONS = 200
"""Most conditions of a filter; ``in`` takes many values in one."""
MAX_VALUES = 5_000
"""Most values of a filter; the time that SQLite takes to understand them grows with the square of their number."""

WORDS = frozenset(
    ("and", "or", "not", "in", "under", "contains", "startswith", "is", "missing", "present", "true", "false")
)
"""The words of the grammar, which are names only between backticks."""

_COMPARISONS = ("=", "!=", "<", "<=", ">", ">=")
_TEXT_TESTS = ("under", "contains", "startswith")

_TOKEN = re.compile(
    r"""
      (?P<date>   [0-9]{4}[-/][0-9]{1,2}[0-9A-Za-z:.+/-]*(?:[ ][0-9]{1,2}:[0-9A-Za-z:.+-]*)? )
    | (?P<number> -?(?:[0-9]|\.[0-9])(?:[eE][+-]|[\w.])* )
    | (?P<name>   [^\W\d]\w* )
    | (?P<quoted> `(?:[^`]|``)+` )
    | (?P<text>   "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' )
    | (?P<symbol> <=|>=|!=|[=<>(),] )
    """,
    re.VERBOSE | re.DOTALL,
)
_NAME = re.compile(r"[^\W\d]\w*")
_SPACE = re.compile(r"\s*")
_NUMBER = re.compile(r"-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {'"': '"', "'": "'", "\\": "\\", "n": "\n", "t": "\t"}

_UNCLOSED = {
    '"': ", which opens a text that does not end; close the quotes",
    "'": ", which opens a text that does not end; close the quotes",
    "`": ", which opens a name that is empty or does not end; close the backticks",
}

_A_TERM = "a name, 'not' or '('"
_A_COMPARISON = "a comparison (= != < <= > >= in under contains startswith is)"
_A_VALUE = "a value (a number, a text in quotes, a date such as 2024-05-01, true or false)"


@dataclass(frozen=True)
class Value:
    """A value that something is compared with.

    Attributes:
        kind: "number", "text" or "date".
        value: the number; the text; a date's text.
        written: as it stands in the filter.
        position: where, counted from 1.
    """

    kind: str
    value: str | int | float
    written: str
    position: int


@dataclass(frozen=True)
class Condition:
    """One thing that is asked of an item.

    Attributes:
        name: of what is compared.
        operator: as in the grammar, in small letters; "missing" and "present" for ``is``.
        values: one; any number above zero for "in"; none for "missing" and "present".
        position: of the name, counted from 1.
    """

    name: str
    operator: str
    values: tuple[Value, ...]
    position: int


@dataclass(frozen=True)
class Not:
    """What the term does not match."""

    term: Tree


@dataclass(frozen=True)
class Both:
    """What every one of two or more terms matches."""

    terms: tuple[Tree, ...]


@dataclass(frozen=True)
class Either:
    """What one of two or more terms matches."""

    terms: tuple[Tree, ...]


Tree: TypeAlias = Condition | Not | Both | Either


class FilterError(RetrievalError):
    """A filter that is wrong at one place.

    Attributes:
        position: of the place, counted from 1.
    """

    def __init__(self, sentence: str, position: int) -> None:
        super().__init__(sentence)
        self.position = position


def parse(source: str) -> Tree:
    """Take a filter apart.

    Raises:
        RetrievalError: it is not one; the sentence says where, and what should stand there.
    """
    if len(source) > MAX_LENGTH:
        raise RetrievalError(f"The filter has {len(source):,} characters; give at most {MAX_LENGTH:,}.")
    return _Parser(source).filter()


def refuse(source: str, position: int, written: str, trouble: str) -> NoReturn:
    """Raise the error that says what is wrong with a filter.

    Args:
        source: the filter; what lies around the place is quoted.
        position: where, counted from 1.
        written: what stands there.
        trouble: the rest of a sentence that begins "The filter '...' has ... at position 7".
    """
    start, stop = max(0, position - 31), position + 29
    quoted = ("…" if start else "") + source[start:stop] + ("…" if stop < len(source) else "")
    short = written if len(written) <= 40 else written[:39] + "…"
    raise FilterError(f"The filter {quoted!r} has {short!r} at position {position}{trouble}.", position)


def spelled(name: str) -> str:
    """A name as a filter spells it; what cannot be printed is written as an escape."""
    text = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in name)
    plain = _NAME.fullmatch(name) and name.lower() not in WORDS
    return text if plain else "`" + text.replace("`", "``") + "`"


class _Token(NamedTuple):
    """``kind``: "name", "word", "value", "symbol" or "end"; ``text``: what it stands for, words in small letters."""

    kind: str
    text: str
    value: Value | None
    position: int


class _Parser:
    """Recursive descent: a method for each rule of the grammar, with one token of foresight."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._place = 0
        self._depth = 0
        self._conditions = 0
        self._values = 0
        self._token = self._read()

    def filter(self) -> Tree:
        if self._token.kind == "end":
            raise RetrievalError('The filter is empty; give a condition such as label = "cat".')
        tree = self._either()
        if self._token.kind != "end":
            self._expected("'and', 'or' or the end")
        return tree

    # The grammar

    def _either(self) -> Tree:
        terms = [self._both()]
        while self._take("word", "or"):
            terms.append(self._both())
        return Either(tuple(terms)) if len(terms) > 1 else terms[0]

    def _both(self) -> Tree:
        terms = [self._term()]
        while self._take("word", "and"):
            terms.append(self._term())
        return Both(tuple(terms)) if len(terms) > 1 else terms[0]

    def _term(self) -> Tree:
        self._depth += 1
        if self._depth > MAX_DEPTH + 1:
            self._refuse(f", within {MAX_DEPTH} brackets or nots; write it with fewer")
        tree: Tree
        if self._take("word", "not"):
            tree = Not(self._term())
        elif self._take("symbol", "("):
            tree = self._either()
            self._need("symbol", ")", "'and', 'or' or ')'")
        else:
            tree = self._condition()
        self._depth -= 1
        return tree

    def _condition(self) -> Condition:
        name = self._token
        if name.kind != "name":
            self._expected(_A_TERM)
        self._conditions += 1
        if self._conditions > MAX_CONDITIONS:
            self._refuse(f", after {MAX_CONDITIONS} conditions; give many values to one condition with in (...)")
        self._next()
        operator = self._token.text
        values: list[Value] = []
        if self._token.kind == "symbol" and operator in _COMPARISONS:
            self._next()
            values.append(self._value())
        elif self._take("word", "in"):
            self._need("symbol", "(", "'('")
            values.append(self._value())
            while self._take("symbol", ","):
                values.append(self._value())
            self._need("symbol", ")", "',' or ')'")
        elif self._token.kind == "word" and operator in _TEXT_TESTS:
            self._next()
            values.append(self._value("a text in quotes", ("text",)))
        elif self._take("word", "is"):
            operator = self._token.text
            if self._token.kind != "word" or operator not in ("missing", "present"):
                self._expected("'missing' or 'present'")
            self._next()
        else:
            self._expected(_A_COMPARISON)
        return Condition(name.text, operator, tuple(values), name.position)

    def _value(self, expected: str = _A_VALUE, kinds: tuple[str, ...] = ("number", "text", "date")) -> Value:
        value = self._token.value
        if value is None or value.kind not in kinds:
            self._expected(expected)
        self._values += 1
        if self._values > MAX_VALUES:
            self._refuse(f", after {MAX_VALUES:,} values; attach something that tells the items apart")
        self._next()
        return value

    # Tokens

    def _take(self, kind: str, text: str) -> bool:
        """Whether this is the next token, which then is passed."""
        there = self._token.kind == kind and self._token.text == text
        if there:
            self._next()
        return there

    def _need(self, kind: str, text: str, expected: str) -> None:
        if not self._take(kind, text):
            self._expected(expected)

    def _expected(self, what: str) -> NoReturn:
        if self._token.kind == "end":
            raise RetrievalError(f"The filter {_end(self._source)!r} stops where {what} should stand.")
        self._refuse(f", where {what} should stand")

    def _refuse(self, trouble: str) -> NoReturn:
        """Raise the error that says what is wrong with the token at hand."""
        refuse(self._source, self._token.position, self._source[self._token.position - 1 : self._place], trouble)

    def _next(self) -> None:
        self._token = self._read()

    def _read(self) -> _Token:
        """The token that begins at the present place, or after the space there."""
        start = _SPACE.match(self._source, self._place).end()  # type: ignore[union-attr]  # it matches anywhere
        position = start + 1
        if start == len(self._source):
            return _Token("end", "", None, position)
        match = _TOKEN.match(self._source, start)
        if match is None:
            letter = self._source[start]
            trouble = _UNCLOSED.get(letter, ", which means nothing here; take it out")
            refuse(self._source, position, letter, trouble)
        self._place = match.end()
        written = match[0]
        try:
            return _token(str(match.lastgroup), written, position)
        except ValueError as error:
            refuse(self._source, position, written, f", {error}")


def _token(group: str, written: str, position: int) -> _Token:
    """The token that a match of :data:`_TOKEN` stands for.

    Raises:
        ValueError: it stands for none; the rest of a sentence that says why.
    """
    word = written.lower()
    if group == "symbol" or (group == "name" and word in WORDS - {"true", "false"}):
        return _Token("symbol" if group == "symbol" else "word", word, None, position)
    if group == "name" and word not in WORDS:
        return _Token("name", written, None, position)
    if group == "quoted":
        return _Token("name", _unicode(written[1:-1].replace("``", "`")), None, position)
    kind, value = {"number": _number, "date": _date, "text": _text, "name": _truth}[group](written)
    return _Token("value", written, Value(kind, value, written, position), position)


def _number(written: str) -> tuple[str, int | float]:
    if not _NUMBER.fullmatch(written):
        raise ValueError("which is no number; put a text in quotes")
    if written.lstrip("-").isdecimal() and len(written) <= 20 and -(2**63) <= int(written) < 2**63:
        return "number", int(written)
    number = float(written)
    if math.isinf(number):
        raise ValueError("which is more than a number can be; give a smaller one")
    return "number", number


def _date(written: str) -> tuple[str, str]:
    if moments.read(written) is not None:
        return "date", written
    raise ValueError("which is no date; write 2024-05-01 or 2024-05-01T12:00")


def _text(written: str) -> tuple[str, str]:
    for escape in _ESCAPE.findall(written):
        if escape not in _ESCAPES:
            raise ValueError(f"with the unknown escape \\{escape}; double a backslash that is meant")
    return "text", _unicode(_ESCAPE.sub(lambda match: _ESCAPES[match[1]], written[1:-1]))


def _truth(written: str) -> tuple[str, int]:
    return "number", int(written.lower() == "true")


def _unicode(text: str) -> str:
    """The text, if it is one that SQLite can hold."""
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError("which is not Unicode text; type it anew")
    return text


def _end(source: str) -> str:
    return source if len(source) <= 60 else "…" + source[-59:]
