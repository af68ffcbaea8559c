import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.browser.browsing import Visit, visiting
from tests.integration.server_process import serving
from tests.versions import SHIPPED, store_of

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("model", "lines"), [("lstm", 6), ("rnn", 2)])
def test_gates_and_states_lie_under_the_price_of_their_days(model: str, lines: int, visit: Visit) -> None:
    page = visit.open(f"/pages/gates?model={model}")

    page.wait_for_selector("#gates .heatmaplayer image")

    assert page.locator("#gates .heatmaplayer image").count() == lines - 1
    assert page.locator("#gates .scatterlayer path.js-line").count() == lines
    assert "units" in page.locator("#reading").inner_text()


def test_why_an_lstm_draws_what_was_computed(visit: Visit) -> None:
    page = visit.open("/pages/why")

    for chart in ("unit", "memory", "fresh", "trained", "parameters"):
        page.wait_for_selector(f"#{chart} .scatterlayer path.js-line", state="attached")  # a level line has no height

    titles = page.locator(".xtitle, .ytitle").all_text_contents()
    assert "norm of the gradient, no unit" in titles
    assert "right, per cent" in titles


def test_the_mlp_refuses_fewer_days_than_its_window(visit: Visit) -> None:
    visit.refusals = ("422",)
    page = visit.open("/pages/why")
    page.get_by_role("cell", name="refused: needs 60").first.wait_for()

    page.get_by_role("button", name="Ask the MLP with 5 closes").click()

    page.get_by_text("has 5 closes; this model needs at least 60").wait_for()
    assert page.get_by_role("cell", name="refused: needs 60").count() == 5


def test_the_record_shows_the_scores_of_the_card(visit: Visit) -> None:
    card = httpx.get(f"{visit.url}/v1/models/rnn").json()["card"]
    scores = card["scores"]["others"]["rnn"]
    page = visit.open("/pages/record")
    page.wait_for_selector("#scores tr.own")

    page.select_option("#model", "rnn")
    page.get_by_role("heading", name=f"rnn, version {card['version']}").wait_for()
    page.select_option("#market", "others")

    row = page.locator("#scores tr.own").inner_text()
    assert f"{scores['pinball_bp']:.2f}" in row
    assert f"{scores['coverage_90']:.1f}" in row
    for chart in ("calibration", "coverage"):
        page.wait_for_selector(f"#{chart} .scatterlayer path.js-line")
    page.wait_for_selector("#pit .barlayer path")


def test_the_record_shows_whether_bands_held_in_each_quarter(visit: Visit) -> None:
    told = httpx.get(f"{visit.url}/v1/models/lstm").json()["card"]["coverage_by_quarter"]["us-stocks"]
    inside = told["inside_percent"]["lstm"]["90"]
    page = visit.open("/pages/record")

    page.wait_for_selector("#over-time .scatterlayer path.js-line")

    drawn = page.evaluate("document.querySelector('#over-time').data.map(({ name, x, y }) => [name, x.length, y])")
    assert [(name, days) for name, days, _ in drawn] == [("lstm", 28), ("GARCH(1,1)-t", 28)] * 3
    assert [y for name, _, y in drawn if name == "lstm"] == [
        told["inside_percent"]["lstm"][band] for band in ("98", "90", "80")
    ]
    at = told["quarters"].index("2020-Q1")
    assert inside[at] == min(inside)
    assert (
        f"Fewest in 2020 Q1: the 90 % band of lstm held {inside[at]:.1f} of 100"
        in page.locator("#over-time-said").inner_text()
    )
    page.select_option("#market", "others")
    page.wait_for_function("() => document.querySelector('#over-time').data[0].x.length === 36")


def test_of_a_card_from_before_coverage_by_quarter_the_page_says_so(browser: Any, tmp_path: Path) -> None:
    store = store_of(tmp_path / "store", "lstm", "rnn")
    shutil.copytree(SHIPPED / "rnn" / "2", store / "rnn" / "2")
    with serving(tmp_path, NEXTDAY_STORE=str(store)) as running, visiting(browser, running.url) as visit:
        page = visit.open("/pages/record?model=rnn")
        page.wait_for_selector("#over-time .scatterlayer path.js-line")

        page.select_option("#model", "lstm")

        page.locator("#over-time", has_text="not in the card of version 1").wait_for()
        page.wait_for_selector("#coverage .scatterlayer path.js-line")
        assert page.locator("#over-time .main-svg").count() == 0
        page.select_option("#model", "rnn")
        page.wait_for_selector("#over-time .scatterlayer path.js-line")
        assert "not in the card" not in page.locator("#over-time").inner_text()
        assert visit.faults() == []


def test_health_says_what_is_ready_and_how_fast_it_answers(visit: Visit) -> None:
    page = visit.open("/pages/health")
    page.locator("#state", has_text="ready").wait_for()

    httpx.post(f"{visit.url}/v1/forecasts", json={"series": [{"id": "a", "closes": [1, 2]}]}).raise_for_status()

    page.locator("#tiles div", has_text="Latency, median").locator("dd", has_text="ms").wait_for()
    tiles = page.locator("#tiles").inner_text()
    assert "CPUExecutionProvider" in tiles
    assert "unfinished jobs" in tiles
    assert "Workers alive" in tiles
    assert page.locator("#models tbody tr").count() == 3
