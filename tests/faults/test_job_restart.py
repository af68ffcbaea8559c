"""Everything ends at once in the middle of jobs, and starts again over what is on disk: D30."""

from pathlib import Path

import pytest

from tests.faults.jobs_calls import assert_whole, walks
from tests.faults.jobs_installation import Installation, installation
from tests.faults.jobs_programs import Program
from tests.faults.processes import eventually


@pytest.mark.parametrize(
    "how", [pytest.param("killed", marks=pytest.mark.slow), pytest.param("stopped", marks=pytest.mark.drill)]
)
def test_jobs_go_on_after_everything_was_ended_at_once(tmp_path: Path, how: str) -> None:
    rows = walks(200)
    with installation(tmp_path, chunk_rows=4) as running:
        running.work({"run_s": 0.1})
        jobs = [running.caller.submit(rows) for _ in range(2)]
        eventually(lambda: running.caller.done_rows(jobs[0]) > 0)
        done = running.caller.done_rows(jobs[0])
        end_all(running, how)
        start_all(running)

        assert running.caller.get(jobs[0])["counts"]["completed"] >= done
        for job_id in jobs:
            assert_whole(running.caller, job_id, rows)


def end_all(running: Installation, how: str) -> None:
    programs: list[Program] = [running.queue, *running.services, *running.workers]
    for program in programs:
        if how == "killed":
            program.kill()
        else:
            program.stop()


def start_all(running: Installation) -> None:
    """Service and workers first, as when nothing waits for anything."""
    for worker in running.workers:
        worker.start()
    for service in running.services:
        service.start()
    running.queue.start()
    running.queue.wait_until_ready()
    running.services[0].wait_until_ready()
