import httpx
import pytest

from tests.browser.browsing import Visit

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
    assert "not recorded in the card" in page.locator("#limits").inner_text()


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
