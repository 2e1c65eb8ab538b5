"""The field's own benchmarks by their official protocols, one a file: what is read, who asks, who answers, what is
ignored, and which measures are taken.

docs/benchmarks.md says where each set is to be had, and what is commonly done wrong with it.
"""

from __future__ import annotations

from pathlib import Path

from retrieval.base.text import printable
from retrieval.errors import RetrievalError
from retrieval.protocols import (
    cars196,
    cifar10_hash,
    copydays,
    cub200,
    disc21,
    gldv2,
    holidays,
    inat2018,
    inshop,
    market1501,
    mirflickr,
    msmt17,
    nuswide,
    omniglot,
    roxford,
    sop,
    ukbench,
    veri,
)
from retrieval.protocols.protocol import OfficialSet, Protocol, Published, Setting

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        cub200.PROTOCOL,
        cars196.PROTOCOL,
        sop.PROTOCOL,
        inshop.PROTOCOL,
        inat2018.PROTOCOL,
        roxford.PROTOCOL,
        roxford.PARIS,
        gldv2.PROTOCOL,
        holidays.PROTOCOL,
        ukbench.PROTOCOL,
        copydays.PROTOCOL,
        disc21.PROTOCOL,
        market1501.PROTOCOL,
        msmt17.PROTOCOL,
        veri.PROTOCOL,
        cifar10_hash.PROTOCOL,
        nuswide.PROTOCOL,
        mirflickr.PROTOCOL,
        omniglot.PROTOCOL,
    )
}
"""By name; a folder is taken for the first set that recognises it."""

__all__ = ["PROTOCOLS", "OfficialSet", "Protocol", "Published", "Setting", "named", "recognised"]


def named(name: str) -> Protocol:
    """The protocol of this name.

    Raises:
        RetrievalError: there is none.
    """
    if name not in PROTOCOLS:
        raise RetrievalError(f"There is no benchmark {name!r}; give one of {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[name]


def recognised(folder: Path) -> Protocol | None:
    """The protocol whose set a folder holds, by a look at the names in it; None if it is none of them.

    Raises:
        RetrievalError: it has a list that one set alone has, and not the rest: read as folders of classes, what is for
            testing would train.
    """
    found = next((protocol for protocol in PROTOCOLS.values() if protocol.recognises(folder)), None)
    if found is None:
        for protocol in PROTOCOLS.values():
            for mark in protocol.marks:
                if (folder / mark).is_file():
                    raise RetrievalError(
                        f"{printable(folder)!r} has {mark}, as {protocol.title} does, which holds {protocol.layout}; "
                        "give a folder with all of these, or take that file out."
                    )
    return found
