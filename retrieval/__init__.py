"""From a folder of pictures to a search engine you can trust.

What stands here, with the modules ``datasets``, ``measures`` and ``traps``, is what this package offers. All else is
private: it may move from one version to the next. Names are loaded when they are first used, so that
``import retrieval`` costs nothing and a query does not wait for what a training needs.
"""

import importlib
from typing import TYPE_CHECKING, Any

from retrieval.errors import RetrievalError as RetrievalError

if TYPE_CHECKING:  # the table below again, for who reads types; tests/test_api.py compares the two
    from retrieval import datasets as datasets
    from retrieval import measures as measures
    from retrieval import traps as traps
    from retrieval.client import Client as Client
    from retrieval.cluster import RayCluster as RayCluster
    from retrieval.datasets import PictureSet as PictureSet
    from retrieval.datasets.get_data import get_data as get_data
    from retrieval.encoder import Encoder as Encoder
    from retrieval.encoder import EncoderConfig as EncoderConfig
    from retrieval.encoder.pair_scorer import PairScorer as PairScorer
    from retrieval.evaluation.benchmark import benchmark as benchmark
    from retrieval.evaluation.by_name import evaluate as evaluate
    from retrieval.evaluation.by_name import evaluate_gain as evaluate_gain
    from retrieval.evaluation.by_name import evaluate_one_shot as evaluate_one_shot
    from retrieval.evaluation.encoders import measure_encoders as measure_encoders
    from retrieval.evaluation.of_encoder import evaluate_encoder as evaluate_encoder
    from retrieval.evaluation.of_index import evaluate_index as evaluate_index
    from retrieval.evaluation.of_vectors import evaluate_vectors as evaluate_vectors
    from retrieval.evaluation.options import EvaluationOptions as EvaluationOptions
    from retrieval.evaluation.paired_comparison import compare_kept as compare_kept
    from retrieval.evaluation.report import Report as Report
    from retrieval.exchange import export_index as export_index
    from retrieval.exchange import import_index as import_index
    from retrieval.exchange import load_ann_benchmarks as load_ann_benchmarks
    from retrieval.images import Preprocessing as Preprocessing
    from retrieval.images.perceptual import hash_files as hash_files
    from retrieval.index import Index as Index
    from retrieval.index import NewItem as NewItem
    from retrieval.ingest import BuildReport as BuildReport
    from retrieval.ingest import add_pictures as add_pictures
    from retrieval.ingest import build as build
    from retrieval.ingest import remove_pictures as remove_pictures
    from retrieval.ingest import sync as sync
    from retrieval.ingest.add_index import add_index as add_index
    from retrieval.ingest.attach import attach as attach
    from retrieval.ingest.compact import compact as compact
    from retrieval.ingest.describe import describe as describe
    from retrieval.ingest.map_index import map_index as map_index
    from retrieval.ingest.verify_index import verify as verify
    from retrieval.ingest.watch_folder import watch as watch
    from retrieval.report import write_report as write_report
    from retrieval.search.answer import Answer as Answer
    from retrieval.search.answer import Hit as Hit
    from retrieval.search.arrangement import Arrangement as Arrangement
    from retrieval.search.calibration import Calibration as Calibration
    from retrieval.search.calibration import calibrate as calibrate
    from retrieval.search.explain import Explanation as Explanation
    from retrieval.search.explain import explain as explain
    from retrieval.search.explain import explain_answer as explain_answer
    from retrieval.search.facets import Facet as Facet
    from retrieval.search.facets import facets as facets
    from retrieval.search.heat_map import overlay as overlay
    from retrieval.search.learned import FromMarks as FromMarks
    from retrieval.search.marks import Asked as Asked
    from retrieval.search.marks import Mark as Mark
    from retrieval.search.marks import append_marks as append_marks
    from retrieval.search.marks import read_marks as read_marks
    from retrieval.search.parts import Part as Part
    from retrieval.search.rerank import FirstRanking as FirstRanking
    from retrieval.search.rerank import Reranked as Reranked
    from retrieval.search.results_picture import draw_answers as draw_answers
    from retrieval.search.results_picture import draw_explanations as draw_explanations
    from retrieval.search.search import Search as Search
    from retrieval.service import serve as serve
    from retrieval.service.agents import serve_agents as serve_agents
    from retrieval.training.head.head_loop import TrainedHead as TrainedHead
    from retrieval.training.head.head_loop import train_head as train_head
    from retrieval.training.head_recipe import HeadRecipe as HeadRecipe
    from retrieval.training.loop import Trained as Trained
    from retrieval.training.loop import train as train
    from retrieval.training.pair_recipe import PairRecipe as PairRecipe
    from retrieval.training.pairs.pair_loop import TrainedPair as TrainedPair
    from retrieval.training.pairs.pair_loop import train_pair as train_pair
    from retrieval.training.recipe import PRESETS as PRESETS
    from retrieval.training.recipe import Recipe as Recipe
    from retrieval.traps.duplicates.find import find_duplicates as find_duplicates
    from retrieval.traps.duplicates.move import move_copies as move_copies
    from retrieval.traps.duplicates.move import undo_move as undo_move
    from retrieval.traps.duplicates.report import Duplicates as Duplicates
    from retrieval.tuning.tune_index import tune as tune

