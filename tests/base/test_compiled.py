"""The compiled part is used where it is the one that the program knows."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import pytest

from retrieval.base import compiled


def test_what_was_compiled_before_the_program_changed_is_done_without(monkeypatch: pytest.MonkeyPatch):
    try:
        for interface, used in ((compiled.INTERFACE, True), (compiled.INTERFACE - 1, False), (None, False)):
            other = ModuleType("retrieval.base._kernel")
            if interface is not None:
                other.INTERFACE = interface
            monkeypatch.setitem(sys.modules, "retrieval.base._kernel", other)
            assert (importlib.reload(compiled).kernel is other) == used
    finally:
        monkeypatch.undo()
        importlib.reload(compiled)
