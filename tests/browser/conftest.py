"""A service, and a browser that opens its page; without either, these tests are skipped and say so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from browsing import BROWSER, WIDTHS, Running
from PIL import Image


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the pictures for the README go."""
    parser.addoption("--screenshots", help="a folder that takes the page's pictures (docs/images)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a browser where there is none."""
    try:
        import fastapi  # noqa: F401
        import playwright  # noqa: F401
    except ImportError as error:
        why = f"the page's tests need {error.name} (pip install '.[serve,browser]')"
    else:
        why = "" if BROWSER else "the page's tests need Chromium (apt-get install chromium)"
    for item in items:
        if why and Path(__file__).parent in Path(item.fspath).parents:
            item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures of several shapes, hostile names and one that breaks later."""
    root = tmp_path_factory.mktemp("collection") / "photos"
    for number, kind in enumerate(("beach", "forest", "<b>town")):
        (root / kind).mkdir(parents=True)
        base = np.asarray(tiny.picture(100 * number)).astype(np.int64)
        for one in range(14):
            noise = np.random.default_rng(1000 * number + one).integers(-12, 13, base.shape)
            pixels = Image.fromarray(np.clip(base + noise, 0, 255).astype(np.uint8))
            shape = ((320, 200), (200, 320), (240, 240))[one % 3]
            exif = Image.Exif()
            exif.get_ifd(0x8769)[0x9003] = f"20{10 + one:02d}:05:06 07:08:09"
            pixels.resize(shape).save(root / kind / f"{one:02d}.jpg", exif=exif, quality=95)
    hostile = root / "beach" / '"><img src=x onerror=alert(1)>.jpg'
    tiny.picture(7, 200, 160).save(hostile)
    (root / "forest" / "copy.jpg").write_bytes((root / "beach" / "00.jpg").read_bytes())
    return root


@pytest.fixture(scope="session")
def collection(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of them, calibrated."""
    from retrieval import Index, build, calibrate

    out = tmp_path_factory.mktemp("indexes") / "photos"
    build(pictures, out, model=tiny.model(tmp_path_factory), threads=1)
    found = calibrate(out, seed=0)
    with Index.open(out, write=True) as index:
        index.record_calibration(found.to_json())
        index.attach({id_: {"rating": id_ % 5, "place": f"place {id_ % 3}"} for id_ in index.ids().tolist()})
    broken = pictures / "forest" / "13.jpg"
    broken.write_bytes(b"no picture any more")
    return out


@pytest.fixture(scope="session")
def running(collection: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The service of that index and of an uncalibrated second one, in which everybody here may write."""
    from retrieval import build

    other = tmp_path_factory.mktemp("other") / "other"
    build(collection_root(collection), other, model=tiny.model(tmp_path_factory, seed=1), threads=1)
    cache = tmp_path_factory.mktemp("cache")
    here: dict[str, Any] = {"port": "0"}

    def begin() -> None:
        command = [sys.executable, "-m", "retrieval", "serve", str(collection), str(other), "--write"]
        command += ["--move-to", str(tmp_path_factory.getbasetemp() / "moved"), "--port"]
        environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
        process = subprocess.Popen(
            [*command, here["port"]], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
        )
        assert process.stdout is not None
        here["process"], here["address"] = process, process.stdout.readline().strip()
        here["port"] = here["address"].rstrip("/").rpartition(":")[2]

    def end() -> None:
        here["process"].send_signal(signal.SIGTERM)
        here["process"].wait(20)

    begin()
    yield Running(here["address"], begin, end)
    end()


def collection_root(index: Path) -> str:
    """Where the pictures of an index lie."""
    from retrieval import Index

    with Index.open(index) as opened:
        return opened.root


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A browser without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(params=WIDTHS)
def page(request: pytest.FixtureRequest, browser: Any, running: Running) -> Iterator[Any]:
    """The page, at two widths; whatever it says on the console, or breaks, fails the test."""
    width, height = WIDTHS[request.param]
    context = browser.new_context(viewport={"width": width, "height": height}, has_touch=request.param == "narrow")
    page = context.new_page()
    page.set_default_timeout(8_000)
    trouble: list[str] = []
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("console", lambda message: trouble.append(message.text) if message.type == "error" else None)
    page.trouble = trouble
    page.width = request.param
    page.goto(running.address)
    page.wait_for_selector(".tile img.there")
    yield page
    context.close()
    # what a request was refused for, the page says; the browser repeats it
    assert [one for one in trouble if "Failed to load resource" not in one and "ERR_CONNECTION" not in one] == []
