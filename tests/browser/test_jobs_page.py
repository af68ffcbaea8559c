import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service.key_file import add
from service.keys import make
from tests.browser.browsing import Visit, drop, visiting
from tests.browser.test_forecast_page import EXAMPLES
from tests.integration.server_process import Server, serving, working

pytestmark = pytest.mark.slow

READERS: dict[str, Callable[[Path], list[dict[str, Any]]]] = {
    "csv": lambda path: list(csv.DictReader(path.read_text().splitlines())),
    "ndjson": lambda path: [json.loads(line) for line in path.read_text().splitlines()],
    "parquet": lambda path: pq.read_table(pa.BufferReader(path.read_bytes())).to_pylist(),
    "arrow": lambda path: pa.ipc.open_file(path.read_bytes()).read_all().to_pylist(),
    "arrows": lambda path: pa.ipc.open_stream(path.read_bytes()).read_all().to_pylist(),
}
"""By the name that the page gives a format, how others read such a file."""


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


def ended(visit: Visit, job: str) -> Any:
    """The row of a job that is completed."""
    row = visit.page.locator("#jobs tr", has_text=job)
    row.locator(".status.completed").wait_for()
    return row


def downloaded(visit: Visit, job: str, suffix: str, folder: Path) -> Path:
    """The file that arrives when somebody chooses a format, under the name that it arrives with."""
    with visit.page.expect_download() as saved:
        visit.page.get_by_label(f"Download results of job {job}").select_option(suffix)
    path = folder / saved.value.suggested_filename
    saved.value.save_as(path)
    return path


def answered(visit: Visit, count: int) -> list[dict[str, Any]]:
    """What the API forecasts of the series of `lines`, asked directly."""
    body = {"series": [json.loads(line) for line in lines(count).splitlines()]}
    answer: list[dict[str, Any]] = httpx.post(f"{visit.url}/v1/forecasts", json=body).json()["forecasts"]
    return answer


def test_results_arrive_in_each_format_and_say_what_the_api_says(visit: Visit, tmp_path: Path) -> None:
    job = submit(visit, "seven.ndjson", lines(7))
    ended(visit, job)
    expected = answered(visit, 7)

    for suffix, read in READERS.items():
        path = downloaded(visit, job, suffix, tmp_path)

        rows = read(path)
        assert path.name.startswith(job)
        assert path.name.endswith(f"-results.{suffix}")
        assert [row["id"] for row in rows] == [each["id"] for each in expected]
        assert [float(row["median"]) for row in rows] == pytest.approx([each["median"] for each in expected], rel=1e-6)


def test_with_a_key_each_format_arrives_too(browser: Any, valkey_url: str, tmp_path: Path) -> None:
    secret, key = make("desk", ["forecast", "jobs"])
    add(tmp_path / "keys", key)
    env = {
        "NEXTDAY_REDIS_URL": valkey_url.replace("/0", "/2"),
        "NEXTDAY_API_KEYS_FILE": str(tmp_path / "keys"),
        "NEXTDAY_JOBS_URL": str(tmp_path / "jobs"),
    }
    with (
        serving(tmp_path, **env) as keyed,
        working(tmp_path, **env),
        visiting(browser, keyed.url) as visit,
    ):
        visit.refusals = ("401",)
        page = visit.open("/pages/jobs")
        page.locator("#key-state", has_text="Key needed").wait_for()
        page.fill("#key-field", secret)
        page.keyboard.press("Enter")
        page.locator("#key-state", has_text="Key set").wait_for()
        job = submit(visit, "three.ndjson", lines(3))
        ended(visit, job)

        for suffix, read in READERS.items():
            rows = read(downloaded(visit, job, suffix, tmp_path))
            assert [row["id"] for row in rows] == ["s0", "s1", "s2"]
        assert visit.faults() == []


