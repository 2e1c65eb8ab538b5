"""Disks that fail, and processes that are killed, at any system call whatever library makes it.

Python's files, SQLite, HDF5 and FAISS write in their own ways, some of them in C, where nothing can be patched. What
they have in common are the system calls. :func:`supervised` runs a function in a child process under a seccomp filter
(Linux 5.5 or later, no privileges) that asks this process about each call that changes a file: let it through, let it
fail, or kill the child there. See seccomp_unotify(2).
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import mmap
import os
import platform
import select
import signal
import socket
import struct
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

# Number of a system call → what it does here, and where its arguments say to which file: "fd 0" the descriptor in
# argument 0, "path 1" the path in argument 1.
_CALLS = {
    "x86_64": (
        0xC000003E,
        317,
        {
            1: ("write", "fd 0"), 18: ("write", "fd 0"), 20: ("write", "fd 0"), 296: ("write", "fd 0"),
            40: ("write", "fd 0"), 326: ("write", "fd 2"), 285: ("truncate", "fd 0"), 77: ("truncate", "fd 0"),
            76: ("truncate", "path 0"), 74: ("fsync", "fd 0"), 75: ("fsync", "fd 0"),
            2: ("open", "path 0"), 257: ("open", "path 1"), 85: ("create", "path 0"),
            82: ("rename", "path 1"), 264: ("rename", "path 3"), 316: ("rename", "path 3"),
            83: ("mkdir", "path 0"), 258: ("mkdir", "path 1"), 87: ("unlink", "path 0"), 263: ("unlink", "path 1"),
            86: ("link", "path 1"), 265: ("link", "path 3"),
        },
    ),
    "aarch64": (
        0xC00000B7,
        277,
        {
            64: ("write", "fd 0"), 68: ("write", "fd 0"), 66: ("write", "fd 0"), 70: ("write", "fd 0"),
            71: ("write", "fd 0"), 285: ("write", "fd 2"), 47: ("truncate", "fd 0"), 46: ("truncate", "fd 0"),
            45: ("truncate", "path 0"), 82: ("fsync", "fd 0"), 83: ("fsync", "fd 0"), 56: ("open", "path 1"),
            38: ("rename", "path 3"), 276: ("rename", "path 3"), 34: ("mkdir", "path 1"), 35: ("unlink", "path 1"),
            37: ("link", "path 3"),
        },
    ),
}  # fmt: skip
_PLAIN_WRITES = {"x86_64": {1, 18}, "aarch64": {64, 68}}  # one buffer in argument 1: those that can be torn

_NEW_LISTENER = 1 << 3
_RECEIVE, _SEND = 0xC0502100, 0xC0182101  # SECCOMP_IOCTL_NOTIF_RECV and _SEND
_USER_NOTIFICATION, _ALLOW = 0x7FC00000, 0x7FFF0000
_CONTINUE = 1
_HERE = -100  # AT_FDCWD

GO_ON, KILL, TEAR = 0, -1, -2
"""What becomes of a call, beside the number of an error: nothing, the child is killed before it, or in its middle."""


@dataclass(frozen=True)
class Call:
    """One call that changes a file: what it does, and to which path below the folder."""

    name: str
    path: str


@dataclass
class Outcome:
    """What a supervised function did: its exit status as :func:`os.waitpid` gives it, its calls, what it reported."""

    status: int = 0
    calls: list[Call] = field(default_factory=list)
    report: str = ""

    @property
    def killed(self) -> bool:
        """Whether it died of a kill."""
        return os.WIFSIGNALED(self.status) and os.WTERMSIG(self.status) == signal.SIGKILL


class Arm:
    """A switch that both processes see: calls count while it is on."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 1)

    def __bool__(self) -> bool:
        return bool(self._memory[0])

    def __enter__(self) -> None:
        self._memory[0] = 1

    def __exit__(self, *_: object) -> None:
        self._memory[0] = 0


def available() -> str | None:
    """Why calls cannot be supervised here, or None."""
    if platform.system() != "Linux" or platform.machine() not in _CALLS:
        return f"not on {platform.system()} {platform.machine()}"
    try:
        outcome = supervised(lambda arm: "ran", Path("/nowhere"), lambda number, call: GO_ON)
    except OSError as error:
        return f"seccomp cannot be used ({error.strerror})"
    return None if outcome.report == "ran" else f"seccomp cannot be used ({outcome.report.strip()[-200:]})"


def supervised(
    work: Callable[[Arm], str], folder: Path, fate: Callable[[int, Call], int], *, seconds: float = 60
) -> Outcome:
    """Run a function in a child process, and decide about each call by which it changes a folder.

    Args:
        work: gets the switch that makes calls count, and returns a report; the traceback of an exception is one, too.
        folder: calls that concern files elsewhere are let through, and not counted.
        fate: of the n-th call (from 0): :data:`GO_ON`, :data:`KILL`, :data:`TEAR`, or the number of the error that
            it fails with.
        seconds: after which a child that hangs is killed.
    """
    arm = Arm()
    ours, theirs = socket.socketpair()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code, report = 1, ""
        try:
            listener = _install()
            socket.send_fds(theirs, [b"."], [listener])
            os.close(listener)
            theirs.close()
            ours.close()
            report = work(arm)
            code = 0
        except BaseException:
            report = traceback.format_exc()
        finally:
            os.write(writing, report.encode(errors="replace")[:60_000])  # as much as a pipe holds
            os._exit(code)
    theirs.close()
    os.close(writing)
    outcome = Outcome()
    with ours:
        _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
    for listener in descriptors:
        _supervise(listener, child, folder, arm, fate, outcome, seconds)
        os.close(listener)
    outcome.status = os.waitpid(child, 0)[1]
    with os.fdopen(reading, "rb") as pipe:
        outcome.report = pipe.read().decode(errors="replace")
    return outcome


