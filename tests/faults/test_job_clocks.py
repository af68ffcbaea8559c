"""Machines whose clocks are wrong: D22."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.faults.jobs_calls import assert_whole, walks
from tests.faults.jobs_installation import Installation, installation
from tests.faults.processes import eventually

HOURS_S = 2 * 3600
RUN_S = 6.0
"""Seconds of a chunk: more than the five after which Celery looks whose message waits too long, by its own clock."""


@pytest.mark.parametrize(
    "service",
    [
        pytest.param({"clock_s": HOURS_S}, marks=pytest.mark.drill, id="ahead"),
        pytest.param({"clock_s": -HOURS_S}, marks=pytest.mark.drill, id="behind"),
    ],
)
def test_clocks_that_are_two_hours_off_repeat_nothing_and_end_nothing_early(
    tmp_path: Path, service: Mapping[str, object]
) -> None:
    rows = walks(32)
    with installation(tmp_path, chunk_rows=4, lease_s=10.0, retention_h=1.0) as running:
        running.services[0].kill()
        running.services.clear()
        running.serve(service)
        plants = {"runs": running.runs_file, "run_s": RUN_S}
        for clock_s in (HOURS_S, -HOURS_S):
            running.work({**plants, "clock_s": clock_s})
        job_id = running.caller.submit(rows)
        job = assert_whole(running.caller, job_id, rows)

        created, expires = (datetime.fromisoformat(job[name]) for name in ("created_at", "expires_at"))
        assert abs((datetime.now(UTC) - created).total_seconds()) < 60
        assert (expires - created).total_seconds() == 3600
        assert {run[0] for run in running.runs()} == {str(worker.pid) for worker in running.workers}
        assert len(running.runs()) == running.chunks(job_id)
        for worker in running.workers:
            worker.stop()
        for clock_s in (HOURS_S, -HOURS_S):
            cleaned(running, clock_s)
        assert_whole(running.caller, job_id, rows)


def cleaned(running: Installation, clock_s: float) -> None:
    """A worker has come that deletes, when it starts, what has expired or was left behind, and has done so."""
    left = running.jobs_folder / ".part-of-long-ago"
    left.touch()
    os.utime(left, (0, 0))
    worker = running.work({"clock_s": clock_s})
    eventually(lambda: not left.exists())
    worker.stop()
