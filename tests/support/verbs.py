"""The command line in children of one process that has imported it already, so that a verb starts in milliseconds.

A process with threads cannot be forked safely, so this is a program of its own, or part of one; a test that wants
its verbs one after the other talks to it through :class:`Commands`:

    python verbs.py      # a JSON object a line on standard input, one on standard output for each

It imports no network, and starts no thread.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

CRASHED = 70
"""The exit code of a verb that ended in an exception."""


@dataclass(frozen=True)
class Done:
    """What a verb did.

    Attributes:
        code: its exit code; the negative number of the signal that ended it; None if it was killed as it took too long.
        out, err: what it printed.
        cpu: seconds of a processor that it took.
        peak: bytes of memory that it held at most, above what it began with.
    """

    code: int | None
    out: str
    err: str
    cpu: float
    peak: int

    @property
    def traceback(self) -> bool:
        """Whether a user has seen one."""
        return "Traceback (most recent call last)" in self.err


def warm() -> None:
    """Import what most verbs want, so that no child has to."""
    import h5py  # noqa: F401
    import onnxruntime  # noqa: F401

    import retrieval.cli
    import retrieval.exchange.exporting
    import retrieval.ingest
    import retrieval.search.search
    import retrieval.tuning.tune_index

    for verb in retrieval.cli.VERBS:
        retrieval.cli.parser_of(verb)


def begin(arguments: Sequence[str], out: Path, err: Path) -> int:
    """Start a verb in a child, which prints to these files; the child's number."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    code = CRASHED
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number, file in ((0, os.devnull), (1, out), (2, err)):
            opened = os.open(file, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            os.dup2(opened, number)
        from retrieval.cli import main

        code = main(arguments)
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else CRASHED
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _serve(folder: Path) -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        os.chdir(asked["cwd"])
        before, began = _resident(), time.monotonic()
        child = begin(asked["arguments"], folder / "out", folder / "err")
        ended, status, used = 0, 0, None
        while not ended and time.monotonic() - began < asked["seconds"]:
            ended, status, used = os.wait4(child, os.WNOHANG)
            time.sleep(0 if ended else 0.003)
        if not ended:
            os.kill(child, signal.SIGKILL)
            _, status, used = os.wait4(child, 0)
        assert used is not None
        print(
            json.dumps(
                {
                    "code": os.waitstatus_to_exitcode(status) if ended else None,
                    "out": (folder / "out").read_bytes().decode(errors="surrogateescape"),
                    "err": (folder / "err").read_bytes().decode(errors="surrogateescape"),
                    "cpu": used.ru_utime + used.ru_stime,
                    "peak": max(0, 1024 * used.ru_maxrss - before),
                }
            ),
            flush=True,
        )


def _resident() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class Commands:
    """Runs verbs one after the other, as a shell would.

    Args:
        folder: where the verbs' output is kept meanwhile.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        here = Path(__file__).resolve()
        places = [str(here.parents[2]), str(here.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            [sys.executable, here, folder],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(places), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Commands:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)

    def run(self, *arguments: object, cwd: Path, seconds: float = 120) -> Done:
        """Run a verb with these arguments; it is killed after so many seconds."""
        assert self._process.stdin is not None and self._process.stdout is not None
        asked = {"arguments": [str(one) for one in arguments], "cwd": str(cwd), "seconds": seconds}
        print(json.dumps(asked), file=self._process.stdin, flush=True)
        return Done(**json.loads(self._process.stdout.readline()))


if __name__ == "__main__":
    warm()
    _serve(Path(sys.argv[1]))
    os._exit(0)
