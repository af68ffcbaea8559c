"""Workers that die or are told to stop in the middle of their work: D1, D2, D9, D23."""

import random
import threading
from pathlib import Path

import pytest

from tests.faults.jobs_calls import assert_right, assert_whole, walks
from tests.faults.jobs_installation import Installation, installation, tended
from tests.faults.processes import eventually

POISON = 666.125
PAUSE = threading.Event()
"""Never set: what is waited for is that time passes, so that a kill falls anywhere."""


@pytest.mark.slow
def test_a_message_lost_between_taking_and_noting_it_costs_at_most_two_leases(tmp_path: Path) -> None:
    rows, loss = walks(40), tmp_path / "loss"
    with installation(tmp_path, lease_s=4.0) as running:
        doomed = running.work({"loss": loss}, sweep_s=60.0)  # else its sweep may make up for the message as it dies
        job_id = running.caller.submit(rows)
        assert doomed.wait() == -9
        with running.queue.client() as client:
            assert (client.llen("nextday:work"), client.hlen("nextday:unacked")) == (0, 0)

        running.work()
        running.caller.wait(job_id, deadline_s=2 * 4.0)

        assert_whole(running.caller, job_id, rows)


@pytest.mark.slow
def test_a_few_killed_workers_cost_nothing_but_time(tmp_path: Path) -> None:
    with installation(tmp_path, chunk_rows=2) as running:
        kill_workers(running, kills=3, chunks=400, workers=2)


@pytest.mark.drill
def test_sixty_killed_workers_cost_nothing_but_time(tmp_path: Path) -> None:
    with installation(tmp_path, chunk_rows=2) as running:
        kill_workers(running, kills=60, chunks=10_000, workers=3)


def kill_workers(running: Installation, *, kills: int, chunks: int, workers: int) -> None:
    """Kill workers at random times, a job always under way; then each row of each job is there once and right."""
    chance, jobs, cut = random.Random(1), {}, 0
    programs = [running.work({"runs": running.runs_file}, ready=False) for _ in range(workers)]
    programs[0].wait_until_ready()
    with tended(programs) as restarts:
        while restarts() < kills or cut < chunks:
            if running.queue.client().scard("nextday:unfinished") < 2:
                rows = walks(800, seed=len(jobs))
                jobs[running.caller.submit(rows)] = rows
                cut += running.chunks(next(reversed(jobs)))
            doomed = chance.choice(programs)
            PAUSE.wait(chance.uniform(0, 1.5))
            if restarts() < kills and " ready." in doomed.said:
                doomed.kill()
        for job_id, rows in jobs.items():
            assert_whole(running.caller, job_id, rows, deadline_s=300)
    again = len(running.runs()) - cut
    print(f"{restarts()} kills, {cut} chunks, {again} of them run again")
    assert again <= restarts() * running.in_hand


@pytest.mark.slow
def test_workers_told_to_stop_in_the_middle_of_a_chunk_end_well(tmp_path: Path) -> None:
    stop_workers(tmp_path, times=2)


@pytest.mark.drill
def test_thirty_workers_told_to_stop_in_the_middle_of_a_chunk_end_well(tmp_path: Path) -> None:
    stop_workers(tmp_path, times=30)


def stop_workers(folder: Path, *, times: int) -> None:
    rows = walks(times * 6 * 4)
    with installation(folder, chunk_rows=4, worker_threads=2) as running:
        job_id = running.caller.submit(rows)
        worker = running.work({"runs": running.runs_file, "run_s": 0.5}, ready=False)
        for _ in range(times):
            begun = len(running.runs())
            eventually(lambda begun=begun: len(running.runs()) > begun)
            assert worker.stop() == 0
            worker.start()

        job = assert_whole(running.caller, job_id, rows)

        assert job["counts"]["completed"] == len(rows)
        again = len(running.runs()) - running.chunks(job_id)  # given back at once, and so run again
        assert again <= times * int(str(running.settings["worker_threads"]))


@pytest.mark.slow
def test_a_series_that_kills_its_workers_becomes_an_error_and_the_rest_is_delivered(tmp_path: Path) -> None:
    rows, others = walks(60), walks(60, seed=1)
    poisoned = [*rows[:25], [*rows[25], POISON], *rows[26:]]
    with installation(tmp_path, chunk_rows=10, max_attempts=3, worker_threads=2) as running:
        programs = [running.work({"runs": running.runs_file, "poison": POISON}) for _ in range(2)]
        with tended(programs) as restarts:
            job_id, other = running.caller.submit(poisoned), running.caller.submit(others)
            assert_whole(running.caller, other, others)
            job = running.caller.wait(job_id)

        errors = running.caller.lines(job_id, "errors")
        assert job["status"] == "completed"
        assert 25 in {error["row"] for error in errors} <= set(range(20, 30))
        assert all("attempts" in error["error"] for error in errors)
        good = sorted(set(range(60)) - {error["row"] for error in errors})
        assert_right(running.caller.lines(job_id), {row: rows[row] for row in good})
        assert restarts() <= 3
