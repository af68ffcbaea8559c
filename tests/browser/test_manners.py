from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.key_file import add
from service.keys import make
from tests.browser.browsing import PAGES, Visit, visiting
from tests.integration.server_process import Server, serving

pytestmark = pytest.mark.slow

CHARTS = {
    "/": ".card .main-svg",
    "/pages/why": "#parameters .main-svg",
    "/pages/record": "#pit .main-svg",
    "/pages/health": "#latency .main-svg",
}


def settled(visit: Visit, path: str) -> Any:
    """A page with its charts."""
    page = visit.open(path)
    if path in CHARTS:
        page.wait_for_selector(CHARTS[path])
    page.wait_for_load_state("networkidle") if path not in ("/pages/jobs", "/pages/health") else None
    return page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_no_serious_fault(path: str, scheme: str, browser: Any, site: Server) -> None:
    from axe_playwright_python.sync_playwright import Axe  # noqa: PLC0415 - skipped where it is not there

    with visiting(browser, site.url, scheme=scheme) as visit:
        page = settled(visit, path)
        page.click("#curl > summary")
        found = Axe().run(page).response["violations"]

    serious = [each for each in found if each["impact"] in ("serious", "critical")]
    assert [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in serious] == []


@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("path", PAGES)
def test_a_page_fits_its_window_and_does_not_jump(path: str, width: int, browser: Any, site: Server) -> None:
    with visiting(browser, site.url, width=width) as visit:
        page = settled(visit, path)
        wide, shifts = page.evaluate("[document.documentElement.scrollWidth, window.shifts]")

    assert wide == width
    assert shifts < 0.1  # what https://web.dev/articles/cls calls good


@pytest.mark.parametrize("path", PAGES)
def test_a_page_of_itself_has_no_fault_and_every_axis_a_name(path: str, visit: Visit) -> None:
    page = settled(visit, path)

    axes = page.evaluate(
        """[...document.querySelectorAll('.js-plotly-plot')].flatMap((plot) =>
            Object.entries(plot._fullLayout).filter(([name]) => /^[xy]axis\\d*$/.test(name)))
            .map(([, axis]) => axis.title.text)"""
    )

    assert all(axes)


@pytest.mark.parametrize("path", PAGES)
def test_the_theme_is_the_systems_until_somebody_chooses(path: str, browser: Any, site: Server) -> None:
    with visiting(browser, site.url, scheme="dark") as visit:
        page = visit.open(path)
        page.locator("#theme", has_text="Light").wait_for()
        first = page.evaluate("document.documentElement.dataset.theme")
        page.get_by_role("button", name="Light or dark").click()
        page.reload()

        assert (first, page.evaluate("document.documentElement.dataset.theme")) == ("dark", "light")


def test_the_keyboard_reaches_everything_in_order(visit: Visit) -> None:
    page = settled(visit, "/")
    reached = []
    for _ in range(20):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))

    assert reached[0] == "Skip to content"
    wanted = ["Nextday", "Forecast", "What it kept", "theme", "example", "file", "model", "horizon", "span", "look"]
    assert [each for each in reached if each in wanted] == wanted


@pytest.fixture(scope="module")
def keyed(browser: Any, tmp_path_factory: pytest.TempPathFactory, valkey_url: str) -> Iterator[tuple[Server, str]]:
    """A service that wants a key, and one that it lets in."""
    folder: Path = tmp_path_factory.mktemp("keyed")
    secret, key = make("desk", ["forecast", "jobs"])
    add(folder / "keys", key)
    env = {"NEXTDAY_REDIS_URL": valkey_url, "NEXTDAY_API_KEYS_FILE": str(folder / "keys")}
    with serving(folder, **env) as running:
        yield running, secret


def test_a_service_with_keys_is_asked_with_the_key_of_this_tab(browser: Any, keyed: tuple[Server, str]) -> None:
    server, secret = keyed
    with visiting(browser, server.url) as visit:
        visit.refusals = ("401",)
        page = visit.open("/")
        page.locator("#key-state", has_text="Key needed").wait_for()

        page.fill("#key-field", secret)
        page.keyboard.press("Enter")

        page.wait_for_selector(".words")
        page.click("#curl > summary")
        assert "Bearer $NEXTDAY_API_KEY" in page.locator("#curl").inner_text()
        assert secret not in page.content()
        assert secret not in page.evaluate("JSON.stringify(localStorage) + document.cookie + location.href")
        assert visit.faults() == []
