import re
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.browser.browsing import Visit, drop

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "service" / "static" / "examples"
IBM = (EXAMPLES / "ibm.csv").read_text()
CLOSES = [line.split(",")[-1] for line in IBM.splitlines()[1:]]


def asked(visit: Visit, **options: object) -> dict:
    """What the API says of IBM, asked directly."""
    series = {"id": "IBM", "as_of": "2013-03-01", "closes": [float(close) for close in CLOSES]}
    answer = httpx.post(f"{visit.url}/v1/forecasts", json={"series": [series], **options}).json()
    return answer["forecasts"][0]


def test_a_dropped_file_is_drawn_and_its_band_is_said_in_words(visit: Visit) -> None:
    page = visit.open("/")
    page.wait_for_selector(".card .main-svg")
    quantiles = asked(visit)["quantiles"]

    drop(page, "mine.csv", IBM.replace("IBM,", "Mine,"))

    page.get_by_role("heading", name="Mine").wait_for()
    words = page.locator(".words").inner_text()
    assert f"9 days of 10 it closes between {quantiles['0.05']:.2f} and {quantiles['0.95']:.2f}" in words
    page.wait_for_selector(".card .main-svg .fills path, .card .main-svg path.js-fill")


def test_a_file_with_open_high_and_low_is_drawn_as_candles_and_else_as_a_line(visit: Visit) -> None:
    page = visit.open("/")
    page.wait_for_selector(".card .boxlayer path.box")

    page.select_option("#look", "line")

    page.wait_for_selector(".card .boxlayer path.box", state="detached")
    page.wait_for_selector(".card .scatterlayer path.js-line")


def test_closes_that_are_pasted_are_forecast(visit: Visit) -> None:
    page = visit.open("/")
    page.get_by_text("Or paste closes").click()
    page.fill("#paste", "\n".join(CLOSES[-60:]))

    page.get_by_role("button", name="Use these").click()

    page.get_by_role("heading", name="pasted").wait_for()
    assert "60 closes" in page.locator(".card").inner_text()
    assert f"{float(CLOSES[-1]):.2f}" in page.locator(".card").inner_text()


def test_packaged_prices_are_real_and_say_where_they_are_from(visit: Visit) -> None:
    page = visit.open("/")
    page.wait_for_selector("#example option[value=sp500-KO]", state="attached")

    page.select_option("#example", "sp500-KO")

    page.get_by_role("heading", name="KO", exact=True).wait_for()
    assert "as packaged with skfolio" in page.locator("#origin").inner_text()
    assert "2022-12-28" in page.locator(".card").inner_text()


def test_several_series_stand_side_by_side_and_in_a_table(visit: Visit) -> None:
    page = visit.open("/?example=four")

    page.locator(".card .js-plotly-plot").nth(3).wait_for()

    tops = page.evaluate("[...document.querySelectorAll('.card')].map((each) => each.getBoundingClientRect().top)")
    assert tops[0] == tops[1]
    names = page.locator("#table tbody th").all_inner_texts()
    assert names == ["AAPL", "GOOG", "IBM", "MSFT"]


def test_a_horizon_shows_the_band_of_its_last_day(visit: Visit) -> None:
    page = visit.open("/")
    page.wait_for_selector(".words")
    last = asked(visit, horizon=5)["days"][-1]["quantiles"]

    page.select_option("#horizon", "5")

    page.get_by_text(f"After 5 days: between {last['0.05']:.2f} and {last['0.95']:.2f}").wait_for()
    assert "horizon=5" in page.url


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("id,date,close\nA,2020-01-01,1\nA,2020-01-02,x\n", 'line 3 close "x" is no number'),
        ("id,date,close\nA,2020-01-01,1\nA,2020-13-02,2\n", 'line 3 date "2020-13-02" is none'),
        ("id,date,close\nA,2020-01-01,1\nA,2020-01-02,2,3\n", "line 3 has 4 cells; the header has 3"),
        ("date,close\n2020-01-01,1\n2020-01-02,2\n2020-01-01,3\n", "line 4 bad has 2020-01-01 a second time"),
        ("a,b\n1,2\n", "line 1 the header is a, b"),
        ("", "line 1 there is nothing in it"),
    ],
)
def test_a_bad_file_says_which_line_is_wrong(content: str, said: str, visit: Visit) -> None:
    page = visit.open("/")
    page.wait_for_selector(".words")

    drop(page, "bad.csv", content)

    page.get_by_text("bad cannot be read").wait_for()
    assert said in " ".join(page.locator("#faults").inner_text().split())


def test_what_the_service_refuses_is_said_with_its_line_and_ids_stay_text(visit: Visit) -> None:
    visit.refusals = ("422",)
    page = visit.open("/")
    page.wait_for_selector(".words")
    hostile = "<img src=x onerror=alert(1)>"

    drop(page, "mine.csv", f"id,date,close\n{hostile},2020-01-01,1\n{hostile},2020-01-02,-4\n{hostile},2020-01-03,4\n")

    page.get_by_text("is a positive, finite number").wait_for()
    assert f"line 3 ({hostile}): series 0, close 1 is -4.0" in page.locator("#problem").inner_text()
    assert page.locator("main img").count() == 0


def test_the_command_that_is_copied_gets_the_answer_on_screen(visit: Visit) -> None:
    page = visit.open("/")
    page.wait_for_selector(".words")
    page.get_by_text("What is on screen, as curl").click()

    page.get_by_role("button", name="Copy as curl: These forecasts").click()

    page.get_by_text("Copied").wait_for()
    command = page.evaluate("navigator.clipboard.readText()")
    answer = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True).stdout
    shown = re.search(r"between ([\d.]+) and", page.locator(".words").inner_text())[1]
    assert f"{httpx.Response(200, text=answer).json()['forecasts'][0]['quantiles']['0.05']:.2f}" == shown