def test_a_file_that_is_chosen_is_scored_and_its_errors_are_told_row_by_row(visit: Visit, tmp_path: Path) -> None:
    closes = [[1.0, 2.0, 3.0], [1.0, -1.0], [4.0, 5.0], []]
    pq.write_table(pa.table({"id": ["A", "B", "C", "D"], "closes": closes}), tmp_path / "four.parquet")
    page = visit.open("/pages/jobs")
    page.wait_for_selector("#model option[value=rnn]", state="attached")
    page.select_option("#model", "rnn")

    page.set_input_files("#file", tmp_path / "four.parquet")

    page.locator("#said", has_text="four.parquet is job").wait_for()
    job = page.locator("#said").inner_text().split(" is job ")[1][:8]
    row = ended(visit, job)
    assert row.locator("td").nth(1).inner_text().startswith("rnn ")
    page.get_by_role("button", name=f"Errors of job {job}").click()
    page.locator("#errors tbody tr").nth(1).wait_for()
    told = [each.split("\t") for each in page.locator("#errors tbody tr").all_inner_texts()]
    assert [(place, name) for place, name, _ in told] == [("1", "B"), ("3", "D")]
    assert "a close is a positive, finite number" in told[0][2]
    rows = READERS["parquet"](downloaded(visit, job, "parquet", tmp_path))
    assert [each["id"] for each in rows] == ["A", "C"]


def test_results_that_cannot_be_had_are_said_not_to_be_had(visit: Visit, site: Server) -> None:
    visit.refusals = ("500", "503")
    job = submit(visit, "gone.ndjson", lines(2))
    ended(visit, job)
    (folder,) = (site.log.parent / "jobs").rglob(f"{job}*")
    shutil.rmtree(folder)

    visit.page.get_by_label(f"Download results of job {job}").select_option("parquet")

    visit.page.locator("#said", has_text="cannot be downloaded").wait_for()
    assert "are missing or damaged on disk" in visit.page.locator("#said").inner_text()


def test_a_cancelled_job_is_resumed_to_its_end(browser: Any, valkey_url: str, tmp_path: Path) -> None:
    env = {
        "NEXTDAY_REDIS_URL": valkey_url.replace("/0", "/3"),
        "NEXTDAY_JOBS_URL": str(tmp_path / "jobs"),
        "NEXTDAY_SWEEP_S": "0.2",
    }
    with serving(tmp_path, **env) as alone, visiting(browser, alone.url) as visit:
        job = submit(visit, "waits.ndjson", lines(5))
        page = visit.page
        page.get_by_role("button", name=f"Cancel job {job}").click()
        page.locator("#jobs tr", has_text=job).locator(".status.cancelled").wait_for()

        page.get_by_role("button", name=f"Resume job {job}").click()

        page.locator("#said", has_text=f"Resuming {job}").wait_for()
        page.locator("#jobs tr", has_text=job).locator(".status.queued").wait_for()
        with working(tmp_path, **env):
            row = ended(visit, job)
            rows = READERS["csv"](downloaded(visit, job, "csv", tmp_path))
        assert [each["id"] for each in rows] == [f"s{at}" for at in range(5)]
        assert row.locator("td.number").first.inner_text() == "5"
        assert row.get_by_role("button", name=f"Resume job {job}").is_hidden()
        assert visit.faults() == []


def test_a_job_is_deleted_once_somebody_says_so_twice(visit: Visit) -> None:
    job = submit(visit, "leaves.ndjson", lines(2))
    row, page, asked = ended(visit, job), visit.page, []
    page.once("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    page.get_by_role("button", name=f"Delete job {job}").click()
    (whole,) = [each["id"] for each in httpx.get(f"{visit.url}/v1/jobs").json()["jobs"] if each["id"].startswith(job)]
    assert asked == [f"Delete job {job}, its results and its input?"]

    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name=f"Delete job {job}").click()

    page.locator("#said", has_text=f"Deleted {job}").wait_for()
    row.wait_for(state="detached")
    assert httpx.get(f"{visit.url}/v1/jobs/{whole}").status_code == 404


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
