"""The page: what stands on it, in order; contents in, one self-contained HTML file out."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from importlib import resources
from pathlib import Path

from retrieval.base.files import write_durably
from retrieval.base.machine import machine
from retrieval.base.page import document, style
from retrieval.base.text import printable
from retrieval.errors import RetrievalError
from retrieval.report import about
from retrieval.report.blocks import Headline, Section, interval, number
from retrieval.report.contents import Contents, gather
from retrieval.report.quality import TITLES, examples, findings, quality
from retrieval.version import __version__

HEADLINES = ("P@1", "P@10", "MAP@R", "mAP")
"""Measures that stand at the top."""


def write_page(contents: Contents, path: Path) -> None:
    """Write the page, whole or not at all.

    Raises:
        RetrievalError: it cannot be written there.
    """
    write_durably(path, render(contents).encode())


@dataclass(frozen=True)
class Page:
    """A report that was written; a notebook shows it.

    Attributes:
        file: the page.
        contents: what it says, as values.
    """

    file: Path
    contents: Contents

    def _repr_html_(self) -> str:
        inside = escape(self.file.read_text(encoding="utf-8"))
        return f'<iframe srcdoc="{inside}" sandbox style="width:100%;height:40rem;border:1px solid #9aa0a6"></iframe>'


def write_report(
    index: str | Path,
    out: str | Path = "report.html",
    *,
    run: str | Path | None = None,
    limit: int | None = None,
    exact: bool = False,
    explain: bool = True,
    seed: int = 0,
) -> Page:
    """Measure an index and write one page about it, whole or not at all.

    Args:
        index: its folder. out: the page.
        run, limit, exact, explain, seed: as for :func:`retrieval.report.gather`.

    Raises:
        RetrievalError: there is no folder for the page, it cannot be written, or what :func:`retrieval.report.gather`
            raises.
    """
    out = Path(out)
    if not out.absolute().parent.is_dir():  # said now, not after ten minutes
        raise RetrievalError(f"There is no folder {str(out.parent)!r} to write {out.name!r} to; make it first.")
    contents = gather(index, run=run, limit=limit, exact=exact, explain=explain, seed=seed)
    write_page(contents, out)
    return Page(out, contents)


def render(contents: Contents) -> str:
    """The page as HTML. What comes from files is escaped; nothing in it runs, and nothing is fetched."""
    from jinja2 import Environment

    title = printable(Path(str(contents.index["folder"])).name)
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        resources.files("retrieval.report").joinpath("page.html").read_text(encoding="utf-8")
    )
    body = page.render(
        title=title,
        verdict=verdict(contents),
        tiles=tiles(contents),
        sections=sections(contents),
        footer=f"Made by retrieval {__version__} on {contents.made.replace('T', ' at ')} UTC, on a machine with "
        f"{machine()}; seed {contents.seed}.",
    )
    return document(f"{title} · retrieval report", body, style("retrieval.report"))


def verdict(contents: Contents) -> str:
    """The whole report in a sentence or two."""
    index, measured = contents.index, contents.measured
    if measured is None:
        return f"{index['items']:,} pictures without labels that say which answers are right."
    hits = measured["P@10"]
    wrong = [TITLES[finding.name] for finding in contents.findings if finding.severity == "warning"]
    return (
        f"{index['items']:,} pictures, {index['labels']:,} labels. Of ten hits {10 * hits.value:.1f} are right on "
        f"average ({10 * hits.low:.1f} to {10 * hits.high:.1f}; by chance {10 * hits.chance:.1f}). "
        + (f"What to look at before relying on it: {', '.join(wrong)}." if wrong else "Nothing else stands out.")
    )


def tiles(contents: Contents) -> list[Headline]:
    """The figures at the top."""
    index, structure = contents.index, contents.index["structure"]
    out = [Headline("pictures", f"{index['items']:,}", f"{index['labels']:,} labels")]
    there = {} if contents.measured is None else {measure.name: measure for measure in contents.measured.measures}
    for name in HEADLINES:
        if name in there:
            out.append(Headline(name, number(there[name].value), interval(there[name].low, there[name].high)))
    if structure is None:
        return [*out, Headline("search", "exact", "every vector is looked at")]
    return [*out, Headline("search", "approximate", str(structure["factory"]))]


def sections(contents: Contents) -> list[Section]:
    """All parts for which there is something to say."""
    made = [
        about.what(contents),
        *quality(contents),
        about.layout(contents),
        examples(contents),
        findings(contents),
        about.calibration(contents),
        about.speed(contents),
        about.training(contents),
        about.model(contents),
    ]
    return [section for section in made if section is not None]
