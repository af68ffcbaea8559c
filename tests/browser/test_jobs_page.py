import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.browser.browsing import Visit, drop, visiting
from tests.browser.test_forecast_page import EXAMPLES
from tests.integration.server_process import serving

pytestmark = pytest.mark.slow


def lines(count: int, *, bad: int = 0) -> str:
    """A file of so many series, some of them without a forecast."""
    real = [float(line.split(",")[-1]) for line in (EXAMPLES / "wti.csv").read_text().splitlines()[1:]]
    series = [
        {"id": f"s{at}", "closes": [1, -1] if at < bad else real[at % 200 : at % 200 + 250]} for at in range(count)
    ]
    return "\n".join(map(json.dumps, series))


def submit(visit: Visit, name: str, content: str) -> str:
    """The first letters of the id of a job that was dropped on the page."""
    page = visit.open("/pages/jobs")
    page.wait_for_selector("#model option[value=rnn]", state="attached")
    drop(page, name, content)
    page.locator("#said", has_text=f"{name} is job").wait_for()
    return page.locator("#said").inner_text().split(" is job ")[1][:8]


def test_a_job_is_dropped_watched_and_downloaded_with_its_errors(visit: Visit, tmp_path: Path) -> None:
    job = submit(visit, "many.ndjson", lines(300, bad=3))
    page = visit.page
    row = page.locator("#jobs tr", has_text=job)
    row.locator(".status.completed").wait_for()

    page.get_by_role("button", name=f"Errors of job {job}").click()
    page.locator("#errors tbody tr").nth(2).wait_for()
    with page.expect_download() as saved:
        row.get_by_label(f"Download results of job {job}").select_option("csv")
    saved.value.save_as(tmp_path / "out.csv")

    assert "a close is a positive, finite number" in page.locator("#errors tbody tr").first.inner_text()
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 298
    shown = row.locator("td.number").all_inner_texts()
    assert shown[:2] == ["300", "3"]
    assert float(shown[2].replace(",", "")) > 0


def test_a_job_that_waits_can_be_cancelled(browser: Any, valkey_url: str, tmp_path: Path) -> None:
    with (
        serving(tmp_path, NEXTDAY_REDIS_URL=valkey_url.replace("/0", "/1")) as alone,
        visiting(browser, alone.url) as visit,
    ):
        job = submit(visit, "waits.ndjson", lines(5))
        row = visit.page.locator("#jobs tr", has_text=job)
        row.locator(".status.queued").wait_for()

        row.get_by_role("button", name=f"Cancel job {job}").click()

        row.locator(".status.cancelled").wait_for()
        assert [each["status"] for each in httpx.get(f"{visit.url}/v1/jobs").json()["jobs"]] == ["cancelled"]
        assert row.get_by_role("button", name=f"Resume job {job}").is_visible()
        assert row.get_by_role("button", name=f"Delete job {job}").is_visible()
        assert visit.faults() == []


def test_a_file_that_is_none_is_said_to_be_none(visit: Visit) -> None:
    page = visit.open("/pages/jobs")
    page.wait_for_selector("#model option[value=rnn]", state="attached")

    drop(page, "prices.xlsx", "PK")

    page.locator("#said", has_text="prices.xlsx is none of .csv").wait_for()
