"""What a figure was measured on."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from retrieval.version import __version__

PACKAGES = ("torch", "faiss-cpu", "numpy", "onnxruntime", "pillow", "scikit-learn")


def processor() -> str:
    """The processor's name, as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> str:
    """Processor and cores."""
    return f"{processor()}, {cores()} cores"


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """The versions of this program, Python and libraries (by default those that figures depend on); those that are not
    installed are left out."""
    found = {"retrieval": __version__, "python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def describe() -> str:
    """One line: processor, cores, system, versions."""
    libraries = ", ".join(f"{name} {number}" for name, number in versions().items())
    return f"{machine()}, {platform.system()}, {libraries}"
