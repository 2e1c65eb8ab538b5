"""``retrieval benchmark``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from retrieval.base.found import Found
from retrieval.base.units import parse_bytes
from retrieval.cli.evaluate import add_options, options_of, refuse, shown
from retrieval.errors import RetrievalError

HELP = "Measure a model, or vectors of its pictures, on one of the field's benchmarks, by its official protocol."
EXAMPLES = """
retrieval benchmark --list
retrieval benchmark cub200 CUB_200_2011/ --model runs/mine --save measured.json
retrieval benchmark roxford roxford5k/ --vectors roxford.npy --distractors r1m.npy --memory 2GB
retrieval benchmark market1501 Market-1501-v15.09.15/ --model runs/reid --rerank k-reciprocal
retrieval benchmark sop Stanford_Online_Products/ --vectors sop.npy --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the verb takes: beside the set and what is measured, what `retrieval evaluate` takes."""
    parser.argument_default = argparse.SUPPRESS
    parser.add_argument("name", nargs="?", metavar="NAME", help="the benchmark, as --list names it")
    parser.add_argument("folder", nargs="?", metavar="FOLDER", help="the set, as its authors lay it out")
    parser.add_argument("--list", action="store_true", help="list the benchmarks, and what each is measured by")
    parser.add_argument("--model", metavar="M", help="a model (runs/NAME, default, fast, hf:NAME)")
    parser.add_argument(
        "--vectors",
        metavar="FILE",
        help="in its place vectors that any program made (.npy, .h5): of the queries in the official order, then of "
        "the gallery; or by their names",
    )
    parser.add_argument(
        "--distractors",
        metavar="FILE",
        help="vectors (.npy, .h5) of more pictures of the gallery, which are right for nobody",
    )
    parser.add_argument(
        "--memory", type=parse_bytes, metavar="SIZE", help="what their scores may take, such as 500MB (1 GiB)"
    )
    add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Measure, and print the report; or list what there is."""
    given = dict(vars(args))
    if given.pop("list", False):
        from retrieval.protocols.overview import overview

        as_json = given.pop("json", False)
        if given:
            raise RetrievalError(f"--list lists the benchmarks and measures nothing: leave {next(iter(given))} out")
        print(overview().shown(as_json=as_json))
        return 0
    name, folder = given.pop("name", None), given.pop("folder", None)
    if name is None or folder is None:
        raise RetrievalError("give the name of a benchmark and the folder of its set, or --list to see which there are")
    return shown(given, lambda: _measured(name, Path(folder), given))


def _measured(name: str, folder: Path, given: dict[str, Any]) -> Found:
    """What was asked for, of the arguments that were given."""
    if "rerank" in given:
        from retrieval.evaluation.benchmark_gain import benchmark_gain

        refuse(given, "rerank", _RERANK)
        inputs = {key: given.pop(key) for key in (*_INPUTS[:2], "rerank", "rerank_top") if key in given}
        return benchmark_gain(name, folder, **inputs, options=options_of(given))
    if "rerank_top" in given:
        raise RetrievalError("--rerank-top says nothing without --rerank: give both, or neither")
    from retrieval.evaluation.benchmark import benchmark

    inputs = {key: given.pop(key) for key in _INPUTS if key in given}
    return benchmark(name, folder, **inputs, options=options_of(given))


_INPUTS = ("model", "vectors", "distractors", "memory")
_RERANK = ("model", "vectors", "rerank_top", "limit", "over", "seed", "codes")
