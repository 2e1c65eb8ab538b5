"""Duplicates: found, shown in groups, decided about, listed, moved, taken back. Nothing here deletes a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from retrieval.base.table import csv_text
from retrieval.errors import RetrievalError
from retrieval.index import Index as Opened
from retrieval.search.search import Search
from retrieval.service import duplicates, limits, schemas
from retrieval.service.answers import as_json, item_json
from retrieval.service.asking import HIDDEN
from retrieval.service.collections import Collection
from retrieval.service.duplicates import GO, KEEP, KINDS, Copies, Member
from retrieval.service.export import cell
from retrieval.service.kept import Found
from retrieval.service.parameters import Index, shown
from retrieval.service.problems import Problem
from retrieval.service.questions import read_json
from retrieval.service.schemas import answers
from retrieval.service.service import Service, require_writer
from retrieval.traps.duplicates.report import LARGEST

MOST = 100_000
"""Decisions in one request."""

Rule = Annotated[str | None, Query(max_length=limits.TEXT, description="largest, oldest or folder:NAME")]
Score = Annotated[
    float | None,
    Query(
        ge=duplicates.LEAST, le=1, description="the least score of copies that vectors alone find, in hundredths (0.95)"
    ),
]
KindOf = Annotated[str | None, Query(pattern="^(exact|near|similar)$", description="groups of one kind alone")]
After = Annotated[int | None, Query(ge=0, lt=2**31, description="how many groups to pass over")]
Groups = Annotated[int, Query(ge=1, le=200, description="groups that are wanted")]

_LIST = ("group", "path", "size", "width", "height", "kind", "score", "bits", "keep", "stays")
"""The columns of a list, as `retrieval dedup --list` names them."""


def _body(**properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


_RULE = {"type": "string", "description": "largest, oldest or folder:NAME"}
_SCORE = {"type": ["number", "null"], "minimum": duplicates.LEAST, "maximum": 1}
_OF_KINDS = {"type": "array", "items": {"enum": list(KINDS)}}
_NAMES = {
    "type": ["array", "null"],
    "items": {"type": "integer"},
    "description": "ids of what is kept of each; null: all",
}
_DECISIONS = {"type": "object", "additionalProperties": {"enum": [GO, KEEP, None]}}


class DuplicateRoutes:
    """Args: service: whose."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def add_to(self, app: FastAPI) -> None:
        """Enter them."""
        one = {"tags": ["duplicates"]}
        rule = _body(rule=_RULE, score=_SCORE, kinds=_OF_KINDS, groups=_NAMES)
        by = _body(rule=_RULE, score=_SCORE, kinds=_OF_KINDS, groups=_NAMES, decisions=_DECISIONS)
        add: Any = app.add_api_route
        previewed, decided = answers(schemas.PREVIEW), {**one, "responses": answers(schemas.DECIDED)}
        add("/duplicates", self.groups, methods=["GET"], responses=answers(schemas.GROUPS), **one)
        add("/duplicates/preview", self.preview, methods=["POST"], openapi_extra=rule, responses=previewed, **one)
        add("/duplicates/decisions", self.decide, methods=["POST"], openapi_extra=by, **decided)
        add("/duplicates/decisions", self.take_back, methods=["DELETE"], **decided)
        listed = {"responses": shown("text/csv"), "response_class": Response}
        add("/duplicates/list", self.table, methods=["POST"], openapi_extra=by, **one, **listed)
        move = _body(dry_run={"type": "boolean"}, score=_SCORE)
        moved = answers(schemas.MOVED)
        add("/duplicates/move", self.move, methods=["POST"], openapi_extra=move, responses=moved, **one)
        add("/duplicates/undo", self.undo, methods=["POST"], openapi_extra=_body(undo={"type": "string"}), **one)

    def groups(
        self, request: Request, index: Index = None, rule: Rule = None, score: Score = None, kind: KindOf = None,
        cursor: After = None, k: Groups = 30,
    ) -> Response:  # fmt: skip
        """Groups of pictures that show the same; while they are looked for, how far that is."""
        collection = self._service.collection(request)
        least = duplicates.score_of(score)
        found, named = self._found(collection, rule, least)
        with collection.lease() as search:
            body: dict[str, Any] = {**found.state, "rule": named, "score": least, "generation": search.index.generation}
            if found.value is None:
                return as_json(body)
            copies = self._shown(search, found.value)
            said = duplicates.decided(search.index)
            some = duplicates.of_kind(copies, kind)
            start = cursor or 0
            page = some[start : start + k]
            told = self._told(search, page)
            body |= {
                "groups": [_group_json(group, told, said) for group in page],
                "total": {"all": len(copies.groups), **{one: len(duplicates.of_kind(copies, one)) for one in KINDS}},
                "decided": {what: sum(one == what for one in said.values()) for what in (KEEP, GO)},
                "folders": _folders(copies),
                "cursor": start + k if start + k < len(some) else None,
                "notes": [self._service.collections.without_folders(note) for note in copies.notes],
                "moves": self._moves(collection),
            }
            return as_json(body)

    async def preview(self, request: Request, index: Index = None) -> Response:
        """What a rule would do: how many pictures stay, how many go, and the bytes that come free."""
        collection = self._service.collection(request)
        groups, decisions = await run_in_threadpool(self._by_rule, collection, read_json(await request.body()))
        going = [one for group in groups for one in group if decisions.get(one.id) == GO]
        return as_json(
            {
                "groups": sum(any(one.id in decisions for one in group) for group in groups),
                "keep": sum(what == KEEP for what in decisions.values()),
                "go": len(going),
                "bytes": sum(one.frees for one in going),
                "some": [one.path for one in going[:10]],
                "decisions": {str(id_): what for id_, what in decisions.items()},
            }
        )

    async def decide(self, request: Request, index: Index = None) -> Response:
        """Keep decisions in the index: by picture, or those of a rule."""
        require_writer(request)
        collection = self._service.collection(request)
        given = read_json(await request.body())
        decisions: dict[int, str | None] = {}
        if "decisions" in given:
            decisions |= _decisions(given["decisions"])
        else:
            decisions |= (await run_in_threadpool(self._by_rule, collection, given))[1]
        return await self._decide(collection, decisions)

    async def take_back(self, request: Request, index: Index = None) -> Response:
        """Forget all decisions."""
        require_writer(request)
        collection = self._service.collection(request)
        with collection.lease() as search:
            said = duplicates.decided(search.index)
        return await self._decide(collection, dict.fromkeys(said))

    async def table(self, request: Request, index: Index = None) -> Response:
        """What is to stay and what is to go as CSV: as it was decided, or as it is said here."""
        given = read_json(await request.body())
        return await run_in_threadpool(self._table, self._service.collection(request), given)

    def _table(self, collection: Collection, given: Mapping[str, Any]) -> Response:
        found, _ = self._found(collection, given.get("rule"), duplicates.score_of(given.get("score")))
        with collection.lease() as search:
            copies = self._shown(search, _there(found))
            said: Mapping[int, str | None] = duplicates.decided(search.index)
        if given.get("decisions") is not None:
            said = _decisions(given["decisions"])
        elif given.get("kinds") is not None:
            said = self._by_rule(collection, given)[1]
        rows: list[list[object]] = [list(_LIST)]
        for number, group in enumerate(copies.groups, 1):
            if any(one.id in said for one in group):
                rows += [_row(number, one, said.get(one.id)) for one in group]
        data = csv_text([[cell(value) for value in row] for row in rows]).encode(errors="backslashreplace")
        headers = {"Content-Disposition": 'attachment; filename="duplicates.csv"'}
        return Response(data, 200, headers, "text/csv; charset=utf-8")

    async def move(self, request: Request, index: Index = None) -> Response:
        """Move what is decided to go out of the pictures' folder; an undo file is written first."""
        require_writer(request)
        collection = self._service.collection(request)
        target = self._target(collection)
        given = read_json(await request.body())
        dry_run = given.get("dry_run", False) is True
        score = duplicates.score_of(given.get("score"))
        found, _ = await run_in_threadpool(self._found, collection, None, score)
        groups = _there(found)
        done = await self._service.writer.run(
            collection, lambda: duplicates.move(collection.place, groups, target, dry_run=dry_run, score=score)
        )
        return as_json(done._asdict() | {"dry_run": dry_run})

    async def undo(self, request: Request, index: Index = None) -> Response:
        """Take a move back."""
        require_writer(request)
        collection = self._service.collection(request)
        target = self._target(collection)
        name = read_json(await request.body()).get("undo")
        done = await self._service.writer.run(collection, lambda: duplicates.undo(collection.place, target, name))
        return as_json(done)

    def _found(self, collection: Collection, rule: object, score: float | None = None) -> tuple[Found[Copies], str]:
        """The groups by a rule and a least score, and the rule."""
        base = self._service.kept.get(collection, duplicates.looked_for(score=score))
        named = duplicates.rule_of(rule, base.value) if base.making is None else LARGEST
        if named == LARGEST or base.value is None:
            return base, named
        return self._service.kept.get(collection, duplicates.looked_for(named, score, base.value)), named

    def _by_rule(
        self, collection: Collection, given: Mapping[str, Any]
    ) -> tuple[list[tuple[Member, ...]], dict[int, str]]:
        found, _ = self._found(collection, given.get("rule"), duplicates.score_of(given.get("score")))
        kinds = given.get("kinds") or [duplicates.EXACT, duplicates.NEAR]
        names = given.get("groups")
        if not isinstance(kinds, list) or not set(map(str, kinds)) <= set(KINDS):
            raise Problem(400, f"kinds is no list of {', '.join(KINDS)}.", "refused")
        if names is not None and not (isinstance(names, list) and all(type(one) is int for one in names)):
            raise Problem(400, "groups is no list of ids of what is kept of each.", "refused")
        with collection.lease() as search:
            groups = list(self._shown(search, _there(found)).groups)
        if names is not None:
            wanted = set(names)
            groups = [group for group in groups if group[0].id in wanted]
        return groups, duplicates.of_rule(groups, [str(kind) for kind in kinds])

    def _shown(self, search: Search, copies: Copies) -> Copies:
        index = search.index
        ids = np.array([one.id for group in copies.groups for one in group], np.int64)
        gone = set(ids[~np.isin(ids, index.ids())].tolist())
        if HIDDEN in index.attribute_kinds():
            gone |= set(index.select(f"{HIDDEN} is present").tolist())
        return duplicates.without(copies, gone) if gone else copies

    def _told(self, search: Search, page: list[tuple[Member, ...]]) -> dict[int, dict[str, Any]]:
        ids = [one.id for group in page for one in group]
        attributes = search.index.attributes(ids)
        return {
            item.id: item_json(item, some, self._service.pictures)
            for item, some in zip(search.index.items(ids), attributes, strict=True)
        }

    async def _decide(self, collection: Collection, decisions: Mapping[int, str | None]) -> Response:
        if not decisions:
            raise Problem(400, "There is nothing to decide.", "refused")

        def write(index: Opened) -> int:
            try:
                index.items(list(decisions))
            except RetrievalError as error:
                raise Problem(404, str(error), "no-such-item") from None
            return duplicates.decide(index, decisions)

        generation = await self._service.writer.change(collection, write)
        return as_json({"decided": len(decisions), "generation": generation})

    def _target(self, collection: Collection) -> Path:
        folder = self._service.settings.move_to
        if folder is None:
            raise Problem(403, "This service moves no files; start it with --move-to FOLDER.", "moves-nothing")
        place = collection.place
        return folder.resolve() / (place.resolve().name if isinstance(place, Path) else collection.name)

    def _moves(self, collection: Collection) -> dict[str, Any]:
        if self._service.settings.move_to is None:
            return {"allowed": False, "undo": []}
        return {"allowed": True, "undo": duplicates.undo_files(self._target(collection))}


