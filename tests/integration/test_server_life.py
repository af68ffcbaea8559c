"""A server from its start to its end, and what dies on the way."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.integration.server_process import DEADLINE_S, Server, serving, wait_until_ready

BODY = b'{"series":[{"id":"AAPL","closes":[101.5,102.25]}]}'
HEAD = (
    b"POST /v1/forecasts HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
    b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(BODY)
)


def test_a_second_server_on_the_port_says_so_and_ends(service_url: str) -> None:
    env = {**os.environ, "NEXTDAY_PORT": str(urlsplit(service_url).port)}
    command = [sys.executable, "-m", "nextday", "serve"]

    second = subprocess.run(command, env=env, capture_output=True, text=True, timeout=DEADLINE_S, check=False)

    assert second.returncode == 2
    assert re.search(r"port \d+ of 127.0.0.1 is taken", second.stderr)
    assert "Traceback" not in second.stderr
    assert httpx.get(f"{service_url}/readyz").status_code == 200


def test_sigterm_lets_requests_end_that_are_under_way(own_server: Server) -> None:
    connections = [begin_request(own_server.url) for _ in range(4)]

    own_server.process.send_signal(signal.SIGTERM)
    wait_until_nobody_listens(own_server.url)
    answers = [end_request(connection) for connection in connections]

    assert [answer[:12] for answer in answers] == [b"HTTP/1.1 200"] * 4
    assert own_server.process.wait(DEADLINE_S) == 0


def test_a_process_that_dies_is_replaced(own_server: Server) -> None:
    dead, other = answering(own_server)

    os.kill(dead, signal.SIGKILL)
    deadline = time.monotonic() + DEADLINE_S
    while len(replaced := set(answering(own_server)) - {dead, other}) < 1 and time.monotonic() < deadline:
        time.sleep(0.05)

    assert len(replaced) == 1
    assert other in answering(own_server)
    wait_until_ready(own_server)


def test_its_processes_end_when_the_server_itself_is_killed(own_server: Server) -> None:
    children = answering(own_server)

    own_server.process.kill()
    own_server.process.wait(DEADLINE_S)

    wait_until_nobody_listens(own_server.url)
    assert len(children) == 2


@pytest.mark.parametrize(
    ("variable", "value"),
    [("NEXTDAY_PORT", "http"), ("NEXTDAY_PORT", "70000"), ("NEXTDAY_HOST", "192.0.2.1"), ("NEXTDAY_THREADS", "0")],
)
def test_a_setting_that_cannot_be_stops_the_start_with_its_name(variable: str, value: str) -> None:
    command = [sys.executable, "-m", "nextday", "serve"]

    end = subprocess.run(
        command, env={**os.environ, variable: value}, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )

    assert end.returncode == 2
    assert f"{variable}={value!r}" in end.stderr
    assert "Traceback" not in end.stderr


def begin_request(url: str) -> socket.socket:
    """A connection whose request the service has begun to read; it waits for the body."""
    connection = socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), DEADLINE_S)
    connection.sendall(HEAD)
    assert connection.recv(100).startswith(b"HTTP/1.1 100")
    return connection


def end_request(connection: socket.socket) -> bytes:
    """The answer to a request once its body is sent."""
    with connection:
        connection.sendall(BODY)
        return connection.recv(4096)


def wait_until_nobody_listens(url: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        try:
            httpx.get(f"{url}/healthz")
        except httpx.TransportError:
            return
        time.sleep(0.05)
    raise AssertionError(f"somebody still listens on {url}")


def answering(server: Server) -> list[int]:
    """The processes of a server that answer requests."""
    parent = server.process.pid
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(each) for each in children if b"spawn_main" in Path(f"/proc/{each}/cmdline").read_bytes()]


def test_a_server_that_is_told_to_stop_is_not_ready_first_and_closes_its_port_later(
    tmp_path: Path, valkey_url: str
) -> None:
    with serving(tmp_path, NEXTDAY_REDIS_URL=valkey_url, NEXTDAY_DRAIN_NOTICE_S="2") as running:
        running.process.send_signal(signal.SIGTERM)
        wait_until(lambda: httpx.get(f"{running.url}/readyz").status_code == 503)
        ready = httpx.get(f"{running.url}/v2/health/ready")
        late = httpx.post(f"{running.url}/v1/forecasts", content=BODY, headers={"Content-Type": "application/json"})

        assert httpx.get(f"{running.url}/readyz").json()["draining"] is True
        assert ready.status_code == 503
        assert (late.status_code, late.headers["Connection"]) == (200, "close")
        wait_until_nobody_listens(running.url)
        assert running.process.wait(DEADLINE_S) == 0


def test_told_twice_it_closes_its_port_at_once(tmp_path: Path, valkey_url: str) -> None:
    with serving(tmp_path, NEXTDAY_REDIS_URL=valkey_url, NEXTDAY_DRAIN_NOTICE_S="600") as running:
        running.process.send_signal(signal.SIGTERM)
        wait_until(lambda: httpx.get(f"{running.url}/readyz").status_code == 503)
        running.process.send_signal(signal.SIGTERM)

        assert running.process.wait(DEADLINE_S) == 0


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)
