"""Jobs from upload to results, over a real Valkey and real Celery worker processes."""

import csv
import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import redis

from models.errors import InputError
from models.ragged import Ragged
from models.repository import Repository
from tests.bucket_server import CREDENTIALS, bucket_server, jobs_url
from tests.integration.job_steps import (
    ended,
    eventually,
    kill_workers,
    let_time_pass,
    ndjson,
    read_lines,
    submit,
    walks,
    whole,
    work_off,
    worker,
)
from worker.blobs import Blobs
from worker.chunks import Chunks, input_name
from worker.errors import (
    IdempotencyConflict,
    JobExpired,
    JobNotFinished,
    JobNotFound,
    QueueUnavailable,
    ResultsDamaged,
    StorageUnavailable,
    TooManyJobs,
)
from worker.jobs import Jobs
from worker.ledger import Ledger
from worker.media_types import CSV, NDJSON
from worker.settings import WorkerSettings
from worker.sweeper import Sweeper


def test_a_job_gives_the_forecaster_s_own_numbers_in_input_order(
    settings: WorkerSettings, jobs: Jobs, models: Repository, tmp_path: Path
) -> None:
    rows = walks(230)
    job = submit(jobs, ndjson(rows))

    with worker(settings, tmp_path / "worker.log"):
        job = ended(jobs, job)

    results = read_lines(jobs.results(job.id, NDJSON))
    assert (job.status, job.counts.total, job.counts.completed, job.progress) == ("completed", 230, 230, 1.0)
    assert [result["id"] for result in results] == [f"series-{row}" for row in range(230)]
    answered = np.array([list(result["quantiles"].values()) for result in results], np.float32)
    assert np.array_equal(answered, models.get("lstm").predict(Ragged.of(rows)))


@pytest.mark.slow
def test_a_worker_killed_in_the_middle_of_100_000_series_costs_nothing_but_time(
    settings: WorkerSettings, models: Repository, tmp_path: Path, connect: Callable[..., Jobs]
) -> None:
    rows = walks(100_000)
    jobs = connect(chunk_rows=2048)
    job = submit(jobs, ndjson(rows))

    for _ in range(3):
        with worker(settings, tmp_path / "worker.log") as process:
            before = jobs.get(job.id).progress
            eventually(lambda before=before: jobs.get(job.id).progress > before)
            assert jobs.get(job.id).status == "in_progress"
            process.kill()
    with worker(settings, tmp_path / "worker.log"):
        job = ended(jobs, job)

    results = read_lines(jobs.results(job.id, NDJSON))
    assert (job.status, job.counts.completed, job.counts.failed) == ("completed", 100_000, 0)
    assert [result["id"] for result in results] == [f"series-{row}" for row in range(100_000)]
    answered = np.array([list(result["quantiles"].values()) for result in results], np.float32)
    assert np.array_equal(answered, models.get("lstm").predict(Ragged.of(rows)))


def test_a_job_whose_messages_were_all_lost_is_swept_up(settings: WorkerSettings, jobs: Jobs, tmp_path: Path) -> None:
    job = submit(jobs, ndjson(walks(120)))
    with redis.Redis.from_url(settings.redis_url) as connection:
        connection.delete("nextday:work")

    with worker(settings, tmp_path / "worker.log"):
        assert ended(jobs, job).status == "completed"


def test_one_bad_series_is_one_error_row(jobs: Jobs, chunks: Chunks) -> None:
    rows = walks(100)
    rows[3] = [100.0, -1.0, 101.0]
    rows[60] = [100.0]
    job = work_off(jobs, chunks, submit(jobs, ndjson(rows) + b"\nnot json"))

    errors = read_lines(jobs.errors(job.id, NDJSON))

    assert (job.status, job.counts.completed, job.counts.failed) == ("completed", 98, 3)
    assert [(error["row"], error["id"]) for error in errors] == [(3, "series-3"), (60, "series-60"), (100, None)]
    assert "close 1 is -1.0" in errors[0]["error"]
    assert "line 101" in errors[2]["error"]
    assert len(read_lines(jobs.results(job.id, NDJSON))) == 98


def test_csv_results_read_back_to_the_same_bits(jobs: Jobs, chunks: Chunks, models: Repository) -> None:
    rows = walks(120)
    body = "id,closes\n" + "\n".join(f"=S{row},{' '.join(map(str, closes))}" for row, closes in enumerate(rows))
    job = work_off(jobs, chunks, submit(jobs, body.encode(), CSV, levels=[0.95, 0.05]))

    header, *lines = csv.reader(whole(jobs.results(job.id, CSV)).decode().splitlines())

    assert header == ["id", "as_of", "last_close", "median", "0.05", "0.95"]
    assert lines[7][0] == "'=S7"  # no spreadsheet takes it for a formula
    answered = np.array([line[-2:] for line in lines], np.float64).astype(np.float32)
    assert np.array_equal(answered, models.get("lstm").predict(Ragged.of(rows))[:, [1, 7]])


