"""The class :class:`Client`, which has the methods of :class:`retrieval.search.search.Search`.

It needs nothing but the standard library and what makes pictures' files; `retrieval serve` answers it.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import secrets
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import quote, unquote, urlsplit

import numpy as np
from numpy.typing import NDArray

from retrieval import images
from retrieval.base.placed_files import NotOpenedError, Placed, Root, failure, open_file
from retrieval.base.text import for_terminal, printable
from retrieval.client.connection import TOKEN, Connection, RefusedError
from retrieval.errors import RetrievalError
from retrieval.places.folder import Folder
from retrieval.search.answer import Answer, AskedPart, Hit
from retrieval.search.arrangement import FIRST, PLAIN, Arrangement
from retrieval.search.facets import Facet
from retrieval.search.parts import GivenPart, Part, parts_of, spelled
from retrieval.search.query import Boxed, InMemory, Picture, pictures_of

if TYPE_CHECKING:
    from retrieval.search.rerank import Reranker

_MOST = 1_000
"""Hits that a service gives in one answer."""

_OF_HIT = (
    "rank",
    "id",
    "path",
    "label",
    "score",
    "relevant",
    "probability",
    "reranked",
    "group",
    "marked",
    "copy",
    "evidence",
)


class _Wanted(NamedTuple):
    """What an answer is to have, besides what is asked for."""

    k: int | None
    include_self: bool
    where: str | None
    above: float | None
    arrange: Arrangement

    def in_address(self) -> dict[str, str]:
        """As it stands in the address of a request."""
        how = self.arrange
        found = {
            "same": str(int(self.include_self)),
            "details": "0",
            "hidden": "1",
            "k": str(_MOST if self.k is None else self.k),
            "filter": self.where,
            "above": None if self.above is None else repr(float(self.above)),
            "sort": how.sort,
            "group": how.group_by,
            "facets": "1" if how.facets else None,
            "cursor": how.cursor,
            "matches": "1" if how.matches else None,
            "diverse": None if how.diverse is None else repr(float(how.diverse)),
        }
        return {name: value for name, value in found.items() if value is not None}


def is_address(name: str) -> bool:
    """Whether a text names a service, and no folder."""
    return name.startswith(("http://", "https://"))


class Client:
    """An index that a service has open. Any number of threads may ask.

    A picture that is asked with is sent there; where it lies here is not, so that it has no label but where it is, byte
    for byte, in the index.

    Args:
        address: of the service (``http://127.0.0.1:8000``), for its first index, or of one of them
            (``http://127.0.0.1:8000/i/photos``).
        token: for a service that asks for one; by default what stands in the environment as ``RETRIEVAL_TOKEN``.
        timeout: seconds that an answer may take to come.

    Example:
        >>> with Client("http://127.0.0.1:8000/i/photos") as search:          # doctest: +SKIP
        ...     for hit in search.query("cat.jpg", k=5)[0].hits:
        ...         print(hit.rank, hit.score, hit.path)

    Raises:
        RetrievalError: that is no address.
    """

    def __init__(self, address: str, token: str | None = None, *, timeout: float = 60.0) -> None:
        self.address = address
        try:
            parts = urlsplit(address)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            parts, host, port = urlsplit(""), "", None
        if parts.scheme not in ("http", "https") or not host or not address.isascii():
            raise RetrievalError(
                f"{printable(address)!r} is no address; give one such as http://127.0.0.1:8000/i/photos."
            )
        root, page, name = parts.path.rstrip("/").rpartition("/i/")
        self._index: str | None = unquote(name) if page and "/" not in name else None
        self._connection = Connection(
            address, host, port, secure=parts.scheme == "https", timeout=timeout,
            root=quote(unquote(parts.path.rstrip("/") if self._index is None else root)),
            token=os.environ.get(TOKEN) if token is None else token,
        )  # fmt: skip

    def close(self) -> None:
        """Let the connections go. Calling it twice is harmless."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.address!r})"

    def info(self) -> dict[str, Any]:
        """What the service says of the index.

        Raises:
            RetrievalError: it cannot be reached, refuses, or has no such index.
        """
        for one in self._asked("GET", "/info").get("indexes", ()):
            if self._index in (None, one["name"]):
                return dict(one)
        raise RetrievalError(f"There is no index {self._index!r} at {self.address!r}.")

    def query(
        self,
        pictures: Picture | Iterable[Picture],
        k: int | None = 10,
        *,
        include_self: bool = False,
        where: str | None = None,
        above: float | None = None,
        arrange: Arrangement = PLAIN,
        skipped: list[images.Skipped] | None = None,
    ) -> list[Answer]:
        """See :meth:`retrieval.search.search.Search.query`."""
        left_out: list[images.Skipped] = []
        answers = []
        for one in pictures_of(pictures, left_out):
            source, box = (one.file, one.box) if isinstance(one, Boxed) else (one, None)
            name = source.name if isinstance(source, InMemory) else printable(source)
            try:
                data = source.data if isinstance(source, InMemory) else _content(source)
                form, media = _form(source.name, data, **({} if box is None else {"box": str(box)}))
                answer = self._search(form, media, _Wanted(k, include_self, where, above, arrange))
            except images.UnreadableImage as problem:
                left_out.append(images.Skipped(name, problem.reason))
                continue
            query = name if box is None else f"{name}#{box}"
            picture = None if isinstance(source, InMemory) else source
            answers.append(replace(answer, query=query, picture=picture, box=box, parts=()))
        if skipped is not None:
            skipped.extend(left_out)
        elif left_out:
            raise images.UnreadableImage(left_out[0].path, left_out[0].reason)
        return answers

    def query_ids(
        self,
        ids: Sequence[int],
        k: int | None = 10,
        *,
        include_self: bool = False,
        where: str | None = None,
        above: float | None = None,
        arrange: Arrangement = PLAIN,
    ) -> list[Answer]:
        """See :meth:`retrieval.search.search.Search.query_ids`."""
        wanted = _Wanted(k, include_self, where, above, arrange)
        return [self._like(f"id:{id_}", wanted) for id_ in ids]

    def query_paths(
        self,
        paths: Sequence[str],
        k: int | None = 10,
        *,
        include_self: bool = False,
        where: str | None = None,
        above: float | None = None,
        arrange: Arrangement = PLAIN,
    ) -> list[Answer]:
        """See :meth:`retrieval.search.search.Search.query_paths`."""
        wanted = _Wanted(k, include_self, where, above, arrange)
        return [self._like(_exactly(f"path:{path}"), wanted) for path in paths]

    def query_vectors(
        self,
        vectors: NDArray[Any],
        k: int | None = 10,
        *,
        names: Sequence[str] | None = None,
        where: str | None = None,
        above: float | None = None,
        arrange: Arrangement = PLAIN,
    ) -> list[Answer]:
        """See :meth:`retrieval.search.search.Search.query_vectors`."""
        rows = np.atleast_2d(np.asarray(vectors))
        if rows.dtype.hasobject:
            raise RetrievalError(f"The vectors are {rows.dtype} of shape {rows.shape}; give real numbers.")
        answers = []
        for number, row in enumerate(rows):
            content = io.BytesIO()
            np.save(content, row, allow_pickle=False)
            answer = self._search(content.getvalue(), "application/x-npy", _Wanted(k, True, where, above, arrange))
            answers.append(replace(answer, query=f"vector {number}" if names is None else names[number], parts=()))
        return answers

    def query_file(
        self,
        file: str | Path,
        k: int | None = 10,
        *,
        where: str | None = None,
        above: float | None = None,
        arrange: Arrangement = PLAIN,
    ) -> list[Answer]:
        """See :meth:`retrieval.search.search.Search.query_file`."""
        from retrieval.base.npy import mapped

        vectors = mapped(Path(file))
        count = len(vectors) if vectors.ndim > 1 else 1
        names = [f"{Path(file).name}[{row}]" for row in range(count)]
        return self.query_vectors(vectors, k, names=names, where=where, above=above, arrange=arrange)

    def query_texts(
        self,
        texts: Sequence[str],
        k: int | None = 10,
        *,
        where: str | None = None,
        above: float | None = None,
        arrange: Arrangement = PLAIN,
    ) -> list[Answer]:
        """See :meth:`retrieval.search.search.Search.query_texts`."""
        return [self._like(_exactly(f"text:{text}"), _Wanted(k, True, where, above, arrange)) for text in texts]

    @property
    def name(self) -> str:
        """Where the index is: its address."""
        return self.address

    @property
    def root(self) -> Path:
        """The folder that the paths of the hits are relative to, which is not known here."""
        return Path()

    reranker: Reranker | None = None
    """What orders hits anew: nothing."""

    @cached_property
    def _about(self) -> dict[str, Any]:
        return self.info()

    @property
    def warnings(self) -> list[str]:
        """What was found wrong with the index, and could be worked around."""
        return [for_terminal(str(one)) for one in self._about.get("warnings", ())]

    @property
    def calibrated(self) -> bool:
        """Whether it is known what scores say."""
        return bool(self._about.get("calibrated"))

    def require_calibrated(self, about: str) -> None:
        """See :meth:`retrieval.search.search.Search.require_calibrated`."""
        if about not in self._about.get("calibrations", ()):
            words = about == "words"
            raise RetrievalError(
                f"The index {self.address!r} has no calibration that could tell "
                f"{'what words match' if words else 'matches from other hits'}; run `retrieval calibrate"
                f"{' --words' * words}` where it lies."
            )

    @contextlib.contextmanager
    def copies_of(self, answers: Sequence[Answer]) -> Iterator[tuple[list[Answer], Root]]:
        """Small copies of the pictures of answers, fetched, as far as the service shows them.

        Yields:
            The answers, each with a picture of its query, and what opens the files of their hits by their paths. Both
            are gone when the block ends.
        """
        with tempfile.TemporaryDirectory(prefix="retrieval-") as folder:
            files = {}
            for hit in {hit.path: hit for answer in answers for hit in answer}.values():
                if self._copied(hit.id, Path(folder)):
                    files[hit.path] = f"{hit.id}.jpg"
            seen = []
            for answer in answers:
                if answer.picture is None and answer.id is not None and self._copied(answer.id, Path(folder)):
                    answer = replace(answer, picture=Path(folder) / f"{answer.id}.jpg")
                seen.append(answer)
            yield seen, _Copies(Path(folder), files=files)

    def _copied(self, id_: int, folder: Path) -> bool:
        """Whether the thumbnail of an item could be fetched into a folder."""
        file = folder / f"{id_}.jpg"
        if not file.exists():
            try:
                file.write_bytes(self._fetched("GET", f"/items/{id_}/thumbnail", {"s": "256"}))
            except (RefusedError, images.UnreadableImage):
                return False
        return True

    def query_parts(
        self,
        like: GivenPart | Iterable[GivenPart] = (),
        unlike: GivenPart | Iterable[GivenPart] = (),
        k: int | None = 10,
        *,
        include_self: bool = False,
        where: str | None = None,
        above: float | None = None,
        arrange: Arrangement = PLAIN,
    ) -> Answer:
        """See :meth:`retrieval.search.search.Search.query_parts`; what lies here is sent."""
        wanted, unwanted = parts_of(like), parts_of(unlike)
        body = {
            side: [self._spelled(part) for part in parts] for side, parts in (("like", wanted), ("unlike", unwanted))
        }
        answer = self._search(
            json.dumps(body).encode(), "application/json", _Wanted(k, include_self, where, above, arrange)
        )
        parts = [(part, 1) for part in wanted] + [(part, -1) for part in unwanted]
        asked = (
            AskedPart(part, sign, Path(str(part.value)) if part.kind == "file" else None, tuple(told.left_out))
            for (part, sign), told in zip(parts, answer.parts, strict=False)
        )
        return replace(answer, query=spelled(wanted, unwanted), parts=tuple(asked))

    # Inside

    def _spelled(self, part: Part) -> dict[str, Any]:
        """A part as the service takes it, which has been sent what lies here."""
        if part.kind == "vector":
            raise RetrievalError("A vector is no part of a question to a service; ask it by query_vectors.")
        named = str(replace(part, weight=1.0, box=None))
        if part.kind == "memory" or part.kind == "file":
            picture = part.value if isinstance(part.value, InMemory) else Path(str(part.value))
            data = picture.data if isinstance(picture, InMemory) else _content(picture)
            form, media = _form(picture.name, data)
            sent = self._asked("POST", "/uploads", body=form, media=media)
            named = f"upload:{sent['uploads'][0]['sha256']}"
        return {"part": named, "weight": part.weight, "box": None if part.box is None else str(part.box)}

    def _like(self, part: str, wanted: _Wanted) -> Answer:
        body = json.dumps({"like": [part]}).encode()
        return replace(self._search(body, "application/json", wanted), parts=())

    def _search(self, body: bytes, media: str, wanted: _Wanted) -> Answer:
        """One question, answered in as many pages as it takes where all hits are wanted, or very many."""
        k, arrange = wanted.k, wanted.arrange
        if k is None and wanted.above is None:
            raise RetrievalError("Neither k nor the least score is given; say how many hits are wanted.")
        if arrange != PLAIN or (k is not None and k <= _MOST):
            if k is not None and k > _MOST:
                raise RetrievalError(f"k is {k}; a service gives at most {_MOST:,} arranged hits at a time.")
            return self._page(body, media, wanted)
        answer = self._page(body, media, wanted._replace(k=_MOST, arrange=Arrangement(cursor=FIRST)))
        hits = list(answer.hits)
        following = answer.next
        while following is not None and (k is None or len(hits) < k):
            page = self._page(body, media, wanted._replace(k=_MOST, arrange=Arrangement(cursor=following)))
            hits += page.hits
            following = page.next
        matches = len(hits) if wanted.above is not None and following is None else None
        return replace(answer, hits=tuple(hits[:k]), next=None, matches=matches)

    def _page(self, body: bytes, media: str, wanted: _Wanted) -> Answer:
        try:
            return _read(self._asked("POST", "/search", wanted.in_address(), body, media))
        except (KeyError, TypeError, AttributeError):
            raise self._connection.strange() from None

    def _asked(
        self, method: str, path: str, wanted: Mapping[str, str] | None = None, body: bytes = b"", media: str = ""
    ) -> dict[str, Any]:
        data = self._fetched(method, path, wanted or {}, body, media)
        try:
            found = json.loads(data)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise self._connection.strange()
        return found

    def _fetched(self, method: str, path: str, wanted: Mapping[str, str], body: bytes = b"", media: str = "") -> bytes:
        """See :meth:`Connection.fetch`; about the index that is meant."""
        named = {} if self._index is None or path == "/info" else {"index": self._index}
        return self._connection.fetch(method, path, {**named, **wanted}, body, media)


@dataclass(frozen=True)
class _Copies(Folder):
    """A folder of copies, by the paths that their pictures have elsewhere."""

    files: Mapping[str, str] = field(default_factory=dict)

    def __truediv__(self, name: str | os.PathLike[str]) -> Placed:
        return super().__truediv__(self.files.get(os.fspath(name), "not shown"))


def _exactly(part: str) -> str:
    """A part whose name is not to be read as one with a weight or a box."""
    return part + "#0%,0%,100%,100%@1"


def _read(found: Mapping[str, Any]) -> Answer:
    """An answer as a service gives it."""
    query = found["query"]
    return Answer(
        query=query["query"],
        label=query["label"],
        id=query["id"],
        hits=tuple(Hit(**{name: hit[name] for name in _OF_HIT}) for hit in found["hits"]),
        left_out=tuple(query["left_out"]),
        no_match=found["no_match"],
        unread=tuple(images.Skipped(one["path"], one["reason"]) for one in found["left_out"]),
        fold=found["fold"]["matches"],
        no_copy=found["no_copy"],
        matches=found["matches"],
        facets=None if found["facets"] is None else tuple(map(Facet.from_json, found["facets"])),
        next=found["cursor"],
        calibrated=query["calibrated"],
        parts=tuple(AskedPart(Part("id", 0), one["sign"], None, tuple(one["left_out"])) for one in query["parts"]),
    )


def _content(path: Path | Placed) -> bytes:
    try:
        with open_file(path) as file:
            return file.readall()
    except NotOpenedError as refused:
        raise images.UnreadableImage(printable(path), refused.reason) from None
    except OSError as error:
        raise images.UnreadableImage(printable(path), failure(error)) from None


def _form(name: str, data: bytes, **fields: str) -> tuple[bytes, str]:
    """A picture as the form of a browser would send it, and what that is called."""
    boundary = secrets.token_hex(16)
    named = "".join(one if one.isascii() and one.isprintable() and one not in '"\\' else "_" for one in name)
    parts = [
        *((f'name="{field}"', value.encode()) for field, value in fields.items()),
        (f'name="file"; filename="{named}"', data),
    ]
    body = b"".join(
        f"--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + content + b"\r\n"
        for head, content in parts
    )
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"
