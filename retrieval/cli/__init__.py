"""The command ``retrieval``: parsing and printing, nothing else.

Each verb is a module of this package with four names: ``HELP`` (one line), ``EXAMPLES`` (shell lines),
``add_arguments(parser)`` and ``run(args) -> int``. Only the module of the verb that was asked for is imported, so
that a query does not wait for what a training needs.

Exit codes: 0 done; 1 an error the user can put right (one sentence on stderr); 2 wrong arguments; 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import importlib
import re
import sys
import time
from collections.abc import Sequence
from typing import Any

from retrieval.base.streams import Output, OutputLostError, guarded
from retrieval.engines.address import is_address, shown
from retrieval.errors import RetrievalError

_NEGATIVE = re.compile(r"-(?!0$)(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
"""A number below 0; but not -0, which is a flag."""

VERBS = {
    "data": "get a labelled set of pictures, or turn one into another form",
    "train": "train an embedding on labelled pictures",
    "build": "fill an index from a folder of pictures",
    "sync": "bring an index up to date with its folder: new, changed, renamed and deleted pictures",
    "add": "add pictures to an index",
    "remove": "take pictures out of an index",
    "attach": "attach attributes to pictures, to filter by",
    "query": "find the pictures that look like this one",
    "encoders": "list the models that go by one word, and measure them on one's own pictures",
    "serve": "search by picture in a browser, and over HTTP",
    "mcp": "let agents search an index",
    "evaluate": "measure how good the answers are",
    "benchmark": "measure on one of the field's benchmarks, by its official protocol",
    "compare": "set two measurements side by side, query by query",
    "calibrate": "learn what scores mean: P(match) of a hit, and when there is none",
    "report": "write one page: what is in an index, how good it is, what may be wrong",
    "dedup": "find pictures that are there more than once; move the copies away, and back",
    "tune": "find the fastest structure that reaches a recall",
    "info": "say what an index or a model is",
    "verify": "check every file of an index",
    "compact": "give back the room of what was removed",
    "export": "write an index's vectors in another format",
    "import": "make an index from vectors in another format",
}

OF_ENGINES = frozenset(
    ("add", "attach", "calibrate", "compare", "evaluate", "export", "info", "mcp", "query", "remove", "report", "serve",
     "sync", "verify")
)  # fmt: skip
"""Those that take the address of an index in a database, too."""


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run one verb.

    Args:
        argv: the arguments after the program's name; those of the process if None.
        prog: the name that ``--help`` shows for a script that stands for one verb (``query.py``).

    Returns:
        The exit code.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    name = prog or "retrieval"
    with guarded() as output:
        try:
            try:
                return _run(argv, prog, output)
            finally:  # also after --help, which leaves
                output.flush()
        except RetrievalError as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("Stopped. What was finished is kept; the same command goes on from there.", file=sys.stderr)
            return 130
        except OutputLostError as lost:
            if lost.reason is None:  # `retrieval query ... | head`
                return 0
            print(
                f"{name}: What was found could not be written to standard output ({lost.reason}); what was done is "
                "kept: give the output a place with room, and ask again.",
                file=sys.stderr,
            )
            return 1


def _run(argv: list[str], prog: str | None, output: Output) -> int:
    begun = time.perf_counter()
    verb = argv[0] if argv and argv[0] in VERBS else None
    if verb is None:
        return _overview(argv)
    module, parser = parser_of(verb, prog)
    args = parser.parse_args(_joined(argv[1:]))
    if "begun" in args:  # the verb counts from here: who waits for it waits for its imports, too
        args.begun = begun
    if verb not in OF_ENGINES:
        _refuse_addresses(verb, args)
    output.form = "json" if getattr(args, "json", False) else "data" if getattr(args, "csv", False) else "text"
    code: int = module.run(args)
    return code


def _refuse_addresses(verb: str, args: argparse.Namespace) -> None:
    """Say that a verb works on folders alone, before it takes an address for one."""
    given = (one for value in vars(args).values() for one in (value if isinstance(value, list) else [value]))
    for one in filter(is_address, given):
        raise RetrievalError(
            f"{shown(one)!r} is the address of an index in a database, and `retrieval {verb}` needs a folder; give one."
        )


def _joined(argv: list[str]) -> list[str]:
    """The arguments with `--above -0.5` as `--above=-0.5`: argparse takes -0.5 for the flag -0 with more behind it."""
    joined: list[str] = []
    for argument in argv:
        if joined and joined[-1] == "--above" and _NEGATIVE.fullmatch(argument):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def parser_of(verb: str, prog: str | None = None) -> tuple[Any, argparse.ArgumentParser]:
    """The module of a verb, and its parser.

    Args:
        verb: one of :data:`VERBS`. prog: as for :func:`main`.
    """
    # "import" cannot be the name of a module that Python code imports.
    module = importlib.import_module(f"retrieval.cli.{'import_' if verb == 'import' else verb}")
    parser = argparse.ArgumentParser(
        prog=prog or f"retrieval {verb}",
        description=module.HELP,
        epilog="examples:\n" + "\n".join(f"  {line}" for line in module.EXAMPLES.strip().splitlines()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    return module, parser


def _overview(argv: Sequence[str]) -> int:
    from retrieval.version import __version__

    parser = argparse.ArgumentParser(
        prog="retrieval",
        description="From a folder of pictures to a search engine you can trust.",
        epilog="verbs:\n"
        + "\n".join(f"  {verb:<11}{help_}" for verb, help_ in VERBS.items())
        + "\n\n`retrieval VERB --help` explains one, with examples.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"retrieval {__version__}")
    parser.add_argument("verb", choices=VERBS, metavar="VERB", help="what to do")
    if argv:
        parser.parse_args(argv)  # leaves: there is no such verb, or it was --help or --version
    parser.print_help(sys.stderr)
    return 2
