"""The predictions of the report in a real browser: filters, keys, the way to a rationale, a phone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import PHONE, Open, Written
from tests.browser.looks import CONTRAST, overflow

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

VIEW = "#view=predictions"


def found(page: Page) -> int:
    told = re.match(r"([\d,]+)", page.locator("#said-count").inner_text())
    assert told
    return int(told[1].replace(",", ""))


def only(page: Page, **chosen: str) -> int:
    page.locator("#said-filters button[type=reset]").click()
    page.wait_for_url(lambda url: url.endswith(VIEW))
    for name, value in chosen.items():
        page.locator(f"#said-{name}").select_option(value)
    return found(page)


def test_the_tabs_lead_from_one_half_to_the_other_and_back(open_page: Open) -> None:
    page = open_page().page
    assert not page.locator("#predictions-view").is_visible()
    page.locator("#to-predictions").click()
    assert page.locator("#predictions-view").is_visible()
    assert not page.locator("#store").is_visible()
    page.go_back()
    assert page.locator("#store").is_visible()


def test_predictions_are_filtered_by_result_subset_and_roles(open_page: Open, written: Written) -> None:
    page = open_page(VIEW).page
    everything = found(page)
    assert only(page, result="wrong") == 1
    assert page.locator("#said-cards .pick").get_attribute("href") == (
        f"#view=predictions&result=wrong&image={written.wrong}"
    )
    assert only(page, result="right") == everything - 1
    assert only(page, result="far") == 0
    assert page.locator("#said-nothing").is_visible()
    assert only(page, result="near", subset="unseen") == 1
    assert only(page, result="wrong", subset="seen") == 0
    assert 0 < only(page, subset="rare") < everything
    assert only(page, roles="noun") == everything
    page.locator("#said-q").fill(written.right)
    page.locator("#said-filters button[type=reset]").click()
    page.locator("#said-q").fill(written.right)
    page.wait_for_url(re.compile("q="))
    assert found(page) == 1


def test_a_wrong_prediction_is_followed_to_the_rationale_and_back(open_page: Open, written: Written) -> None:
    page = open_page(f"{VIEW}&result=wrong&image={written.wrong}").page
    judged = page.locator("#judged")
    assert judged.is_visible()
    assert "annotated" in judged.locator("#judged-facts").inner_text()
    assert judged.locator(".frame img").count() == 2
    assert judged.locator(".frame img").last.evaluate("i => i.decode().then(() => i.naturalWidth)") > 0
    assert judged.locator("table.roles tbody tr").count() > 0
    assert judged.locator(".ranking li").count() == 2
    rationale = judged.locator("article.rationale").first
    text, link = rationale.locator(".text").inner_text(), rationale.locator("a")
    assert "accepted · attempt" in rationale.inner_text()
    link.click()
    assert page.locator("#viewer").is_visible()
    assert not judged.is_visible()
    assert text in page.locator("#viewer article:focus").inner_text(), "the rationale itself has the focus"
    page.go_back()
    judged.wait_for()
    assert not page.locator("#viewer").is_visible()
    page.keyboard.press("Escape")
    judged.wait_for(state="hidden")
    page.wait_for_url(re.compile("#view=predictions&result=wrong$"))


def test_predictions_can_be_looked_through_with_keys(open_page: Open) -> None:
    page = open_page(VIEW).page
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "said-q"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    place = page.locator("#judged-place")
    assert place.inner_text().startswith("2 of ")
    page.keyboard.press("ArrowRight")
    assert place.inner_text().startswith("3 of ")
    page.keyboard.press("b")
    assert not page.locator("#judged .boxes").first.is_visible()
    page.keyboard.press("Escape")
    page.locator("#judged").wait_for(state="hidden")
    page.locator("#said-cards li:nth-child(3) > .pick:focus").wait_for()
    page.wait_for_url(re.compile(f"{VIEW}$"))


def test_a_verb_among_the_worst_leads_to_its_predictions(open_page: Open, written: Written) -> None:
    page = open_page(VIEW).page
    page.locator(".worst a").first.click()
    page.wait_for_url(re.compile("verb="))
    assert found(page) == 1
    assert written.wrong in (page.locator("#said-cards .pick").get_attribute("href") or "")


def test_harm_in_a_rationale_does_nothing_here_either(open_page: Open, written: Written) -> None:
    page, said, asked = open_page(f"{VIEW}&image={written.wrong}")
    assert page.evaluate("'pwned' in window") is False
    assert said == []
    assert [url for url in asked if not url.startswith("data:image/webp")] == [asked[0]]
    assert page.locator("#judged script, #judged svg[onload], #judged textarea").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_predictions_fit_a_phone_and_every_text_can_be_read(
    open_page: Open, written: Written, scheme: str
) -> None:
    page = open_page(VIEW, viewport=PHONE, color_scheme=scheme, has_touch=True, is_mobile=True).page
    assert overflow(page, "html") == 0
    assert page.evaluate(CONTRAST) == []
    page.locator("#said-more > summary").click()
    assert page.locator("#said-result").is_visible()
    page.locator("#said-result").select_option("wrong")
    assert overflow(page, "html") == 0
    page.locator("#said-cards .pick").tap()
    assert overflow(page, "#judged-body") == 0
    assert page.evaluate(CONTRAST) == []
    page.locator("#judged-close").tap()
    page.locator("#judged").wait_for(state="hidden")
