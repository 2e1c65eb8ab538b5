"""Traps that make a measure's figures mean something else than they seem to: arrays in, findings out."""

from __future__ import annotations

from retrieval.traps.collapse import find_collapse
from retrieval.traps.find_all import find, of_index
from retrieval.traps.finding import Example, Finding, Severity, worst_first
from retrieval.traps.hubs import find_hubs
from retrieval.traps.labels import find_label_errors
from retrieval.traps.leakage import find_leakage, find_leakage_between
from retrieval.traps.neighbours import exact_neighbours, neighbours_of
from retrieval.traps.small_classes import find_small_classes

__all__ = [
    "Example",
    "Finding",
    "Severity",
    "exact_neighbours",
    "find",
    "find_collapse",
    "find_hubs",
    "find_label_errors",
    "find_leakage",
    "find_leakage_between",
    "find_small_classes",
    "neighbours_of",
    "of_index",
    "worst_first",
]
