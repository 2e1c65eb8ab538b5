"""Pictures that are in a collection more than once: the groups, what somebody has decided of them, and what that does.

The groups are those of :mod:`retrieval.traps.duplicates`; by which rule one of each is kept changes none but the groups
themselves, so that only their pictures are looked at again for another rule, and before a move. A decision is the
attribute :data:`DECIDED` of a picture.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

import numpy as np

from retrieval.base.text import printable
from retrieval.engines.opening import open_index
from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.search.search import Search
from retrieval.service.asking import HIDDEN
from retrieval.service.kept import Work
from retrieval.service.problems import Problem
from retrieval.traps.duplicates.find import duplicates_of
from retrieval.traps.duplicates.move import move_copies, undo_move
from retrieval.traps.duplicates.report import LARGEST, OLDEST, Duplicates, Group

DECIDED = "duplicate"
"""The attribute of a picture of which somebody has said that it may go, or is to stay."""

GO, KEEP = "go", "keep"

FOLDER = "folder:"
"""How a rule begins that prefers a folder."""

EXACT, NEAR, SIMILAR = KINDS = ("exact", "near", "similar")
"""Copies with the same bytes as what is kept; that are like it to every look; that look alike, and are only shown."""

Kind = Literal["kept", "exact", "near", "similar"]

LEAST = 0.5
"""Below this score pictures have nothing in common that anybody would call a copy."""

_VERSION = 1
_UNDO = re.compile(r"undo-[0-9]{8}-[0-9]{6}(-[0-9]{1,3})?\.json")


class Member(NamedTuple):
    """One picture of a group.

    Attributes:
        id, path: of the item. kind: what it is to the one that is kept. size, width, height, mtime_ns: of its file.
        frees: bytes that come free if it goes. score, bits: as :class:`retrieval.traps.duplicates.Copy` has them.
        stays: why it is not offered to go.
    """

    id: int
    path: str
    kind: Kind
    size: int
    width: int
    height: int
    mtime_ns: int
    frees: int
    score: float | None = None
    bits: int | None = None
    stays: str | None = None


class Copies(NamedTuple):
    """All groups, the largest first; in each what could stay comes first. And what a reader should know."""

    groups: tuple[tuple[Member, ...], ...]
    notes: tuple[str, ...] = ()


def of_kind(copies: Copies, kind: str | None) -> list[tuple[Member, ...]]:
    """The groups with copies of a kind alone, beside what is kept; None: as they are."""
    if kind is None:
        return list(copies.groups)
    some = ((group[0], *(one for one in group[1:] if one.kind == kind)) for group in copies.groups)
    return [group for group in some if len(group) > 1]


def kind_of(group: Sequence[Member]) -> str:
    """The kind of those copies that are most alike."""
    return min((one.kind for one in group[1:]), key=KINDS.index)


def looked_for(rule: str = LARGEST, score: float | None = None, among: Copies | None = None) -> Work[Copies]:
    """The making of the groups.

    Args:
        rule: what is kept: "largest", "oldest" or "folder:" and a folder among the pictures.
        score: the least score that counts; None: as :func:`retrieval.traps.duplicates.find_duplicates` has it.
        among: groups that were found by another rule; None: look at all pictures.
    """
    name = f"duplicates {_VERSION} {rule}" + ("" if score is None else f" {score}")
    return Work(name, partial(_found, rule=rule, score=score, among=among), _packed, _unpacked)


def score_of(given: object) -> float | None:
    """A least score that somebody has named, in hundredths: every other one has all pictures looked at again.

    Raises:
        Problem: it is none.
    """
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int | float) or not LEAST <= given <= 1:
        raise Problem(400, f"The least score is {str(given)[:60]!r}; give a number from {LEAST} to 1.", "refused")
    return round(float(given), 2)


def rule_of(given: object, groups: Copies | None = None) -> str:
    """A rule that somebody has named.

    Raises:
        Problem: there is no such rule, or no picture of a group lies in that folder.
    """
    if given in (None, "", LARGEST):
        return LARGEST
    if given == OLDEST:
        return OLDEST
    if isinstance(given, str) and given.startswith(FOLDER) and groups is not None:
        folder = PurePosixPath(given.removeprefix(FOLDER))
        if folder.name and any(folder in PurePosixPath(one.path).parents for group in groups.groups for one in group):
            return f"{FOLDER}{folder}"
    raise Problem(
        400,
        f"{str(given)[:60]!r} is no rule for what to keep; give {LARGEST}, {OLDEST} or {FOLDER}NAME of a folder that "
        "has a picture of a group.",
        "refused",
    )


def of_rule(groups: Iterable[tuple[Member, ...]], kinds: Sequence[str] = KINDS) -> dict[int, str]:
    """What a rule decides: the first of each group stays, and what is offered to go goes."""
    found: dict[int, str] = {}
    for group in groups:
        going = [one.id for one in group[1:] if one.stays is None and one.kind in kinds]
        if going:
            found |= {group[0].id: KEEP, **dict.fromkeys(going, GO)}
    return found


def without(copies: Copies, gone: set[int]) -> Copies:
    """The groups without pictures that are hidden, or in the collection no more; what is like one of those is none."""
    left = [tuple(one for one in group if one.id not in gone) for group in copies.groups if group[0].id not in gone]
    return copies._replace(groups=tuple(group for group in left if len(group) > 1))


def differences(group: Sequence[Member]) -> dict[int, str]:
    """In words how each but the first differs from that one."""
    first = group[0]
    home = PurePosixPath(first.path).parent
    found = {}
    for one in group[1:]:
        pixels, others = one.width * one.height, first.width * first.height
        words = ["the same bytes"] if one.kind == EXACT else []
        if pixels != others:
            words.append("smaller" if pixels < others else "larger")
        elif one.kind != EXACT and one.size != first.size:
            words.append("a smaller file" if one.size < first.size else "a larger file")
        if one.mtime_ns != first.mtime_ns:
            words.append("later saved" if one.mtime_ns > first.mtime_ns else "earlier saved")
        folder = PurePosixPath(one.path).parent
        if folder != home:
            words.append(f"in {printable(folder.name) or 'the top folder'}")
        if PurePosixPath(one.path).suffix.lower() != PurePosixPath(first.path).suffix.lower():
            words.append(f"as {printable(PurePosixPath(one.path).suffix[1:].upper())}")
        found[one.id] = ", ".join(words) or "alike in size and time"
    return found


def decided(index: Index) -> dict[int, str]:
    """What somebody has decided, by id."""
    if DECIDED not in index.attribute_kinds():
        return {}
    ids = index.select(f"{DECIDED} is present").tolist()
    values = index.values(DECIDED, ids)
    return {id_: str(value) for id_, value in zip(ids, values, strict=True) if value in (GO, KEEP)}


def decide(index: Index, decisions: Mapping[int, str | None]) -> int:
    """Keep decisions; None takes one back.

    Returns:
        The generation that has them.
    """
    index.attach({id_: {DECIDED: what} for id_, what in decisions.items()})
    return index.generation


class Moves(NamedTuple):
    """What was moved, or would be.

    Attributes:
        moved: paths. size: bytes. left: what was to go and stays, with the reason. undo: the name of the undo file.
    """

    moved: list[str]
    size: int
    left: list[dict[str, str]]
    undo: str | None


def move(place: Path | str, groups: Copies, target: Path, *, dry_run: bool, score: float | None = None) -> Moves:
    """Move what is decided to go, and hide it in the index, which keeps what is known of it.

    Every file is looked at again, and goes only where :func:`retrieval.traps.duplicates.move_copies` lets it.

    Args:
        place: of the index. groups: by any rule. target: where to. dry_run: only say what would be done.
        score: the least score that counts, as the groups were found by it.

    Raises:
        RetrievalError: the index cannot be written, or the folders make no sense.
    """
    with open_index(place, write=not dry_run) as index:
        said = decided(index)
        going = {id_ for id_, what in said.items() if what == GO}
        some = sorted({one.id for group in groups.groups if any(m.id in going for m in group) for one in group})
        there = set(index.ids().tolist())
        some = [id_ for id_ in some if id_ in there]
        if not some:
            return Moves([], 0, [], None)
        paths = {item.path: item.id for item in index.items(some)}
        ranks = {path: {KEEP: -1, GO: 1}.get(said.get(id_, ""), 0) for path, id_ in paths.items()}
        found = duplicates_of(index, among=np.array(some, np.int64), ranks=ranks, score=score, threads=1)
        chosen, reasons = _chosen(found, paths, going)
        done = move_copies(dataclasses.replace(found, groups=chosen), target, dry_run=dry_run)
        moved = [files[0] for files in done.photographs]
        if moved and not dry_run:
            index.attach({paths[path]: {HIDDEN: 1} for path in moved if path in paths})
        reasons |= {one.path: one.reason for one in done.left}
        for path, id_ in paths.items():
            if id_ in going and path not in moved:
                reasons.setdefault(printable(path), "no copy of it that stays was found")
    left = [{"path": path, "reason": reason} for path, reason in sorted(reasons.items())]
    return Moves([printable(path) for path in moved], done.size, left, None if done.undo is None else done.undo.name)


def _chosen(found: Duplicates, paths: Mapping[str, int], going: set[int]) -> tuple[tuple[Group, ...], dict[str, str]]:
    """The groups with those copies alone that were decided to go, and why others of these stay."""
    chosen: list[Group] = []
    reasons: dict[str, str] = {}
    for group in found.groups:
        copies = [copy for copy in group.copies if paths.get(copy.path) in going]
        reasons |= {printable(copy.path): copy.stays for copy in copies if copy.stays is not None}
        if paths.get(group.kept.path) in going:
            reasons[printable(group.kept.path)] = "it is the one of its group that stays"
        copies = [copy for copy in copies if not copy.keep]
        if copies:
            chosen.append(Group(group.kept, tuple(copies)))
    return tuple(chosen), reasons


def undo_files(target: Path) -> list[str]:
    """The moves that can be taken back, the latest first."""
    try:
        names = [file.name for file in target.iterdir() if _UNDO.fullmatch(file.name)]
    except OSError:
        return []
    return sorted(names, reverse=True)


def undo(place: Path | str, target: Path, name: object) -> dict[str, Any]:
    """Move back what a move took away, and show it again.

    Raises:
        Problem: there is no such move.
        RetrievalError: it cannot be taken back.
    """
    if not isinstance(name, str) or not _UNDO.fullmatch(name) or name not in undo_files(target):
        raise Problem(404, f"There is no move {str(name)[:60]!r} that could be taken back.", "no-such-move")
    with open_index(place, write=True) as index:
        done = undo_move(target / name)
        if done.root.resolve() != Path(index.root).resolve():
            raise RetrievalError("The undo file is of another folder than this collection's; its files are back there.")
        back = [item.id for path in done.back if (item := index.find(path)) is not None]
        index.attach({id_: {HIDDEN: None} for id_ in back})
        if not done.left:
            (target / name).rename(target / f"done-{name}")
        return done.to_json() | {"root": None, "target": None, "generation": index.generation}


def _found(search: Search, rule: str, score: float | None, among: Copies | None) -> Copies:
    index = search.index
    some = None
    if among is not None:
        there = set(index.ids().tolist())
        some = np.array([one.id for group in among.groups for one in group if one.id in there], np.int64)
        if not len(some):
            return Copies(())
    found = duplicates_of(index, keep=rule.removeprefix(FOLDER), among=some, score=score, threads=1)
    ids = {path: id_ for id_, path in zip(index.ids().tolist(), index.paths(), strict=True)}
    notes = found.notes if among is None else among.notes
    groups = [
        [member for copy in (group.kept, *group.copies) if (member := _member(copy, ids))] for group in found.groups
    ]
    return Copies(tuple(tuple(group) for group in groups if len(group) > 1), notes)


def _member(copy: Any, ids: Mapping[str, int]) -> Member | None:
    id_ = next((ids[name] for name in (copy.path, *copy.names) if name in ids), None)
    if id_ is None:
        return None
    kind: Kind = "kept" if copy.kind is None else "similar" if copy.stays else "exact" if copy.kind == EXACT else "near"
    time = copy.seen[0].mtime_ns if copy.seen else 0
    return Member(
        id_, copy.path, kind, copy.size, copy.width, copy.height, time, copy.frees, copy.score, copy.bits, copy.stays
    )


def _packed(copies: Copies) -> bytes:
    return json.dumps(copies).encode()


def _unpacked(data: bytes) -> Copies:
    groups, notes = json.loads(data)
    return Copies(tuple(tuple(Member(*one) for one in group) for group in groups), tuple(notes))