def _there(found: Found[Copies]) -> Copies:
    if found.value is None:
        problem = found.making.error if found.making is not None and found.making.error else None
        if problem is not None:
            raise Problem(409, problem, "not-made")
        raise Problem(503, "The groups are still being looked for.", "being-made", headers={"Retry-After": "2"})
    return found.value


def _group_json(
    group: tuple[Member, ...], told: Mapping[int, dict[str, Any]], said: Mapping[int, str]
) -> dict[str, Any]:
    words = duplicates.differences(group)
    items = [
        told[one.id]
        | {
            "kind": one.kind, "size": one.size, "modified_ns": one.mtime_ns, "score": one.score, "bits": one.bits,
            "stays": one.stays, "frees": one.frees, "difference": words.get(one.id), "decided": said.get(one.id),
        }
        for one in group
    ]  # fmt: skip
    kind = duplicates.kind_of(group)
    return {"id": group[0].id, "kind": kind, "items": items}


def _folders(copies: Copies) -> list[str]:
    """Folders that a rule could prefer: those with most of the pictures of the groups."""
    times: dict[str, int] = {}
    for group in copies.groups:
        for one in group:
            folder = one.path.rpartition("/")[0]
            if folder:
                times[folder] = times.get(folder, 0) + 1
    return sorted(times, key=lambda folder: (-times[folder], folder))[:50]


def _decisions(given: object) -> dict[int, str | None]:
    if not isinstance(given, dict) or len(given) > MOST:
        raise Problem(400, f"decisions is no object of at most {MOST:,} ids with go, keep or null.", "refused")
    found: dict[int, str | None] = {}
    for id_, what in given.items():
        if not (id_.isascii() and id_.isdigit() and len(id_) < 19) or what not in (GO, KEEP, None):
            raise Problem(
                400, f"{str(id_)[:40]!r}: {str(what)[:40]!r} is no decision; give go, keep or null.", "refused"
            )
        found[int(id_)] = what
    return found


def _row(number: int, one: Member, what: str | None) -> list[object]:
    score = "" if one.score is None else round(one.score, 6)
    kind = {"kept": "", "exact": "exact", "near": "hash"}.get(one.kind, "similar")
    keep = "no" if what == GO else "yes"
    return [number, one.path, one.size, one.width, one.height, kind, score, one.bits, keep, one.stays or ""]
