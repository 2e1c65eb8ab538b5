"""How a Ray cluster is reached, and what there is room for on it."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import socket
from collections.abc import Sequence
from typing import Any, NamedTuple

from retrieval.base.text import for_terminal, printable
from retrieval.errors import RetrievalError

AUTO = "auto"

PATIENCE = 5.0
"""Seconds in which a machine must answer at an address. Ray itself would try for minutes."""

_ADDRESS = re.compile(r"(?:\[(?P<six>[^\[\]/]+)\]|(?P<host>[^:\[\]/\s]+)):(?P<port>\d{1,5})")


class Seats(NamedTuple):
    """How many workers there are, and what each of them has.

    Attributes:
        workers: how many.
        cores: of each.
        gpus: of each.
    """

    workers: int
    cores: int
    gpus: float


def imported() -> Any:
    """Ray, which nothing else here imports before it is needed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    return importlib.import_module("ray")


def connect(address: str) -> None:
    """Connect this process to a cluster, unless it is connected.

    Args:
        address: "HOST:PORT" of its head, or "auto" for the one that this machine belongs to.

    Raises:
        RetrievalError: Ray is not installed, nobody answers there, or the cluster has another release of Ray or Python.
    """
    if not _is_installed():
        raise RetrievalError("Ray is not installed; install the extra (pip install 'retrieval[ray]').")
    place = os.environ.get("RAY_ADDRESS") or AUTO if address == AUTO else address
    if place != AUTO:
        _require_answer(place)
    ray = imported()
    if ray.is_initialized():
        return
    try:
        ray.init(address=place, log_to_driver=False, logging_level="FATAL", configure_logging=False)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        raise _unreachable(address, error) from None
    # What it has to say of lost workers would come at length, and on stdout, where results go.
    inner: Any = importlib.import_module("ray._private.worker")
    inner._worker_logs_enabled = False


def nodes() -> list[tuple[int, float]]:
    """Cores and GPUs of each node, taken or not."""
    there = [node["Resources"] for node in imported().nodes() if node["Alive"]]
    return [(int(one.get("CPU", 0)), float(one.get("GPU", 0))) for one in there]


def share_out(nodes: Sequence[tuple[int, float]], workers: int | None, gpus: float, threads: int | None) -> Seats:
    """What each worker gets: as many cores as there can be so that all find a place.

    Args:
        nodes: cores and GPUs of each.
        workers: how many; by default as many as there are nodes, or as there are GPUs for.
        gpus: of each.
        threads: cores of each, if somebody wants so many.

    Raises:
        RetrievalError: there is no room for that.
    """

    def places(cores: int) -> int:
        return sum(min(have // cores, int(there / gpus + 1e-6) if gpus else have // cores) for have, there in nodes)

    able = [have for have, there in nodes if have > 0 and there >= gpus]
    wanted = workers or (places(threads or 1) if gpus else len(able)) or 1
    for cores in [threads] if threads else range(max(able, default=0), 0, -1):
        if places(cores) >= wanted:
            return Seats(wanted, cores, gpus)
    each = f"{threads or 1} cores" + (f" and {gpus:g} GPUs" if gpus else "")
    raise RetrievalError(
        f"The Ray cluster has room for {places(threads or 1)} workers with {each}, not for {wanted}; ask for fewer or "
        "smaller ones, or start more nodes."
    )


def _is_installed() -> bool:
    return importlib.util.find_spec("ray") is not None


def _require_answer(address: str) -> None:
    parts = _ADDRESS.fullmatch(address)
    if parts is None:
        raise RetrievalError(
            f"{printable(address)!r} is no address of a Ray cluster; give HOST:PORT of its head, or auto."
        )
    try:
        socket.create_connection((parts["six"] or parts["host"], int(parts["port"])), PATIENCE).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise _unreachable(address, error) from None


def _unreachable(address: str, error: Exception) -> RetrievalError:
    why = for_terminal(" ".join(str(error).split())) or type(error).__name__
    if isinstance(error, RuntimeError) and "mismatch" in why.lower():
        return RetrievalError(
            f"The Ray cluster at {printable(address)!r} has other releases than this machine ({why:.300}); install the "
            "same Python, ray and retrieval on all of them."
        )
    if address == AUTO and isinstance(error, ConnectionError):
        why = "none runs on this machine"
    return RetrievalError(
        f"No Ray cluster can be reached at {printable(address)!r} ({why:.300}); start one (ray start --head), or give "
        "the address of its head, as HOST:PORT."
    )