def test_a_job_is_pinned_to_the_model_it_was_accepted_for(jobs: Jobs, chunks: Chunks, models: Repository) -> None:
    job = work_off(jobs, chunks, submit(jobs, ndjson(walks(10)), model="rnn"))

    assert (job.model.name, job.model.digest) == ("rnn", models.get("rnn").card.digest)


def test_a_chunk_that_cannot_be_scored_becomes_error_rows_and_the_rest_is_delivered(
    settings: WorkerSettings, jobs: Jobs, chunks: Chunks, ledger: Ledger
) -> None:
    job = submit(jobs, ndjson(walks(100)))
    kill_workers(settings, ledger, settings.max_attempts)

    job = work_off(jobs, chunks, job)

    assert (job.status, job.counts.completed, job.counts.failed) == ("completed", 50, 50)
    assert "5 attempts" in read_lines(jobs.errors(job.id, NDJSON))[0]["error"]


def test_a_chunk_that_fails_comes_again_later(
    settings: WorkerSettings, jobs: Jobs, chunks: Chunks, sweeper: Sweeper
) -> None:
    job = submit(jobs, ndjson(walks(10)))
    input_file = Path(settings.jobs_url) / input_name(job.id)
    input_file.rename(input_file.with_suffix(".away"))
    assert chunks.work_once() == "score"
    assert chunks.work_once() == "nothing"
    input_file.with_suffix(".away").rename(input_file)

    with redis.Redis.from_url(settings.redis_url) as connection:
        connection.delete("nextday:work")  # else the message of the submission will do

    eventually(lambda: sweeper.sweep() == 1)

    assert work_off(jobs, chunks, job).status == "completed"


def test_a_job_whose_input_is_gone_for_good_fails(
    settings: WorkerSettings, jobs: Jobs, chunks: Chunks, ledger: Ledger
) -> None:
    job = submit(jobs, ndjson(walks(10)))
    (Path(settings.jobs_url) / input_name(job.id)).unlink()
    kill_workers(settings, ledger, settings.max_attempts)

    chunks.work_once()

    assert jobs.get(job.id).status == "failed"
    assert "input" in jobs.get(job.id).reason


