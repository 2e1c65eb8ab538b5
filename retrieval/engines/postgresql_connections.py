"""How PostgreSQL is reached, who may write, and what its errors say to people."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import struct
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from retrieval.engines.address import Address
from retrieval.errors import RetrievalError
from retrieval.index.lock import WriterAtWorkError

logging.getLogger("psycopg.pool").addHandler(logging.NullHandler())  # what it would print is told as an error


def arguments(address: Address, wanted: str) -> dict[str, Any]:
    """How to connect, besides what the address says.

    Raises:
        RetrievalError: libpq does not understand it.
    """
    try:
        given = conninfo_to_dict(address.database)
    except psycopg.ProgrammingError:  # which may quote all of it, a password too
        raise RetrievalError(f"{address.shown!r} is no address that PostgreSQL understands; correct it.") from None
    found = {"connect_timeout": 10, "application_name": "retrieval", "target_session_attrs": wanted}
    return {name: value for name, value in found.items() if wanted == "read-write" or name not in given} | {
        "prepare_threshold": None  # a plan would outlive the exchange of the tables
    }


def connect(address: Address, wanted: str) -> psycopg.Connection[Any]:
    given = arguments(address, wanted)
    try:
        return psycopg.connect(address.database, **given)
    except psycopg.OperationalError as error:
        raise RetrievalError(
            f"{address.shown!r} cannot be reached ({reason(error)}); see to the server, the address and the user."
        ) from None


def locked(address: Address) -> psycopg.Connection[Any]:
    """A connection to the primary that alone may change an index.

    Raises:
        WriterAtWorkError: another has the lock.
        RetrievalError: there is no such server.
    """
    connection = connect(address, "read-write")
    try:
        with sentences(address):
            connection.autocommit = True
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            set_path(connection)
            digest = hashlib.sha256(f"retrieval index {address.name}".encode()).digest()
            high, low = struct.unpack(">ii", digest[:8])
            ((got,),) = connection.execute("SELECT pg_try_advisory_lock(%s, %s)", [high, low]).fetchall()
            if not got:
                raise WriterAtWorkError(
                    f"The index {address.shown!r} is being written by {_holder(connection, high, low)}; wait until it "
                    "has finished, or stop it."
                )
        return connection
    except BaseException:
        connection.close()
        raise


def _holder(connection: psycopg.Connection[Any], high: int, low: int) -> str:
    found = connection.execute(
        "SELECT a.pid, coalesce(host(a.client_addr), 'its own machine'), a.backend_start::timestamptz(0) "
        "FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE locktype = 'advisory' AND granted AND objsubid = 2 "
        "AND classid = %s::int8::oid AND objid = %s::int8::oid",
        [high % 2**32, low % 2**32],
    ).fetchall()
    for pid, host, since in found:
        return f"session {pid} from {host} since {since.isoformat()}"
    return "another session"


def prepare_reader(connection: psycopg.Connection[Any]) -> None:
    """What a pool does with a new connection."""
    set_path(connection)
    connection.commit()
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    connection.read_only = True


def set_path(session: Any) -> None:
    """Names without a schema are PostgreSQL's and pgvector's, whoever else made some of that name."""
    session.execute("SET jit = off")  # which takes longer than what it saves, here
    session.execute(
        "SELECT set_config('search_path', 'pg_catalog' || coalesce((SELECT ', ' || quote_ident(nspname) "
        "FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace WHERE extname = 'vector'), ''), false)"
    )


def require_vector(cursor: Any, address: Address) -> None:
    """See to pgvector, and that texts are UTF-8.

    Raises:
        RetrievalError: it is not there and cannot be made, or is too old; or the database is of another encoding.
    """
    try:
        cursor.execute("CREATE EXTENSION IF NOT EXISTS vector")
    except psycopg.Error as error:
        raise RetrievalError(
            f"pgvector cannot be used at {address.shown!r} ({reason(error)}); install it there, and have somebody who "
            "may say CREATE EXTENSION vector."
        ) from None
    cursor.execute("SELECT extversion, current_setting('server_encoding') FROM pg_extension WHERE extname = 'vector'")
    ((version, encoding),) = cursor.fetchall()
    if tuple(int(part) for part in version.split(".")[:2]) < (0, 8):
        raise RetrievalError(
            f"pgvector at {address.shown!r} is {version}, and this needs 0.8; say ALTER EXTENSION vector UPDATE."
        )
    if encoding != "UTF8":
        raise RetrievalError(f"The database at {address.shown!r} has the encoding {encoding}; choose one with UTF8.")


@contextlib.contextmanager
def sentences(address: Address) -> Iterator[None]:
    """What the server says, as a sentence."""
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        raise RetrievalError(f"{address.shown!r} refuses it ({reason(error)}); log in as who may do that.") from error
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise RetrievalError(
            f"The connection to {address.shown!r} was lost, or could not be had ({reason(error)}); what was committed "
            "is there: try again."
        ) from error
    except (psycopg.DataError, psycopg.errors.ProgramLimitExceeded, UnicodeEncodeError) as error:
        raise RetrievalError(
            f"{address.shown!r} can neither keep nor look for what was given ({reason(error)}); change or leave out "
            "what it names."
        ) from error
    except psycopg.Error as error:
        raise RetrievalError(f"{address.shown!r} cannot do it ({reason(error)}); try again.") from error


def reason(error: Exception) -> str:
    """The first line of what a server says, without what somebody may not see."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return " ".join(lines[0].split()).rstrip(".")[:300]
