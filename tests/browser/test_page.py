"""The page as a person uses it, in a real browser, wide and narrow."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from browsing import AXE, Running
from PIL import Image

JPEG = {"name": "query.jpg", "mimeType": "image/jpeg"}


def picture(pictures: Path, name: str = "beach/00.jpg") -> dict[str, Any]:
    return {**JPEG, "buffer": (pictures / name).read_bytes()}


def settled(page: Any) -> None:
    """Wait until the answer is there."""
    page.wait_for_selector("#results:not(.stale) #count:not(:has-text('…'))")
    page.wait_for_load_state("networkidle")


def tiles(page: Any) -> list[str]:
    return [
        link.get_attribute("aria-label") for link in page.query_selector_all("#results .tile > a") if link.is_visible()
    ]


def ask_for(page: Any, id_: int) -> None:
    page.fill("#words", str(id_))
    page.press("#words", "Enter")
    page.wait_for_url(f"**like={id_}*")
    settled(page)


def test_it_opens_on_pictures_whose_places_do_not_move(page: Any) -> None:
    before = page.evaluate(
        "[...document.querySelectorAll('.tile')].slice(0, 6).map(t => t.getBoundingClientRect().top)"
    )
    page.wait_for_load_state("networkidle")
    assert before == page.evaluate(
        "[...document.querySelectorAll('.tile')].slice(0, 6).map(t => t.getBoundingClientRect().top)"
    )
    wide = page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert wide, "nothing is wider than the screen"


def test_a_picture_that_is_chosen_is_looked_for(page: Any, pictures: Path) -> None:
    page.set_input_files("#file", picture(pictures))
    page.wait_for_url("**like=upload:*")
    settled(page)
    assert "the picture itself" in tiles(page)[0]
    assert "beach/00.jpg" in tiles(page)[0] or "copy.jpg" in tiles(page)[0]
    page.go_back()
    settled(page)
    assert "like" not in page.url


@pytest.mark.parametrize("how", ["paste", "drop"])
def test_a_picture_is_pasted_or_dropped(page: Any, pictures: Path, how: str) -> None:
    numbers = list((pictures / "beach" / "00.jpg").read_bytes())
    page.evaluate(
        """([numbers, how]) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(numbers)], "x.jpg", {type: "image/jpeg"}));
            const event = how === "paste" ? new ClipboardEvent("paste", {clipboardData: data, bubbles: true})
                : new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true});
            document.body.dispatchEvent(event);
        }""",
        [numbers, how],
    )
    page.wait_for_url("**like=upload:*")
    settled(page)
    assert "the picture itself" in tiles(page)[0]


def test_what_cannot_be_looked_for_is_told_in_the_service_s_sentence(
    page: Any, running: Running, tmp_path: Path
) -> None:
    from retrieval.service import limits

    for content, said in ((b"no picture", "picture"), (b"\xff\xd8" + bytes(limits.UPLOAD), "larger")):
        (tmp_path / "query.jpg").write_bytes(content)
        page.set_input_files("#file", tmp_path / "query.jpg")
        page.wait_for_selector("dialog [role=alert], #results [role=alert]")
        assert said in page.inner_text("dialog [role=alert], #results [role=alert]")
        page.goto(running.address)
        page.wait_for_selector(".tile")


def test_the_fold_says_where_matches_end(page: Any) -> None:
    ask_for(page, 3)
    assert "match" in page.inner_text("#count")
    above = len(tiles(page))
    if page.query_selector("#rest"):
        page.click("#rest")
        page.wait_for_url("**rest=1*")
        assert len(tiles(page)) > above
        page.click("#rest")
        assert len(tiles(page)) == above


def above_and_below(page: Any) -> list[int]:
    return list(
        page.evaluate("[...document.querySelectorAll('#results > .grid')].map(g => g.querySelectorAll('.tile').length)")
    )


def matches(page: Any, running: Running, id_: int) -> int:
    """How many pictures are above the fold, as the service says it of all of them at once."""
    answer = page.request.post(f"{running.address}search", data={"like": [f"id:{id_}"], "k": 44, "details": 0})
    return int(answer.json()["fold"]["matches"])


def by_fives(page: Any) -> None:
    """Have pages of five pictures from now on."""

    def fewer(route: Any) -> None:
        asked = json.loads(route.request.post_data or "{}")
        route.continue_(post_data=json.dumps({**asked, "k": 5} if asked.get("k") == 60 else asked))

    page.route("**/search*", fewer)


def test_the_fold_is_where_it_is_however_many_pages_lie_before_it(page: Any, running: Running) -> None:
    many = matches(page, running, 3)
    assert 5 < many < 44
    by_fives(page)
    page.goto(running.address + "?like=3&rest=1")
    page.wait_for_selector("#rest")
    for _ in range(20):
        page.evaluate("scrollTo(0, 1e6)")
        page.wait_for_timeout(50)
    page.wait_for_function("() => document.querySelectorAll('#results .tile').length === 44")
    assert above_and_below(page) == [many, 44 - many]


@pytest.mark.parametrize("where", ["", 'label = "<b>town"'])
def test_how_many_match_is_said_once_it_is_known(page: Any, running: Running, where: str) -> None:
    held: list[Any] = []

    def five_first(route: Any) -> None:
        asked = json.loads(route.request.post_data or "{}")
        if asked.get("cursor"):
            held.append(route)
        else:
            route.continue_(post_data=json.dumps({**asked, "k": 5} if asked["k"] == 60 else asked))

    page.route("**/search*", five_first)
    page.goto(f"{running.address}?like=3&where={quote(where)}")
    page.wait_for_selector("#count:has-text('At least 5 match')")
    while not held:
        page.wait_for_timeout(50)
    let_go(page, held)
    told = page.request.post(f"{running.address}search", data={"like": ["id:3"], "filter": where or None, "k": 44})
    page.wait_for_function(
        "told => document.querySelector('#count').textContent === told", arg=told.json()["fold"]["sentence"]
    )
    page.unroute_all(behavior="ignoreErrors")


def test_all_above_the_fold_are_selected_and_not_those_alone_that_are_shown(page: Any, running: Running) -> None:
    many = matches(page, running, 3)
    by_fives(page)
    page.set_viewport_size({"width": 1280, "height": 300})  # so that no more is asked for than the first of them
    page.add_init_script("IntersectionObserver.prototype.observe = () => {}")
    page.goto(running.address + "?like=3")
    settled(page)
    assert len(tiles(page)) == 5
    page.locator("#results .tile > a").first.focus()
    page.keyboard.press("x")
    page.click("#selected button:has-text('all above the fold')")
    page.wait_for_selector(f"#selected:has-text('{many} selected')")
    assert page.evaluate("getComputedStyle(document.querySelector('.tile.picked')).outlineStyle") == "solid"


@pytest.mark.parametrize("how", ["sort=path", "group=label"])
def test_what_is_sorted_grouped_and_counted_is_what_is_above_the_fold(page: Any, running: Running, how: str) -> None:
    for id_ in (3, 20, 40):
        many = matches(page, running, id_)
        page.goto(f"{running.address}?like={id_}&{how}")
        settled(page)
        assert page.inner_text("#count") == f"{many} {'match' if many != 1 else 'matches'}"
        assert len(tiles(page)) == many
        page.goto(f"{running.address}?like={id_}")
        settled(page)
        counts = page.evaluate(
            "[...document.querySelectorAll('#facets section')].filter(one => one.firstChild.textContent === 'rating')"
            ".flatMap(one => [...one.querySelectorAll('.count')].map(two => Number(two.textContent)))"
        )
        assert sum(counts) in (many, 0)  # 0: all of them have the same


def test_a_question_of_several_is_sorted_though_nobody_knows_where_its_matches_end(page: Any, running: Running) -> None:
    page.goto(running.address + "?like=3&unlike=20&sort=path")
    settled(page)
    assert page.inner_text("#count") == "The 44 that are most alike"


def test_a_tile_says_first_how_sure_it_is(page: Any) -> None:
    ask_for(page, 3)
    assert re.match(r"P [<>]?0\.\d\d · 1\.00 · <b>town · 20\d\d-05-06 · ", page.text_content("#results .tile .under"))


def test_without_a_calibration_it_says_what_mends_that(page: Any, running: Running) -> None:
    page.goto(running.address + "i/other?like=3")
    settled(page)
    assert "nobody has said yet where matches end" in page.inner_text("#results .head")
    assert page.query_selector("#results .head button")


def test_plus_minus_and_weights_make_one_question(page: Any) -> None:
    ask_for(page, 3)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("-")
    page.wait_for_selector(".chip.minus")
    settled(page)
    page.fill(".chip:first-of-type input", "0.5")
    page.press(".chip:first-of-type input", "Enter")
    page.wait_for_url("**like=3@0.5*")
    settled(page)
    page.click(".chip.minus button:last-child")
    page.wait_for_selector(".chip.minus", state="detached")
    assert "unlike" not in page.url


def name_of(page: Any, running: Running, id_: int, index: str = "photos") -> str:
    answer = page.request.get(f"{running.address}items/{id_}?index={index}").json()
    return str(answer["path"].rpartition("/")[2])


def test_a_picture_of_the_index_is_called_by_its_name(page: Any, running: Running) -> None:
    for index in ("photos", "other"):
        page.goto(f"{running.address}i/{index}?like=3&unlike=20")
        page.wait_for_function(
            "names => [...document.querySelectorAll('.chip .name')].map(one => one.textContent).join() === names",
            arg=",".join(name_of(page, running, id_, index) for id_ in (3, 20)),
        )
        assert page.query_selector(f"input[aria-label='Weight of {name_of(page, running, 20, index)}']")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    settled(page)
    page.locator("#results .tile > a").nth(1).focus()
    id_ = int(page.evaluate("document.activeElement.parentElement.dataset.id"))
    page.keyboard.press("Enter")
    page.wait_for_url(f"**like={id_}")
    settled(page)
    assert page.inner_text(".chip .name") == name_of(page, running, id_, "other")
    assert not [url for url in asked if re.search(r"/items/\d+(\?|$)", url)]  # it was there to be read


def test_a_part_of_the_picture_is_drawn_and_moved_by_keys(page: Any, running: Running) -> None:
    ask_for(page, 3)
    page.click(".chip button[aria-label^='A part of']")
    page.wait_for_selector(".crop .box")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    page.wait_for_url("**like=3%2322%25,20%25,60%25,62%25")
    page.wait_for_timeout(200)
    page.keyboard.press("Escape")
    settled(page)
    assert f"part of {name_of(page, running, 3)}" in page.inner_text("#query")


def test_no_part_is_asked_for_before_somebody_says_which(page: Any) -> None:
    ask_for(page, 3)
    before = page.url
    for leave in ("Escape", "done"):
        page.click(".chip button[aria-label^='A part of']")
        page.wait_for_selector(".crop .box")
        page.wait_for_timeout(400)
        assert page.url == before
        if leave == "Escape":
            page.keyboard.press("Escape")
            page.wait_for_timeout(400)
            assert page.url == before
    page.click("dialog button:has-text('done')")
    page.wait_for_url("**like=3%2320%25,20%25,60%25,60%25")


def test_marks_order_anew_and_are_saved(page: Any) -> None:
    ask_for(page, 3)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("y")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("n")
    page.wait_for_selector("#marks button")
    assert "2 marked" in page.inner_text("#marks")
    with page.expect_download() as download:
        page.click("#marks button:has-text('save marks')")
    lines = [json.loads(line) for line in Path(download.value.path()).read_text().splitlines()]
    assert [line["right"] for line in lines] == [True, False]
    assert {"query", "item", "sha256"} <= lines[0].keys()
    page.click("#marks button:has-text('order anew')")
    page.wait_for_url("**marked=1*")
    settled(page)
    assert tiles(page)


def test_matches_are_sorted_within_the_fold(page: Any) -> None:
    ask_for(page, 3)
    page.select_option("#sort", "taken:asc")
    page.wait_for_url("**sort=taken:asc*")
    settled(page)
    page.wait_for_function("() => document.querySelector('.tile .under').textContent.includes('2010')")


def test_matches_are_grouped(page: Any) -> None:
    ask_for(page, 3)
    page.select_option("#group", "label")
    page.wait_for_url("**group=label*")
    settled(page)
    assert page.inner_text(".group >> nth=0") in ("beach", "forest", "<b>town")
    assert tiles(page)


def test_facets_narrow_and_free(page: Any) -> None:
    ask_for(page, 15)  # beach/00.jpg, whose matches have its copy in another folder
    if page.width == "narrow":
        page.click("#narrow")
    page.click("#facets .value:has-text('forest') >> nth=0")
    page.wait_for_url("**where=*")
    settled(page)
    assert page.input_value("#where") == 'label = "forest"'
    assert all("forest/" in name for name in tiles(page))
    page.click("#facets .value[aria-pressed=true]")
    page.wait_for_url(lambda url: "where" not in url)


def test_facets_lie_in_a_sheet_where_there_is_no_room_beside_the_pictures(page: Any) -> None:
    ask_for(page, 15)
    page.wait_for_selector("#facets .value:has-text('forest')", state="attached")
    top = "document.querySelector('.tile').getBoundingClientRect().top"
    before, address = page.evaluate(top), page.url
    if page.width == "wide":
        assert page.is_visible("#facets") and not page.is_visible("#narrow")
        assert not page.is_visible("#facets button:has-text('done')")
        return
    assert not page.is_visible("#facets")
    page.click("#narrow")
    box = page.locator("#facets").bounding_box()
    assert (box["x"], box["width"], box["y"] + box["height"]) == (0, 360, 740)
    assert page.evaluate(top) == before, "nothing moves"
    page.click("#facets .value:has-text('forest') >> nth=0")
    page.wait_for_url("**where=*")
    settled(page)
    assert page.is_visible("#facets"), "there is more to choose"
    page.keyboard.press("Escape")
    page.wait_for_selector("#facets", state="hidden")
    assert "where" in page.url and "like=15" in page.url, "only the sheet is left"
    page.click("#narrow")
    page.click("#facets button:has-text('done')")
    page.wait_for_selector("#facets", state="hidden")
    page.keyboard.press("Escape")
    page.wait_for_url(address)


def test_a_wrong_filter_is_said_and_pointed_at(page: Any) -> None:
    pointed = "document.activeElement.value.slice(document.activeElement.selectionStart)"
    page.fill("#where", "label = = 3")
    page.press("#where", "Enter")
    page.wait_for_selector("#results [role=alert]")
    assert page.get_attribute("#where", "aria-invalid") == "true"
    assert page.evaluate(pointed) == "= 3"
    page.fill("#words", "forest")  # which stand in the same filter
    page.press("#words", "Enter")
    page.wait_for_url("**words=forest*")
    page.wait_for_selector("#results [role=alert]:has-text('(label = = 3)')")
    assert page.evaluate(pointed) == "= 3"


def test_words_are_looked_for_in_names_where_the_model_knows_none(page: Any) -> None:
    page.fill("#words", "forest")
    page.press("#words", "Enter")
    settled(page)
    assert all("forest" in name for name in tiles(page))
    assert "knows no words" in page.inner_text("#query")


def test_the_large_view_turns_explains_and_goes_back_to_where_one_was(page: Any) -> None:
    ask_for(page, 3)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    where = page.evaluate("document.activeElement.getAttribute('aria-label')")
    page.keyboard.press(" ")
    page.wait_for_selector("dialog.large .side dl")
    first = page.inner_text("dialog.large h2 >> nth=0")
    page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "first => (document.querySelector('dialog.large h2')?.textContent ?? first) !== first", arg=first
    )
    page.keyboard.press("+")
    page.keyboard.press("e")
    page.wait_for_timeout(300)
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog.large", state="detached")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == where


def test_one_goes_back_from_the_large_view_and_forward_to_it(page: Any) -> None:
    ask_for(page, 3)
    page.locator("#results .tile > a").nth(2).click()
    page.wait_for_selector("dialog.large .side dl")
    page.keyboard.press("ArrowRight")
    page.go_back()
    page.wait_for_selector("dialog.large", state="detached")
    assert page.url.endswith("like=3")
    page.go_forward()
    page.wait_for_selector("dialog.large .side dl")
    page.click("dialog button:has-text('more like this')")
    page.wait_for_selector("dialog.large", state="detached")
    assert "like=3" not in page.url and "item" not in page.url
    page.go_back()
    page.wait_for_selector("dialog.large .side dl")
    page.keyboard.press("Escape")
    page.wait_for_url(lambda url: url.endswith("like=3"))


def test_an_address_of_the_large_view_says_what_a_click_says(page: Any, running: Running) -> None:
    page.goto(running.address + "?like=3&item=5")
    page.wait_for_selector("dialog.large .side dl:has-text('matches with')")


def test_the_heat_map_is_there_as_long_as_one_holds_down(page: Any, running: Running) -> None:
    page.goto(running.address + "?like=3&item=5")
    button = page.wait_for_selector("dialog.large .side dl") and page.locator("dialog button:has-text('why')")
    shown = "document.querySelector('.stage').classList.contains('why')"
    button.hover()
    page.mouse.down()
    page.wait_for_function("() => document.querySelector('img.heat')?.naturalWidth && !document.querySelector('.told')")
    page.wait_for_timeout(450)
    assert page.evaluate(shown)
    page.mouse.up()
    assert not page.evaluate(shown)
    button.click()
    assert page.evaluate(shown)
    button.click()
    assert not page.evaluate(shown)


def test_where_nothing_explains_a_hit_that_is_to_be_read(page: Any, running: Running) -> None:
    page.route("**/heat*", lambda route: route.fulfill(status=422, body="{}"))
    page.goto(running.address + "?like=3&item=5")
    page.wait_for_selector("dialog.large .side dl")
    page.keyboard.press("e")
    page.wait_for_selector(".told:has-text('There is no explanation')")


def test_two_fingers_zoom_and_one_turns(page: Any, running: Running) -> None:
    if page.width != "narrow":
        pytest.skip("a mouse has no fingers")
    page.goto(running.address + "?like=3&item=3")
    page.wait_for_selector("dialog.large .side dl")
    box = page.locator(".stage").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    hand = page.context.new_cdp_session(page)

    def touch(kind: str, *places: float) -> None:
        points = [{"x": x + place, "y": y, "id": number} for number, place in enumerate(places)]
        hand.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", -20, 20)
    touch("touchMove", -40, 40)
    touch("touchMove", -60, 60)
    touch("touchEnd")
    scale = page.evaluate("new DOMMatrix(getComputedStyle(document.querySelector('.stage img')).transform).a")
    assert scale == pytest.approx(3, abs=0.5)
    assert "item=3" in page.url
    for _ in range(9):
        page.click("dialog button[aria-label=Smaller]")
    touch("touchStart", 60)
    touch("touchMove", 0)
    touch("touchMove", -60)
    touch("touchEnd")
    page.wait_for_url(lambda url: "item=" in url and "item=3" not in url)


def test_a_long_press_selects_and_opens_no_menu(page: Any) -> None:
    kept = "kind => !document.querySelector('.tile > a').dispatchEvent(new PointerEvent('contextmenu', {pointerType: kind, cancelable: true}))"  # noqa: E501
    assert page.evaluate(kept, "touch") and not page.evaluate(kept, "mouse")
    page.evaluate("document.querySelector('.tile > a').dispatchEvent(new Event('touchstart'))")
    page.wait_for_selector("#selected:has-text('1 selected')")


def test_a_kind_that_the_browser_does_not_know_is_for_the_service_to_say(page: Any, pictures: Path) -> None:
    grey = io.BytesIO()
    with Image.open(pictures / "beach" / "00.jpg") as picture:
        picture.convert("L").save(grey, "PPM")
    page.set_input_files("#file", {"name": "x.pgm", "mimeType": "", "buffer": grey.getvalue()})
    page.wait_for_url("**like=upload:*")
    page.goto("about:blank")


def test_a_reader_gives_another_token_and_takes_it_back(browser: Any, collection: Path) -> None:
    from served import serving

    read, write = "r" * 20, "w" * 20
    with serving(collection, readers=frozenset({read}), writers=frozenset({write})) as service:
        context = browser.new_context()
        page = context.new_page()
        page.set_default_timeout(8_000)

        def give(token: str) -> None:
            page.fill("dialog input[type=password]", token)
            with page.expect_navigation():
                page.click("dialog button:has-text('open')")
            page.wait_for_selector(".tile img.there")

        def may_write() -> bool:
            page.locator("#results .tile > a").first.focus()
            page.keyboard.press("x")
            return bool(page.query_selector("#selected button:has-text('hide')"))

        page.goto(service.address)
        page.wait_for_selector("dialog input[type=password]")
        for _ in range(2):  # a browser lets no page keep a dialog twice
            page.evaluate("document.querySelector('dialog').id = 'left'")
            page.keyboard.press("Escape")
            page.wait_for_selector("dialog[open]:not(#left) input[type=password]:focus")
            assert page.locator("dialog").count() == 1
        page.fill("dialog input[type=password]", "x" * 20)
        page.click("dialog button:has-text('open')")
        page.wait_for_selector("dialog [role=alert]:has-text('no such token')")
        give(read)
        assert not may_write()
        page.click("#views button:has-text('token')")
        assert "You may read;" in page.inner_text("dialog")
        page.keyboard.press("Escape")
        page.wait_for_selector("dialog", state="detached")
        page.click("#views button:has-text('token')")
        give(write)
        assert may_write()
        page.click("#views button:has-text('token')")
        with page.expect_navigation():
            page.click("dialog button:has-text('forget')")
        page.wait_for_selector("dialog input[type=password]")
        context.close()


def test_pictures_are_selected_and_taken_along(page: Any) -> None:
    ask_for(page, 3)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("x")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+X")
    assert "3 selected" in page.inner_text("#selected")
    with page.expect_download() as download:
        page.click("#selected button:has-text('CSV')")
    assert len(Path(download.value.path()).read_text().splitlines()) == 4
    page.click("#selected button:has-text('zip')")
    with page.expect_download() as download:
        page.click("dialog button:has-text('download')")
    assert Path(download.value.path()).read_bytes()[:2] == b"PK"
    page.click("#selected button:has-text('tag')")
    page.fill("dialog input", "mine")
    page.click("dialog button:has-text('write into the index')")
    page.wait_for_selector("#selected", state="hidden")


def test_hostile_names_are_text(page: Any) -> None:
    page.fill("#words", "onerror")
    page.press("#words", "Enter")
    settled(page)
    assert any("onerror" in name for name in tiles(page))
    assert not page.query_selector("img[src=x]")


def test_a_broken_picture_is_a_tile_that_says_so(page: Any) -> None:
    page.fill("#where", 'path = "forest/13.jpg"')
    page.press("#where", "Enter")
    page.wait_for_selector(".tile.broken")
    settled(page)
    assert len(tiles(page)) == 1
    assert "cannot be shown" in str(page.get_attribute(".tile.broken > a", "data-why"))


def test_keys_are_listed_and_focus_is_seen(page: Any) -> None:
    page.keyboard.press("?")
    page.wait_for_selector("dialog .keys")
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "words"


def test_the_server_goes_and_comes_back(page: Any, running: Running) -> None:
    ask_for(page, 3)
    shown = tiles(page)
    running.end()
    page.fill("#words", "4")
    page.press("#words", "Enter")
    page.wait_for_selector("#banner:not([hidden])")
    assert "does not answer" in page.inner_text("#banner")
    assert tiles(page) == shown  # what was there stays
    running.begin()
    page.wait_for_selector("#banner", state="hidden", timeout=30_000)
    page.wait_for_function("() => document.querySelector('.tile').dataset.id === '4'")


def test_a_picture_that_is_no_longer_kept_is_to_be_dropped_again(page: Any, running: Running) -> None:
    page.goto(running.address + "?like=upload:" + "0" * 64)
    page.wait_for_selector(".chip:has-text('drop it again')")
    page.wait_for_selector("#results [role=alert]:has-text('send it again')")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is wider than the screen"


def holding(page: Any, address: str, words: str = "") -> list[Any]:
    """The requests to an address that are held up from now on: those that have some words in them."""
    held: list[Any] = []

    def decide(route: Any) -> None:
        if words in (route.request.post_data_buffer or b"").decode("latin-1"):
            held.append(route)
        else:
            route.continue_()

    page.route(address, decide)
    return held


def let_go(page: Any, held: list[Any]) -> None:
    """Have what was held up answered at last; and time for it to do harm."""
    assert held
    for route in held:
        with contextlib.suppress(Exception):  # the page may have hung up
            route.continue_()
    page.wait_for_timeout(500)


def test_a_slow_network_shows_places_first(page: Any, running: Running) -> None:
    held = holding(page, "**/thumbnail*")
    page.goto(running.address + "?like=5")
    settled_without_pictures = page.wait_for_selector("#count:not(:has-text('…'))")
    assert settled_without_pictures
    before = page.evaluate("[...document.querySelectorAll('.tile')].map(t => t.getBoundingClientRect().top)")
    assert before and not page.query_selector("#results img.there")
    let_go(page, held)
    page.unroute_all(behavior="ignoreErrors")
    page.wait_for_selector("#results img.there")
    assert before == page.evaluate("[...document.querySelectorAll('.tile')].map(t => t.getBoundingClientRect().top)")


def test_a_late_answer_never_stands_in_for_a_newer_one(page: Any) -> None:
    held = holding(page, "**/search*", '"id:3"')
    page.fill("#words", "id:3")
    page.press("#words", "Enter")
    page.wait_for_url("**like=3*")
    page.wait_for_function("() => document.querySelector('#results.stale')")
    ask_for(page, 5)
    shown = tiles(page)
    let_go(page, held)
    assert "like=5" in page.url
    assert tiles(page) == shown
    assert page.get_attribute("#results .tile", "data-id") == "5"


def test_a_picture_that_arrives_late_asks_nothing_any_more(page: Any, pictures: Path) -> None:
    held = holding(page, "**/uploads*", "beach-late")
    page.set_input_files("#file", {**picture(pictures), "name": "beach-late.jpg"})
    page.wait_for_function("() => document.querySelector('#results.stale')")
    page.set_input_files("#file", picture(pictures, "forest/01.jpg"))
    page.wait_for_url("**like=upload:*")
    settled(page)
    address = page.url
    let_go(page, held)
    assert page.url == address
    assert "forest/01.jpg" in tiles(page)[0]


def test_a_large_view_that_comes_late_does_not_open_over_another_answer(page: Any, running: Running) -> None:
    held = holding(page, "**/items/4?*")
    page.goto(running.address + "?like=3&where=id+>+4&item=4")  # which is no hit, so that it is asked for
    settled_or_held = "() => document.querySelector('#results:not(.stale) .tile')"
    page.wait_for_function(settled_or_held)
    page.fill("#words", "id:5")
    page.press("#words", "Enter")
    page.wait_for_url("**like=5*")
    page.wait_for_selector(".tile[data-id='5']")
    let_go(page, held)
    assert not page.query_selector("dialog.large")
    assert "item" not in page.url


def test_paging_goes_on_after_the_network_was_away(page: Any, running: Running) -> None:
    def pages_of_ten(route: Any) -> None:
        asked = json.loads(route.request.post_data or "{}")
        if asked.get("cursor") and away:
            route.abort()
        else:
            route.continue_(post_data=json.dumps({**asked, "k": 10}))

    away = [True]
    page.route("**/search*", pages_of_ten)
    page.goto(running.address + "?like=3&rest=1")
    page.wait_for_selector("#results .nothing button:has-text('try again')")
    assert len(tiles(page)) == 10
    away.clear()
    page.click("#results .nothing button")
    page.wait_for_function("() => document.querySelectorAll('#results .tile').length > 40")
    assert len(set(tiles(page))) == len(tiles(page))
    page.unroute_all(behavior="ignoreErrors")
    page.trouble[:] = [one for one in page.trouble if "ERR_FAILED" not in one]


def test_escape_and_another_collection_leave_nothing_behind(page: Any, running: Running) -> None:
    page.goto(running.address + "i/photos?like=3")
    settled(page)
    page.locator("#results .tile > a").first.focus()
    page.keyboard.press("x")
    assert "1 selected" in page.inner_text("#selected")
    page.select_option("#index", "other")
    page.wait_for_url("**/i/other*")
    page.wait_for_selector("#selected", state="hidden")  # ids are of one collection
    page.goto("about:blank")
    page.goto(running.address + "i/photos?like=3")
    settled(page)
    page.locator("#results .tile > a").first.focus()
    page.keyboard.press("Escape")
    page.wait_for_url(lambda url: "like" not in url)
    page.wait_for_selector("#results .tile img.there")


def test_numbers_and_dates_have_handles(page: Any) -> None:
    if page.width == "narrow":
        page.click("#narrow")
    handle = page.locator("#facets input[type=range][aria-label^='taken from']")
    handle.focus()
    for _ in range(3):
        page.keyboard.press("PageUp")
    page.wait_for_url("**where=taken*")
    settled(page)
    assert re.match(r"taken >= 20\d\d-\d\d-\d\d$", page.input_value("#where"))
    assert 0 < len(tiles(page)) < 44


def test_a_number_that_is_no_id_is_a_word(page: Any) -> None:
    page.fill("#words", "2019")
    page.press("#words", "Enter")
    page.wait_for_url("**words=2019*")
    settled(page)
    assert "3 pictures" in page.inner_text("#count")  # that were taken in 2019


def test_a_folder_without_pictures_says_so(page: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from served import serving

    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with serving(tmp_path / "empty") as service:
        page.goto(service.address)
        page.wait_for_selector("#results:has-text('There is no picture in')")
        assert str(tmp_path) not in page.inner_text("#results")
        page.goto("about:blank")


@pytest.mark.parametrize("address", ["", "?like=3", "?like=3&item=4", "?view=duplicates", "?view=errors", "?view=map"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_shuts_anybody_out(page: Any, running: Running, address: str, scheme: str) -> None:
    if not AXE.is_file():
        pytest.skip(f"the accessibility check needs axe-core ({AXE}; npm install axe-core)")
    page.emulate_media(color_scheme=scheme)
    page.goto(running.address + address)
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(300)
    if address == "?like=3" and page.width == "narrow":
        page.click("#narrow")
    page.evaluate(AXE.read_text())  # by the debugger's interface: the page's own policy lets no script in
    found = page.evaluate("axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice']})")
    assert [(one["id"], [node["target"] for node in one["nodes"]]) for one in found["violations"]] == []


def test_the_page_is_small_and_asks_nobody_else(page: Any, running: Running) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(running.address)
    page.wait_for_load_state("networkidle")
    assert all(url.startswith((running.address, "data:", "blob:")) for url in asked)
    folder = Path(__file__).parents[2] / "retrieval" / "service" / "page"
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 150_000


def test_thumbnails_carry_nothing_but_pixels(page: Any, running: Running) -> None:
    content = page.request.get(running.address + "items/3/thumbnail?s=256").body()
    assert not Image.open(io.BytesIO(content)).getexif()
