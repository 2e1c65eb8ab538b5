"""`retrieval serve` as a command: it says where it is, answers, and ends when it is told to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

from retrieval.cli import main


@contextmanager
def command(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "retrieval", "serve", *map(str, arguments), "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_is_and_ends_when_told(index: Path, sign: signal.Signals) -> None:
    """What is being answered then is answered to the end."""
    with command(index) as (process, address):
        body = json.dumps({"like": ["id:1"]}).encode()
        request = urllib.request.Request(f"{address}search", body, {"Content-Type": "application/json"})
        statuses: list[int] = []

        def ask() -> None:
            with urllib.request.urlopen(request, timeout=30) as answer:
                statuses.append(answer.status)

        ask()
        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        process.send_signal(sign)
        _, said = process.communicate(timeout=30)
        assert statuses == [200] * 5
        assert "there is no token" in said
        assert "Traceback" not in said
        assert process.returncode == (0 if sign == signal.SIGTERM else 130)


def test_what_cannot_be_served(index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, words in (
        ([tmp_path / "nowhere"], "no index and no folder"),
        ([index, "--host", "0.0.0.0"], "--token-file"),
        ([index, "--token-file", tmp_path / "none"], "cannot be read"),
        ([index, "--port", "99999"], "port"),
        ([index, "--host", "256.1.1.1"], "--token-file"),
    ):
        assert main(["serve", *map(str, arguments)]) == 1
        assert words in capsys.readouterr().err
