"""Workers that are cut off from the queue: D27."""

import threading
from pathlib import Path

import pytest

from tests.faults.jobs_calls import assert_whole, walks
from tests.faults.jobs_installation import Installation, installation, tended
from tests.faults.jobs_machines import needs_machines, network
from tests.faults.jobs_programs import Worker
from tests.faults.processes import eventually

CUT_OFF_S, BACK_S = 60, 30
PAUSE = threading.Event()


@needs_machines
@pytest.mark.drill
@pytest.mark.parametrize("others", [0, 1], ids=["nobody else is there", "another works on"])
def test_a_worker_that_was_cut_off_for_a_minute_works_again(tmp_path: Path, others: int) -> None:
    rows = walks(8000)
    with (
        network(1) as net,
        installation(tmp_path, chunk_rows=4, addresses=("127.0.0.1", net.address)) as running,
    ):
        plants = {"runs": running.runs_file, "run_s": 0.2}
        worker = running.work(plants, inside=net.machines[0].inside)
        workers = [worker, *(running.work(plants) for _ in range(others))]
        with tended(workers):
            job_id = running.caller.submit(rows)
            eventually(lambda: bool(runs_of(running, worker)))
            net.machines[0].cut_off()
            PAUSE.wait(CUT_OFF_S)
            begun = len(runs_of(running, worker))
            counts = running.caller.get(job_id)["counts"]
            net.machines[0].heal()
            eventually(lambda: len(runs_of(running, worker)) > begun, BACK_S)
            workers.append(running.work({"runs": running.runs_file}))  # quick, for what is left

            assert_whole(running.caller, job_id, rows, deadline_s=300)
            assert counts["failed"] == 0
            assert (counts["completed"] > 800) == bool(others)
        again = len(running.runs()) - running.chunks(job_id)
        assert again <= running.in_hand


def runs_of(running: Installation, worker: Worker) -> list[list[str]]:
    """Runs in the worker's process of now."""
    return [run for run in running.runs() if run[0] == str(worker.pid)]
