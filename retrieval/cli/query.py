"""``retrieval query``."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import sys
import tempfile
import webbrowser
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval.base.streams import write_bytes
from retrieval.base.table import csv_text
from retrieval.base.text import for_terminal, padded, printable, terminal_width
from retrieval.cli import arranging
from retrieval.client import Client, is_address
from retrieval.errors import RetrievalError
from retrieval.images import Skipped
from retrieval.search.answer import shown, spoken

if TYPE_CHECKING:
    from retrieval.base.placed_files import Root
    from retrieval.search.answer import Answer
    from retrieval.search.explain import Explanation
    from retrieval.search.learned import FromMarks
    from retrieval.search.rerank import Reranker
    from retrieval.search.search import Search

HELP = "Find the pictures of an index that look like these."
EXAMPLES = """
query.py indexes/photos holiday.jpg                       # a table
query.py indexes/photos a.jpg b.jpg some/folder -k 5      # several queries
query.py indexes/photos holiday.jpg --save grid.png --open
query.py indexes/photos holiday.jpg --explain --save why.png   # which parts make the score
query.py indexes/photos --id 17 --path 2019/IMG_0042.jpg  # pictures of the index; loads no network
query.py indexes/photos holiday.jpg --where 'label = "beach" and modified >= 2024-05-01'
query.py indexes/photos holiday.jpg --matches             # after `retrieval calibrate indexes/photos`
query.py indexes/photos holiday.jpg -k 50 -0 | xargs -0 cp -t similar/
query.py indexes/photos --text "a red shoe" --json        # CLIP-like models
query.py indexes/photos holiday.jpg#10%,0%,50%,100%       # a part of a picture: left, top, width, height
query.py indexes/photos --like a.jpg id:17@0.5 --unlike b.jpg  # one question of many parts (docs/searching.md)
query.py http://127.0.0.1:8000/i/photos holiday.jpg       # of a service (docs/serving.md)
query.py indexes/photos holiday.jpg --above 0.6 --sort taken:desc -k 20 --facets   # the 20 newest matches
query.py indexes/photos holiday.jpg --group-by near-duplicate   # or label, folder, day, any attribute
query.py indexes/photos holiday.jpg --diverse                   # like the query, and unlike one another
query.py indexes/photos holiday.jpg -k 50 --cursor              # page by page
query.py indexes/photos holiday.jpg --rerank alpha-qe     # a second look at the first hits (docs/rerank.md)
query.py indexes/photos holiday.jpg --marks marks.jsonl   # learn from hits marked right and wrong (docs/marks.md)
"""

COLUMNS = ("query", "rank", "id", "path", "label", "score", "relevant", "probability", "copy")

_HOST_AND_PORT = re.compile(r"(localhost|[\w-]+(\.[\w-]+)+|\[[0-9a-fA-F:]+\]):[0-9]{1,5}(/|$)")

RERANKED, MARKED = "reranked", "marked"
"""One more column with --rerank, and both with --marks."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the verb takes."""
    parser.add_argument(
        "index",
        metavar="INDEX",
        help="the index's folder, or its address, in a database or at a service (retrieval serve)",
    )
    parser.add_argument(
        "pictures",
        metavar="PICTURE",
        nargs="*",
        help="a picture, a part of one (a.jpg#x,y,width,height, in pixels or with %% behind each number), or a folder, "
        "all of whose pictures are queries",
    )
    parser.add_argument("-k", type=int, metavar="N", help="hits for each query (10; with --above all)")
    parser.add_argument("--above", type=float, metavar="SCORE", help="only hits of at least this score, from -1 to 1")
    parser.add_argument(
        "--matches",
        action="store_true",
        help="only the first hits, as far as more of them match than not by what `retrieval calibrate` has found",
    )
    more = parser.add_argument_group("other queries")
    more.add_argument(
        "--id", type=int, nargs="+", action="extend", default=[], metavar="N", help="pictures of the index by id"
    )
    more.add_argument(
        "--path", nargs="+", action="extend", default=[], metavar="P", help="pictures of the index by path in it"
    )
    more.add_argument("--vectors", metavar="FILE", help="a .npy file of vectors, a query a row")
    more.add_argument(
        "--text", nargs="+", action="extend", default=[], help="words, where the index's model knows words"
    )
    many = parser.add_argument_group("one query of many parts")
    many.add_argument(
        "--like",
        nargs="+",
        action="extend",
        default=[],
        metavar="PART",
        help="what hits are to be like, all together: a picture, id:17, path:2019/a.jpg, text:WORDS or "
        "vector:v.npy[ROW], and behind it, if wanted, a part of the picture, #x,y,width,height, and a weight, @0.5 "
        "(docs/searching.md)",
    )
    many.add_argument(
        "--unlike", nargs="+", action="extend", default=[], metavar="PART", help="what they are to be unlike"
    )
    parser.add_argument(
        "--where", metavar="FILTER", help='hits must match this, as label = "cat" and iso <= 400 (docs/filters.md)'
    )
    arranging.add_arguments(parser)
    parser.add_argument(
        "--rerank",
        metavar="HOW",
        help="order the first hits anew: aqe, alpha-qe, k-reciprocal, or a run of a pair network (docs/rerank.md)",
    )
    parser.add_argument("--rerank-top", type=int, metavar="N", help="how many of them (100)")
    parser.add_argument(
        "--marks", metavar="FILE", help="rank by what was marked right and wrong, a .jsonl file (docs/marks.md)"
    )
    parser.add_argument(
        "--include-self", action="store_true", help="do not leave the query itself, and its exact copies, out"
    )
    parser.add_argument(
        "--model", metavar="MODEL", help="encode queries with this model, which must be the index's (its own copy)"
    )
    parser.add_argument(
        "--mapped", action="store_true", help="read the index where it lies on the disk, not all of it into memory"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--csv", action="store_true", help="print CSV: " + ",".join(COLUMNS))
    form.add_argument("-f", "--files", action="store_true", help="print the paths of the hits alone, one a line")
    form.add_argument(
        "-0",
        "--null",
        action="store_true",
        help="the same with a zero byte behind each path, as names may hold newlines (for xargs -0)",
    )
    parser.add_argument("--save", metavar="FILE", help="draw the results into this .png (.jpg, .webp, .pdf) file")
    parser.add_argument("--open", action="store_true", help="show the drawing")
    parser.add_argument(
        "--explain", action="store_true", help="in the drawing, or in JSON: which parts of query and hit make the score"
    )


def run(args: argparse.Namespace) -> int:
    """Ask, and print the answers."""
    if not (args.pictures or args.id or args.path or args.vectors or args.text or args.like or args.unlike):
        if args.cursor:
            raise RetrievalError(
                f"--cursor takes {args.cursor!r} for the token of a page, and so there is nothing to look for; put the "
                "picture before it."
            )
        raise RetrievalError("There is nothing to look for; give a picture, --id, --path, --vectors, --text or --like.")
    if args.explain and not (args.save or args.open or args.json):
        raise RetrievalError("--explain makes heat maps, which need a place; give --save FILE, --open or --json.")
    if args.rerank_top is not None and args.rerank is None:
        raise RetrievalError("--rerank-top says nothing without --rerank; give both, or leave it out.")
    if args.rerank is not None and args.marks is not None:
        raise RetrievalError("--rerank and --marks both order the hits; leave one of them out.")

    reranker = _reranker(args)
    skipped: list[Skipped] = []
    with _opened(args, reranker) as search:
        answers = _ask(search, args, skipped)
        for left_out in skipped:
            print(f"{left_out.path!r} is left out: {left_out.reason}", file=sys.stderr)
        for unread in sorted({one for answer in answers for one in answer.unread}):
            print(f"{unread.path!r} is not ranked anew: {unread.reason}", file=sys.stderr)
        _say_marks(reranker, answers)
        whys = _explained(search, answers) if args.explain and not isinstance(search, Client) else None
        if args.json:
            told = _as_json(search, answers, whys, skipped, grouped=args.group_by is not None)
            print(json.dumps(told, indent=2, ensure_ascii=False))
        elif args.csv:
            _print_csv(answers, search.reranker, grouped=args.group_by is not None)
        elif args.files or args.null:
            _print_files(search.root, answers, b"\0" if args.null else b"\n")
        else:
            _print_tables(search, answers, args)
        for answer in answers if args.cursor is not None and (args.csv or args.files or args.null) else ():
            if answer.next is not None:
                print(f"next page of {for_terminal(answer.query)}: --cursor {answer.next}", file=sys.stderr)
        if answers and (args.save or args.open):
            with (
                search.copies_of(answers) if isinstance(search, Client) else _in_place(search, answers) as (seen, root)
            ):
                _draw(root, seen, whys, args.save, args.open)
        for warning in search.warnings:
            print(warning, file=sys.stderr)
    return 0 if answers else 1


def _opened(args: argparse.Namespace, reranker: Reranker | None) -> Search | Client:
    """The index, here or where a service has it open."""
    from retrieval.search.search import Search

    if not is_address(args.index):
        if _HOST_AND_PORT.match(args.index) and not Path(args.index).exists():
            raise RetrievalError(f"There is no index at {printable(args.index)!r}; write http:// before an address.")
        return Search.open(args.index, model=args.model, mapped=args.mapped, reranker=reranker)
    if args.model is not None or args.mapped or args.explain or reranker is not None:
        raise RetrievalError(
            "--model, --mapped, --rerank, --marks and --explain need an index on this machine; leave them out, or give "
            "its folder."
        )
    return Client(args.index)


@contextlib.contextmanager
def _in_place(search: Search, answers: Sequence[Answer]) -> Iterator[tuple[Sequence[Answer], Root]]:
    """The answers as they are, and what opens the files of their hits."""
    yield answers, search.pictures


def _reranker(args: argparse.Namespace) -> Reranker | None:
    """What orders the hits, if not the score alone."""
    from retrieval.search import rerank

    if args.marks is not None:
        from retrieval.search.learned import FromMarks
        from retrieval.search.marks import read_marks

        return FromMarks(read_marks(args.marks))
    top = rerank.TOP if args.rerank_top is None else args.rerank_top
    return None if args.rerank is None else rerank.load(args.rerank, top)


_NAMED = 10
"""Marks that are named which are left out."""


def _say_marks(reranker: Reranker | None, answers: Sequence[Answer]) -> None:
    """Which marks play no part, and why."""
    learning = _learning(reranker)
    if learning is None:
        return
    left_out = {one: None for answer in answers if answer.marks is not None for one in answer.marks.left_out}
    for path, reason in list(left_out)[:_NAMED]:
        print(f"The mark of {printable(path)!r} is left out: {reason}", file=sys.stderr)
    if len(left_out) > _NAMED:
        print(f"{len(left_out) - _NAMED:,} more marks are left out", file=sys.stderr)
    others = learning.others(answers)
    if others:
        what = "mark belongs" if others == 1 else "marks belong"
        print(f"{others:,} {what} to other queries", file=sys.stderr)


def _learning(reranker: Reranker | None) -> FromMarks | None:
    """What orders the hits, if it learns from marks."""
    if reranker is None:
        return None
    from retrieval.search.learned import FromMarks

    return reranker if isinstance(reranker, FromMarks) else None


def _more_columns(reranker: Reranker | None) -> tuple[str, ...]:
    if reranker is None:
        return ()
    return (RERANKED,) if _learning(reranker) is None else (RERANKED, MARKED)


def _ask(search: Search | Client, args: argparse.Namespace, skipped: list[Skipped]) -> list[Answer]:
    answers: list[Answer] = []
    k, include_self = arranging.hits_wanted(args), args.include_self
    asked: Any = {"where": args.where, "above": args.above, "arrange": arranging.arrangement(args)}
    if args.matches and (args.pictures or args.id or args.path or args.vectors):
        search.require_calibrated("labels")
    if args.matches and args.text:
        search.require_calibrated("words")
    if args.pictures:
        _refuse_parts(args.pictures)
        answers += search.query(args.pictures, k, include_self=include_self, skipped=skipped, **asked)
    if args.id:
        answers += search.query_ids(args.id, k, include_self=include_self, **asked)
    if args.path:
        answers += search.query_paths(args.path, k, include_self=include_self, **asked)
    if args.vectors:
        answers += search.query_file(args.vectors, k, **asked)
    if args.text:
        answers += search.query_texts(args.text, k, **asked)
    if args.like or args.unlike:
        answers.append(search.query_parts(args.like, args.unlike, k, include_self=include_self, **asked))
    return answers


def _refuse_parts(pictures: Sequence[str]) -> None:
    """See that none of the pictures is a part that would make one query with others."""
    from retrieval.search.parts import Part

    for text in pictures:
        part = Part.parse(text) if ":" in text or "@" in text else None
        if part is not None and (part.kind != "file" or part.weight != 1):
            raise RetrievalError(f"There is no picture {printable(text)!r}; a part of one query is given to --like.")


def _explained(search: Search, answers: Sequence[Answer]) -> list[list[Explanation | None]]:
    """Why each hit of each answer is one; None where its file does not say so any more."""
    from retrieval.search.explain import explain_answer

    unread: list[Skipped] = []
    found = [explain_answer(search, answer, skipped=unread) for answer in answers]
    for one in unread:
        print(f"{one.path!r} is not explained: {one.reason}", file=sys.stderr)
    return found


def _as_json(
    search: Search | Client,
    answers: Sequence[Answer],
    whys: Sequence[Sequence[Explanation | None]] | None,
    skipped: Sequence[Skipped],
    *,
    grouped: bool,
) -> dict[str, object]:
    names = (*COLUMNS[1:], *_more_columns(search.reranker), *[arranging.GROUP] * grouped)

    def hits(number: int) -> list[dict[str, object]]:
        found = [
            {**{name: getattr(hit, name) for name in names}, "evidence": hit.evidence} for hit in answers[number].hits
        ]
        for hit, why in zip(found, () if whys is None else whys[number], strict=False):
            hit["explanation"] = None if why is None else why.to_json()
        return found

    return {
        "index": printable(search.name),
        "root": printable(search.root if isinstance(search.root, Path) else search.root.address),
        **_how(search.reranker, answers),
        "answers": [
            {
                "query": answer.query,
                "label": answer.label,
                "id": answer.id,
                "left_out": list(answer.left_out),
                **({"parts": [part.to_json() for part in answer.parts]} if answer.parts else {}),
                **({} if answer.marks is None else {"marks": answer.marks.to_json()}),
                "no_match": answer.no_match,
                "no_copy": answer.no_copy,
                "fold": answer.fold,
                "hits": hits(number),
                **arranging.as_json(answer),
            }
            for number, answer in enumerate(answers)
        ],
        "skipped": [left_out._asdict() for left_out in skipped],
    }


def _how(reranker: Reranker | None, answers: Sequence[Answer]) -> dict[str, object]:
    """What ordered the hits."""
    learning = _learning(reranker)
    if learning is not None:
        return {"marks": len(learning.marks), "marks_of_other_queries": learning.others(answers)}
    return {} if reranker is None else {"rerank": reranker.name, "rerank_top": reranker.top}


def _print_csv(answers: Sequence[Answer], reranker: Reranker | None, *, grouped: bool) -> None:
    more = (*_more_columns(reranker), *[arranging.GROUP] * grouped)
    sys.stdout.write(csv_text([(*COLUMNS, *more)]))
    for answer in answers:
        for hit in answer.hits:
            relevant = "" if hit.relevant is None else int(hit.relevant)
            chance, copy = ("" if one is None else f"{one:.6f}" for one in (hit.probability, hit.copy))
            score = f"{hit.score:.6f}"
            row = (answer.query, hit.rank, hit.id, hit.path, hit.label or "", score, relevant, chance, copy)
            second = "" if hit.reranked is None else f"{hit.reranked:.6f}"
            marked = "" if hit.marked is None else int(hit.marked)
            last = {RERANKED: second, MARKED: marked, arranging.GROUP: hit.group or ""}
            sys.stdout.write(csv_text([(*row, *(last[name] for name in more))]))


def _print_files(root: Path | Root, answers: Sequence[Answer], end: bytes) -> None:
    """Paths as they can be used from here: relative if they lie below, absolute otherwise."""
    here = Path.cwd()
    base = root.relative_to(here) if isinstance(root, Path) and root.is_relative_to(here) else root
    for answer in answers:
        for hit in answer.hits:
            write_bytes(os.fsencode(base / hit.path) + end)  # as bytes, since a name need not be UTF-8


def _print_tables(search: Search | Client, answers: Sequence[Answer], args: argparse.Namespace) -> None:
    reranker = search.reranker
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    for position, answer in enumerate(answers):
        if position:
            print()
        notes = [f"label {for_terminal(answer.label)}"] if answer.label is not None else []
        if answer.id is not None and not answer.query.startswith("id "):
            notes.append(f"id {answer.id}")
        notes += _left_out(answer)
        if answer.marks is not None:
            notes.append(f"{len(answer.marks.right):,} marked right, {len(answer.marks.wrong):,} wrong")
        notes += arranging.note(answer)
        if not answer.calibrated and search.calibrated:
            notes.append("P(match) is not known")
        print(for_terminal(answer.query) + (f"  ({', '.join(notes)})" if notes else ""))
        if not answer.hits:
            which = " that the filter lets through" * (args.where is not None)
            which += "" if args.above is None else f" that scores {args.above:.3f} or more"
            which += " that may be a match" * args.matches
            there = "no more pages" if args.cursor else "nothing found"
            print(f"  {there}: the index holds no other picture{which}")
            continue
        if answer.no_match:
            best = max((hit.probability for hit in answer.hits if hit.probability is not None), default=None)
            chance = "unknown" if best is None else shown(best, 2)
            print(f"  no match in this index: the likeliest hit is a true match with probability {chance}")
        elif answer.fold == 0:
            print("  none of these hits is likelier a match than not")
        labels = [for_terminal(hit.label or "-") for hit in answer.hits]
        labelled = any(hit.label is not None for hit in answer.hits)
        broad = max(5, *map(terminal_width, labels))
        ids = max(2, *(len(str(hit.id)) for hit in answer.hits))
        chances = _chances(answer)
        seconds = ["" if reranker is None else f"  {_second(hit.reranked):>8}" for hit in answer.hits]
        marks = ["" if answer.marks is None else f"  {_SAID[hit.marked]:5}" for hit in answer.hits]
        print(
            f"  rank{'' if reranker is None else '  reranked'}  score {chances[0]}"
            f"{'' if answer.marks is None else '  mark '}  {'id':>{ids}}  "
            + (padded("label", broad) + "  " if labelled else "")
            + "path"
        )
        for hit, label, second, chance, mark in zip(answer.hits, labels, seconds, chances[1:], marks, strict=True):
            named = padded(label, broad) + "  " if labelled else ""
            path = for_terminal(hit.path)
            heading = arranging.heading(answer, hit) if args.group_by is not None else None
            if heading is not None:
                print(heading)
            begin = f"  {hit.rank:4d}{second}  {hit.score:6.3f}{chance}{mark}  {hit.id:{ids}d}  "
            if colour and hit.relevant is not None:
                line = f"{begin}\033[{32 if hit.relevant else 31}m{named}\033[0m{path}\n"
                write_bytes(line.encode(sys.stdout.encoding, "backslashreplace"))
            else:
                print(begin + named + path)
            if hit.rank == answer.fold and hit is not answer.hits[-1] and not args.matches:
                print(f"  {'- ' * 8}here the matches end, as far as can be told")
        for line in arranging.footer(answer, paged=args.cursor is not None):
            print(line)
    if reranker is not None and any(answer.hits for answer in answers):
        calibrated = any(hit.probability is not None for answer in answers for hit in answer.hits)
        print(
            f"\nordered by {reranker.name}; score is the inner product with the query"
            + ", and P(match) goes by that and what is nearest to the query" * calibrated
        )


_SAID = {True: "right", False: "wrong", None: ""}
"""What a hit was marked as."""


def _left_out(answer: Answer) -> list[str]:
    """What the hits do not have for the query's sake, in a few words; nothing of the query itself."""
    if len(answer.parts) > 1 or (answer.parts and answer.parts[0].sign < 0):
        return [f"{len(answer.left_out)} left out: its parts and their exact copies"] if answer.left_out else []
    copies = len(answer.left_out) - 1
    return [f"{copies} exact {'copy' if copies == 1 else 'copies'} left out"] if copies > 0 else []


def _chances(answer: Answer) -> list[str]:
    """P(match), what speaks most for or against it, and P(copy), where they are known: a heading, and for each hit."""
    columns: list[list[str]] = []
    if any(hit.probability is not None for hit in answer.hits):
        columns.append(["P(match)", *("" if hit.probability is None else shown(hit.probability, 3) for hit in answer)])
    if any(hit.evidence is not None for hit in answer.hits):
        columns.append(["by", *("" if hit.evidence is None else spoken(hit.evidence) for hit in answer)])
    if any(hit.copy is not None for hit in answer.hits):
        columns.append(["P(copy)", *("" if hit.copy is None else shown(hit.copy, 3) for hit in answer)])
    return [
        "".join(f"  {cell:>{max(map(len, column))}}" for cell, column in zip(row, columns, strict=True))
        for row in zip(*columns, strict=True)
    ] or [""] * (len(answer) + 1)


def _second(score: float | None) -> str:
    """The re-ranker's score; nothing of a hit that it did not look at."""
    return "-" if score is None else f"{score:.3f}"


def _draw(
    root: Root,
    answers: Sequence[Answer],
    whys: Sequence[Sequence[Explanation | None]] | None,
    save: str | None,
    show: bool,
) -> None:
    from retrieval.search import results_picture

    file = Path(save) if save is not None else Path(tempfile.mkdtemp(prefix="retrieval-")) / "results.png"
    drawn = (
        results_picture.draw_answers(answers, root, file)
        if whys is None
        else results_picture.draw_explanations(answers, whys, root, file)
    )
    if drawn < len(answers):
        print(f"{printable(file)} shows the first {drawn:,} of {len(answers):,} queries", file=sys.stderr)
    if show and not webbrowser.open(file.resolve().as_uri()):
        print(f"There is no program here to show {printable(file)}; open it by hand", file=sys.stderr)