def test_a_job_whose_input_is_damaged_fails_rather_than_runs_for_ever(
    settings: WorkerSettings, jobs: Jobs, chunks: Chunks, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    job = submit(jobs, ndjson(walks(10)))
    input_file = Path(settings.jobs_url) / input_name(job.id)
    input_file.write_bytes(input_file.read_bytes()[:-20])

    for attempt in range(settings.max_attempts):
        assert chunks.work_once() == "score"
        assert f"chunk 0 failed {attempt + 1} times so far" in caplog.text
        let_time_pass(settings, ledger)

    assert jobs.get(job.id).status == "failed"
    assert "damaged" in jobs.get(job.id).reason


def test_a_result_that_is_counted_is_never_deleted(
    jobs: Jobs, chunks: Chunks, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    job = submit(jobs, ndjson(walks(10)))
    claim = ledger.claim("a", lease_s=60, max_attempts=5)
    scored = chunks._results(claim)

    chunks._store(claim, *scored)
    work_off(jobs, chunks, job)
    chunks._store(claim, *scored)  # after the job has ended

    assert len(read_lines(jobs.results(job.id, NDJSON))) == 10
    outcomes = [message.rpartition(" ")[2] for message in caplog.messages if f"{job.id} chunk 0: " in message]
    assert outcomes == ["counted", "double"]


def test_cleaning_leaves_alone_what_is_not_ours(settings: WorkerSettings, jobs: Jobs, sweeper: Sweeper) -> None:
    root = Path(settings.jobs_url)
    names = ["precious", "notes.txt", "0" * 31, "0" * 32, ".part-upload"]
    for name in names:
        (root / name).mkdir(parents=True) if name[0] == "0" or name == "precious" else (root / name).touch()
        os.utime(root / name, (0, 0))

    sweeper.clean()

    assert sorted(path.name for path in root.iterdir()) == sorted(names[:3])


def test_a_cancelled_job_keeps_what_was_done(jobs: Jobs, chunks: Chunks) -> None:
    job = submit(jobs, ndjson(walks(100)))
    chunks.work_once()

    job = jobs.cancel(job.id)

    assert job.status == "cancelled"
    assert chunks.work_once() == "nothing"
    assert len(read_lines(jobs.results(job.id, NDJSON))) == 50


def test_results_wait_for_the_end(jobs: Jobs) -> None:
    job = submit(jobs, ndjson(walks(10)))

    with pytest.raises(JobNotFinished):
        jobs.results(job.id, NDJSON)


def test_the_same_key_gives_the_same_job_and_leaves_no_second_input(settings: WorkerSettings, jobs: Jobs) -> None:
    body = ndjson(walks(10))

    first, again = submit(jobs, body, key="k"), submit(jobs, body, key="k")

    assert first.id == again.id
    assert [path.name for path in Path(settings.jobs_url).iterdir()] == [first.id]
    with pytest.raises(IdempotencyConflict):
        submit(jobs, body + b"\n", key="k")
    with pytest.raises(IdempotencyConflict):
        submit(jobs, body, key="k", levels=[0.5])


@pytest.mark.parametrize(
    ("body", "options"),
    [(b"", {}), (b"\n\n", {}), (ndjson(walks(2)), {"model": "none"}), (ndjson(walks(2)), {"levels": [0.3]})],
)
def test_what_is_refused_leaves_nothing_behind(
    settings: WorkerSettings, jobs: Jobs, body: bytes, options: dict
) -> None:
    with pytest.raises(InputError):
        submit(jobs, body, **options)

    assert jobs.page(limit=10).jobs == []
    assert list(Path(settings.jobs_url).rglob("*")) == []


def test_no_more_jobs_are_let_in_than_allowed(connect: Callable[..., Jobs]) -> None:
    jobs = connect(max_jobs=1)
    submit(jobs, ndjson(walks(2)))

    with pytest.raises(TooManyJobs):
        submit(jobs, ndjson(walks(2)))


def test_a_queue_that_is_away_is_said_at_once(settings: WorkerSettings, connect: Callable[..., Jobs]) -> None:
    jobs = connect(redis_url="redis://127.0.0.1:1/0")

    with pytest.raises(QueueUnavailable):
        submit(jobs, ndjson(walks(2)))

    assert jobs.queue_state()["ok"] is False
    assert not Path(settings.jobs_url).exists()


def test_a_folder_that_cannot_be_written_is_said_and_accepts_nothing(
    tmp_path: Path, connect: Callable[..., Jobs]
) -> None:
    (tmp_path / "a file").touch()
    jobs = connect(jobs_url=str(tmp_path / "a file"))

    with pytest.raises(StorageUnavailable):
        submit(jobs, ndjson(walks(2)))

    assert jobs.page(limit=1).jobs == []


def test_a_result_file_that_changed_on_disk_is_not_given_out(
    settings: WorkerSettings, jobs: Jobs, chunks: Chunks
) -> None:
    job = work_off(jobs, chunks, submit(jobs, ndjson(walks(10))))
    (file,) = (Path(settings.jobs_url) / job.id).glob("result-*")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)

    with pytest.raises(ResultsDamaged):
        jobs.results(job.id, NDJSON)


def test_an_expired_job_s_files_are_deleted_and_it_is_told_of_for_a_day(
    settings: WorkerSettings, connect: Callable[..., Jobs], sweeper: Sweeper, ledger: Ledger
) -> None:
    jobs = connect(retention_h=0.0)
    job = submit(jobs, ndjson(walks(2)))

    sweeper.clean()

    assert list(Path(settings.jobs_url).iterdir()) == []
    assert jobs.get(job.id).status == "expired"
    with pytest.raises(JobExpired):
        jobs.results(job.id, NDJSON)
    with redis.Redis.from_url(settings.redis_url) as connection:
        remaining_s = connection.zscore("nextday:expiry", job.id) / 1000 - connection.time()[0]
        assert 86_000 < remaining_s < 86_500
        connection.zadd("nextday:expiry", {job.id: 1})
    sweeper.clean()
    with pytest.raises(JobNotFound):
        jobs.get(job.id)


@pytest.mark.slow
def test_a_job_whose_files_lie_in_a_bucket_gives_the_same_results(
    jobs: Jobs, chunks: Chunks, connect: Callable[..., Jobs], settings: WorkerSettings, ledger: Ledger,
    models: Repository, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    body = ndjson(walks(120))
    usual = whole(jobs.results(work_off(jobs, chunks, submit(jobs, body)).id, NDJSON))
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)

    with bucket_server() as address:
        afar = connect(jobs_url=jobs_url(address))
        workers = Chunks(settings, ledger, Blobs.of(jobs_url(address)), models)
        job = work_off(afar, workers, submit(afar, body))
        found = afar.results(job.id, NDJSON)

        assert (whole(found), found.etag) == (usual, hashlib.sha256(usual).hexdigest())
        with found.open_here(0, found.size_bytes - 1) as file:
            assert file.read() == usual
    with pytest.raises(StorageUnavailable, match="NETWORK_CONNECTION"):
        submit(afar, body)
    with pytest.raises(StorageUnavailable, match="NETWORK_CONNECTION"):
        found.read(0, 10)
    assert workers.work_once() == "nothing"
    assert len(afar.page(limit=10).jobs) == 2
