"""A real Milvus for tests, on loopback: the server of the PyPI package `milvus` (2.3.5), which needs nothing beside
it."""

from __future__ import annotations

import contextlib
import importlib.util
import lzma
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

PATIENCE = 120.0
"""Seconds until it must be ready: about ten on a quiet machine, a minute after it was killed."""

FASTER = {
    "timeTickInterval": 50, "checkInterval": 100, "distPullInterval": 100, "checkHandoffInterval": 500,
}  # fmt: skip
"""Milliseconds after which it looks for what is to be done: some times as often as by default."""

CHECKS = {"segmentCheckInterval": 100, "channelCheckInterval": 100, "indexCheckInterval": 500}


def installed() -> bool:
    """Whether the server and what asks it are there."""
    return all(importlib.util.find_spec(name) for name in ("milvus", "pymilvus"))


class MilvusServer:
    """A server of its own data, with embedded etcd and message queue.

    The ports are free ones. It knows of no address to listen on; what it is given is only what it tells others.
    """

    def __init__(self) -> None:
        self._home = Path(tempfile.mkdtemp(prefix="retrieval-milvus-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._metrics, *ports = _free_ports(16)
        found = importlib.util.find_spec("milvus")
        assert found is not None and found.origin is not None  # asked by installed()
        data = Path(found.origin).parent / "data"
        self._programs = _programs(data)
        self.port = ports[0]
        self._configure((data / "config.yaml.template").read_text(), ports)
        shutil.copy(data / "glog.conf", self._home / "configs")
        self.start()

    @property
    def address(self) -> str:
        """Of its database `default`."""
        return f"milvus://127.0.0.1:{self.port}/default"

    def start(self) -> None:
        """Start it, and wait until it says that it is well."""
        variables = {
            **os.environ,
            "DEPLOY_MODE": "STANDALONE",
            "METRICS_PORT": str(self._metrics),
            "MILVUS_RUN_DIR": str(self._home / "run"),
            "LD_LIBRARY_PATH": str(self._programs),
        }
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "milvus", "run", "standalone"],
                stdout=log, stderr=log, cwd=self._home, env=variables, start_new_session=True,
            )  # fmt: skip
        end = time.monotonic() + PATIENCE
        while not self._is_well():
            if time.monotonic() > end or self._process.poll() is not None:
                raise RuntimeError((self._home / "log").read_text(errors="replace")[-2000:])
            time.sleep(0.2)

    def kill(self) -> None:
        """End it as a power cut does."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(30)
            self._process = None

    def close(self) -> None:
        """Stop it, and leave nothing behind."""
        self.kill()
        shutil.rmtree(self._home, ignore_errors=True)

    def _is_well(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._metrics}/healthz", timeout=5) as answer:
                return b"OK" in answer.read()
        except (urllib.error.URLError, OSError):
            return False

    def _configure(self, template: str, ports: list[int]) -> None:
        """Write its configuration: free ports, its own folder, loopback alone."""
        data = self._home / "data"
        given = {
            "etcd_data_dir": str(data / "etcd.data"),
            "local_storage_dir": str(data),
            "rocksmq_data_dir": str(data / "rocksmq"),
            "etcd_log_path": str(self._home / "etcd.log"),
            "system_log_path": "",
        }
        remaining = iter(ports[1:])

        def value(match: re.Match[str]) -> str:
            name, _, default = (part.strip() for part in match[1].partition(":"))
            name = name.partition("(")[0]
            if name == "proxy_port":
                return str(ports[0])
            return str(next(remaining)) if name.endswith("_port") else given.get(name, default)

        written = re.sub(r"\{\{(.*?)\}\}", value, template)
        written = re.sub(r"(?m)^( +ip:) *(#.*)?$", r"\1 127.0.0.1", written)
        for name, milliseconds in FASTER.items():
            written = re.sub(rf"(?m)^( +{name}:) *[0-9]+", rf"\1 {milliseconds}", written)
        etcd = self._home / "configs" / "etcd.yaml"
        client, peer = (f"http://127.0.0.1:{next(remaining)}" for _ in range(2))
        written = written.replace("\netcd:", f"\netcd:\n  config:\n    path: {etcd}", 1)
        more = "".join(f"\n  {name}: {milliseconds}" for name, milliseconds in CHECKS.items())
        written = written.replace("\nqueryCoord:", f"\nqueryCoord:{more}", 1)
        (self._home / "configs").mkdir()
        (self._home / "configs" / "milvus.yaml").write_text(written)
        etcd.write_text(
            f"name: default\nlisten-client-urls: {client}\nadvertise-client-urls: {client}\n"
            f"listen-peer-urls: {peer}\ninitial-advertise-peer-urls: {peer}\ninitial-cluster: default={peer}\n"
        )


def _programs(data: Path) -> Path:
    """Where the programs lie, unpacked once beside the package."""
    folder = data / "unpacked"
    if not folder.exists():
        made = Path(tempfile.mkdtemp(dir=data))
        for packed in (data / "bin").glob("*.lzma"):
            program = made / packed.name.removesuffix(".lzma")
            with lzma.open(packed) as opened, program.open("wb") as unpacked:
                shutil.copyfileobj(opened, unpacked)
            program.chmod(0o755)
        with contextlib.suppress(OSError):  # another has made it meanwhile
            made.rename(folder)
        shutil.rmtree(made, ignore_errors=True)
    return folder


def _free_ports(count: int) -> list[int]:
    taken = [socket.socket() for _ in range(count)]
    for one in taken:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in taken]
    for one in taken:
        one.close()
    return ports
