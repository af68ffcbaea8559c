"""The pages as people meet them: a real service with a worker, and Chromium."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.browsing import Visit, chromium, need_browser, visiting
from tests.integration.server_process import Server, serving, working


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    need_browser()
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def site(browser: Any, tmp_path_factory: pytest.TempPathFactory, valkey_url: str) -> Iterator[Server]:
    """A service that is ready, and its worker."""
    folder = tmp_path_factory.mktemp("site")
    env = {"NEXTDAY_REDIS_URL": valkey_url, "NEXTDAY_JOBS_URL": str(folder / "jobs"), "NEXTDAY_SWEEP_S": "0.2"}
    with serving(folder, **env) as running, working(Path(folder), **env):
        yield running


@pytest.fixture
def visit(browser: Any, site: Server) -> Iterator[Visit]:
    """A visit that must end without a fault in the console, and without a request to elsewhere."""
    with visiting(browser, site.url) as opened:
        yield opened
        faults = opened.faults()
    assert faults == []
