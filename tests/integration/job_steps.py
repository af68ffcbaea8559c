"""Jobs from upload to results: what tests do with them, in this process and in real workers."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import orjson
import redis

from worker.chunks import Chunks
from worker.downloads import Download
from worker.intake import Upload
from worker.jobs import Jobs, Wishes
from worker.ledger import Ledger
from worker.media_types import NDJSON
from worker.requests import Options
from worker.settings import WorkerSettings
from worker.views import Job

DEADLINE_S = 60


@contextmanager
def worker(settings: WorkerSettings, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A real worker process, ended by its id."""
    with process([sys.executable, "-m", "nextday", "work"], settings, log) as started:
        yield started


@contextmanager
def process(command: list[str], settings: WorkerSettings, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process under some settings, told to end and waited for at the end."""
    given = {field: getattr(settings, field) for field in settings.__dataclass_fields__}
    own = {f"NEXTDAY_{field.upper()}": str(value) for field, value in given.items() if value is not None}
    env = {**os.environ, **own}
    with log.open("ab") as output:
        started = subprocess.Popen(command, env=env, stdout=output, stderr=output)
    try:
        yield started
    finally:
        started.send_signal(signal.SIGTERM)
        try:
            started.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            started.kill()
            raise


def eventually(what: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
    end = time.monotonic() + deadline_s
    while not what():
        assert time.monotonic() < end, "it did not come to pass in time"
        time.sleep(0.02)


def walks(rows: int, days: int = 60, seed: int = 0) -> list[list[float]]:
    steps = np.random.default_rng(seed).standard_t(4, (rows, days)) * 0.01
    return np.round(100 * np.exp(np.cumsum(steps, axis=1)), 2).tolist()


def ndjson(rows: list[list[float]]) -> bytes:
    return b"\n".join(orjson.dumps({"id": f"series-{row}", "closes": closes}) for row, closes in enumerate(rows))


def submit(jobs: Jobs, body: bytes, media_type: str = NDJSON, key: str | None = None, **options) -> Job:
    asked = {name: options.pop(name) for name in ("owner",) if name in options}
    wishes = {name: options.pop(name) for name in ("join", "webhook", "expires_in_h") if name in options}
    wishes = Wishes(options=Options(**options), **wishes)
    return jobs.submit(Upload(io.BytesIO(body), media_type), wishes=wishes, idempotency_key=key, **asked)


def ended(jobs: Jobs, job: Job) -> Job:
    eventually(lambda: jobs.get(job.id).status in ("completed", "failed", "cancelled"))
    return jobs.get(job.id)


def whole(download: Download) -> bytes:
    return b"".join(download.read(0, download.size_bytes - 1))


def read_lines(download: Download) -> list[dict]:
    return [orjson.loads(line) for line in whole(download).splitlines()]


def work_off(jobs: Jobs, chunks: Chunks, job: Job) -> Job:
    """Do all there is to do in this process."""
    while chunks.work_once() != "nothing":
        pass
    return jobs.get(job.id)


def let_time_pass(settings: WorkerSettings, ledger: Ledger) -> None:
    """Let all leases and waits be over now."""
    with redis.Redis.from_url(settings.redis_url) as connection:
        for member in connection.zrange("nextday:due", 0, -1):
            connection.zadd("nextday:due", {member: 1})
    ledger.sweep(window=1)


def kill_workers(settings: WorkerSettings, ledger: Ledger, times: int) -> None:
    """Let workers take a chunk and die over it, so often."""
    for _ in range(times):
        assert ledger.claim("dies", lease_s=0.001, max_attempts=settings.max_attempts).kind == "score"
        time.sleep(0.01)
        ledger.sweep(window=1)
