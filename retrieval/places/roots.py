"""Where pictures lie, from what a person writes, and from what a catalog records."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

from retrieval.base.object_address import Address, is_object
from retrieval.base.placed_files import Placed, Root
from retrieval.places.bucket import Bucket
from retrieval.places.folder import Folder


def root_of(address: str, details: Mapping[str, object]) -> Root:
    """The root of an index, by what its catalog says.

    Args:
        address: what :attr:`retrieval.base.placed_files.Root.address` was. details: the index's.
    """
    root = Bucket(Address.of(address)) if is_object(address) else Folder(Path(address))
    return root.allowing(details)


def picture_at(place: str | Path) -> Path | Placed:
    """The picture that somebody means, by its file's path or its object's address.

    Raises:
        RetrievalError: it is an address that nothing is read from.
    """
    if not is_object(place):
        return Path(place)
    root = root_at(place)
    if not isinstance(root, Bucket):
        return Path(root.name)
    whole = Bucket(root.at._replace(key=""))
    return whole / root.at.key


def root_at(place: str | Path) -> Root:
    """The root that somebody means.

    Args:
        place: a folder, also as ``file:///...``, or an address in an object store.

    Raises:
        RetrievalError: it is an address that nothing is read from.
    """
    if is_object(place):
        scheme, _, rest = str(place).partition("://")
        if scheme.lower() != "file":
            return Bucket(Address.of(str(place))).patient()
        place = unquote(rest)
    return Folder(Path(place))
