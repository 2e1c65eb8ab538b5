"""`retrieval serve` as a command: it says where it is, answers, and ends when it is told to."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

from retrieval.cli import main

if TYPE_CHECKING:
    from served import Served


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


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
def test_the_page_of_the_documentation_is_true(served: Served, photos: Path, tmp_path: Path) -> None:
    """Every curl line of docs/serving.md is answered."""
    text = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    commands = [line for line in lines if line.startswith("curl ")]
    assert len(commands) == 9
    (tmp_path / "cat.jpg").write_bytes((photos / "cat" / "0.png").read_bytes())
    np.save(tmp_path / "vector.npy", np.eye(1, 16)[0])
    for command in commands:
        asked = command.replace("http://127.0.0.1:8000", served.address)
        asked = asked.replace("id:17", "id:1").replace("items/17", "items/1").replace("a/b.jpg", "cat/1.png")
        done = subprocess.run(
            [*shlex.split(asked), "--fail-with-body", "-sS"], cwd=tmp_path, capture_output=True, check=False
        )
        assert done.returncode == 0, (command, done)
    assert (tmp_path / "small.jpg").read_bytes().startswith(b"\xff\xd8")
