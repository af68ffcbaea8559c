"""Jobs after they are submitted: owners, pages, resuming, deleting, and results that are looked at before the end."""

from base64 import b64encode
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.integration.job_steps import (
    eventually,
    kill_workers,
    ndjson,
    read_lines,
    submit,
    walks,
    work_off,
)
from worker.chunks import Chunks
from worker.errors import BadCursor, JobNotFound, JobStateConflict, TooManyBytes, TooManyJobs
from worker.jobs import Jobs
from worker.ledger import Ledger
from worker.media_types import NDJSON
from worker.receivers import AllowedHosts
from worker.settings import WorkerSettings
from worker.signing import Secrets
from worker.sweeper import Sweeper
from worker.views import Job

BODY = ndjson(walks(3))


def result_files(settings: WorkerSettings, job: Job) -> list[Path]:
    return sorted((Path(settings.jobs_url) / job.id).glob("result-*"))


def score_all_but_verify(chunks: Chunks, number: int) -> None:
    for _ in range(number):
        assert chunks.work_once() == "score"


@pytest.mark.parametrize("damage", ["missing", "changed", "short"])
def test_a_result_that_was_lost_before_the_end_is_scored_again(
    settings: WorkerSettings, jobs: Jobs, chunks: Chunks, damage: str
) -> None:
    job = submit(jobs, ndjson(walks(150)))
    score_all_but_verify(chunks, 3)
    file = result_files(settings, job)[1]
    whole = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(whole[:-50] if damage == "short" else whole[:-50] + bytes(50))

    assert jobs.get(job.id).status == "finalizing"
    assert chunks.work_once() == "verify"

    assert (jobs.get(job.id).status, jobs.get(job.id).counts.completed) == ("in_progress", 100)
    job = work_off(jobs, chunks, job)
    assert (job.status, job.counts.completed) == ("completed", 150)
    assert file.read_bytes() == whole
    assert [line["id"] for line in read_lines(jobs.results(job.id, NDJSON))] == [f"series-{row}" for row in range(150)]


def test_a_cancelled_job_resumes_and_gives_every_row_once(jobs: Jobs, chunks: Chunks) -> None:
    job = submit(jobs, ndjson(walks(150)))
    chunks.work_once()
    assert jobs.cancel(job.id).status == "cancelled"

    job = jobs.resume(job.id)

    assert (job.status, job.finished_at, job.counts.completed) == ("queued", None, 50)
    assert work_off(jobs, chunks, job).status == "completed"
    assert [line["id"] for line in read_lines(jobs.results(job.id, NDJSON))] == [f"series-{row}" for row in range(150)]


def test_a_failed_job_resumes_once_its_input_is_back(
    settings: WorkerSettings, jobs: Jobs, chunks: Chunks, ledger: Ledger
) -> None:
    job = submit(jobs, ndjson(walks(100)))
    kill_workers(settings, ledger, settings.max_attempts)
    chunks.work_once()  # sets the chunk aside
    ledger.fail(job.id, "somebody said so")
    assert jobs.get(job.id).counts.failed == 50

    jobs.resume(job.id)

    job = work_off(jobs, chunks, job)
    assert (job.status, job.reason, job.counts.completed, job.counts.failed) == ("completed", None, 100, 0)


def test_only_what_has_ended_can_be_deleted_and_only_what_broke_off_resumed(
    settings: WorkerSettings, jobs: Jobs, chunks: Chunks
) -> None:
    job = submit(jobs, BODY)
    with pytest.raises(JobStateConflict, match="cancel it first"):
        jobs.delete(job.id)
    work_off(jobs, chunks, job)
    with pytest.raises(JobStateConflict, match="is completed; only a job that failed"):
        jobs.resume(job.id)

    jobs.delete(job.id)

    assert list(Path(settings.jobs_url).iterdir()) == []
    for act in (jobs.get, jobs.delete, jobs.resume, jobs.cancel):
        with pytest.raises(JobNotFound):
            act(job.id)


def test_a_deletion_that_was_cut_short_is_ended_by_a_sweeper(
    settings: WorkerSettings, jobs: Jobs, chunks: Chunks, ledger: Ledger, sweeper: Sweeper
) -> None:
    job = work_off(jobs, chunks, submit(jobs, BODY))
    ledger.delete(job.id)

    sweeper.clean()

    assert list(Path(settings.jobs_url).iterdir()) == []
    assert jobs.get(job.id).status == "expired"


