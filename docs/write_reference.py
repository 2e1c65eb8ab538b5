#!/usr/bin/env python3
"""Write docs/reference.md, every flag of every verb, from the parsers themselves: python docs/write_reference.py"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from retrieval.cli import VERBS, parser_of

PAGE = Path(__file__).with_name("reference.md")
HEAD = """# Every flag

Made by `python docs/write_reference.py` from the command line itself, and compared with it by a test: change the `help`
of a flag in `retrieval/cli/`, not this page. `retrieval VERB --help` says the same.
"""
SCRIPTS = {"train": "train_triplet.py", "build": "build_index.py", "query": "query.py"}


def page() -> str:
    """The whole page, as Markdown."""
    contents = " · ".join(f"[{verb}](#{anchor(verb)})" for verb in VERBS)
    return "\n".join([HEAD, contents, *map(section, VERBS)])


def anchor(verb: str) -> str:
    return f"retrieval-{verb}"


def section(verb: str) -> str:
    """One verb: what it does, examples, and a table of its arguments."""
    module, parser = parser_of(verb)
    script = f" In a clone also `python {SCRIPTS[verb]}`." if verb in SCRIPTS else ""
    lines = [f"\n## retrieval {verb}\n", f"{module.HELP}{script}\n", "```sh", module.EXAMPLES.strip(), "```"]
    positional, options, *others = parser._action_groups
    for title, groups in (("argument", (positional, options)), *((group.title or "", (group,)) for group in others)):
        actions = [action for group in groups for action in group._group_actions if action.dest != "help"]
        lines += ["", f"| {cell(title)} | |", "|---|---|", *(row(parser, action) for action in actions)]
    return "\n".join(lines)


def row(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """One argument: how it is written, and its help."""
    form = parser._get_formatter()
    form._width = 10_000  # on one line, whatever the terminal
    value = form._format_args(action, form._get_default_metavar_for_optional(action)) if action.nargs != 0 else ""
    if action.option_strings:
        names = ", ".join(f"`{name} {value}`" if value else f"`{name}`" for name in action.option_strings)
    else:
        names = f"`{form._format_args(action, form._get_default_metavar_for_positional(action))}`"
    required = " (required)" if action.required and action.option_strings else ""
    help_ = form._expand_help(action) if action.help else ""
    return f"| {cell(names)} | {cell(help_)}{required} |"


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    PAGE.write_text(page() + "\n", encoding="utf-8")
    sys.stderr.write(f"{PAGE} is written\n")
