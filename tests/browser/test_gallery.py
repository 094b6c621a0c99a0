"""What both halves of the report do, in a real browser: cards, search, address, dialog, keys, pointer."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest

from pipeline.report.page import script_json
from tests.browser.conftest import Open, Written

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

pytestmark = pytest.mark.browser


class Half(NamedTuple):
    """How addresses of a half begin, and the ids of its parts, of its dialog, and of that one's parts."""

    address: str
    part: str
    dialog: str
    shown: str

    def open(self, open_page: Open, terms: str = "", **options: object) -> Page:
        page = open_page(f"{self.address}&{terms}", **options).page
        assert page.url.endswith(f"{self.address}&{terms}")
        return page

    def cards(self, page: Page) -> Locator:
        return page.locator(f"#{self.part}cards .pick")

    def images(self, page: Page) -> list[str]:
        """The images of the cards, in order."""
        links = self.cards(page).evaluate_all("all => all.map((e) => e.href)")
        return [parse_qs(urlsplit(link).fragment)["image"][0] for link in links]

    def focused(self, page: Page, place: int) -> None:
        """Waits until the card at a place has the focus."""
        page.locator(f"#{self.part}cards li:nth-child({place + 1}) > .pick:focus").wait_for()

    def found(self, page: Page) -> int:
        told = re.match(r"[\d,]+", page.locator(f"#{self.part}count").inner_text())
        assert told
        return int(told[0].replace(",", ""))

    def search(self, page: Page, text: str, expected: int) -> None:
        page.locator(f"#{self.part}q").fill(text)
        page.wait_for_url(lambda url: terms(url).get("q", [""]) == [text])
        assert self.found(page) == expected

    def place(self, page: Page) -> str:
        told: str = page.locator(f"#{self.shown}place").inner_text()
        return told.split(" of ")[0]

    def closed(self, page: Page) -> None:
        page.locator(f"#{self.dialog}").wait_for(state="hidden")


STORE = Half("#", "", "viewer", "")
PREDICTIONS = Half("#view=predictions", "said-", "judged", "judged-")


@pytest.fixture(params=[STORE, PREDICTIONS], ids=["store", "predictions"])
def half(request: pytest.FixtureRequest) -> Half:
    assert isinstance(request.param, Half)
    return request.param


def terms(url: str) -> dict[str, list[str]]:
    return parse_qs(urlsplit(url).fragment)


def test_every_word_of_a_search_must_be_found(open_page: Open, half: Half) -> None:
    page = half.open(open_page)
    everything, image = half.found(page), half.images(page)[0]
    half.search(page, image.upper(), 1)
    half.search(page, f"{image} nowhere", 0)
    assert page.locator(f"#{half.part}nothing").is_visible()
    half.search(page, "", everything)
    assert not page.locator(f"#{half.part}nothing").is_visible()


def test_selects_tell_how_many_they_lead_to(open_page: Open, half: Half) -> None:
    page = half.open(open_page)
    for name in ("subset", "verb"):
        option = page.locator(f"#{half.part}{name} option").nth(1)
        told = re.fullmatch(r"(.+) \((\d+)\)", option.text_content() or "")
        assert told
        page.locator(f"#{half.part}{name}").select_option(told[1])
        assert half.found(page) == int(told[2])
        assert page.locator(f"#{half.part}active").text_content() == "(1)"
        page.locator(f"#{half.part}filters button[type=reset]").click()
        page.locator(f"#{half.part}active:empty").wait_for(state="attached")


def test_cards_are_put_in_order_and_back(open_page: Open, half: Half) -> None:
    page = half.open(open_page)
    mixed = half.images(page)
    page.locator(f"#{half.part}order").select_option("name")
    by_name = half.images(page)
    assert by_name == sorted(by_name) != mixed
    page.locator(f"#{half.part}order").select_option("")
    assert half.images(page) == mixed


