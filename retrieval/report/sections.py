"""What stands on the page, in order."""

from __future__ import annotations

from retrieval.report import about
from retrieval.report.blocks import Headline, Section, interval, number
from retrieval.report.contents import Contents
from retrieval.report.findings import TITLES, findings
from retrieval.report.quality import examples, quality

HEADLINES = ("P@1", "P@10", "MAP@R", "mAP")
"""Measures that stand at the top."""


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
