"""How benchmarks end (benchmarks/command.py), seen from outside: a mistake is a sentence, Ctrl-C loses nothing."""

from __future__ import annotations

import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.parametrize("program", ["recipes.py choose", "records.py choose-cifar10", "losses.py"])
def test_a_mistake_is_one_sentence(program, tmp_path, monkeypatch, capsys):
    name, *words = program.split()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(sys, "argv", [name, *words, "nowhere.h5", "--out", "runs"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(BENCHMARKS / name), run_name="__main__")
    out, err = capsys.readouterr()
    assert ended.value.code == 1 and out == ""
    assert "nowhere.h5" in err and len(err.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_says_how_to_go_on(tmp_path):
    (tmp_path / "ending_test.py").write_text(
        "import sys, time\n"
        f"sys.path.insert(0, {str(BENCHMARKS)!r})\n"
        "from command import status\n"
        "def main():\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
        "    return 0\n"
        "sys.exit(status(main))\n"
    )
    with subprocess.Popen(
        [sys.executable, str(tmp_path / "ending_test.py")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None and running.stdout.readline() == "ready\n"
        time.sleep(0.2)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=30)
    assert running.returncode == 130
    assert said == "Stopped. What was finished is kept; the same command goes on from there.\n"