def test_a_job_of_another_owner_is_not_found_and_not_listed(jobs: Jobs) -> None:
    job = submit(jobs, BODY, owner="a")
    submit(jobs, BODY, owner="b")

    for act in (jobs.get, jobs.delete, jobs.resume, jobs.cancel):
        with pytest.raises(JobNotFound):
            act(job.id, owner="b")
    for read in (jobs.results, jobs.errors):
        with pytest.raises(JobNotFound):
            read(job.id, NDJSON, owner="b")

    assert jobs.get(job.id, owner="a").id == jobs.get(job.id, owner=None).id == job.id
    assert [each.id for each in jobs.page(owner="a", limit=9).jobs] == [job.id]
    assert len(jobs.page(owner=None, limit=9).jobs) == 2
    assert jobs.page(owner="", limit=9).jobs == []


def test_two_owners_keys_are_apart(jobs: Jobs) -> None:
    first, other = submit(jobs, BODY, key="k", owner="a"), submit(jobs, BODY, key="k", owner="b")

    assert first.id != other.id
    assert submit(jobs, BODY, key="k", owner="a").id == first.id


def test_an_owner_has_no_more_jobs_and_bytes_than_allowed(
    settings: WorkerSettings, connect: Callable[..., Jobs], chunks: Chunks
) -> None:
    jobs = connect(owner_jobs=1, owner_bytes=6000)
    job = submit(jobs, BODY, owner="a")

    with pytest.raises(TooManyJobs, match="1 jobs of yours"):
        submit(jobs, BODY, owner="a")
    submit(jobs, BODY, owner="b")
    work_off(jobs, chunks, job)
    with pytest.raises(TooManyBytes, match="delete jobs"):
        submit(jobs, ndjson(walks(50)), owner="a")

    folders = {path.name for path in Path(settings.jobs_url).iterdir()}
    assert len(folders) == 2, "what is refused leaves nothing behind"


def test_pages_follow_each_other_to_the_end(jobs: Jobs, chunks: Chunks) -> None:
    made = [submit(jobs, BODY, model=model).id for model in ("lstm", "rnn", "lstm", "mlp", "lstm")]
    work_off(jobs, chunks, jobs.get(made[0]))
    cancelled = submit(jobs, BODY)
    jobs.cancel(cancelled.id)

    seen, after = [], None
    while True:
        page = jobs.page(limit=2, after=after)
        seen += [job.id for job in page.jobs]
        if page.next is None:
            break
        after = page.next

    assert seen == [cancelled.id, *reversed(made)]
    assert [job.id for job in jobs.page(limit=9, model="rnn").jobs] == [made[1]]
    assert [job.id for job in jobs.page(limit=9, status=["cancelled"]).jobs] == [cancelled.id]
    assert jobs.page(limit=9, status=["failed", "queued"]).jobs == []


@pytest.mark.parametrize("cursor", ["", "x", "????", "bm90IGEgcGxhY2U", "\N{SNOWMAN}"])
def test_what_is_no_cursor_is_refused(jobs: Jobs, cursor: str) -> None:
    with pytest.raises(BadCursor):
        jobs.page(limit=1, after=cursor)


def test_a_job_tells_how_fast_it_is_and_how_long_it_has_left(connect: Callable[..., Jobs], chunks: Chunks) -> None:
    secret = Secrets("whsec_" + b64encode(b"k" * 32).decode())
    jobs = connect(webhook_hosts=AllowedHosts("example.com"), webhook_secret=secret)
    rows = b"\n".join(row[:-1] + b', "sector": "drinks"}' for row in ndjson(walks(150)).splitlines())
    job = submit(jobs, rows, join=("sector",), webhook="https://example.com", expires_in_h=2)
    assert (job.rows_per_second, job.seconds_left, job.source, job.joined) == (None, None, NDJSON, ["sector"])
    assert (job.webhook.url, job.webhook.state, job.webhook.attempts) == ("https://example.com", "", 0)
    chunks.work_once()

    eventually(lambda: jobs.get(job.id).seconds_left is not None)
    looked = jobs.get(job.id)

    assert looked.rows_per_second > 0
    assert looked.seconds_left == pytest.approx(100 / looked.rows_per_second, rel=0.01)
    done = work_off(jobs, chunks, job)
    assert (done.seconds_left, done.webhook.state) == (None, "pending")
    assert done.created_at <= done.started_at <= done.finalizing_at <= done.finished_at < done.expires_at


def test_a_job_lives_no_longer_than_the_setting_says(connect: Callable[..., Jobs]) -> None:
    jobs = connect(retention_h=1.0)

    ask, more = submit(jobs, BODY, expires_in_h=0.5), submit(jobs, BODY, expires_in_h=1000)

    for job, hours in ((ask, 0.5), (more, 1.0)):
        lives_for = datetime.fromisoformat(job.expires_at) - datetime.fromisoformat(job.created_at)
        assert lives_for == timedelta(hours=hours)