def test_an_address_leads_back_to_what_was_looked_at(open_page: Open, half: Half) -> None:
    page = half.open(open_page)
    half.search(page, "jpg", half.found(page))
    page.locator(f"#{half.part}subset").select_option("unseen")
    found, image = half.found(page), half.images(page)[1]
    half.cards(page).nth(1).click()
    again = open_page("#" + urlsplit(page.url).fragment).page
    assert terms(again.url)["image"] == [image]
    assert again.locator(f"#{half.dialog}-facts").inner_text().count(image) == 1
    assert half.place(again) == "2"
    assert again.locator(f"#{half.part}q").input_value() == "jpg"
    assert half.found(again) == found


def test_an_address_of_an_unknown_picture_or_filter_is_one_of_all(open_page: Open, half: Half) -> None:
    page = half.open(open_page, "image=gone.jpg&verb=no-such-verb")
    assert not page.locator(f"#{half.dialog}").is_visible()
    assert half.found(page) == half.found(half.open(open_page))
    assert page.locator(f"#{half.part}verb option:checked").text_content() == "any", "not an empty box"


def test_going_back_closes_and_forward_opens_again(open_page: Open, half: Half) -> None:
    page = half.open(open_page, "subset=unseen")
    found = half.found(page)
    half.cards(page).nth(1).click()
    page.keyboard.press("ArrowRight")
    assert half.place(page) == "3"
    page.go_back()
    half.closed(page)
    half.focused(page, 2)
    assert half.found(page) == found
    page.go_forward()
    page.locator(f"#{half.dialog}").wait_for()
    assert half.place(page) == "3"
    assert page.locator(f"#{half.part}subset").input_value() == "unseen"


def test_an_address_of_the_other_half_closes_and_is_kept(open_page: Open, half: Half) -> None:
    page = half.open(open_page)
    other = STORE if half is PREDICTIONS else PREDICTIONS
    half.cards(page).nth(1).click()
    page.evaluate("address => { location.hash = address; }", f"{other.address}&subset=unseen")
    half.closed(page)
    other.cards(page).first.wait_for()
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
    assert page.url.endswith(f"{other.address}&subset=unseen")
    page.go_back()
    page.locator(f"#{half.dialog}").wait_for()
    assert half.place(page) == "2"


def test_a_click_for_a_new_window_opens_nothing_here(open_page: Open, half: Half) -> None:
    page = half.open(open_page)
    with page.context.expect_page() as other:
        half.cards(page).first.click(modifiers=["Shift"])
    other.value.locator(f"#{half.dialog}").wait_for()
    assert not page.locator(f"#{half.dialog}").is_visible()


def test_a_click_beside_the_dialog_or_on_close_closes_it(open_page: Open, half: Half) -> None:
    page = half.open(open_page)
    before = page.url
    half.cards(page).nth(1).click()
    page.mouse.click(4, 4)
    half.closed(page)
    half.focused(page, 1)
    page.wait_for_url(before)
    half.cards(page).nth(2).click()
    page.locator(f"#{half.dialog}-body").click(position={"x": 4, "y": 4})
    assert page.locator(f"#{half.dialog}").is_visible()
    page.locator(f"#{half.shown}close").click()
    half.closed(page)
    half.focused(page, 2)


def test_the_buttons_go_from_one_to_the_next(open_page: Open, half: Half) -> None:
    page = half.open(open_page, "subset=unseen")
    previous, following = page.locator(f"#{half.shown}previous"), page.locator(f"#{half.shown}next")
    half.cards(page).first.click()
    assert previous.is_disabled()
    following.click()
    assert half.place(page) == "2"
    assert terms(page.url)["image"] == [half.images(page)[1]]
    previous.click()
    assert half.place(page) == "1"
    page.keyboard.press("ArrowLeft")
    assert half.place(page) == "1"
    page.keyboard.press("Escape")
    half.cards(page).last.click()
    assert following.is_disabled()


