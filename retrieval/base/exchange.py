"""Two folders change places in one step, so that whoever looks finds the one or the other and never none."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2

_IMPOSSIBLE = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTTY})
"""What a kernel or a file system answers that does not know the call."""


def exchange(one: Path, other: Path) -> bool:
    """Let two folders, or files, of one file system change names, by Linux's ``renameat2`` (RENAME_EXCHANGE).

    Returns:
        Whether it was done. False where kernel or file system cannot (some network disks); nothing has changed then.

    Raises:
        OSError: one is missing, or may not be renamed; then nothing changed either.
    """
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    if rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _IMPOSSIBLE:
        return False
    raise OSError(code, os.strerror(code), str(one), None, str(other))
