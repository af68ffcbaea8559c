"""A queue that dies, freezes or is full: D3, D4, D5, D6."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import redis

from tests.faults.jobs_calls import UNAVAILABLE, Caller, Rows, assert_whole, ndjson, walks
from tests.faults.jobs_disks import Disk, needs_mounts, small_disk
from tests.faults.jobs_installation import Installation, installation, tended
from tests.faults.load import load
from tests.faults.processes import eventually
from tests.faults.wire import SERIES

ANSWERED_S = 2.0
"""Within it every request about jobs is answered while the queue is away."""
BACK_S = 10.0
"""Within it workers work again once the queue is well."""
PAUSE = threading.Event()


@dataclass
class Submitter:
    """Somebody who goes on submitting jobs, and knows which of them were accepted."""

    caller: Caller
    accepted: dict[str, Rows] = field(default_factory=dict)
    statuses: Counter[int] = field(default_factory=Counter)
    slowest_s: float = 0.0
    over: threading.Event = field(default_factory=threading.Event)

    def submit(self) -> str | None:
        rows = walks(40, seed=self.statuses.total())
        began = time.monotonic()
        answer = self.caller.post(ndjson(rows))
        self.statuses[answer.status_code] += 1
        if answer.status_code != 202:
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            return None
        job_id = str(answer.json()["id"])
        self.accepted[job_id] = rows
        return job_id

    def go_on(self) -> None:
        while not self.over.wait(0.2):
            self.submit()

    def assert_none_is_lost(self) -> None:
        for job_id, rows in self.accepted.items():
            assert_whole(self.caller, job_id, rows)


@contextmanager
def submitting(caller: Caller) -> Iterator[Submitter]:
    someone = Submitter(caller)
    thread = threading.Thread(target=someone.go_on)
    thread.start()
    try:
        yield someone
    finally:
        someone.over.set()
        thread.join()


@pytest.mark.slow
def test_a_queue_killed_under_work_loses_no_job_that_was_accepted(tmp_path: Path) -> None:
    kill_the_queue(tmp_path, times=1)


@pytest.mark.drill
def test_a_queue_killed_fifteen_times_under_work_loses_no_job_that_was_accepted(tmp_path: Path) -> None:
    kill_the_queue(tmp_path, times=15)


def kill_the_queue(folder: Path, *, times: int) -> None:
    chance, back_s = random.Random(3), []
    with installation(folder, chunk_rows=4) as running:
        workers = [running.work() for _ in range(2)]
        with tended(workers) as restarts, submitting(running.caller) as someone:
            for _ in range(times):
                PAUSE.wait(chance.uniform(0.5, 2.5))
                running.queue.kill()
                PAUSE.wait(chance.uniform(0.5, 2.0))
                running.queue.start()
                running.queue.wait_until_ready()
                back_s.append(consumed_again_s(running.caller))
        print(f"{times} kills, {restarts()} workers ended, back after {max(back_s):.1f} s at most")
        print(f"{dict(someone.statuses)}, refused after {someone.slowest_s:.2f} s at most")
        with tended(workers):
            someone.assert_none_is_lost()

    assert set(someone.statuses) == {202, 503}
    assert someone.slowest_s < ANSWERED_S
    assert max(back_s) < BACK_S


def consumed_again_s(caller: Caller) -> float:
    """Seconds until a job that is submitted now has ended."""
    began = time.monotonic()
    rows = walks(4)
    assert_whole(caller, caller.submit(rows), rows)
    return time.monotonic() - began


def about_jobs(caller: Caller, job_id: str) -> dict[str, Callable[[], httpx.Response]]:
    """Every kind of request that needs the queue."""
    return {
        "submit": lambda: caller.post(ndjson(walks(10))),
        "get": lambda: caller.ask("GET", f"/v1/jobs/{job_id}"),
        "list": lambda: caller.ask("GET", "/v1/jobs"),
        "cancel": lambda: caller.ask("POST", f"/v1/jobs/{job_id}/cancel"),
        "results": lambda: caller.ask("GET", f"/v1/jobs/{job_id}/results"),
        "errors": lambda: caller.ask("GET", f"/v1/jobs/{job_id}/errors"),
    }


@pytest.mark.slow
def test_while_the_queue_is_frozen_callers_are_told_so_and_forecasts_go_on(tmp_path: Path) -> None:
    freeze_the_queue(tmp_path, seconds=3)


@pytest.mark.drill
def test_while_the_queue_is_frozen_for_20_seconds_callers_are_told_so_and_forecasts_go_on(tmp_path: Path) -> None:
    freeze_the_queue(tmp_path, seconds=20)


def freeze_the_queue(folder: Path, *, seconds: float) -> None:
    rows = walks(300)
    with installation(folder, chunk_rows=4) as running:
        caller = running.caller
        workers = [running.work({"run_s": 0.1})]
        wanted = httpx.post(f"{caller.url}/v1/forecasts", content=SERIES, headers={"Content-Type": "application/json"})
        job_id = caller.submit(rows)
        eventually(lambda: caller.done_rows(job_id) > 0)
        with tended(workers), load(caller.url, wanted.content, callers=4) as asked:
            running.queue.freeze()
            try:
                told = refusals(about_jobs(caller, job_id), seconds)
                asked.wait_for(50)
            finally:
                running.queue.thaw()
            asked.wait_for(50)
            assert_whole(caller, job_id, rows)

    assert {name: statuses for name, (statuses, _) in told.items() if statuses != {503}} == {}
    assert {name: slowest for name, (_, slowest) in told.items() if slowest > ANSWERED_S} == {}
    assert set(asked.outcomes) == {"right"}


def refusals(calls: dict[str, Callable[[], httpx.Response]], seconds: float) -> dict[str, tuple[set[int], float]]:
    """How each kind of request was answered for some seconds, and how many the slowest took."""
    found: dict[str, tuple[set[int], float]] = {}
    until = time.monotonic() + seconds
    while time.monotonic() < until or not found:
        for name, call in calls.items():
            began = time.monotonic()
            status = call().status_code
            statuses, slowest_s = found.get(name, (set(), 0.0))
            found[name] = (statuses | {status}, max(slowest_s, time.monotonic() - began))
    return found


@pytest.mark.slow
def test_while_the_queue_is_full_jobs_are_refused_and_looked_at_and_those_accepted_end(tmp_path: Path) -> None:
    rows = walks(800)
    with installation(tmp_path, chunk_rows=4) as running:
        caller = running.caller
        workers = [running.work({"run_s": 0.05})]
        with tended(workers):
            ended = caller.submit(rows[:10])
            assert_whole(caller, ended, rows[:10])
            job_id, unwanted = caller.submit(rows), caller.submit(rows)
            eventually(lambda: caller.done_rows(job_id) > 0)
            with full(running):
                refused = [caller.post(ndjson(walks(10, seed=seed))) for seed in range(5)]
                assert {answer.status_code for answer in refused} <= set(UNAVAILABLE)
                looked_at = [caller.ask("GET", path) for path in ("/v1/jobs", f"/v1/jobs/{job_id}")]
                read = caller.lines(ended)
                cancelled = caller.cancel(unwanted)
                eventually(lambda: all(worker.is_alive for worker in workers))
                done = caller.done_rows(job_id)
            eventually(lambda: caller.done_rows(job_id) > done or done == len(rows), BACK_S)

            assert {answer.status_code for answer in looked_at} == {200}
            assert len(read) == 10
            assert cancelled["status"] in ("cancelling", "cancelled")
            assert caller.wait(unwanted)["status"] == "cancelled"
            assert_whole(caller, job_id, rows)


@contextmanager
def full(running: Installation) -> Iterator[None]:
    """The queue has less memory than it holds already."""
    with running.queue.client() as client:
        client.config_set("maxmemory", 1_000_000)
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            client.set("drill", "2")
        try:
            yield
        finally:
            client.config_set("maxmemory", 0)


@needs_mounts
@pytest.mark.drill
def test_a_queue_whose_disk_is_full_refuses_and_recovers_with_all_that_it_accepted(tmp_path: Path) -> None:
    with small_disk(tmp_path, size_mib=24) as disk:
        fill_the_queue_s_disk(tmp_path, disk)


def fill_the_queue_s_disk(folder: Path, disk: Disk) -> None:
    with installation(folder, chunk_rows=4, queue_inside=disk.inside, queue_folder=disk.at) as running:
        workers = [running.work()]
        with tended(workers), submitting(running.caller) as someone:
            eventually(lambda: len(someone.accepted) >= 2)
            disk.fill()
            eventually(lambda: someone.statuses[503] + someone.statuses[507] >= 3)
            queue_was_alive = running.queue.is_alive
            disk.free()
            before = len(someone.accepted)
            eventually(lambda: len(someone.accepted) > before, deadline_s=5)
        running.queue.kill()  # what it had accepted stands on disk, not in its memory alone
        running.queue.start()
        with tended(workers):
            running.queue.wait_until_ready()
            someone.assert_none_is_lost()

    assert queue_was_alive
    assert set(someone.statuses) <= {202, *UNAVAILABLE}
    assert someone.slowest_s < ANSWERED_S
