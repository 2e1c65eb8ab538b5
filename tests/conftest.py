"""What holds for every test."""

import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest
from lean import leave_out_the_end

# A runner that was started in the background ignores Ctrl-C and hands that on to its children, some of which tests
# interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--long`: tests that vary one thing many times vary it some ten times as often, and the large ones run."""
    parser.addoption("--long", action="store_true", help="also run what takes minutes: more kills, more data")


def pytest_configure(config: pytest.Config) -> None:
    """The marks of a test, or of one of its parameters."""
    config.addinivalue_line("markers", "long: takes minutes; runs with --long only")
    config.addinivalue_line("markers", "kernels: hangs on how products are rounded; .ci/run repeats it with others")
    if "PYTEST_XDIST_WORKER" not in os.environ:
        # One cache folder for all processes of this run, and none that was there before.
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        os.environ.setdefault("MPLCONFIGDIR", str(Path(base) / "matplotlib"))  # whose list of fonts takes long to make
        folder = os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="retrieval-tests-")
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave those tests out otherwise."""
    if not config.getoption("--long"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="takes minutes; run pytest --long"))


@pytest.fixture(scope="session")
def long(request: pytest.FixtureRequest) -> bool:
    """Whether the tests may take minutes."""
    return bool(request.config.getoption("--long"))


@pytest.fixture
def lean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings that end without drawing their curves and without exporting the encoder, a second each."""
    leave_out_the_end(monkeypatch)
