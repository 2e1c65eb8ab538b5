"""Bringing an index up to date with its folder, wherever that lies by now."""

from __future__ import annotations

import contextlib
import shlex
import time
from pathlib import Path

from retrieval import images
from retrieval.base import progress
from retrieval.base.machine import cores
from retrieval.base.placed_files import Root
from retrieval.base.text import printable
from retrieval.engines.address import shown
from retrieval.engines.opening import open_index
from retrieval.errors import RetrievalError
from retrieval.images.reading import choose_decoder, hash_files, recorded_decoder
from retrieval.index import Index
from retrieval.index.records import AUTO
from retrieval.ingest.build_index import other_labels
from retrieval.ingest.build_report import BuildReport
from retrieval.ingest.changes import in_folder, is_outside, size_of
from retrieval.ingest.label_rule import label_rule, recorded_labels
from retrieval.ingest.left_out import recall
from retrieval.ingest.update import Means, Update, Workers
from retrieval.places.roots import root_at, root_of


def sync(
    index: str | Path,
    pictures: str | Path | None = None,
    *,
    labels: str | Path = AUTO,
    checksum: bool = False,
    threads: int | None = None,
    batch: int | None = None,
    memory: int | None = None,
    on: Workers | None = None,
) -> BuildReport:
    """Bring an index up to date with its folder of pictures, as :func:`retrieval.ingest.build` does.

    Pictures that were added from elsewhere stay as they are.

    Args:
        index: the index's folder, or its address.
        pictures: where the folder of pictures lies, if it was moved, also into an object store or out of one: that is
            where the index will look from then on, if at least half of its pictures are there, at their paths or
            elsewhere.
        labels: a CSV file's path where labels come from a list; by default pictures keep theirs, and new ones have
            none. Otherwise as for a build.
        checksum: look into every file, whatever its size and time say.
        threads: how many cores to use; all by default.
        batch: pictures that a thread reads before it encodes them; by default what is fast and takes little memory.
        memory: bytes that the process may take.
        on: who encodes, such as a :class:`retrieval.RayCluster`, each worker with the means above; this process by
            default.

    Raises:
        RetrievalError: the folder is not there, has no picture, or is another one; labels came from elsewhere; or the
            index cannot be written. Then nothing was taken out.
    """
    began = time.perf_counter()
    means = Means(threads, batch, memory, on)
    means.check()
    with open_index(index, write=True) as opened:
        name = printable(opened.name)
        choose_decoder(recorded_decoder(opened.decoder))  # it may be missing on this machine
        root = root_at(opened.root if pictures is None else pictures)
        if pictures is None and not root.is_there():
            raise RetrievalError(
                f"The folder {printable(root.name)!r} of the index {name!r} is not there; connect its disk, or say "
                f"where it was moved to: retrieval sync {shlex.quote(name)} FOLDER."
            )
        recalled = recall(opened)
        pictures_known = None if checksum else opened.known
        found = images.find(root, hidden=recalled.hidden, strangers=recalled.strangers, pictures=pictures_known)
        if not found.paths:
            raise RetrievalError(
                f"There is no picture in {printable(root.address)!r}, so nothing was taken out of the index {name!r}; "
                "connect its disk, or take them out with `retrieval remove` if they are gone for good."
            )
        moved = pictures is not None and root.address != opened.root
        if moved:
            _check_moved(opened, name, root, found.paths)
        rule = label_rule(str(labels), root.address, found.paths, recorded_labels(opened.details))
        problem = other_labels(opened, rule)
        if problem is not None:
            raise RetrievalError(f"The index {name!r} was built {problem}; leave --labels out, or build it anew.")
        if moved:
            opened.record_root(root.address)
        root = root.allowing(opened.details)
        changes = in_folder(opened, root, found.paths, checksum=checksum, unreadable=recalled.unreadable)
        return Update(opened, root, rule, changes, means).run(shown(index), found.skipped, began, found)


def _check_moved(index: Index, name: str, root: Root, paths: tuple[str, ...]) -> None:
    """See that a folder holds at least half of an index's pictures: by path and size, otherwise by content.

    Raises:
        RetrievalError: it does not, or is only a part of the folder.
    """
    before = root_of(index.root, {})
    if before.path_of(root.address) is not None and before.is_there():
        raise RetrievalError(
            f"{printable(root.address)!r} is only a part of the folder of the index {name!r}, the rest of which would "
            f"be taken out; give the whole one, {printable(index.root)!r}, or none."
        )
    sizes = {path: size for path, (size, _) in index.known().items() if not is_outside(path)}
    there = sum(size_of(root, path) == size for path, size in sizes.items())
    if 2 * there < len(sizes):
        there = _count_by_content(index, root, paths, len(sizes))
    if 2 * there < len(sizes):
        raise RetrievalError(
            f"Fewer than half of the {len(sizes):,} pictures of the index {name!r} are in {printable(root.address)!r}, "
            f"so that it is not {printable(index.root)!r} moved there; give the folder that they are in, or "
            "build another index of this one."
        )


def _count_by_content(index: Index, root: Root, paths: tuple[str, ...], items: int) -> int:
    """How many of an index's pictures are in a folder under any name, as far as needed to know if half of them are."""
    met = 0
    unmet: dict[str, int] = {}  # content → items that have it, less the files that had it so far
    hashes = hash_files(paths, threads=cores(), root=root)
    with progress.bar(len(paths), "Comparing", "pictures") as bar, contextlib.closing(hashes):
        for done, found in enumerate(hashes):
            if 2 * met >= items or 2 * (met + len(paths) - done) < items:
                break
            bar.update()
            if isinstance(found, images.Skipped):
                continue
            if found.sha256 not in unmet:
                unmet[found.sha256] = sum(not is_outside(item.path) for item in index.find_sha256(found.sha256))
            if unmet[found.sha256]:
                unmet[found.sha256] -= 1
                met += 1
    return met
