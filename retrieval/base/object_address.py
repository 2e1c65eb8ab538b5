"""The address of pictures in an object store: ``s3://BUCKET/FOLDER``, as fsspec writes it.

An address names a bucket, never a host: which service that is, and who asks, is for the environment to say, as the
store's own library takes it. So the catalog of a stranger's index can lead nobody's credentials elsewhere, and no
secret is ever part of an address, of an index or of a message.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from retrieval.base.text import for_terminal, printable
from retrieval.errors import RetrievalError

PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "oss": "ossfs",
            "oci": "ocifs"}  # fmt: skip
"""By the schemes of the addresses that are taken: what is installed beside fsspec for it."""

_SCHEME = re.compile(r"[A-Za-z][^/\s]*://")
_SECRET = re.compile(r"(?i)[?&][^/]*(signature|token|secret|credential|password|accesskey|sig)[^/=]*=")


class Address(NamedTuple):
    """Where objects are.

    Attributes:
        scheme: "s3", "gs", ...
        bucket: its name.
        key: what the keys of the objects begin with, without a "/" at either end; empty for the whole bucket.
    """

    scheme: str
    bucket: str
    key: str

    @classmethod
    def of(cls, text: str) -> Address:
        """Take one apart.

        Raises:
            RetrievalError: it is none, or one that nothing is read from.
        """
        scheme, _, rest = text.partition("://")
        bucket, _, key = rest.rstrip("/").partition("/")
        scheme = scheme.lower()
        if "@" in bucket or _SECRET.search(text):
            raise RetrievalError(
                f"An address {scheme}://... may hold no user, password or signature; leave them out: credentials are "
                "taken from the environment or a profile, as the store's own library takes them."
            )
        if scheme not in PACKAGES:
            raise RetrievalError(
                f"{shown(text)!r} is no place that pictures are read from; give a folder, or an address in an object "
                f"store ({', '.join(f'{one}://' for one in PACKAGES)})."
            )
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:-]*", bucket) or "::" in text or not is_possible(key or "x"):
            raise RetrievalError(
                f"{shown(text)!r} is no address in an object store; give one such as {scheme}://BUCKET/FOLDER, with "
                "no empty part, no . and no .. in it."
            )
        return cls(scheme, bucket, key)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}" + (f"/{self.key}" if self.key else "")

    def key_of(self, path: str) -> str:
        """The key of what has this path below it."""
        return f"{self.key}/{path}" if self.key and path else self.key or path


def is_object(place: object) -> bool:
    """Whether a text is an address with a scheme, and no path of a file."""
    return isinstance(place, str) and _SCHEME.match(place) is not None


def is_possible(path: str) -> bool:
    """Whether an index may know a picture by this path: one that leads nowhere else, wherever it is joined."""
    return not {"", ".", ".."} & {*path.split("/")} and "\0" not in path


def shown(place: str) -> str:
    """An address as a message may have it."""
    return for_terminal(printable(place))
