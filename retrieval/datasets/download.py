"""Getting one file over HTTP so that an interruption costs nothing."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import urllib.request
from pathlib import Path
from typing import Any

from retrieval.base.progress import bar
from retrieval.base.text import printable
from retrieval.errors import RetrievalError
from retrieval.images import MAX_BYTES

TIMEOUT = 10.0
"""Seconds without an answer, or without a byte, after which a site counts as out of reach."""

ATTEMPTS = 5
"""How often a connection that breaks off is taken up again, if each time something has come through."""

_CHUNK = 2**18


class NotAvailable(RetrievalError):  # noqa: N818 (names the situation)
    """A file cannot be had from here. The message is a few words, for a list of what was tried."""


def download(url: str, target: Path, md5: str | None = None, timeout: float = TIMEOUT) -> None:
    """Get a file, going on where an earlier attempt stopped.

    What has come so far is in `target` with ".part" at its end, and becomes `target` when it is whole.

    Args:
        url: http or https.
        target: where to. If it is there already, nothing happens.
        md5: hexadecimal, of the whole file; None to go by the length alone.
        timeout: seconds.

    Raises:
        NotAvailable: if the site cannot be reached, does not have the file, breaks off for good, or sends
            another file than it should. In the last case what was received is removed.
    """
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    resumed = part.exists()
    for attempt in range(1, ATTEMPTS + 1):
        before = part.stat().st_size if part.exists() else 0
        try:
            _continue(url, part, timeout)
            break
        except urllib.error.HTTPError as error:
            raise NotAvailable(f"HTTP {error.code} {error.reason}") from error
        except (OSError, http.client.HTTPException) as error:
            came = (part.stat().st_size if part.exists() else 0) > before
            if attempt == ATTEMPTS or not came:
                raise NotAvailable(_words(error)) from error
    if md5 is not None and _md5(part) != md5:
        part.unlink()
        if resumed:  # the beginning may have been of another version
            download(url, target, md5, timeout)
            return
        raise NotAvailable(f"the file that came has not the MD5 {md5}")
    part.replace(target)


def _continue(url: str, part: Path, timeout: float) -> None:
    """One connection: append to `part` what it lacks. Raises OSError if that ends early."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        # 416: nothing lies beyond what is here. Whole, unless the file on the site has become another one.
        if error.code == 416 and _total(error.headers) == have:
            return
        if error.code == 416:
            part.unlink()
            _continue(url, part, timeout)
            return
        raise
    with response:
        if have and (response.status != 206 or _start(response.headers) != have):
            have = 0  # a server that does not know ranges sends all of it
        length = response.headers.get("Content-Length", "")
        whole = have + int(length) if length.isdigit() else None
        with part.open("r+b" if have else "wb") as file, _bar(url, whole, have) as progress:
            file.seek(have)
            while chunk := response.read1(_CHUNK):
                have += len(chunk)
                if have > MAX_BYTES:
                    raise NotAvailable("the file is larger than 2 GiB")
                file.write(chunk)
                progress.update(len(chunk))
            file.flush()
            os.fsync(file.fileno())
    if whole is not None and have < whole:
        raise ConnectionError(f"broke off after {have:,} of {whole:,} bytes")


def _bar(url: str, whole: int | None, have: int) -> Any:
    name = url.rpartition("/")[2]
    return bar(whole, f"Downloading {name}", "B", initial=have, unit_scale=True, unit_divisor=1024)


def _start(headers: Any) -> int | None:
    """Where the bytes begin that a 206 sends."""
    match = re.fullmatch(r"bytes (\d+)-\d+/(?:\d+|\*)", headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _total(headers: Any) -> int | None:
    """How long the file is, as a 416 says."""
    match = re.fullmatch(r"bytes \*/(\d+)", headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _words(error: BaseException) -> str:
    """A few words for what went wrong on the way."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return "no answer in time"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror.lower()
    return printable(str(cause)) or type(cause).__name__
