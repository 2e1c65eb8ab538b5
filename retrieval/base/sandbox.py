"""Reading a file from elsewhere in a process of its own.

Some libraries trust what they read: a damaged or hostile file makes FAISS crash and HDF5 run for ever. So a small
program reads it, with its memory and its time limited, and whatever becomes of that program is a sentence here.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

MEMORY = (2 << 30, 8)
"""Address space that a program may have: so many bytes, and so many times the file's size."""

PATIENCE = (60.0, 5e6)
"""Seconds that it may take: so many, and one more for so many bytes of the file."""

LONGEST = 200
"""Letters of a reason that are passed on."""


def ask(program: Path, file: Path, *arguments: str) -> dict[str, Any]:
    """Run a program on a file.

    Args:
        program: a Python file that calls :func:`answer`.
        file: what it reads.
        arguments: more of its arguments.

    Returns:
        What it answers.

    Raises:
        ValueError: it could not read the file, crashed, or took too long; in words that follow the file's name in
            parentheses.
        OSError: there is no such file.
    """
    size = file.stat().st_size
    # One thread, as the stacks of many would count as memory.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    try:
        done = subprocess.run(
            [sys.executable, "-P", str(program), str(file.absolute()), *arguments],
            capture_output=True,
            env=environment,
            timeout=PATIENCE[0] + size / PATIENCE[1],
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"reading it takes more than {error.timeout:.0f} s") from None
    if done.returncode < 0:
        raise ValueError(f"its reader crashes, {signal.Signals(-done.returncode).name}")
    try:
        found = json.loads(done.stdout)
    except ValueError:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no reason given"]
        raise ValueError(_short(last[0])) from None
    if "error" in found:
        raise ValueError(str(found["error"]))
    return dict(found)


def answer(read: Callable[[Path], Mapping[str, object]]) -> None:
    """What a program does: read the file that is its first argument, and print the answer as JSON.

    Args:
        read: reads it; what it raises becomes the reason.
    """
    import resource

    file = Path(sys.argv[1])
    most = MEMORY[0] + MEMORY[1] * file.stat().st_size
    for what, value in ((resource.RLIMIT_AS, most), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(ValueError, OSError):  # a lower limit holds already
            resource.setrlimit(what, (value, value))
    found: Mapping[str, object]
    try:
        found = read(file)
    except MemoryError:
        found = {"error": "it asks for more memory than its size accounts for"}
    except Exception as error:  # whatever the libraries raise
        found = {"error": _short(str(error)) or type(error).__name__}
    json.dump(found, sys.stdout)


def _short(reason: str) -> str:
    """A reason in one line, without the function, the file and the line that FAISS puts before it."""
    return re.sub(r"^Error in .* at \S+:\d+: (Error: )?", "", " ".join(reason.split()))[:LONGEST].rstrip(".")
