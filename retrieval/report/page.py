"""The page: contents in, one self-contained HTML file out."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from retrieval import __version__
from retrieval.files import write_durably
from retrieval.images import printable
from retrieval.machine import cores, processor
from retrieval.report.contents import Contents
from retrieval.report.sections import sections, tiles, verdict


def write_page(contents: Contents, path: Path) -> None:
    """Write the page, whole or not at all.

    Raises:
        RetrievalError: it cannot be written there.
    """
    write_durably(path, render(contents).encode())


def render(contents: Contents) -> str:
    """The page as HTML. What comes from files is escaped; nothing in it runs, and nothing is fetched."""
    from jinja2 import Environment

    here = resources.files("retrieval.report")
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        here.joinpath("page.html").read_text(encoding="utf-8")
    )
    return page.render(
        title=printable(Path(str(contents.index["folder"])).name),
        style=here.joinpath("page.css").read_text(encoding="utf-8"),
        verdict=verdict(contents),
        tiles=tiles(contents),
        sections=sections(contents),
        footer=f"Made by retrieval {__version__} on {contents.made.replace('T', ' at ')} UTC, on a machine with "
        f"{processor()}, {cores()} cores; seed {contents.seed}.",
    )
