"""Vectors to and from other programs: FAISS, NumPy, clip-retrieval, TEXMEX, ann-benchmarks.

One module a format; ``docs/exchange.md`` says what each holds and what is lost.
"""

from __future__ import annotations

from retrieval.exchange.ann_benchmarks import AnnBenchmarks, load_ann_benchmarks
from retrieval.exchange.exporting import ExportReport, export_index
from retrieval.exchange.formats import FORMATS
from retrieval.exchange.importing import ImportReport, import_index
from retrieval.index.records import NO_ENCODER

__all__ = [
    "FORMATS",
    "NO_ENCODER",
    "AnnBenchmarks",
    "ExportReport",
    "ImportReport",
    "export_index",
    "import_index",
    "load_ann_benchmarks",
]
