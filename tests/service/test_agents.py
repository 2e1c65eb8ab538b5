"""`retrieval mcp`: an agent's client starts it and asks."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp", reason="the extra `mcp` is not installed")

from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters

from retrieval.search.search import Search


def test_an_agent_searches(index: Path, photos: Path) -> None:
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "retrieval", "mcp", str(index)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    found: dict[str, Any] = {}

    async def ask() -> None:
        async with Client(server) as client:
            found["tools"] = sorted(tool.name for tool in (await client.list_tools()).tools)
            for name, tool, arguments in (
                ("search", "search", {"like": [str(photos / "cat" / "1.png")], "k": 3, "filter": 'label = "dog"'}),
                ("item", "item", {"part": "path:cat/1.png"}),
                ("facets", "facets", {"filter": 'label = "cat"'}),
                ("wrong", "search", {"like": ["id:777"]}),
                ("wrong filter", "search", {"like": ["id:1"], "filter": "label = "}),
                ("gone", "item", {"part": "path:nowhere"}),
            ):
                found[name] = await client.call_tool(tool, arguments)

    asyncio.run(asyncio.wait_for(ask(), 120))
    assert found["tools"] == ["facets", "item", "search"]
    with Search.open(index) as search:
        expected = search.query_parts([str(photos / "cat" / "1.png")], k=3, where='label = "dog"')
    hits = found["search"].structured_content["hits"]
    assert [(hit["id"], hit["path"]) for hit in hits] == [(hit.id, hit.path) for hit in expected]
    assert found["item"].structured_content["label"] == "cat"
    assert found["facets"].structured_content["pictures"] == 6
    for name, words in (("wrong", "no item 777"), ("wrong filter", "stops where a value"), ("gone", "no picture")):
        assert found[name].is_error
        assert words in found[name].content[0].text
