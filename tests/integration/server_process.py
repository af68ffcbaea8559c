"""A real server process, for tests that speak HTTP to one."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

DEADLINE_S = 60


@dataclass(frozen=True)
class Server:
    """A server process, where it listens, what it has said, and how many processes answer."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path
    processes: int


@contextmanager
def serving(folder: Path, **env: str) -> Iterator[Server]:
    """A server process that is ready, and has ended afterwards."""
    with starting(folder, **env) as running:
        wait_until_ready(running)
        yield running


@contextmanager
def starting(folder: Path, **env: str) -> Iterator[Server]:
    """A server process that has just begun, and has ended afterwards."""
    port = free_port()
    own = {"NEXTDAY_JOBS_URL": str(folder / "jobs"), "NEXTDAY_STATE": str(folder / "state")}
    env = {**os.environ, "NEXTDAY_PORT": str(port), **own, **env}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "nextday", "serve"], env=env, stdout=log, stderr=log)
    running = Server(f"http://127.0.0.1:{port}", process, folder / "log", int(env.get("NEXTDAY_PROCESSES", "2")))
    try:
        yield running
    finally:
        stop(running)


@contextmanager
def working(folder: Path, **env: str) -> Iterator[None]:
    """A worker process, which has ended afterwards."""
    with (folder / "worker.log").open("wb") as log:
        command = [sys.executable, "-m", "nextday", "work"]
        process = subprocess.Popen(command, env={**os.environ, **env}, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(DEADLINE_S)


def stop(server: Server) -> int:
    """The exit code of a server that was told to stop."""
    if server.process.poll() is None:
        server.process.send_signal(signal.SIGTERM)
    return server.process.wait(DEADLINE_S)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_both_follow(server: Server) -> None:
    """Both processes have come forward, so that whoever changes what serves is answered once both follow."""
    deadline = time.monotonic() + DEADLINE_S
    while len(list((server.log.parent / "state" / "processes").glob("*.json"))) < 2:
        assert time.monotonic() < deadline, server.log.read_text()
        time.sleep(0.02)


def wait_until_ready(server: Server) -> None:
    """All processes listen; the first that does answers for itself alone."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        assert server.process.poll() is None, server.log.read_text()
        try:
            started = server.log.read_text().count(' runtime-1"')
            if started >= server.processes and httpx.get(f"{server.url}/readyz", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"not ready within {DEADLINE_S} s: {server.log.read_text()}")
