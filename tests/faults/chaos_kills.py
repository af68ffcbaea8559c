"""The hand that kills, and the one that starts again, as a supervisor would; both in the main thread."""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench.installation import Installation, Part
from tests.faults.chaos_history import History

KINDS = {
    "worker, SIGKILL": 6,
    "worker, SIGTERM": 3,
    "worker, SIGSTOP": 8,
    "service's process, SIGKILL": 3,
    "service's process, SIGSTOP": 2,
    "service, SIGKILL": 2,
    "service, SIGTERM": 1,
    "valkey, SIGKILL": 4,
    "valkey, SIGSTOP": 2,
    "all at once, SIGKILL": 1,
}
"""What is done to whom, and how often beside the others."""
START_AGAIN_S = (0.05, 0.6)
"""How long a part that has ended waits for its next start: at least, at most."""


@dataclass
class Hand:
    """
    Kills parts of an installation, lets frozen ones go on, and starts again what has ended.

    Attributes:
        running: Whose parts.
        rng: Draws whom, when and how.
        history: Is told.
        lease_s: A worker is frozen for up to six times as long, so that its chunks are others' when it wakes.
    """

    running: Installation
    rng: np.random.Generator
    history: History
    lease_s: float
    _frozen: dict[int, tuple[float, str]] = field(default_factory=dict)
    _due: dict[str, float] = field(default_factory=dict)
    _recovering: list[tuple[str, float, Callable[[], bool]]] = field(default_factory=list)

    def tend(self, now: float) -> None:
        """Start again, let go on, and see who has recovered; to be called often."""
        for pid, (until, kind) in list(self._frozen.items()):
            if now >= until:
                self._wake(pid, kind, now)
        for part in self.running.parts:
            if not part.has_ended:
                continue
            due = self._due.setdefault(part.name, now + self.rng.uniform(*START_AGAIN_S))
            if now >= due:
                del self._due[part.name]
                part.sweep()
                part.start()
                self.history.note("start", part.name)
        for entry in list(self._recovering):
            kind, since, has_recovered = entry
            if has_recovered():
                self._recovering.remove(entry)
                self.history.note("recovered", kind, seconds=round(now - since, 2))

    @property
    def is_calm(self) -> bool:
        """Whether everything runs and has recovered."""
        return not (self._frozen or self._recovering or any(part.has_ended for part in self.running.parts))

    def release(self, now: float) -> None:
        """Let everything go on that is frozen."""
        for pid, (_, kind) in list(self._frozen.items()):
            self._wake(pid, kind, now)

    def strike(self, now: float) -> None:
        """Do one of `KINDS`, drawn at random."""
        shares = np.array(list(KINDS.values())) / sum(KINDS.values())
        kind = str(self.rng.choice(list(KINDS), p=shares))
        whom, _, name = kind.partition(", ")
        number = signal.Signals[name]
        struck = [part for part in self._parts(whom) if not part.has_ended]
        for part in struck:
            pid = self._process_of(part) if whom == "service's process" else part.pid
            if pid and pid not in self._frozen:
                self._send(pid, number, kind, part, now)

    def _parts(self, whom: str) -> list[Part]:
        if whom == "worker":
            drawn = [self.running.workers[place] for place in self.rng.permutation(len(self.running.workers))]
            return [next((worker for worker in drawn if _is_at_work(worker)), drawn[0])]
        if whom == "all at once":
            return self.running.parts
        return [self.running.valkey if whom == "valkey" else self.running.service]

    def _process_of(self, service: Part) -> int | None:
        """One of the service's processes that answer."""
        with suppress(OSError):
            children = Path(f"/proc/{service.pid}/task/{service.pid}/children").read_text().split()
            answering = [int(each) for each in children if b"spawn_main" in Path(f"/proc/{each}/cmdline").read_bytes()]
            return int(self.rng.choice(answering)) if answering else None
        return None

    def _send(self, pid: int, number: signal.Signals, kind: str, part: Part, now: float) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        self.history.note("kill", kind, part=part.name, pid=pid)
        if number is signal.SIGSTOP:
            unit_s = self.lease_s if part in self.running.workers else 0.5
            self._frozen[pid] = (now + self.rng.uniform(0.5, 6) * unit_s, kind)
        else:
            self._frozen.pop(pid, None)
            self._recovering.append((kind, now, self._recovery(part)))

    def _wake(self, pid: int, kind: str, now: float) -> None:
        del self._frozen[pid]
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
            if not kind.startswith("worker"):
                self._recovering.append((kind, now, self._is_served))

    def _recovery(self, part: Part) -> Callable[[], bool]:
        """Whether a part that was struck does its work again."""
        if part not in self.running.workers:
            return self._is_served
        said = _times_ready(part)

        def takes_messages() -> bool:
            return not part.has_ended and _times_ready(part) > said

        return takes_messages

    def _is_served(self) -> bool:
        """Whether the service answers, and reaches the queue."""
        if any(part.has_ended for part in (self.running.valkey, self.running.service)):
            return False
        state = self.running.readiness()
        return bool(state and state.get("ready") and state["queue"].get("ok"))


def _is_at_work(part: Part) -> bool:
    """Whether a thread of its process runs just now, as one does that scores a chunk."""
    with suppress(OSError):
        stats = [each.read_text() for each in Path(f"/proc/{part.pid}/task").glob("*/stat")]
        return any(stat.rpartition(")")[2].split()[0] == "R" for stat in stats)
    return False


def _times_ready(worker: Part) -> int:
    return worker.log.read_bytes().count(b" ready.")
