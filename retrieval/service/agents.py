"""An index for agents: a server of the Model Context Protocol over standard input and output."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from retrieval.errors import RetrievalError
from retrieval.search.arrangement import Arrangement
from retrieval.search.facets import facets
from retrieval.search.search import Search
from retrieval.version import __version__

MOST = 100
"""Hits of one answer: what an agent reads counts."""

ABOUT = """Search of the pictures in an index by likeness. A part of a question is a picture file, `id:17`,
`path:2019/a.jpg` (in the index) or `text:a red dog` (where the model knows words), with `#x,y,width,height` for a part
of the picture and `@0.5` for a weight. A filter is such as `label = "cat" and taken >= 2019`."""


class Tools:
    """What agents may ask of an index.

    Args:
        search: the index, open.
    """

    def __init__(self, search: Search) -> None:
        self._search = search

    def search(
        self,
        like: list[str],
        unlike: list[str] | None = None,
        k: int = 10,
        filter: str | None = None,
        sort: str | None = None,
    ) -> dict[str, Any]:
        """Find the pictures that are most like some parts, and unlike others, best first.

        Each hit has its id, path, label, score from -1 to 1, and the probability that it is a match where the index
        is calibrated; `no_match` says that nothing in the index matches.
        """
        if not 1 <= k <= MOST:
            raise RetrievalError(f"k is {k}; ask for 1 to {MOST} hits.")
        answer = self._search.query_parts(like, unlike or [], k, where=filter, arrange=Arrangement(sort=sort))
        names = ("id", "path", "label", "score", "probability")
        hits = [{name: getattr(hit, name) for name in names} for hit in answer]
        return {"query": answer.query, "label": answer.label, "no_match": answer.no_match, "hits": hits}

    def item(self, part: str) -> dict[str, Any]:
        """All that is known of one picture of the index, named as `id:17` or `path:2019/a.jpg`."""
        index = self._search.index
        kind, _, value = part.partition(":")
        if kind == "id" and value.isascii() and value.isdigit():
            (item,) = index.items([int(value)])
        else:
            found = index.find(value) if kind == "path" else None
            if found is None:
                raise RetrievalError(f"There is no picture {part!r:.200} in the index; name it by id: or path:.")
            item = found
        (attributes,) = index.attributes([item.id])
        return {
            "id": item.id, "path": item.path, "label": item.label, "width": item.width, "height": item.height,
            "bytes": item.size, "file": os.fspath(self._search.pictures / item.path), "attributes": attributes,
        }  # fmt: skip

    def facets(self, filter: str | None = None) -> dict[str, Any]:
        """How many pictures have each label, each folder and each value of an attribute, of all or of those that a
        filter lets through."""
        index = self._search.index
        ids = None if filter is None else index.select(filter)
        counted = [facet.to_json() for facet in facets(index, ids)]
        return {"pictures": len(index) if ids is None else len(ids), "facets": counted}

    @property
    def all(self) -> Sequence[Any]:
        """Every one of them."""
        return self.search, self.item, self.facets


def serve_agents(index: str | Path) -> None:
    """Answer an agent on standard input and output until it hangs up.

    Args:
        index: the index's folder.

    Raises:
        RetrievalError: it is no index, or the extra `mcp` is not installed.
    """
    try:
        from mcp.server import MCPServer
        from mcp.server.mcpserver.exceptions import ToolError
    except ImportError as error:
        raise RetrievalError(
            f"Serving agents needs {error.name}; install what it stands on (`pip install 'retrieval[mcp]'`)."
        ) from None
    with Search.open(index) as search:
        server = MCPServer("retrieval", instructions=ABOUT, version=__version__, log_level="WARNING")
        for tool in Tools(search).all:
            server.add_tool(_told(tool, ToolError))
        server.run("stdio")


def _told(tool: Any, refusal: type[Exception]) -> Any:
    """A tool whose errors are told to the agent as they are, a sentence each."""

    @functools.wraps(tool)
    def told(*args: Any, **options: Any) -> Any:
        try:
            return tool(*args, **options)
        except RetrievalError as error:
            raise refusal(str(error)) from None

    return told
