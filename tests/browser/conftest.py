"""A real browser, and the report that the tests look at."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from pipeline.config import Config
from pipeline.report.report import write_report
from pipeline.workspace import Workspace
from tests.pipeline.hostile_store import report_of, write_hostile_store
from tests.pipeline.written_predictions import write_predictions

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 375, "height": 740}


class Written(NamedTuple):
    """A page on disk, the two images somebody tampered with, and a right and a wrong prediction."""

    path: Path
    hostile: str
    failed: str
    right: str
    wrong: str

    def address(self, fragment: str = "") -> str:
        return self.path.as_uri() + fragment


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory, small_config: Callable[..., Config]) -> Written:
    config = small_config(tmp_path_factory.mktemp("browser") / "run")
    hostile, failed = write_hostile_store(config)
    right, wrong, _ = write_predictions(config)
    write_report(Workspace(config))
    return Written(report_of(config), hostile, failed, right.image, wrong.image)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    driver = pytest.importorskip(
        "playwright.sync_api", reason='the browser is driven by playwright: pip install "mipd-pipe[browser]"'
    )
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"no browser found under the names {', '.join(NAMES)}: apt-get install chromium")
    with driver.sync_playwright() as playwright:
        # Its sandbox needs rights that a container does not give; the page comes from this test alone.
        found = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield found
        found.close()


class Opened(NamedTuple):
    """An open page, what it said on the console, and every address it asked for."""

    page: Page
    said: list[str]
    asked: list[str]


Open = Callable[..., Opened]


@pytest.fixture
def open_page(browser: Browser, written: Written) -> Iterator[Open]:
    """Opens the report: at a fragment, in a window, light or dark."""
    contexts = []

    def make(fragment: str = "", viewport: dict[str, int] = DESKTOP, **options: Any) -> Opened:
        window: dict[str, Any] = {"viewport": viewport, **options}
        context = browser.new_context(**window)
        contexts.append(context)
        page, said, asked = context.new_page(), [], []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(f"dialog {dialog.message}"))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(written.address(fragment))
        page.locator(".pick >> visible=true").first.wait_for()
        return Opened(page, said, asked)

    yield make
    for context in contexts:
        context.close()
