"""A whole installation as processes: its own Valkey, workers and a service, as `nextday up` has them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from bench.processes import ROOT, NotServing, family, free_port, last_words, stop
from service.embedded import embed

READY_S = 60.0
NEXTDAY = [sys.executable, "-m", "nextday"]


@dataclass
class Part:
    """
    A program of the installation, started again by whoever watches it; it leads a session of its own.

    Attributes:
        name: For people: valkey, service, worker-1.
        command: How it is started.
        env: With what settings.
        log: Where it says something, across all its starts.
        starts: How often it was started.
    """

    name: str
    command: list[str]
    env: dict[str, str]
    log: Path
    starts: int = 0
    process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    def start(self) -> None:
        """Start it."""
        with self.log.open("ab") as said:
            self.process = subprocess.Popen(
                self.command, env=self.env, cwd=ROOT, stdout=said, stderr=said, start_new_session=True
            )
        self.starts += 1

    @property
    def pid(self) -> int:
        """Id of the process that leads it."""
        assert self.process, f"{self.name} was not started"
        return self.process.pid

    @property
    def has_ended(self) -> bool:
        """Whether the leading process is gone."""
        return self.process is None or self.process.poll() is not None

    def send(self, number: signal.Signals) -> bool:
        """Send the leading process a signal; false where it is gone."""
        if self.has_ended:
            return False
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)
        return True

    def sweep(self) -> None:
        """Kill what a leader that was killed has left, as a supervisor does with a unit's processes."""
        for pid in family(self.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        """End it and what it has started."""
        if self.process:
            self.send(signal.SIGCONT)
            stop(self.process)


@dataclass(frozen=True)
class Installation:
    """
    An installation that runs.

    Attributes:
        port: Where the service listens.
        redis_url: Queue and ledger.
        folder: With the jobs' files in `jobs` and a log of each part in `log`.
        valkey: The queue.
        service: What answers HTTP.
        workers: What scores.
    """

    port: int
    redis_url: str
    folder: Path
    valkey: Part
    service: Part
    workers: list[Part]

    @property
    def parts(self) -> list[Part]:
        """All of them, in the order in which they need each other."""
        return [self.valkey, *self.workers, self.service]

    @property
    def jobs_folder(self) -> Path:
        """Where inputs and results of jobs are."""
        return self.folder / "jobs"

    def readiness(self) -> dict | None:
        """What the service says of itself; nothing where it does not answer."""
        with suppress(httpx.HTTPError, ValueError):
            return httpx.get(f"http://127.0.0.1:{self.port}/readyz", timeout=2).json()
        return None


@contextmanager
def installed(folder: Path, *, workers: int, **settings: str) -> Iterator[Installation]:
    """
    An installation that is ready, and has ended afterwards.

    Args:
        folder: An empty one, for all its files.
        workers: How many worker processes.
        settings: As NEXTDAY_* has them, without the prefix and in small letters.

    Raises:
        NotServing: A part did not come up.
    """
    running = _parts(folder, workers, settings)
    try:
        for part in running.parts:
            part.start()
        _await_ready(running)
        yield running
    finally:
        for part in reversed(running.parts):
            part.stop()


def _parts(folder: Path, workers: int, settings: dict[str, str]) -> Installation:
    (folder / "log").mkdir(parents=True, exist_ok=True)
    port, queue = free_port(), embed(folder / "redis")
    own = {"PORT": str(port), "REDIS_URL": queue.url, "JOBS_URL": str(folder / "jobs"), "STATE": str(folder / "state")}
    own |= {"DEVICE": "cpu"} | {name.upper(): value for name, value in settings.items()}
    env = {name: value for name, value in os.environ.items() if not name.startswith("NEXTDAY_")}
    env |= {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    env |= {f"NEXTDAY_{name}": value for name, value in own.items()}

    def part(name: str, command: list[str]) -> Part:
        return Part(name, command, env, folder / "log" / f"{name}.log")

    each = [part(f"worker-{number}", [*NEXTDAY, "work"]) for number in range(1, workers + 1)]
    service = part("service", [*NEXTDAY, "serve"])
    return Installation(port, queue.url, folder, part("valkey", queue.command), service, each)


def _await_ready(running: Installation) -> None:
    """Wait until the service forecasts, and each worker has said that it takes messages."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        for part in running.parts:
            if part.has_ended and part is not running.valkey:
                raise NotServing(f"{part.name} ended: {last_words(part.log)}")
        state = running.readiness()
        if state and state.get("ready") and state["queue"].get("workers") and _all_work(running):
            return
        time.sleep(0.05)
    raise NotServing(f"not ready within {READY_S:.0f} s; see {running.folder / 'log'}")


def _all_work(running: Installation) -> bool:
    return all(" ready." in worker.log.read_text(errors="replace") for worker in running.workers)
