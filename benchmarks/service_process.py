"""`retrieval serve` in a process of its own, for benchmarks to ask."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from retrieval.errors import RetrievalError


class Begun(NamedTuple):
    """A service that takes requests in: its address, with a slash at the end; its port and its process id."""

    address: str
    port: int
    pid: int


@contextlib.contextmanager
def serve(index: Path, *flags: str, environment: Mapping[str, str] | None = None) -> Iterator[Begun]:
    """Serve an index at any free port until the block ends.

    Args:
        environment: variables besides those of this process.

    Raises:
        RetrievalError: it ended before it took requests in; its own sentence says why.
    """
    command = [sys.executable, "-m", "retrieval", "serve", str(index), "--port", "0", *flags]
    with tempfile.TemporaryFile("w+") as said, subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=said, text=True, env={**os.environ, **(environment or {})}
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            if not address:
                process.wait()
                said.seek(0)
                why = said.read().strip().splitlines() or [f"it ended with {process.returncode}"]
                raise RetrievalError(f"The service did not start: {why[-1].removeprefix('retrieval: ')}")
            yield Begun(address, int(address.rpartition(":")[2].strip("/")), process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
