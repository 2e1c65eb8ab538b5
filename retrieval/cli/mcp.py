"""``retrieval mcp``."""

from __future__ import annotations

import argparse

HELP = "Let agents search an index: a server of the Model Context Protocol over standard input and output."
EXAMPLES = """
retrieval mcp indexes/photos          # an agent starts this; it offers search, item and facets
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the verb takes."""
    parser.add_argument("index", metavar="INDEX", help="the index's folder, or its address")


def run(args: argparse.Namespace) -> int:
    """Answer until the agent hangs up."""
    from retrieval.service.agents import serve_agents  # here, so that --help and wrong arguments do not wait for it

    serve_agents(args.index)
    return 0
