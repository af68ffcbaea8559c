"""The access log of a real server: every request a line, whatever ends."""

import json
import signal
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.server_process import DEADLINE_S, serving, stop


def requests(log: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [line for line in lines if line["message"] == "request" and line["path"] == "/v1/models"]


def test_a_line_for_each_request_even_of_the_last_moment(tmp_path: Path) -> None:
    with serving(tmp_path) as running:

        def ask(name: int) -> None:
            with httpx.Client(base_url=running.url, timeout=DEADLINE_S) as client:
                for number in range(100):
                    client.get("/v1/models", headers={"X-Request-Id": f"{name}-{number}"})

        callers = [threading.Thread(target=ask, args=(name,)) for name in range(6)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        running.process.send_signal(signal.SIGTERM)
        assert stop(running) == 0

    lines = requests(running.log)
    assert {line["request_id"] for line in lines} == {f"{name}-{number}" for name in range(6) for number in range(100)}
    assert len(lines) == 600
    assert all((line["status"], line["method"], line["level"]) == (200, "GET", "info") for line in lines)


@pytest.mark.parametrize(("value", "lines"), [("on", 1), ("off", 0)])
def test_a_setting_leaves_requests_out(value: str, lines: int, tmp_path: Path) -> None:
    with serving(tmp_path, NEXTDAY_ACCESS_LOG=value) as running:
        httpx.get(f"{running.url}/v1/models", timeout=DEADLINE_S)
        assert stop(running) == 0

    assert len(requests(running.log)) == lines
    assert "Started worker-" in running.log.read_text()
