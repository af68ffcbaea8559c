"""A master that dies in the middle of jobs: every accepted job is completed, and every row is there once."""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from models.repository import Repository
from tests.faults.sentinels import Family, family, until
from tests.integration.job_steps import ended, eventually, ndjson, read_lines, submit, walks, worker
from worker.errors import QueueUnavailable
from worker.jobs import Jobs
from worker.media_types import NDJSON
from worker.settings import WorkerSettings
from worker.views import Job

ROWS = 6000


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Family]:
    with family(tmp_path) as running:
        yield running


@pytest.mark.drill
def test_a_failover_in_the_middle_of_jobs_loses_no_job_and_no_row(
    servers: Family, models: Repository, tmp_path: Path
) -> None:
    settings = replace(
        WorkerSettings(), redis_url=servers.url, jobs_url=str(tmp_path / "jobs"), device="cpu",
        chunk_rows=50, lease_s=2.0, sweep_s=0.2, worker_threads=2,
    )  # fmt: skip
    with closing(Jobs.connect(settings, models)) as jobs, worker(settings, tmp_path / "worker.log") as running:
        accepted: list[Job] = []
        for round_number in range(2):
            accepted.append(large := submit(jobs, ndjson(walks(ROWS))))
            eventually(lambda large=large: jobs.get(large.id).counts.completed > 0)
            master = servers.master()
            accepted.append(submit(jobs, ndjson(walks(100, seed=round_number))))
            servers.kill(master)
            until(lambda master=master: servers.master() != master)
            print(f"the master is {servers.master()} after {master}")
            accepted.append(submitted_in_the_end(jobs, ndjson(walks(100, seed=10 + round_number))))
            servers.start_server(master, of=None)  # it takes itself for the master until sentinels tell it otherwise
            until(lambda master=master: servers.client(master).info("replication").get("master_link_status") == "up")
        done = [ended(jobs, job) for job in accepted]
        assert running.poll() is None, "the worker outlives a failover"

        assert {job.status for job in done} == {"completed"}
        for job in done:
            lines = [line["id"] for line in read_lines(jobs.results(job.id, NDJSON))]
            assert Counter(lines) == Counter(f"series-{row}" for row in range(job.counts.total))


def submitted_in_the_end(jobs: Jobs, body: bytes) -> Job:
    """A job that is submitted again, with the same key, until it is accepted, as a client does it."""
    made: list[Job] = []

    def tried() -> bool:
        try:
            made.append(submit(jobs, body, key=body[:40].decode()))
        except QueueUnavailable:
            return False
        return True

    eventually(tried)
    return made[0]