def _install() -> int:
    """Put this process under the filter; the result is the descriptor that its calls are asked about at."""
    architecture, seccomp, calls = _CALLS[platform.machine()]

    def instruction(code: int, k: int, yes: int = 0, no: int = 0) -> bytes:
        return struct.pack("HBBI", code, yes, no, k)

    load, jump_if_equal, jump_if_set, give = 0x20, 0x15, 0x45, 0x06
    program = instruction(load, 4) + instruction(jump_if_equal, architecture, 1, 0) + instruction(give, _ALLOW)
    program += instruction(load, 0)
    for number, (name, where) in calls.items():
        if name == "open":  # most only read: asking about each would take long
            flags = 16 + 8 * (int(where.split()[1]) + 1)
            program += instruction(jump_if_equal, number, 0, 4) + instruction(load, flags)
            program += instruction(jump_if_set, os.O_CREAT | os.O_TRUNC, 0, 1)
            program += instruction(give, _USER_NOTIFICATION) + instruction(give, _ALLOW)
        else:
            program += instruction(jump_if_equal, number, 0, 1) + instruction(give, _USER_NOTIFICATION)
    program += instruction(give, _ALLOW)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS, without which it would take root
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    listener = libc.syscall(seccomp, 1, _NEW_LISTENER, ctypes.create_string_buffer(header, len(header)))
    if listener < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(listener)


def _supervise(
    listener: int,
    child: int,
    folder: Path,
    arm: Arm,
    fate: Callable[[int, Call], int],
    outcome: Outcome,
    seconds: float,
) -> None:
    until = time.monotonic() + seconds
    _, _, calls = _CALLS[platform.machine()]
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while True:
        events = poll.poll(max(0.0, until - time.monotonic()) * 1000)
        if not events:
            os.kill(child, signal.SIGKILL)
            outcome.report = "hung"
            return
        if not events[0][1] & select.POLLIN:  # everybody under the filter is gone
            return
        notice = bytearray(80)
        try:
            fcntl.ioctl(listener, _RECEIVE, notice)
        except FileNotFoundError:  # killed while it asked
            continue
        id_, pid, _, number, _, _, *arguments = struct.unpack("QIIiIQ6Q", notice)
        name, where = calls[number]
        becomes = GO_ON
        call = _call(name, where, pid, arguments, folder) if arm else None
        if call is not None:
            becomes = fate(len(outcome.calls), call)
            outcome.calls.append(call)
        if becomes in (KILL, TEAR):
            if becomes == TEAR and number in _PLAIN_WRITES[platform.machine()]:
                _write_half(number, pid, arguments)
            os.kill(child, signal.SIGKILL)
            continue
        answer = struct.pack("QqiI", id_, 0, -becomes, 0 if becomes else _CONTINUE)
        with contextlib.suppress(FileNotFoundError):
            fcntl.ioctl(listener, _SEND, bytearray(answer))


def _call(name: str, where: str, pid: int, arguments: list[int], folder: Path) -> Call | None:
    """What a call does to the folder; None if it does nothing to it."""
    kind, position = where.split()
    try:
        if kind == "fd":
            path = Path(f"/proc/{pid}/fd/{ctypes.c_int(arguments[int(position)]).value}").readlink()
        else:
            path = Path(os.fsdecode(_memory(pid, arguments[int(position)], 4096).partition(b"\0")[0]))
            if not path.is_absolute():
                at = ctypes.c_int(arguments[int(position) - 1]).value if position != "0" else _HERE
                base = f"/proc/{pid}/cwd" if at == _HERE else f"/proc/{pid}/fd/{at}"
                path = Path(base).readlink() / path
    except OSError:
        return None
    if name == "open":
        flags = arguments[int(position) + 1]
        if path.exists() and not flags & os.O_TRUNC:
            return None
        name = "create"
    return Call(name, path.relative_to(folder).as_posix()) if path.is_relative_to(folder) else None


def _write_half(number: int, pid: int, arguments: list[int]) -> None:
    descriptor, buffer, count, offset, *_ = arguments
    if number == min(_PLAIN_WRITES[platform.machine()]):  # write(2), which goes on where the last one ended
        information = Path(f"/proc/{pid}/fdinfo/{descriptor}").read_text()
        offset = int(information.split("pos:")[1].split()[0])
    half = _memory(pid, buffer, count // 2)
    file = os.open(f"/proc/{pid}/fd/{descriptor}", os.O_WRONLY)
    try:
        os.pwrite(file, half, offset)
    finally:
        os.close(file)


def _memory(pid: int, address: int, count: int) -> bytes:
    """Memory of another process, up to the end of what can be read."""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:  # noqa: PTH123  # no regular file
        os.lseek(memory.fileno(), address, os.SEEK_SET)
        out = b""
        while len(out) < count:
            page = min(count - len(out), 4096 - (address + len(out)) % 4096)
            try:
                part = os.read(memory.fileno(), page)
            except OSError:
                break
            if not part:
                break
            out += part
        return out


if __name__ == "__main__":
    print(json.dumps(available()))
