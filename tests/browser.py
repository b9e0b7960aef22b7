"""A real Chromium that opens a file, allows no request, and tells what it complained of."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Route, sync_playwright

OPEN_MS = 60_000
"""How long a busy machine may take for one step."""

NOISE = "GPU stall due to ReadPixels"
"""What a Chromium without a graphics card says of its own drawing."""


@dataclass(frozen=True, kw_only=True)
class Opened:
    """An open page, with what its console said and which addresses it asked for."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    @property
    def width(self) -> int:
        """How many pixels wide the whole document is."""
        return int(self.page.evaluate("document.documentElement.scrollWidth"))

    @property
    def cells(self) -> list[str]:
        """The cells of the leaderboard's visible rows, in order."""
        rows = "#rows tbody tr:not([hidden])"
        found: list[str] = self.page.eval_on_selector_all(
            rows, "rows => rows.map(row => row.dataset.cell)"
        )
        return found

    def draw_all(self) -> int:
        """Scroll through the page until every visible figure is drawn; how many there are."""
        self.page.wait_for_function("document.documentElement.dataset.ready === '1'")
        plots = self.page.locator(".plot:not([hidden])")
        for place in range(plots.count()):
            plot = plots.nth(place)
            plot.scroll_into_view_if_needed()
            plot.locator(".main-svg").first.wait_for(state="attached")
        self.page.wait_for_function(
            "[...document.querySelectorAll('.plot:not([hidden])')].every(p => p.dataset.drawn)"
        )
        return plots.count()


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser; a test that has none fails, and says what to install."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if path is None:
        pytest.fail("no chromium: run `make browser`, or set CHROMIUM to its path", pytrace=False)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(
    browser: Browser, path: Path, *, width: int = 1280, scheme: Any = "light", **options: Any
) -> Iterator[Opened]:
    """The file, opened in a fresh window of this width and colour scheme."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, **options
    )
    context.set_default_timeout(OPEN_MS)
    page = context.new_page()
    found = Opened(page=page)

    def hold(route: Route) -> None:
        url = route.request.url
        if url == path.as_uri():
            route.continue_()
            return
        found.requests.append(url)
        route.abort()

    def hear(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and NOISE not in message.text:
            found.complaints.append(f"{message.type}: {message.text}")

    context.route("**/*", hold)
    page.on("console", hear)
    page.on("pageerror", lambda error: found.complaints.append(str(error)))
    try:
        page.goto(path.as_uri())
        yield found
    finally:
        context.close()
