"""A browser in front of a real service, and what went wrong while somebody looked."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PAGES = ("/", "/pages/gates", "/pages/why", "/pages/record", "/pages/jobs", "/pages/health")
DRAWN_MS = 30_000
"""Milliseconds that a chart may take on a machine that is busy with other tests."""
MEASURE_SHIFTS = """
window.shifts = 0;
new PerformanceObserver((list) => {
  for (const each of list.getEntries()) if (!each.hadRecentInput) window.shifts += each.value;
}).observe({ type: "layout-shift", buffered: true });
"""


@dataclass
class Visit:
    """
    One page in a browser.

    Attributes:
        page: Playwright's.
        url: Of the service.
        refusals: Statuses that this visit asks for; a browser writes each into its console as an error.
        console: Errors that the browser wrote, and scripts' uncaught ones.
        elsewhere: Requests that left the host.
    """

    page: Any
    url: str
    refusals: tuple[str, ...] = ()
    console: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    def open(self, path: str) -> Any:
        """Go there; the page is there, its charts may not be."""
        self.page.goto(self.url + path)
        return self.page

    def faults(self) -> list[str]:
        """What went wrong and was not asked for."""
        asked = [f"status of {status}" for status in self.refusals]
        asked.append("ERR_NETWORK_CHANGED")  # as where containers come and go on this machine
        return [each for each in self.console if not any(text in each for text in asked)] + self.elsewhere


def need_browser() -> None:
    """Skip where there is no browser; never where a change is judged."""
    reason = None
    try:
        import axe_playwright_python  # noqa: F401, PLC0415
        import playwright  # noqa: F401, PLC0415
    except ModuleNotFoundError as error:
        reason = f"browser tests need the package {error.name}"
    if CHROMIUM is None:
        reason = "browser tests need Chromium: apt-get install chromium"
    if reason and os.environ.get("CI") == "true":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


@contextmanager
def chromium() -> Iterator[Any]:
    """Debian's Chromium; whoever runs it as root, as containers do, can have no sandbox of its own."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - skipped where it is not there

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"] if os.geteuid() == 0 else []
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visiting(browser: Any, url: str, *, width: int = 1440, scheme: str = "light") -> Iterator[Visit]:
    """A page of its own that notes its faults."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, accept_downloads=True,
        permissions=["clipboard-read", "clipboard-write"],
    )  # fmt: skip
    page = context.new_page()
    page.set_default_timeout(DRAWN_MS)
    page.add_init_script(MEASURE_SHIFTS)
    visit = Visit(page, url)
    host = urlsplit(url).netloc

    def note(request: Any) -> None:
        if urlsplit(request.url).scheme not in ("data", "blob") and urlsplit(request.url).netloc != host:
            visit.elsewhere.append(request.url)

    page.on("request", note)
    page.on("console", lambda said: visit.console.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: visit.console.append(str(error)))
    try:
        yield visit
    finally:
        context.close()


def drop(page: Any, name: str, content: str) -> None:
    """Drop a file on the page, as a hand with a mouse would."""
    files = page.evaluate_handle(
        """([name, content]) => {
            const all = new DataTransfer();
            all.items.add(new File([content], name));
            return all;
        }""",
        [name, content],
    )
    page.dispatch_event("body", "dragover", {"dataTransfer": files})
    page.dispatch_event("body", "drop", {"dataTransfer": files})
