"""A page to look through near-duplicates: one file, no network, no script."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from html import escape
from pathlib import Path

from retrieval.base.files import write_durably
from retrieval.base.machine import cores
from retrieval.base.page import document
from retrieval.base.progress import bar
from retrieval.base.text import printable
from retrieval.base.units import show_bytes
from retrieval.images.embedded import embedded
from retrieval.traps.duplicates.report import LARGEST, OLDEST, Copy, Duplicates, Group, output

GROUPS, MEMBERS = 300, 11
"""Groups on a page at most, and copies of one: 3,600 thumbnails of 8 kB at most, which browsers still scroll well."""

_SIDE = 192  # pixels of a thumbnail's longer side
_KINDS = {"exact": "same bytes", "hash": "alike by hash", "embedding": "alike by score", None: "stays"}

_STYLE = ":root { --tile: 10.5rem; } @media (max-width: 30rem) { :root { --tile: 8.5rem; } }"
"""Pictures to judge by are larger than elsewhere."""


def write_page(found: Duplicates, path: str | Path) -> None:
    """Write the page.

    Args:
        found: the groups; :data:`GROUPS` of them are shown, with :data:`MEMBERS` copies each, and it says what is not.
        path: of the page, a name that ends in .html.

    Raises:
        RetrievalError: it ends otherwise, or cannot be written.
    """
    file = output(path, ".html", ".htm")
    shown = found.groups[:GROUPS]
    members = [[group.kept, *group.copies[:MEMBERS]] for group in shown]
    flat = [one.path for some in members for one in some]
    with ThreadPoolExecutor(cores(), "thumbnails") as pool, bar(len(flat), "Thumbnails", "pictures") as progress:
        pictures = []
        for picture in pool.map(lambda name: embedded(found.placed(name), _SIDE), flat):
            pictures.append(picture)
            progress.update()
    rest = iter(pictures)
    sections = [
        _section(number, group, [_figure(one, next(rest), found.root) for one in some])
        for number, (group, some) in enumerate(zip(shown, members, strict=True), 1)
    ]
    title = f"Near-duplicates in {printable(found.root)}"
    size = show_bytes(sum(copy.frees for copy in found.could_go))
    notes = list(found.notes)
    if len(shown) < len(found.groups):
        notes.append(f"The {len(shown):,} largest of {len(found.groups):,} groups are shown; --list names all of them.")
    rule = {LARGEST: "the picture with the most pixels", OLDEST: "the oldest file"}.get(
        found.keep, f"what lies in {printable(found.keep)!r}"
    )
    rule = rule if found.against is None else "the picture of the reference"
    words = escape(
        f"{found.headline} {len(found.could_go):,} pictures ({size}) could go, {found.shown_only:,} more look alike "
        f"and are not offered to go. In each group {rule} stays. Nothing was changed."
    )
    body = f"""<header>
<h1>{escape(title)}</h1>
<p>{words}</p>
{"".join(f"<p>{escape(note)}</p>" for note in notes)}
</header>
<main>
{"".join(sections)}
</main>"""
    write_durably(file, document(title, body, _STYLE).encode(errors="backslashreplace"))


def _section(number: int, group: Group, figures: list[str]) -> str:
    more = len(group.copies) + 1 - len(figures)
    rest = f"<p>{more:,} more are in the list.</p>" if more else ""
    return (
        f'<section aria-labelledby="g{number}"><h2 id="g{number}">Group {number}: '
        f'{len(group.copies) + 1:,} pictures</h2><div class="row">{"".join(figures)}</div>{rest}</section>\n'
    )


def _figure(one: Copy, picture: str | None, root: Path) -> str:
    name = escape(printable(one.path))
    gone = '<span class="gone">cannot be read any more</span>'
    shown = gone if picture is None else f'<img src="{picture}" alt="{name}" loading="lazy">'
    measured = []
    if one.bits is not None:
        measured.append(f"{one.bits} bits")
    if one.score is not None:
        measured.append(f"score {one.score:.3f}")
    lines = [", ".join(measured)]
    if one.kind is not None:
        lines.append("could go" if one.stays is None else f"stays: {one.stays}")
    if one.same_as is not None and one.kind != "exact":
        lines.append(f"the same bytes as {printable(one.same_as)}")
    lines += [f"also named {printable(other)}" for other in one.names]
    lines += [f"with {printable(other)}" for other in one.files]
    details = "".join(f"<small>{escape(line)}</small>" for line in lines if line)
    return (
        f'<figure class="tile{" right" if one.keep else ""}">{shown}<figcaption><b>{_KINDS[one.kind]}</b>'
        f"<small>{one.width}×{one.height}, {show_bytes(one.size)}</small>"
        f"{details}{name}</figcaption></figure>"
    )
