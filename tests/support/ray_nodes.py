"""A Ray cluster of two nodes on this machine's loopback, whose processes are this one's children."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]

HEAD, OTHER = "127.0.0.2", "127.0.0.3"
"""Ray takes 127.0.0.1 for the name of any machine."""

SECONDS = 60.0
"""That a node may take to be there, on a machine with much else to do."""


def installed() -> bool:
    """Whether Ray is."""
    return importlib.util.find_spec("ray") is not None


class RayNodes:
    """A head and, as long as nobody kills it, another node.

    Args:
        environment: what their workers find in theirs, besides what is in this process's.

    Attributes:
        address: of the head.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # a socket has a short path
        with socket.socket() as free:
            free.bind((HEAD, 0))
            port = free.getsockname()[1]
        self.address = f"{HEAD}:{port}"
        self._port = port
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._start(
            "head", "--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={self._folder}", of=HEAD
        )
        self._wait_for(1)

    def start_other(self) -> None:
        """Have the second node there, if it is not."""
        if "other" not in self._running or self._running["other"].poll() is not None:
            self._start("other", f"--address={self.address}", of=OTHER)
            self._wait_for(2)

    def kill_other(self) -> None:
        """Kill every process of the second node."""
        os.killpg(self._running.pop("other").pid, signal.SIGKILL)

    def workers(self, kind: str = "Worker") -> list[int]:
        """The process ids of the workers of a class: by default of those that encode for an index."""
        groups = {process.pid for process in self._running.values()}
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                name = (process / "cmdline").read_bytes()
                parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
                if name.startswith(f"ray::{kind}".encode()) and os.getpgid(parent) in groups:  # that one is the node's
                    found.append(int(process.name))
        return sorted(found)

    def close(self) -> None:
        """End all of it."""
        for process in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self, name: str, *arguments: str, of: str) -> None:
        # Workers import the package by this path; a dead node is noticed in six seconds instead of half a minute.
        paths = [str(ROOT), *(path for path in sys.path if path and Path(path).is_dir())]
        environment = {
            **os.environ,
            **self._environment,
            "PYTHONPATH": os.pathsep.join(paths),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_health_check_initial_delay_ms": "1000",
            "RAY_health_check_period_ms": "500",
            "RAY_health_check_failure_threshold": "12",
        }
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"]
        ports = 20000 if of == HEAD else 30000
        command += [f"--node-ip-address={of}", "--num-cpus=2", "--num-gpus=0", "--object-store-memory=200000000"]
        command += [f"--min-worker-port={ports}", f"--max-worker-port={ports + 2000}", *arguments]
        with (self._folder / f"{name}.log").open("wb") as log:
            self._running[name] = subprocess.Popen(
                command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def _wait_for(self, nodes: int) -> None:
        from ray._raylet import GcsClient  # which asks without becoming a part of the cluster

        until = time.monotonic() + SECONDS
        while True:
            with contextlib.suppress(Exception):  # it raises whatever it likes while nobody is there
                found = GcsClient(address=self.address).get_all_node_info(timeout=2)
                if sum(node.state == 0 for node in found.values()) >= nodes:
                    return
            if time.monotonic() > until or any(one.poll() is not None for one in self._running.values()):
                logs = "\n".join(log.read_text(errors="replace")[-2000:] for log in sorted(self._folder.glob("*.log")))
                self.close()
                raise RuntimeError(f"Ray does not start: {logs}")
            time.sleep(0.2)
