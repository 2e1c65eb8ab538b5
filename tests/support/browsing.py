"""What the tests of the page need: a browser, a service in a process of its own, accessibility checks."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

BROWSER = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
AXE = Path(os.environ.get("AXE", "node_modules/axe-core/axe.min.js"))
"""The accessibility checks of axe-core, from npm."""

WIDTHS = {"wide": (1280, 800), "narrow": (360, 740)}


@dataclass
class Running:
    """A service in a process of its own.

    Attributes:
        address: of the page. begin, end: start it again at the same address, and stop it.
    """

    address: str
    begin: Callable[[], None]
    end: Callable[[], None]
