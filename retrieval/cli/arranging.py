"""The flags of ``retrieval query`` that arrange an answer, and how an arranged answer is told."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from retrieval.base.text import for_terminal
from retrieval.errors import RetrievalError

if TYPE_CHECKING:
    from retrieval.search.answer import Answer, Hit
    from retrieval.search.arrangement import Arrangement

GROUP = "group"
"""One more column, with --group-by."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    group = parser.add_argument_group(
        "arranging the matches",
        "Matches are all hits from --above SCORE on, of which -k are shown; without it the first -k, up to where "
        "--matches ends them.",
    )
    group.add_argument(
        "--sort",
        metavar="NAME",
        help="sort all matches by score, path, label, taken, iso or whatever a filter knows; NAME:desc from the last",
    )
    group.add_argument(
        "--group-by",
        metavar="NAME",
        help="bring together what has the same label, folder, day or whatever a filter knows, or near-duplicates "
        "(near-duplicate, or near-duplicate:0.9); with --above -k counts groups",
    )
    group.add_argument("--facets", action="store_true", help="count labels, folders and attributes among all matches")
    group.add_argument(
        "--cursor",
        nargs="?",
        const="",
        metavar="TOKEN",
        help="the first page of -k hits, or with the TOKEN that a page came with the next one; pages are exact",
    )
    group.add_argument(
        "--diverse",
        nargs="?",
        type=_weight,
        const=True,
        metavar="LAMBDA",
        help="hits that are unlike one another too: from 1, the plain order, to 0, as different as can be (0.7)",
    )


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:  # a picture, which stands where the weight may
        raise argparse.ArgumentTypeError(
            f"{text!r:.80} is no number from 0 to 1; what is to be looked for stands before --diverse"
        ) from None


def arrangement(args: argparse.Namespace) -> Arrangement:
    """What the flags say.

    Raises:
        RetrievalError: facets have no place in what is printed.
    """
    from retrieval.search.arrangement import Arrangement
    from retrieval.search.diverse import LAMBDA

    if args.facets and (args.csv or args.files or args.null):
        raise RetrievalError("--facets has no place in a list of hits; leave --csv, --files or --null out.")
    diverse = LAMBDA if args.diverse is True else args.diverse
    return Arrangement(args.sort, args.group_by, args.facets, args.cursor, diverse, args.matches)


def hits_wanted(args: argparse.Namespace) -> int | None:
    """How many hits an answer has; all where a score says where they end, unless they are chosen or come in pages."""
    bounded = args.above is not None and args.cursor is None and args.diverse is None
    k: int | None = 10 if args.k is None and not bounded else args.k
    return k


def as_json(answer: Answer) -> dict[str, Any]:
    """What an answer says beside its hits."""
    told = {} if answer.facets is None else {"facets": [facet.to_json() for facet in answer.facets]}
    return {"matches": answer.matches, **told, "next": answer.next}


def note(answer: Answer) -> list[str]:
    """How many matches are not shown, if any."""
    more = answer.matches is not None and answer.matches > len(answer.hits)
    return [f"{len(answer.hits):,} of {answer.matches:,} matches"] if more else []


def heading(answer: Answer, hit: Hit) -> str | None:
    """The line above the first hit of a group; None where another hit of it is above."""
    at = hit.rank - answer.hits[0].rank
    if at and answer.hits[at - 1].group == hit.group:
        return None
    count = sum(other.group == hit.group for other in answer.hits)
    return f"  {'none' if hit.group is None else for_terminal(hit.group)} ({count:,})"


def footer(answer: Answer, paged: bool) -> list[str]:
    """The lines below the hits: what was counted, and where the next page begins."""
    lines = [f"  {facet.line()}" for facet in answer.facets or ()]
    return lines + ([f"  next page: --cursor {answer.next}"] if paged and answer.next else [])
