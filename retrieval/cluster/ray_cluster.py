"""Which Ray cluster encodes, how it is reached, and where on it there is room."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from retrieval.base.placed_files import Root
from retrieval.base.text import for_terminal, printable
from retrieval.engines.engine_index import EngineIndex
from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.ingest.update import Means

if TYPE_CHECKING:
    from retrieval.cluster.cluster_encoding import ClusterEncoding

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


@dataclass(frozen=True)
class RayCluster:
    """A Ray cluster on which pictures are encoded.

    Every node sees the pictures and the index's folder by the same paths as this machine, and has the same release of
    this package, with its extra ``ray``.

    Attributes:
        address: "HOST:PORT" of its head, or "auto" for the cluster that this machine belongs to.
        workers: how many processes encode; by default one for each node, or as many as there are GPUs for.
        gpus_per_worker: GPUs that each of them has; several may share one (0.5).
    """

    address: str = AUTO
    workers: int | None = None
    gpus_per_worker: float = 0.0

    def reach(self) -> None:
        """Connect to it, once in a process.

        Raises:
            RetrievalError: Ray is not installed, nobody answers there, the cluster has another release of Ray or of
                Python, or a number is impossible.
        """
        if self.workers is not None and self.workers < 1:
            raise RetrievalError(f"workers is {self.workers}; give a whole number from 1 upwards.")
        if not 0 <= self.gpus_per_worker <= 64 or (self.gpus_per_worker > 1 and self.gpus_per_worker % 1):
            raise RetrievalError(
                f"gpus_per_worker is {self.gpus_per_worker:g}; give a share of one GPU, or a whole number of them."
            )
        if importlib.util.find_spec("ray") is None:
            raise RetrievalError("Ray is not installed; install the extra (pip install 'retrieval[ray]').")
        address = self._checked()
        ray = imported()
        if ray.is_initialized():
            return
        try:
            ray.init(address=address, log_to_driver=False, logging_level="FATAL", configure_logging=False)
        except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
            raise self._unreachable(error) from None
        # What it has to say of lost workers would come at length, and on stdout, where results go.
        importlib.import_module("ray._private.worker")._worker_logs_enabled = False

    def encoding(self, index: Index, root: Root, means: Means) -> ClusterEncoding:
        """Have its workers ready to encode for an index.

        Args:
            index: open for writing.
            root: what the pictures' paths are relative to.
            means: what each worker may use.

        Raises:
            RetrievalError: the index is in a database, there is no room, or the workers cannot encode for it.
        """
        from retrieval.cluster.cluster_encoding import ClusterEncoding

        if isinstance(index, EngineIndex):
            raise RetrievalError(
                f"The index {index.name!r} is in a database, and a cluster writes folders; leave --ray out, or build a "
                "folder and `retrieval export` it."
            )
        self.reach()
        return ClusterEncoding(self, index, root, means)

    def seats(self, threads: int | None) -> Seats:
        """What the workers get, by all that the cluster's nodes have, taken or not.

        Args:
            threads: cores of each worker; by default all are shared out evenly.

        Raises:
            RetrievalError: there is no room for that.
        """
        nodes = [node["Resources"] for node in imported().nodes() if node["Alive"]]
        return share_out([(int(one.get("CPU", 0)), one.get("GPU", 0.0)) for one in nodes], self, threads)

    def _checked(self) -> str:
        """The address to connect to, at which somebody answers."""
        address = self.address
        if address == AUTO:
            address = os.environ.get("RAY_ADDRESS") or AUTO
        if address == AUTO:
            return address
        parts = _ADDRESS.fullmatch(address)
        if parts is None:
            raise RetrievalError(
                f"{printable(self.address)!r} is no address of a Ray cluster; give HOST:PORT of its head, or auto."
            )
        try:
            socket.create_connection((parts["six"] or parts["host"], int(parts["port"])), PATIENCE).close()
        except (OSError, OverflowError, UnicodeError) as error:
            raise self._unreachable(error) from None
        return address

    def _unreachable(self, error: Exception) -> RetrievalError:
        why = for_terminal(" ".join(str(error).split())) or type(error).__name__
        if isinstance(error, RuntimeError) and "mismatch" in why.lower():
            return RetrievalError(
                f"The Ray cluster at {printable(self.address)!r} has other releases than this machine ({why:.300}); "
                "install the same Python, ray and retrieval on all of them."
            )
        if self.address == AUTO and isinstance(error, ConnectionError):
            why = "none runs on this machine"
        return RetrievalError(
            f"No Ray cluster can be reached at {printable(self.address)!r} ({why:.300}); start one (ray start --head), "
            "or give the address of its head, as HOST:PORT."
        )


def share_out(nodes: list[tuple[int, float]], asked: RayCluster, threads: int | None) -> Seats:
    """What each worker gets: as many cores as there can be so that all find a place.

    Args:
        nodes: cores and GPUs of each.
        asked: how many workers, with how many GPUs.
        threads: cores of each, if somebody wants so many.

    Raises:
        RetrievalError: there is no room for that.
    """
    gpus = asked.gpus_per_worker

    def places(cores: int) -> int:
        return sum(min(have // cores, int(there / gpus + 1e-6) if gpus else have // cores) for have, there in nodes)

    able = [have for have, there in nodes if have > 0 and there >= gpus]
    wanted = asked.workers or (places(threads or 1) if gpus else len(able)) or 1
    most = max(able, default=0)
    for cores in [threads] if threads else range(most, 0, -1):
        if places(cores) >= wanted:
            return Seats(wanted, cores, gpus)
    each = f"{threads or 1} cores" + (f" and {gpus:g} GPUs" if gpus else "")
    raise RetrievalError(
        f"The Ray cluster has room for {places(threads or 1)} workers with {each}, not for {wanted}; ask for fewer or "
        "smaller ones, or start more nodes."
    )


def imported() -> Any:
    """Ray, which nothing else here imports before it is needed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    return importlib.import_module("ray")
