"""Whether ``torch.compile`` pays, tried on the training itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from retrieval.errors import RetrievalError
from retrieval.training.batches import Batch
from retrieval.training.engine import Engine
from retrieval.training.hardware import seconds_per_step

PAYS = 0.95
"""The share of the time of a step that compiled ones may take at most to be worth their while."""


def try_compiled(
    engine: Engine, steps: Callable[[], Iterator[list[Batch]]], lr: float, report: Callable[[str], None]
) -> None:
    """Leave the engine compiled where that is measured to be faster; otherwise say why it is not.

    Args:
        steps: makes the steps to time, from the first on.
        lr: their learning rate.
    """
    plain = seconds_per_step(engine, steps(), lr)
    engine.compile()
    try:
        compiled = seconds_per_step(engine, steps(), lr)
    except RetrievalError:
        raise
    except Exception as error:  # compilers fail in more ways than can be named
        engine.compiled = None
        report(f"The network cannot be compiled here ({_first_line(error)}); the training goes on without.")
        return
    if compiled > PAYS * plain:
        engine.compiled = None
        report(
            f"Compiling does not pay here (a step takes {1000 * compiled:.1f} ms, and {1000 * plain:.1f} ms without); "
            "the training goes on without."
        )


def compile_again(engine: Engine, steps: Iterator[list[Batch]], lr: float) -> None:
    """Compile for a training that began so, whatever would be faster now: other kernels round differently.

    Raises:
        RetrievalError: it cannot be done any more.
    """
    engine.compile()
    try:
        seconds_per_step(engine, steps, lr, count=1)
    except RetrievalError:
        raise
    except Exception as error:  # see above
        raise RetrievalError(
            f"The training began compiled, and that fails here ({_first_line(error)}); "
            "go on where it began, or train anew without --compile."
        ) from error


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
