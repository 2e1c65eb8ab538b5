"""A benchmark as a command: what it can be told, what it prints, what it keeps, and how it ends."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from retrieval.base.files import write_durably
from retrieval.base.machine import describe
from retrieval.errors import RetrievalError


def options(about: str | None, *, rounds: int | None = None, seed: bool = True) -> argparse.ArgumentParser:
    """--rounds (if it has some), --seed and --json; the benchmark adds its own.

    Args:
        about: the module's docstring.
        rounds: how many by default.
        seed: whether it draws anything.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    if rounds is not None:
        parser.add_argument("--rounds", type=int, default=rounds, help=f"turns of each side ({rounds})")
    if seed:
        parser.add_argument("--seed", type=int, default=0, help="of what is drawn (0)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def show(
    args: argparse.Namespace, rows: list[dict[str, Any]], table: list[dict[str, Any]] | None = None, **about: Any
) -> None:
    """What was measured, with the machine, seed and rounds, as JSON or as Markdown.

    Args:
        table: the rows as people are to see them, where that differs.
        about: what else holds for all of them.
    """
    asked = {name: value for name, value in vars(args).items() if name in ("seed", "rounds")}
    about = {"machine": describe(), **asked, **about}
    if args.json:
        print(json.dumps({**about, "rows": rows}, indent=2))
    else:
        print(f"{markdown(rows if table is None else table)}\n\n{about}")


def markdown(rows: list[dict[str, Any]]) -> str:
    """A table: numbers with three significant digits, a value with its interval as percentages."""

    def cell(value: Any) -> str:
        if isinstance(value, list):
            return "{:.1f} ({:.1f}–{:.1f})".format(*(100 * x for x in value))
        return f"{value:.3g}" if isinstance(value, float) else "" if value is None else str(value)

    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [names, ["---"] * len(names), *([cell(row.get(name)) for name in names] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def put(page: Path, *parts: tuple[str, tuple[str, str]]) -> None:
    """Replace what stands between the marks of a page.

    Args:
        page: the file. parts: what to put, and the marks before and after it.

    Raises:
        RetrievalError: the page has no such marks.
    """
    whole = page.read_text(encoding="utf-8")
    for text, marks in parts:
        before, first, rest = whole.partition(marks[0])
        _, second, after = rest.partition(marks[1])
        if not first or not second:
            raise RetrievalError(f"{page} has no lines {marks[0]!r} and {marks[1]!r} to put the table between.")
        whole = f"{before}{first}\n{text}\n{second}{after}"
    page.write_text(whole, encoding="utf-8")


def once(file: Path, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What was measured and kept in a file; measured now, and kept, if it is not there."""
    if not file.is_file():
        write_durably(file, json.dumps(measure()).encode())
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def status(main: Callable[[], int]) -> int:
    """The exit status of a program: its own; 1 and a sentence for a user's mistake; 130 and one for Ctrl-C."""
    try:
        return main()
    except RetrievalError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped. What was finished is kept; the same command goes on from there.", file=sys.stderr)
        return 130
