"""Who may write an index in Milvus, which has no locks: a lease, which ends by itself if its holder does.

All leases of a database are rows of one collection. Whoever wants one adds a row and then reads, strongly consistent,
those of all others: who is not alone takes the row back. Two who want it at once may both take theirs back, and try
again after a moment that is not the same for both; never do both have it.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import socket
import threading
import time
from pathlib import Path
from typing import Any

from pymilvus import DataType, MilvusClient

from retrieval.engines.address import Address
from retrieval.engines.milvus_connections import PATIENCE, collection_name, sentences
from retrieval.errors import RetrievalError
from retrieval.index.lock import WriterAtWorkError

COLLECTION = "retrieval_writers"
"""No name of an index becomes this one."""

TERM, RENEWED = 60.0, 15.0
"""Seconds that a lease lasts, and after which its holder renews it."""

_TRIES = 4


class Lease:
    """The right to write an index, held until :meth:`release`, or until its holder is gone for :data:`TERM` seconds.

    Raises:
        WriterAtWorkError: another holds it.
        RetrievalError: the server cannot be reached.
    """

    def __init__(self, client: MilvusClient, address: Address) -> None:
        self._client = client
        self._address = address
        self._name = collection_name(address.name)
        self._row = 0
        self._until = 0.0
        self._over = threading.Event()
        self._since = time.time()
        with sentences(address):
            self._see_to_collection()
            for attempt in range(_TRIES):
                holder = self._try()
                if holder is None:
                    break
                if attempt == _TRIES - 1 or holder["since"] < self._since - 1:
                    raise WriterAtWorkError(_refusal(address, holder))
                time.sleep(random.uniform(0.05, 0.5))
        self._renewing = threading.Thread(target=self._renew, daemon=True, name="lease of an index")
        self._renewing.start()

    def require(self) -> None:
        """See to it that it is still held.

        Raises:
            RetrievalError: it is not: it could not be renewed in time.
        """
        if time.monotonic() > self._until:
            raise RetrievalError(
                f"The right to write {self._address.shown!r} has ended, since the server could not be reached for "
                f"{TERM:.0f} seconds; open it again."
            )

    def release(self) -> None:
        """Let it go. Calling it twice is harmless."""
        if not self._over.is_set():
            self._over.set()
            self._renewing.join()
            with contextlib.suppress(Exception):  # it ends by itself
                self._client.delete(COLLECTION, ids=[self._row], timeout=5)

    def _try(self) -> dict[str, Any] | None:
        """Claim it; None if it is ours, else who has it, or wants it too."""
        self._claim()
        for one in self._client.query(
            COLLECTION, filter=f'name == "{self._name}" and row != {self._row}', output_fields=["row", "holder"],
            consistency_level="Strong", timeout=PATIENCE,
        ):  # fmt: skip
            holder: dict[str, Any] = json.loads(one["holder"])
            if not _is_over(holder):
                self._client.delete(COLLECTION, ids=[self._row], timeout=PATIENCE)
                return holder
            self._client.delete(COLLECTION, ids=[one["row"]], timeout=PATIENCE)
        return None

    def _claim(self) -> None:
        before, self._row = self._row, secrets.randbelow(2**62) + 1
        began = time.monotonic()
        holder = {
            "host": socket.gethostname(), "process": os.getpid(), "started": _started(os.getpid()),
            "since": self._since, "until": time.time() + TERM,
        }  # fmt: skip
        row = {"row": self._row, "name": self._name, "holder": json.dumps(holder), "nothing": [0.0, 0.0]}
        self._client.insert(COLLECTION, [row], timeout=RENEWED)
        self._until = began + TERM
        if before:
            self._client.delete(COLLECTION, ids=[before], timeout=RENEWED)

    def _renew(self) -> None:
        while not self._over.wait(RENEWED):
            with contextlib.suppress(Exception):  # the next time, or require() says so
                self._claim()

    def _see_to_collection(self) -> None:
        if not self._client.has_collection(COLLECTION, timeout=PATIENCE):
            schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
            schema.add_field("row", DataType.INT64, is_primary=True)
            schema.add_field("name", DataType.VARCHAR, max_length=256)
            schema.add_field("holder", DataType.VARCHAR, max_length=2048)
            schema.add_field("nothing", DataType.FLOAT_VECTOR, dim=2)  # a collection must have one
            index = MilvusClient.prepare_index_params()
            index.add_index("nothing", index_type="FLAT", metric_type="IP")
            self._client.create_collection(
                COLLECTION, schema=schema, index_params=index, num_shards=1, consistency_level="Strong", timeout=120
            )
        self._client.load_collection(COLLECTION, timeout=120)


def _refusal(address: Address, holder: dict[str, Any]) -> str:
    since, until = (time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(holder[name])) for name in ("since", "until"))
    return (
        f"The index {address.shown!r} is being written by process {holder['process']} on {holder['host']} since "
        f"{since}; wait until it has finished, or stop it (if it was killed, its lease ends at {until})."
    )


def _is_over(holder: dict[str, Any]) -> bool:
    """Whether its time is up, or it was a process of this machine that is no more."""
    if time.time() > holder["until"]:
        return True
    here = holder["host"] == socket.gethostname() and holder["started"] is not None
    return here and holder["started"] != _started(holder["process"])


def _started(process: int) -> str | None:
    """What tells a process of this machine from later ones of its number; None if there is none, or no way to know."""
    with contextlib.suppress(OSError, IndexError):
        boot, stat = (Path("/proc", one).read_text() for one in ("sys/kernel/random/boot_id", f"{process}/stat"))
        return f"{boot.strip()} {stat.rpartition(')')[2].split()[19]}"
    return None
