"""Duplicates, label errors, the map and the comparison as a person uses them, wide and narrow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browsing import AXE, Running

VIEWS = {
    "duplicates": ".copies",
    "errors": ".suspect",
    "map": "#frames:not(:empty)",
    "compare": "#results .tile img.there",
}
"""What is there once a view is drawn."""


def show(page: Any, running: Running, view: str, more: str = "") -> None:
    page.goto(f"{running.address}i/photos?view={view}{more}")
    page.wait_for_selector(VIEWS[view], timeout=60_000)
    page.wait_for_load_state("networkidle")


def pressed(page: Any, selector: str) -> bool:
    return bool(page.get_attribute(selector, "aria-pressed") == "true")


# Duplicates


def exact(page: Any) -> Any:
    """The group of a picture and its copy."""
    return page.locator(".copies", has_text="copy.jpg")


def test_two_are_looked_at_side_by_side(page: Any, running: Running) -> None:
    show(page, running, "duplicates")
    exact(page).locator(".member .picture").nth(1).click()
    page.wait_for_selector("dialog .pair .stage:nth-child(2) img")
    for _ in range(3):
        page.keyboard.press("+")
    zoomed = page.evaluate("[...document.querySelectorAll('.pair img')].map(one => one.style.transform)")
    assert len(zoomed) == 2
    assert zoomed[0] == zoomed[1]
    assert "scale(2.197" in zoomed[0]
    page.keyboard.press("d")
    page.wait_for_selector(".pair.blended")
    blend = page.evaluate("getComputedStyle(document.querySelector('.blended img + img')).mixBlendMode")
    assert blend == "difference"
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    assert page.evaluate("document.activeElement.classList.contains('picture')")


def test_going_back_leaves_nothing_open(page: Any, running: Running) -> None:
    page.keyboard.press("d")
    page.wait_for_selector(VIEWS["duplicates"], timeout=60_000)
    exact(page).locator(".member .picture").nth(1).click()
    page.wait_for_selector("dialog .pair")
    page.go_back()
    page.wait_for_selector("dialog", state="detached")
    page.wait_for_selector("#results .tile img.there")


def test_a_decision_is_kept_and_taken_back(page: Any, running: Running) -> None:
    show(page, running, "duplicates")
    exact(page).locator(".member .picture").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("n")
    page.wait_for_selector(".member.go")
    assert "1 may go" in page.inner_text("#outcome")
    page.reload()
    page.wait_for_selector(".member.go")
    with page.expect_download() as waiting:
        page.click("#outcome button:has-text('list')")
    lines = Path(waiting.value.path()).read_text().splitlines()
    assert sum(",no," in line for line in lines) == 1
    page.click("#outcome button:has-text('take all back')")
    page.wait_for_selector(".member.go", state="detached")


def test_a_rule_decides_all_and_what_it_moves_comes_back(page: Any, running: Running, pictures: Path) -> None:
    show(page, running, "duplicates")
    page.select_option("#rule", "folder:forest")
    page.wait_for_selector(".member.first:has-text('copy.jpg')")
    page.go_back()
    page.wait_for_selector(".member.first:has-text('00.jpg')")
    page.go_forward()
    page.wait_for_selector(".member.first:has-text('copy.jpg')")
    page.click("button:has-text('the same bytes')")
    page.wait_for_selector(".copies:first-child:last-child .member:nth-child(2):last-child")
    page.click("#bulk")
    assert "1 may go" in page.inner_text("dialog")
    page.click("dialog button:has-text('decide so')")
    page.wait_for_selector(".member.go")
    page.click("#outcome button:has-text('move')")
    page.wait_for_selector("dialog li")
    page.click("dialog button:has-text('move them')")
    page.wait_for_selector("button:has-text('undo the last move')")
    assert not (pictures / "beach" / "00.jpg").exists()
    page.click("button:has-text('undo the last move')")
    page.wait_for_selector("button:has-text('undo the last move')", state="detached")
    assert (pictures / "beach" / "00.jpg").exists()
    page.click("#outcome button:has-text('take all back')")
    page.wait_for_selector("#outcome", state="hidden")


def test_what_is_merely_similar_begins_where_one_says(page: Any, running: Running) -> None:
    show(page, running, "duplicates")
    slider, number = page.locator("#likeness [type=range]"), page.locator("#likeness [type=number]")
    assert (slider.input_value(), number.input_value()) == ("0.95", "0.95")
    before = page.locator(".member").count()
    slider.focus()
    for _ in range(4):  # one look at all of them, and not four
        page.keyboard.press("PageDown")
    page.wait_for_url("**score=0.*")
    page.wait_for_selector(".copies", timeout=60_000)
    page.wait_for_function("() => document.activeElement.type === 'range'")
    chosen = slider.input_value()
    assert f"score={chosen}" in page.url and chosen == number.input_value() and float(chosen) < 0.9
    assert page.locator(".member").count() > before
    page.reload()
    page.wait_for_selector("#likeness", timeout=60_000)
    assert number.input_value() == chosen
    number.fill("2")
    page.keyboard.press("Tab")
    assert number.input_value() == chosen, "what the service would refuse is not asked"
    page.go_back()
    page.wait_for_url(lambda url: "score" not in url)
    page.wait_for_function("() => document.querySelector('#likeness [type=number]')?.value === '0.95'")


# Label errors


def test_a_label_is_corrected_with_the_keyboard_and_taken_back(page: Any, running: Running) -> None:
    show(page, running, "errors")
    suspect = page.locator(".suspect", has_text="copy.jpg")
    assert "labelled forest" in suspect.inner_text()
    assert suspect.locator(".near .picture").count() > 2
    suspect.locator(".member .picture").focus()
    page.keyboard.press("n")
    page.click("#decided:has-text('decided 1')")
    page.wait_for_selector(".suspect:has-text('is beach')")
    with page.expect_download() as waiting:
        page.click("#outcome button:has-text('attach')")
    assert Path(waiting.value.path()).read_bytes() == b'path,label_corrected\r\n"forest/copy.jpg","beach"\r\n'
    page.click("button:has-text('take back')")
    page.wait_for_selector("#count:has-text('1 label')")


# The map


def test_the_map_zooms_to_thumbnails_and_selects(page: Any, running: Running) -> None:
    show(page, running, "map")
    assert "44 pictures" in page.inner_text("#count")
    page.click("#lasso")
    box = page.locator("#map .over").bounding_box()
    x, y, w, h = box["x"], box["y"], box["width"], box["height"]
    corners = [(x + 2, y + 2), (x + w - 2, y + 2), (x + w - 2, y + h - 2), (x + 2, y + h - 2)]
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*corner, steps=4)
    page.mouse.up()
    page.wait_for_selector("#selected:has-text('44 selected')")
    page.click("#selected button:has-text('none')")
    page.click("#legend .value >> nth=0")
    page.click("button:has-text('select what is in view')")
    page.wait_for_selector("#selected:has-text('15 selected')")
    page.keyboard.press("Escape")
    page.focus("#map .over")
    made: list[str] = []
    page.on("request", lambda request: made.append(request.url) if "/map/points" in request.url else None)
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog.large")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog.large", state="detached")
    page.wait_for_load_state("networkidle")
    assert not made, "the map stays as it was"


def test_the_map_is_coloured_by_an_attribute_and_lights_up_matches(page: Any, running: Running) -> None:
    show(page, running, "map", "&like=3")
    page.wait_for_selector("#count:has-text('ringed')")
    page.select_option("#by", "rating")
    page.wait_for_selector("#legend .value:nth-child(5)")
    page.focus("#map .over")
    for key in ("+", "ArrowLeft", "ArrowUp", "-", "0"):
        page.keyboard.press(key)
        page.wait_for_timeout(60)
    page.wait_for_timeout(400)
    frames = page.evaluate("performance.getEntriesByName('map frame').map(one => one.duration)")
    assert len(frames) >= 5
    assert float(page.get_attribute("#frames", "data-median")) > 0


def test_matches_are_seen_among_thumbnails(page: Any, running: Running) -> None:
    """Rings lie above the pictures of so small a collection, and what is no match is pale."""
    pixels = """() => { const canvas = document.querySelector('#map canvas'), style = getComputedStyle(document.documentElement);
        const hex = style.getPropertyValue('--front').trim(), ink = [1, 3, 5].map(at => parseInt(hex.slice(at, at + 2), 16));
        const all = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        let found = 0; for (let at = 0; at < all.length; at += 4) found += ink.every((one, place) => all[at + place] === one);
        return found; }"""  # noqa: E501
    show(page, running, "map")
    page.wait_for_timeout(500)
    before = page.evaluate(pixels)
    show(page, running, "map", "&like=3")
    page.wait_for_selector("#count:has-text('ringed')")
    page.wait_for_timeout(500)
    assert page.evaluate(pixels) > before + 10


# Compare


def test_the_same_question_to_two_indexes(page: Any, running: Running) -> None:
    show(page, running, "compare", "&with=other&like=3")
    page.wait_for_selector("#overlap")
    assert "found by both" in page.inner_text("#count")
    assert page.locator(".columns .column").count() == 2
    only = page.locator(".tile.only")
    for place in range(only.count()):
        assert "found it" in only.nth(place).locator("a").get_attribute("aria-label")
    first = page.locator(".column").nth(1).locator(".tile > a").first
    first.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**like=path:**")
    page.wait_for_selector("#overlap")
    page.go_back()
    page.wait_for_url("**like=3*")


def test_a_comparison_begins_with_a_picture(page: Any, running: Running) -> None:
    show(page, running, "compare", "&with=other")
    page.locator("#results .tile > a").first.click()
    page.wait_for_selector("#overlap")


# All of them


@pytest.mark.parametrize("view", VIEWS)
def test_views_fit_and_go_back_by_escape(page: Any, running: Running, view: str) -> None:
    page.keyboard.press({"duplicates": "d", "errors": "l", "map": "m", "compare": "c"}[view])
    page.wait_for_selector(VIEWS[view], timeout=60_000)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is wider than the screen"
    page.keyboard.press("Escape")
    page.wait_for_url(lambda url: "view=" not in url)
    page.wait_for_selector("#results .tile img.there")


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not there (npm install axe-core, or AXE=FILE)")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_views_are_accessible(page: Any, running: Running, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    for view in VIEWS:
        show(page, running, view, "&like=3" if view in ("map", "compare") else "")
        if view == "compare":
            page.wait_for_selector("#overlap")
        page.evaluate(AXE.read_text())
        found = page.evaluate("axe.run().then(all => all.violations.map(one => [one.id, one.nodes.map(n => n.html)]))")
        assert found == [], view
