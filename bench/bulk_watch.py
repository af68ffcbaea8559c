"""What an installation takes while it works: processor time and memory of each part, bytes in Redis."""

import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import redis

from bench.installation import Installation
from bench.processes import family

SAMPLE_S = 0.25
_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_s(leader: int) -> float:
    """Processor time of a process, of what it has started, and of what that has waited for, in seconds."""
    ticks = 0
    for pid in family(leader):
        with suppress(OSError):  # it has just ended
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / _TICKS


def cpu_of(running: Installation) -> dict[str, float]:
    """Processor time of each kind of part, in seconds."""
    return {
        "workers": sum(cpu_s(worker.pid) for worker in running.workers),
        "service": cpu_s(running.service.pid),
        "valkey": cpu_s(running.valkey.pid),
    }


@dataclass(frozen=True)
class Sample:
    """
    A look at the memory.

    Attributes:
        at_s: When, in seconds since the watch began.
        worker_mib: The largest worker process, resident; its mapped files count.
        worker_own_mib: The same without mapped files.
        service_mib: The largest process of the service, resident.
        service_all_mib: All processes of the service, what they share counted once.
        redis_kib: All keys of the ledger and the queue.
    """

    at_s: float
    worker_mib: float
    worker_own_mib: float
    service_mib: float
    service_all_mib: float
    redis_kib: float


class Watch:
    """Looks at an installation every quarter of a second, in a thread, until it is closed."""

    def __init__(self, running: Installation) -> None:
        self.samples: list[Sample] = []
        self._running = running
        self._began = time.monotonic()
        self._stop = threading.Event()
        self._redis = redis.Redis.from_url(running.redis_url)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._redis.close()

    def _run(self) -> None:
        while True:
            self.samples.append(self._look())
            if self._stop.wait(SAMPLE_S):
                self.samples.append(self._look())
                return

    def _look(self) -> Sample:
        workers = [_memory(pid) for worker in self._running.workers for pid in family(worker.pid)]
        service = [_memory(pid) for pid in family(self._running.service.pid)]
        return Sample(
            at_s=time.monotonic() - self._began,
            worker_mib=max(each["Rss"] for each in workers),
            worker_own_mib=max(each["Anonymous"] for each in workers),
            service_mib=max(each["Rss"] for each in service),
            service_all_mib=sum(each["Pss"] for each in service),
            redis_kib=redis_kib(self._redis),
        )


def redis_kib(connection: redis.Redis) -> float:
    """What all keys take, every element of them measured."""
    with connection.pipeline(transaction=False) as asked:
        for key in connection.scan_iter(count=1000):
            asked.memory_usage(key, samples=0)
        return sum(size or 0 for size in asked.execute()) / 1024


def _memory(pid: int) -> dict[str, float]:
    """MiB of a process by kind; zeros where it has just ended."""
    found = {"Rss": 0.0, "Pss": 0.0, "Anonymous": 0.0}
    with suppress(OSError):
        for line in (Path("/proc") / str(pid) / "smaps_rollup").read_text().splitlines()[1:]:
            name, size, *_ = line.split()
            if (name := name.rstrip(":")) in found:
                found[name] = int(size) / 1024
    return found