_MODULES = ("datasets", "measures", "traps")

_HOMES = {
    "Answer": "search.answer",
    "Arrangement": "search.arrangement",
    "Asked": "search.marks",
    "BuildReport": "ingest",
    "Calibration": "search.calibration",
    "Client": "client",
    "Duplicates": "traps.duplicates.report",
    "Encoder": "encoder",
    "EncoderConfig": "encoder",
    "EvaluationOptions": "evaluation.options",
    "Explanation": "search.explain",
    "Facet": "search.facets",
    "FirstRanking": "search.rerank",
    "FromMarks": "search.learned",
    "HeadRecipe": "training.head_recipe",
    "Hit": "search.answer",
    "Index": "index",
    "Mark": "search.marks",
    "NewItem": "index",
    "PRESETS": "training.recipe",
    "Part": "search.parts",
    "PairRecipe": "training.pair_recipe",
    "PairScorer": "encoder.pair_scorer",
    "PictureSet": "datasets",
    "Preprocessing": "images",
    "RayCluster": "cluster",
    "Recipe": "training.recipe",
    "Report": "evaluation.report",
    "Reranked": "search.rerank",
    "Search": "search.search",
    "Trained": "training.loop",
    "TrainedHead": "training.head.head_loop",
    "TrainedPair": "training.pairs.pair_loop",
    "add_index": "ingest.add_index",
    "add_pictures": "ingest",
    "append_marks": "search.marks",
    "attach": "ingest.attach",
    "benchmark": "evaluation.benchmark",
    "build": "ingest",
    "calibrate": "search.calibration",
    "compact": "ingest.compact",
    "compare_kept": "evaluation.paired_comparison",
    "describe": "ingest.describe",
    "draw_answers": "search.results_picture",
    "draw_explanations": "search.results_picture",
    "evaluate": "evaluation.by_name",
    "evaluate_encoder": "evaluation.of_encoder",
    "evaluate_gain": "evaluation.by_name",
    "evaluate_index": "evaluation.of_index",
    "evaluate_one_shot": "evaluation.by_name",
    "evaluate_vectors": "evaluation.of_vectors",
    "explain": "search.explain",
    "explain_answer": "search.explain",
    "export_index": "exchange",
    "facets": "search.facets",
    "find_duplicates": "traps.duplicates.find",
    "get_data": "datasets.get_data",
    "hash_files": "images.perceptual",
    "import_index": "exchange",
    "load_ann_benchmarks": "exchange",
    "map_index": "ingest.map_index",
    "measure_encoders": "evaluation.encoders",
    "move_copies": "traps.duplicates.move",
    "overlay": "search.heat_map",
    "read_marks": "search.marks",
    "remove_pictures": "ingest",
    "serve": "service",
    "serve_agents": "service.agents",
    "sync": "ingest",
    "train": "training.loop",
    "train_head": "training.head.head_loop",
    "train_pair": "training.pairs.pair_loop",
    "tune": "tuning.tune_index",
    "undo_move": "traps.duplicates.move",
    "verify": "ingest.verify_index",
    "watch": "ingest.watch_folder",
    "write_report": "report",
}
"""The module that each name lives in."""

__all__ = ["RetrievalError", *_MODULES, *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"retrieval.{_HOMES[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"retrieval.{name}")
    raise AttributeError(f"module 'retrieval' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
