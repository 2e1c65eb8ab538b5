"""The pictures of the page in the README.

pytest tests/browser/test_screenshots.py --screenshots docs/images
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

SHOTS = {
    # name: width, height, what is asked
    "page-wall": (1280, 720, ""),
    "page-answer": (1280, 720, "?like=3&right=7&wrong=12"),
    "page-duplicates": (1280, 720, "?view=duplicates"),
    "page-narrow": (360, 720, "?like=3"),
}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service of parts of scikit-learn's two photographs, by the encoder for photographs."""
    from served import serving

    from retrieval import Index, build, calibrate

    root = tmp_path_factory.mktemp("photographs") / "pictures"
    draw = random.Random(0)
    for name, pixels in zip(("temple", "flower"), load_sample_images().images, strict=True):
        (root / name).mkdir(parents=True)
        whole = Image.fromarray(pixels)
        for number in range(40):
            wide, high = draw.randint(140, 480), draw.randint(140, 400)
            left, top = draw.randint(0, whole.width - wide), draw.randint(0, whole.height - high)
            exif = Image.Exif()
            exif.get_ifd(0x8769)[0x9003] = f"{2005 + draw.randint(0, 20)}:0{draw.randint(1, 9)}:17 10:00:00"
            whole.crop((left, top, left + wide, top + high)).save(root / name / f"{number:02d}.jpg", exif=exif)
    out = tmp_path_factory.mktemp("index") / "photographs"
    build(root, out, threads=1)
    found = calibrate(out, seed=0)
    with Index.open(out, write=True) as index:
        index.record_calibration(found.to_json())
    with serving(out, cache=tmp_path_factory.mktemp("cache")) as service:
        yield service.address


@pytest.mark.parametrize("name", SHOTS)
def test_the_page_as_the_readme_shows_it(
    name: str, browser: Any, photographs: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    width, height, asked = SHOTS[name]
    folder = Path(request.config.getoption("--screenshots") or tmp_path)
    context = browser.new_context(viewport={"width": width, "height": height})
    page = context.new_page()
    page.goto(photographs + asked)
    page.wait_for_selector("#results img", timeout=60_000)
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(500)
    page.screenshot(path=str(folder / f"{name}.jpg"), type="jpeg", quality=80)
    context.close()
    with Image.open(folder / f"{name}.jpg") as shot:
        assert shot.size == (width, height)
        assert len(set(shot.resize((64, 64)).convert("L").tobytes())) > 30  # there are pictures on it
