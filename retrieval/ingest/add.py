"""Single pictures into an index."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

from retrieval import images
from retrieval.base.object_address import is_object
from retrieval.base.placed_files import NAMED, Root
from retrieval.base.text import printable
from retrieval.engines.address import shown
from retrieval.engines.opening import open_index
from retrieval.images.reading import choose_decoder, recorded_decoder
from retrieval.ingest.build_report import BuildReport
from retrieval.ingest.changes import is_outside, of_files
from retrieval.ingest.label_rule import recorded_labels, recorded_rule
from retrieval.ingest.update import Means, Update, Workers
from retrieval.places.roots import root_at


def add_pictures(
    index: str | Path,
    pictures: Iterable[str | Path],
    *,
    threads: int | None = None,
    batch: int | None = None,
    memory: int | None = None,
    on: Workers | None = None,
) -> BuildReport:
    """Add pictures to an index; those that are in it by their path, and have changed, are replaced.

    Pictures in the index's folder get their path and their label there, as a build would give them. All others keep
    their absolute path and have no label; a build or sync leaves them alone. From then on the index lets its pictures
    lie elsewhere, too, if they have an absolute path.

    Args:
        index: the index's folder, or its address.
        pictures: files, whatever they are called, or folders, all of whose pictures are meant; on the disk or, by
            their addresses, in an object store.
        threads: how many cores to use; all by default.
        batch: pictures that a thread reads before it encodes them; by default what is fast and takes little memory.
        memory: bytes that the process may take.
        on: who encodes, such as a :class:`retrieval.RayCluster`, each worker with the means above; this process by
            default.

    Raises:
        RetrievalError: none of the pictures can be read, or the index cannot be written.
    """
    began = time.perf_counter()
    means = Means(threads, batch, memory, on)
    means.check()
    with open_index(index, write=True) as opened:
        choose_decoder(recorded_decoder(opened.decoder))  # it may be missing on this machine
        root = root_at(opened.root)
        paths, skipped = _named(root, pictures, hidden=bool(opened.details.get("hidden")))
        rule = recorded_rule(recorded_labels(opened.details))
        if any(map(is_outside, paths)) and not opened.details.get(NAMED):
            opened.record_details({**opened.details, NAMED: True})
        root = root.allowing(opened.details)
        changes = of_files(opened, root, paths)
        return Update(opened, root, rule, changes, means).run(shown(index), skipped, began)


def _named(root: Root, pictures: Iterable[str | Path], *, hidden: bool) -> tuple[list[str], list[images.Skipped]]:
    """The paths by which an index knows some files, each once, and what cannot be taken."""
    paths: dict[str, None] = {}
    skipped: list[images.Skipped] = []
    for given in pictures:
        place = root_at(given)
        if place.is_folder():
            found = images.find(place, hidden=hidden)
            skipped.extend(found.skipped)
            files = [os.fspath(place / path) for path in found.paths]
            if is_object(given) and not found.paths and not found.skipped:  # where a folder is what objects make it
                skipped.append(images.Skipped(printable(given), "no such file"))
        else:
            files = [place.name]
        for file in files:
            name = _path_in(root, file)
            try:
                name.encode()
            except UnicodeEncodeError:
                skipped.append(images.Skipped(printable(file), "name is not UTF-8"))
            else:
                paths[name] = None
    return list(paths), skipped


def _path_in(root: Root, file: str) -> str:
    """A file's path below the root, by which a build knows it; its absolute one if it lies elsewhere."""
    # A link to a file stands for itself, as in a build.
    place = file if is_object(file) else os.fspath(Path(file).parent.resolve() / Path(file).name)
    below = root.path_of(place)
    return place if below is None else below
