"""The report in a real browser: search, filters, pictures, keys, a phone, and texts that mean harm."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from tests.browser.conftest import PHONE, Open, Written
from tests.browser.looks import CONTRAST, overflow
from tests.pipeline.hostile_store import SHOWN

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

COUNT = re.compile(r"^([\d,]+)(?: of ([\d,]+))? pictures?$")


def found(page: Page) -> int:
    """How many pictures the page says it found."""
    told = COUNT.match(page.locator("#count").inner_text())
    assert told
    return int(told[1].replace(",", ""))


def search(page: Page, text: str, expected: int) -> None:
    """Types into the search box and waits until the page has looked, which its address tells."""
    page.locator("#q").fill(text)
    page.wait_for_url(lambda url: parse_qs(urlsplit(url).fragment).get("q", [""]) == [text])
    assert found(page) == expected


def test_every_word_of_a_search_must_be_found(open_page: Open, written: Written) -> None:
    page = open_page().page
    everything = found(page)
    search(page, "ZANZIBAR", 1)
    assert page.locator(".pick .file").all_text_contents() == [written.hostile]
    search(page, "zanzibar hopeless", 1)
    search(page, "zanzibar nowhere", 0)
    assert page.locator("#nothing").is_visible()
    search(page, "", everything)


def test_a_search_finds_the_judges_reasons_and_raw_answers(open_page: Open, written: Written) -> None:
    page = open_page().page
    search(page, "not json", 1)
    assert page.locator(".pick .file").all_text_contents() == [written.failed]
    search(page, "min_score 3", 1)
    assert page.locator(".pick .file").all_text_contents() == [written.hostile]


@pytest.mark.parametrize(
    ("filters", "hostile"),
    [
        ({"status": "rejected"}, True),
        ({"status": "rejected", "aspect": "gaze", "polarity": "positive"}, False),
        ({"status": "rejected", "min": "3"}, False),
        ({"status": "lacking", "aspect": "gaze", "polarity": "negative"}, True),
        ({"min": "3", "max": "4"}, True),
        ({"min": "1", "max": "1"}, False),
    ],
)
def test_filters_of_rationales_must_be_met_by_one_rationale(
    open_page: Open, written: Written, filters: dict[str, str], hostile: bool
) -> None:
    page = open_page().page
    for name, value in filters.items():
        page.locator(f"#{name}").select_option(value)
    assert page.locator(".pick .file").all_text_contents() == [written.hostile] * hostile
    assert (
        page.locator("#active").inner_text() == f"({len(filters)})"
        or not page.locator("summary").first.is_visible()
    )


def test_filters_narrow_to_a_verb_a_split_and_the_failed(open_page: Open, written: Written) -> None:
    page = open_page().page
    everything = found(page)
    verb = page.locator("#verb option").nth(1).get_attribute("value")
    page.locator("#verb").select_option(verb)
    assert 0 < found(page) < everything
    assert set(page.locator(".pick .verb").all_text_contents()) == {verb}
    page.locator("#filters button[type=reset]").click()
    page.locator("#count", has_text=re.compile(r"^\d+ pictures$")).wait_for()
    page.locator("#subset").select_option("unseen")
    assert 0 < found(page) < everything
    page.locator("#split").select_option("train")
    assert found(page) == 0, "no unseen verb has a training picture"
    page.locator("#subset").select_option("")
    page.locator("#split").select_option("")
    page.locator("#status").select_option("failed")
    assert page.locator(".pick .file").all_text_contents() == [written.failed]


def test_every_picture_found_gets_a_card_as_one_scrolls(open_page: Open) -> None:
    page = open_page().page
    everything = found(page)
    assert page.locator(".pick").count() < everything
    for _ in range(everything):
        page.locator("#sentinel").scroll_into_view_if_needed()
        if page.locator(".pick").count() == everything:
            break
        page.mouse.wheel(0, 2000)
    assert page.locator(".pick").count() == everything
    page.locator(".pick img").last.scroll_into_view_if_needed()
    assert page.locator(".pick img").last.evaluate("i => i.decode().then(() => i.naturalWidth)") > 0


def test_an_open_picture_shows_boxes_roles_attempts_and_neighbours(open_page: Open, written: Written) -> None:
    page = open_page().page
    search(page, "zanzibar", 1)
    page.locator(".pick").click()
    viewer = page.locator("#viewer")
    assert viewer.is_visible()
    assert viewer.locator(".frame img").evaluate("i => i.decode().then(() => i.naturalWidth)") > 0
    boxes = viewer.locator("rect.box").count()
    assert boxes == viewer.locator(".label").count() > 0
    picture = viewer.locator(".frame").bounding_box()
    for i in range(boxes):
        box = viewer.locator("rect.box").nth(i).bounding_box()
        assert picture
        assert box
        assert box["x"] >= picture["x"] - 3
        assert box["x"] + box["width"] <= picture["x"] + picture["width"] + 3
    assert viewer.locator("table.roles tbody tr").count() >= boxes
    headings = viewer.locator(".rationale h3").all_inner_texts()
    assert [" ".join(h.split()[1:3]) for h in headings] == [
        "positive glimpse", "negative glimpse", "positive gaze", "negative gaze"
    ]  # fmt: skip
    first = viewer.locator(".rationale").first
    assert first.locator(".attempt .text").first.inner_text().startswith("an accepted second try")
    assert "attempt 2 of 2 · accepted · 4 of 5 points" in first.locator(".attempt").first.inner_text()
    first.locator("summary", has_text="1 other attempt").click()
    assert "because the judge gave 2 of 5 points" in first.locator(".attempt.rejected").inner_text()
    viewer.locator(".near.pictures a").first.click()
    assert page.locator("#viewer-facts").inner_text().split(" · ")[0] != written.hostile


def test_a_picture_that_is_missing_has_a_placeholder_and_its_failure(
    open_page: Open, written: Written
) -> None:
    page = open_page(f"#image={written.failed}").page
    assert page.locator("#viewer .absent").inner_text().startswith("missing: there is no such file")
    assert "Failed in generate-rationales" in page.locator("#texts").inner_text()


def test_harm_in_texts_does_nothing_and_is_shown_as_text(open_page: Open, written: Written) -> None:
    for image in (written.hostile, written.failed):
        page, said, asked = open_page(f"#q=window.pwned&image={image}")
        for summary in page.locator("#texts summary").all():
            summary.click()
        assert page.locator("#texts mark").count() > 0, "the marks of a search are made of the text too"
        assert found(page) == 2
        assert page.evaluate("'pwned' in window") is False
        assert said == []
        assert [url for url in asked if not url.startswith("data:image/webp")] == [asked[0]]
        assert page.locator("#viewer script, #viewer svg[onload], #viewer textarea").count() == 0
        assert page.locator('img[src="x"]').count() == 0
        assert page.locator("script:not([type])").count() == 1
    texts = open_page(f"#image={written.hostile}").page.locator("#texts").inner_text()
    assert SHOWN in texts
    assert "\x1b" not in texts


def test_markup_that_found_its_way_into_the_page_would_still_not_run(
    browser: Browser, written: Written, tmp_path: Path
) -> None:
    injected = tmp_path / "injected.html"
    html = written.path.read_text(encoding="utf-8")
    attack = (
        "<script>window.pwned=1</script><img src=x onerror=window.pwned=1><b onclick=window.pwned=1>b</b>"
    )
    injected.write_text(html.replace("<h1>", f"{attack}<h1>"), encoding="utf-8")
    page, said = browser.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.goto(injected.as_uri())
    page.locator(".pick").first.wait_for()
    page.locator("b", has_text="b").first.click()
    assert page.evaluate("'pwned' in window") is False
    assert sum("violates the following Content Security Policy directive" in line for line in said) == 4, said
    page.close()


def test_all_of_it_can_be_done_with_keys(open_page: Open) -> None:
    page = open_page().page
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "q"
    page.keyboard.press("ArrowDown")
    files = page.locator(".pick .file").all_text_contents()
    focused = "document.activeElement.querySelector('.file').textContent"
    assert page.evaluate(focused) == files[0]
    page.keyboard.press("ArrowRight")
    assert page.evaluate(focused) == files[1]
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    assert page.evaluate(focused) == files[1]
    page.keyboard.press("Enter")
    opened = page.locator("#viewer-facts")
    assert opened.inner_text().startswith(files[1])
    page.keyboard.press("ArrowRight")
    assert opened.inner_text().startswith(files[2])
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert opened.inner_text().startswith(files[0])
    assert page.locator("#previous").is_disabled()
    page.keyboard.press("b")
    assert not page.locator(".frame .boxes").is_visible()
    page.keyboard.press("Escape")
    page.locator("#viewer").wait_for(state="hidden")
    assert page.evaluate(focused) == files[0], "the card of the last picture has the focus"
    page.keyboard.press("End")
    assert page.evaluate(
        "document.activeElement.parentElement === document.querySelector('#cards').lastChild"
    )


def test_an_address_leads_back_to_what_was_looked_at(open_page: Open, written: Written) -> None:
    page = open_page().page
    search(page, "zanzibar", 1)
    page.locator("#status").select_option("rejected")
    page.locator(".pick").click()
    address = page.url
    assert quote(written.hostile) in address
    again = open_page("#" + address.split("#")[1]).page
    assert again.locator("#viewer-facts").inner_text().startswith(written.hostile)
    assert again.locator("#q").input_value() == "zanzibar"
    assert found(again) == 1


def test_going_back_closes_the_picture_and_keeps_the_search(open_page: Open) -> None:
    page = open_page().page
    search(page, "zanzibar", 1)
    page.locator(".pick").click()
    page.go_back()
    page.locator("#viewer").wait_for(state="hidden")
    assert page.locator("#q").input_value() == "zanzibar"
    assert found(page) == 1


def test_an_address_of_an_unknown_picture_opens_none(open_page: Open) -> None:
    page = open_page("#image=gone.jpg&verb=no-such-verb").page
    assert not page.locator("#viewer").is_visible()
    assert page.locator(".pick").count() > 0


def test_an_address_can_lead_to_one_rationale(open_page: Open, written: Written) -> None:
    page = open_page(f"#image={written.hostile}&kind=negative-gaze").page
    assert page.locator("#viewer .frame img").evaluate("i => i.decode().then(() => i.naturalWidth)") > 0
    assert "a hopeless text" in page.locator("#viewer article:focus").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scrolling(open_page: Open, written: Written, scheme: str) -> None:
    page = open_page(viewport=PHONE, color_scheme=scheme, has_touch=True, is_mobile=True).page
    assert overflow(page, "html") == 0
    assert not page.locator("#verb").is_visible(), "filters are folded away"
    page.locator("#more > summary").click()
    assert page.locator("#verb").is_visible()
    page.locator("#status").select_option("rejected")
    assert overflow(page, "html") == 0
    page.locator(".pick").tap()
    for summary in page.locator("#texts summary").all():
        summary.click()
    assert overflow(page, "#viewer-body") == 0
    assert page.locator("#close").is_visible()
    page.locator("#close").tap()
    page.locator("#viewer").wait_for(state="hidden")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_enough_to_be_read(open_page: Open, written: Written, scheme: str) -> None:
    page = open_page(f"#image={written.hostile}", color_scheme=scheme).page
    for summary in page.locator("#texts summary").all():
        summary.click()
    assert page.evaluate(CONTRAST) == []


def test_everything_that_can_be_operated_has_a_name(open_page: Open, written: Written) -> None:
    page = open_page(f"#image={written.hostile}").page
    nameless = page.evaluate("""() => {
        const named = (e) => e.ariaLabel || [e, ...(e.labels || [])].some((one) => one.textContent.trim());
        const all = [...document.querySelectorAll("a, button, input, select, summary")];
        return all.filter((e) => !named(e)).map((e) => e.outerHTML);
    }""")
    assert nameless == []
    assert page.locator("#count").get_attribute("aria-live") == "polite"
