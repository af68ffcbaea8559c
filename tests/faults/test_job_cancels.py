"""Jobs that are cancelled before, during and without work: D24."""

from pathlib import Path

import pytest

from tests.faults.jobs_calls import assert_right, assert_whole, walks
from tests.faults.jobs_installation import installation
from tests.faults.processes import eventually

RUN_S = 0.5
"""Seconds of a chunk here."""


@pytest.mark.slow
def test_no_chunk_starts_after_a_cancellation_was_answered(tmp_path: Path) -> None:
    rows = walks(200)
    with installation(tmp_path, chunk_rows=4) as running:
        caller = running.caller
        before_work = caller.submit(rows)
        assert caller.cancel(before_work)["status"] == "cancelled"
        worker = running.work({"runs": running.runs_file, "run_s": RUN_S})

        under_work = caller.submit(rows)
        eventually(lambda: caller.done_rows(under_work) > 0)
        caller.cancel(under_work)
        begun = len(running.runs())
        job = caller.wait(under_work, deadline_s=10)
        after = caller.submit(rows[:8])
        assert_whole(caller, after, rows[:8])

        assert job["status"] == "cancelled"
        assert len(running.runs()) == begun + running.chunks(after)
        lines = caller.lines(under_work)
        assert len(lines) == job["counts"]["completed"]
        places = [int(line["id"].removeprefix("series-")) for line in lines]
        assert_right(lines, {place: rows[place] for place in places})
        assert caller.lines(before_work) == []
        assert worker.stop() == 0


@pytest.mark.drill
@pytest.mark.parametrize("cancelled_while", ["no worker is there", "a worker starts again"])
def test_a_job_whose_worker_died_is_cancelled_all_the_same(tmp_path: Path, cancelled_while: str) -> None:
    rows = walks(200)
    with installation(tmp_path, chunk_rows=4) as running:
        caller = running.caller
        worker = running.work({"runs": running.runs_file, "run_s": RUN_S})
        job_id = caller.submit(rows)
        eventually(lambda: caller.done_rows(job_id) > 0)
        worker.kill()
        if cancelled_while == "a worker starts again":
            worker.start()
        status = caller.cancel(job_id)["status"]
        begun = len(running.runs())
        if not worker.is_alive:
            worker.start()

        assert status in ("cancelling", "cancelled")
        assert caller.wait(job_id)["status"] == "cancelled"
        assert len(running.runs()) == begun
        assert_whole(caller, caller.submit(rows[:8]), rows[:8])
