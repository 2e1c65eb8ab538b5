"""The frame of every page that is written: one file, one style in light, dark and print, no network, no script."""

from __future__ import annotations

from html import escape
from importlib import resources

CSS = "page.css"
"""The style of a page; a room that has blocks of its own has one beside its module, too."""


def style(room: str) -> str:
    """The style sheet of a package, such as ``"retrieval.report"``."""
    return resources.files(room).joinpath(CSS).read_text(encoding="utf-8")


def document(title: str, body: str, own_style: str = "") -> str:
    """A whole page.

    Args:
        title: of the window, as text.
        body: HTML; its texts are escaped already.
        own_style: CSS that comes after the common style.
    """
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{escape(title)}</title>
<style>{style(__package__)}{own_style}</style>
</head>
<body>
{body}
</body>
</html>
"""