def test_keys_lead_through_the_cards_and_back_to_the_search(open_page: Open, half: Half) -> None:
    page = half.open(open_page)
    page.keyboard.press("/")
    page.keyboard.press("ArrowDown")
    half.focused(page, 0)
    page.keyboard.press("End")
    half.focused(page, half.found(page) - 1)
    page.keyboard.press("ArrowRight")
    half.focused(page, half.found(page) - 1)
    page.keyboard.press("Home")
    half.focused(page, 0)
    page.keyboard.press("ArrowDown")
    below = half.cards(page).locator(":scope:focus").bounding_box()
    first = half.cards(page).first.bounding_box()
    assert below
    assert first
    assert below["x"] == first["x"]
    assert below["y"] > first["y"]
    assert half.cards(page).evaluate_all("all => all.filter((e) => e.tabIndex === 0).length") == 1
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    assert page.evaluate("document.activeElement.id") == f"{half.part}q"


def test_the_skip_button_leads_to_the_first_card(open_page: Open, half: Half) -> None:
    page = half.open(open_page)
    page.locator("#skip").focus()
    page.keyboard.press("Enter")
    half.focused(page, 0)


def test_boxes_stay_off_from_one_to_the_next(open_page: Open, half: Half) -> None:
    page = half.open(open_page)
    half.cards(page).first.click()
    boxes = page.locator(f"#{half.dialog} .boxes").first
    assert boxes.is_visible()
    page.locator(f"#{half.shown}boxes").click()
    assert not boxes.is_visible()
    page.keyboard.press("ArrowRight")
    assert not boxes.is_visible()
    page.keyboard.press("b")
    assert boxes.is_visible()


def test_the_box_of_the_role_that_is_pointed_at_stands_out(open_page: Open, half: Half) -> None:
    page = half.open(open_page, reduced_motion="reduce")
    half.cards(page).first.click()
    dialog = page.locator(f"#{half.dialog}")
    for role in ("0", "1", "0"):
        dialog.locator(f"tr[data-role='{role}']").hover()
        parts = dialog.locator(".frame [data-role]")
        seen = parts.evaluate_all("all => all.map((e) => [e.dataset.role, getComputedStyle(e).opacity])")
        assert {own for own, opacity in seen if opacity == "1"} == {role}
        assert {opacity for own, opacity in seen if own != role} == {"0.15"}
    dialog.locator(".viewer-title").hover()
    assert dialog.locator(".pointing, .pointed").count() == 0


def test_the_next_one_is_shown_from_its_beginning(open_page: Open, half: Half) -> None:
    page = half.open(open_page, viewport={"width": 1280, "height": 360})
    half.cards(page).first.click()
    columns = page.locator(f"#{half.dialog}").locator(".look, .texts")
    columns.evaluate_all("all => all.forEach((e) => e.scrollTo(0, 100))")
    assert columns.evaluate_all("all => all.map((e) => e.scrollTop)") == [100, 100]
    page.keyboard.press("ArrowRight")
    assert columns.evaluate_all("all => all.map((e) => e.scrollTop)") == [0, 0]


def test_every_prediction_found_gets_a_card_as_one_scrolls(
    browser: Browser, written: Written, tmp_path: Path
) -> None:
    html = written.path.read_text(encoding="utf-8")
    block = re.search(r'id="predictions">(.*?)</script>', html)
    assert block
    data = json.loads(block[1])
    data["said"] = [{**one, "image": f"{i}-{one['image']}"} for i in range(4) for one in data["said"]]
    many = tmp_path / "many.html"
    many.write_text(html.replace(block[1], script_json(data)), encoding="utf-8")
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(f"{many.as_uri()}#view=predictions")
    everything, cards = PREDICTIONS.found(page), PREDICTIONS.cards(page)
    assert cards.count() < everything == len(data["said"])
    for _ in range(everything):
        page.locator("#said-sentinel").scroll_into_view_if_needed()
        if cards.count() == everything:
            break
        page.mouse.wheel(0, 2000)
    assert cards.count() == everything
    page.close()
