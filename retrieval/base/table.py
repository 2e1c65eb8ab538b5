"""Tables that people made, and lists of other programs, read row by row whatever they are written as.

===========  ========================================================================================================
CSV          UTF-8, with or without a byte order mark; the columns named in the first line that is not empty; between
             them commas, semicolons or tabs; blanks after them mean nothing
JSON lines   an object on each line
JSON         a list of objects, read whole
Parquet      in blocks; needs pyarrow
===========  ========================================================================================================

The ending of the name or the first letter says which. The names of columns that a reader knows may be written in any
letters (``Path``). Nothing in a table is trusted: what is wrong with it is one sentence with the number of the row, and
no row takes more memory than :data:`LINE` letters do, but in JSON.
"""

from __future__ import annotations

import contextlib
import csv
import datetime
import decimal
import itertools
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TextIO

from retrieval.base.text import printable
from retrieval.errors import RetrievalError

CSV, LINES, JSON, PARQUET = "csv", "jsonl", "json", "parquet"

LINE = 1 << 24
"""Most letters of a line, and of a row that goes over several."""

BATCH = 4096
"""Rows of a Parquet file that are in memory as Python objects at a time."""

SEPARATORS = ",;\t"

_ENDINGS = {".parquet": PARQUET, ".jsonl": LINES, ".ndjson": LINES}
_UNITS = {CSV: "line", LINES: "line", JSON: "item", PARQUET: "row"}
_TRUTHS = {"true": 1, "false": 0}
_NUMBER = re.compile(r"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_NO_NUMBERS = frozenset(("nan", "inf", "-inf", "+inf", "infinity", "-infinity", "+infinity"))

Cells = dict[str, Any]


class Row(NamedTuple):
    """One row: its number, as :meth:`Table.refuse` takes it, and what it says, by column."""

    number: int
    cells: Cells


class Table:
    """A file that was looked at.

    Args:
        path: the file.
        what: what it is to its reader, as in "The labels", for messages.
        known: columns that are found in any letters, and get these names.
        bare: the column that a JSON value belongs to which is no object, and its type; None: there may be none.

    Attributes:
        form: :data:`CSV`, :data:`LINES`, :data:`JSON` or :data:`PARQUET`.
        columns: their names, where the form names them once for all rows; none for an empty file.
        separator: between the cells of CSV.
        header: the number of the line of CSV that names the columns; 0 where none does.
        unit: what a number in it counts: "line", "item" or "row".

    Raises:
        RetrievalError: it cannot be read, or two of its columns have one name.
    """

    def __init__(
        self, path: Path, what: str = "The table", known: Sequence[str] = (), bare: tuple[str, type] | None = None
    ) -> None:
        self.path = path
        self.columns: tuple[str, ...] | None = None
        self.separator = ","
        self._what = what
        self._known = known
        self._bare = bare
        self.header = 0
        self._names: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
        self.form = _ENDINGS.get(path.suffix.lower(), CSV)
        with self._told():
            self._file = path if path.is_file() else self._spooled()
            self.form = self._look()
            if self.form == PARQUET:
                with _parquet_file(self._file) as file:
                    self.columns = self._named(0, tuple(file.schema_arrow.names))

    def refuse(self, number: int, trouble: str) -> NoReturn:
        """Raise the error that says what is wrong with a row, or with all (0), in words that follow its number."""
        where = f"{self.unit.capitalize()} {number} of" if number else "The table"
        raise RetrievalError(f"{where} {printable(self.path)!r} {trouble}.")

    def text(self, row: Row, column: str) -> str:
        """What a row says in a column, without blanks around it; nothing where it says none.

        Raises:
            RetrievalError: it is neither a text nor a whole number.
        """
        value = row.cells.get(column)
        if value is None or value != value:  # pandas writes NaN for nothing
            return ""
        if not isinstance(value, str | int) or isinstance(value, bool):
            self.refuse(row.number, f"has the {column} {short(value)}; give a text")
        return str(value).strip()

    @property
    def unit(self) -> str:
        return _UNITS[self.form]

    def rows(self) -> Iterator[Row]:
        """The rows as they are written: the cells of CSV are texts, others have the kinds that they have.

        A line without anything is passed over, unless there is one column. Dates and times of Parquet are ISO 8601.

        Raises:
            RetrievalError: the file cannot be read, or is not what it looks like.
        """
        with self._told():
            yield from {CSV: self._csv_rows, LINES: self._lines_rows, JSON: self._json_rows, PARQUET: self._blocks}[
                self.form
            ]()

    def typed_rows(self, texts: Collection[str]) -> Iterator[Row]:
        """The rows, in which the cells of CSV are numbers, texts, or None where they are empty.

        A column is numbers if all its cells look like numbers: ``7``, ``-0.5``, ``.5``, ``1e6``, and ``nan`` or ``inf``
        among others; not ``007``, nor where an integer is larger than 64 bits. It is 0 and 1 if all are ``true`` or
        ``false``. For that the file is gone through twice.

        Args:
            texts: columns that are texts even where they look like numbers.

        Raises:
            RetrievalError: as :meth:`rows`.
        """
        if self.form != CSV:
            yield from self.rows()
            return
        kinds: dict[str, _Kind] = {name: _Kind(name in texts) for name in self.columns or ()}
        for row in self.rows():
            for name, cell in row.cells.items():
                kinds[name].see(cell)
        readers = {name: kind.reader() for name, kind in kinds.items()}
        for number, cells in self.rows():
            yield Row(number, {name: readers[name](cell) if cell else None for name, cell in cells.items()})

    def cells(self) -> Iterator[tuple[int, list[str]]]:
        """Number and cells of every line of CSV, the first with the columns' names among them, taken by commas.

        For tables that may have no such line. The cells of an empty line are none.
        """
        with self._told():
            yield from self._split(",")

    # What the file is

    def _look(self) -> str:
        """The form, and for CSV the separator and the columns."""
        if self.path.suffix.lower() in _ENDINGS:
            return self.form
        with self._file.open("rb") as file:
            if file.read(4) == b"PAR1":
                return PARQUET
        number, first = next(((number, line) for number, line in self._lines() if line.strip()), (0, ""))
        letter = first.lstrip()[:1]
        if letter in ("{", "["):
            return LINES if letter == "{" else JSON
        if self.path.suffix.lower() == ".json":
            return JSON
        self.header = number
        self.separator, names = self._columns(first)
        self.columns = self._named(number, tuple(name.strip() for name in names))
        return CSV

    def _spooled(self) -> Path:
        """A copy of what comes through a pipe, which can be read once alone; it is gone when the table is."""
        self._spool = tempfile.NamedTemporaryFile(prefix="retrieval-")  # noqa: SIM115 (it is to last)
        with self.path.open("rb") as pipe:
            shutil.copyfileobj(pipe, self._spool)
        self._spool.flush()
        return Path(self._spool.name)

    def _columns(self, header: str) -> tuple[str, list[str]]:
        """The separator with which a known column is found, or most columns are, and what they are called."""
        best: tuple[tuple[bool, int], str, list[str]] = ((False, 0), ",", [])
        for separator in SEPARATORS:
            with contextlib.suppress(csv.Error, StopIteration):
                names = next(csv.reader([header], delimiter=separator, strict=True, skipinitialspace=True))
                known = any(name.strip().lower() in self._known for name in names)
                best = max(best, ((known, len(names)), separator, names), key=lambda found: found[0])
        return best[1:]

    def _named(self, number: int, names: tuple[str, ...]) -> tuple[str, ...]:
        """The columns by the names that their reader knows them by."""
        if names == self._names[0]:  # as those of the row before
            return self._names[1]
        known = [name.strip().lower() for name in names]
        own = tuple(low if low in self._known else name for low, name in zip(known, names, strict=True))
        twice = next((name for place, name in enumerate(names) if own[place] in own[:place]), None)
        if twice is not None:
            self.refuse(number, f"has the column {short(twice)} twice; rename one")
        self._names = names, own
        return own

    # CSV

    def _csv_rows(self) -> Iterator[Row]:
        columns = self.columns or ()
        for number, cells in self._split(self.separator):
            if number <= self.header:
                continue
            if not cells and len(columns) == 1:
                cells = [""]
            if len(cells) == len(columns):
                yield Row(number, dict(zip(columns, cells, strict=True)))
            elif cells:
                self.refuse(
                    number, f"has {len(cells)} cells instead of {len(columns)}; quote what has a separator in it"
                )

    def _split(self, separator: str) -> Iterator[tuple[int, list[str]]]:
        length = 0

        def texts() -> Iterator[str]:
            nonlocal length
            for number, line in self._lines():
                length += len(line)
                if length > LINE:
                    self.refuse(number, f"goes on with a row of more than {LINE:,} letters; check its quotes")
                yield line

        reader = csv.reader(texts(), delimiter=separator, strict=True, skipinitialspace=True)
        while True:
            number, length = reader.line_num + 1, 0
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                self.refuse(number, f"is not CSV ({error}); check its quotes")
            yield number, cells

    def _lines(self) -> Iterator[tuple[int, str]]:
        """Number and text of every line, its end included."""
        with self._opened() as file:
            for number in itertools.count(1):
                line = file.readline(LINE + 1)
                if not line:
                    return
                trouble = None if line.isascii() else _not_utf8(line)
                if len(line) > LINE:
                    trouble = f"is longer than {LINE:,} letters; give a line for each item"
                elif "\0" in line and trouble is None:
                    trouble = "has a zero byte; save the file as UTF-8 text"
                if trouble:
                    self.refuse(number, trouble)
                yield number, line

    def _opened(self) -> TextIO:
        return self._file.open(encoding="utf-8-sig", errors="surrogateescape", newline="")

    # JSON and Parquet

    def _lines_rows(self) -> Iterator[Row]:
        for number, line in self._lines():
            if line.strip():
                try:
                    value = json.loads(line, object_pairs_hook=_unique)
                except (ValueError, RecursionError) as error:
                    self.refuse(number, f"is not a JSON object ({str(error).rstrip('.')}); give one on each line")
                yield self._row(number, value)

    def _json_rows(self) -> Iterator[Row]:
        with self._file.open(encoding="utf-8-sig") as file:
            content = json.load(file, object_pairs_hook=_unique)
        if not isinstance(content, list):
            raise ValueError("it is no list of items")
        for number, value in enumerate(content, 1):
            yield self._row(number, value)

    def _row(self, number: int, value: object) -> Row:
        if isinstance(value, dict):
            return Row(number, dict(zip(self._named(number, tuple(value)), value.values(), strict=True)))
        if self._bare is not None and isinstance(value, self._bare[1]):
            return Row(number, {self._bare[0]: value})
        if self._bare is None:
            self.refuse(number, "is not a JSON object; give one for each item")
        raise ValueError(f"{str(value)[:60]!r} is no item")

    def _blocks(self) -> Iterator[Row]:
        number = 0
        with _parquet_file(self._file) as file:
            for batch in file.iter_batches(BATCH):
                for values in _plain(batch).to_pylist():
                    number += 1
                    cells = zip(self.columns or (), values.values(), strict=True)
                    yield Row(number, {name: _simple(value) for name, value in cells})

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """What the system and the libraries say against a file, as a sentence."""
        name = printable(self.path)
        try:
            yield
        except OSError as error:  # Arrow raises it for damage, too, with an explanation of many lines
            raise RetrievalError(
                f"{self._what} {name!r} cannot be read ({_line(error.strerror or error)}); check the name and its "
                "permissions, or write it anew."
            ) from None
        except UnicodeDecodeError as error:
            raise RetrievalError(
                f"{self._what} {name!r} is not UTF-8 text (byte {error.start}); save it as UTF-8."
            ) from None
        except (ValueError, TypeError, RecursionError, MemoryError) as error:
            raise RetrievalError(
                f"{self._what} {name!r} is not {self.form} ({_line(error) or type(error).__name__}); write it anew."
            ) from None


class _Kind:
    """What the cells of a column of CSV are, as far as they were seen."""

    def __init__(self, text: bool) -> None:
        self._truths = self._numbers = not text
        self._real = False

    def see(self, cell: str) -> None:
        """Look at a cell."""
        if not (self._truths or self._numbers):
            return
        cell = cell.strip().lower()
        if not cell:
            return
        self._truths = self._truths and cell in _TRUTHS
        if self._numbers and cell not in _NO_NUMBERS:
            self._numbers = self._real = _NUMBER.fullmatch(cell) is not None and _fits(cell)

    def reader(self) -> Callable[[str], str | int | float | None]:
        """What makes a value of a cell that is not empty."""
        if self._truths:
            return lambda cell: _TRUTHS.get(cell.strip().lower())
        return _number if self._numbers and self._real else str


def _fits(number: str) -> bool:
    """Whether a number is no integer that the index cannot keep: a name made of digits, which rounding would spoil."""
    return not number.lstrip("-").isdecimal() or (len(number) <= 20 and -(2**63) <= int(number) < 2**63)


def _number(cell: str) -> int | float | None:
    cell = cell.strip()
    if not cell:
        return None
    return int(cell) if cell.lstrip("-").isdecimal() else float(cell)


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Rows as CSV that every reader splits where it was joined: ``\\n`` behind each, and in quotes what needs them.

    That is also what has a carriage return or another letter in it at which some program may end a line, and what
    begins or ends with a blank.
    """
    return "".join(_csv_line(["" if cell is None else str(cell) for cell in row]) for row in rows)


def _csv_line(cells: list[str]) -> str:
    if cells == [""]:
        return '""\n'  # and no empty line
    return ",".join('"' + cell.replace('"', '""') + '"' if _needs_quotes(cell) else cell for cell in cells) + "\n"


def _needs_quotes(cell: str) -> bool:
    return "," in cell or '"' in cell or not cell.isprintable() or cell != cell.strip()


def _not_utf8(line: str) -> str | None:
    try:
        line.encode()
    except UnicodeEncodeError as error:
        return f"is not UTF-8 (byte {len(line[: error.start].encode()) + 1} of it); save the file as UTF-8"
    return None


def _unique(pairs: list[tuple[str, Any]]) -> Cells:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("it has a name twice")
    return values


def _plain(batch: Any) -> Any:
    """Rows whose times Python can hold: to the microsecond, and of no named time zone, which may be unknown here."""
    import pyarrow

    for place, field in enumerate(batch.schema):
        if pyarrow.types.is_timestamp(field.type):
            zone = "UTC" if field.type.tz else None
            times = batch.column(place).cast(pyarrow.timestamp("us", tz=zone), safe=False)
            batch = batch.set_column(place, field.name, times)
    return batch


def _simple(value: Any) -> Any:
    """A value of Parquet as JSON would have it, where it would."""
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return float(value) if isinstance(value, decimal.Decimal) else value


@contextlib.contextmanager
def _parquet_file(path: Path) -> Iterator[Any]:
    pyarrow = parquet_library()
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            yield file
    except pyarrow.ArrowException as error:
        raise ValueError(str(error)) from error


def parquet_library() -> Any:
    """pyarrow, with what reads and writes Parquet.

    Raises:
        RetrievalError: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise RetrievalError(
            "Parquet needs a library that is not installed (pip install pyarrow); install it, or use a .jsonl list."
        ) from None
    return pyarrow


def _line(reason: object) -> str:
    return printable(" ".join(str(reason).split())[:200]).rstrip(".")


def short(value: object) -> str:
    """A value as a message shows it."""
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
