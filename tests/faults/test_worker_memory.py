"""What a worker holds while it works on a job that is much larger than its memory may be."""

import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from models.repository import Repository
from tests.integration.job_steps import submit, worker
from worker.jobs import Jobs
from worker.settings import WorkerSettings

ROWS = 1_000_000
LINE = b'{"id":"s%d","closes":[100,101,100.5,102,101,103,102,104]}'
MOST_MIB = 600.0


@pytest.mark.drill
def test_a_worker_s_memory_does_not_grow_with_a_job_of_a_million_series(
    tmp_path: Path, valkey_url: str, models: Repository
) -> None:
    with redis.Redis.from_url(valkey_url) as connection:
        connection.flushdb()
    settings = replace(WorkerSettings(), redis_url=valkey_url, jobs_url=str(tmp_path / "jobs"), device="cpu")
    with closing(Jobs.connect(settings, models)) as jobs:
        job = submit(jobs, b"\n".join(LINE % row for row in range(ROWS)))

        most_mib = 0.0
        with worker(settings, tmp_path / "worker.log") as running:
            while jobs.get(job.id).status not in ("completed", "failed"):
                most_mib = max(most_mib, resident_mib(running.pid))
                time.sleep(0.05)

        print(f"at most {most_mib:.0f} MiB")
        assert jobs.get(job.id).counts.completed == ROWS
    assert most_mib < MOST_MIB


def resident_mib(process: int) -> float:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024
