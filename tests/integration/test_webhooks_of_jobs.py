"""Webhooks from a submission to a receiver, over a real Valkey and a real worker process."""

import base64
import io
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis
from standardwebhooks import Webhook

from models.repository import Repository
from tests.integration.receiving import Receiver, receiving
from tests.integration.server_process import working
from tests.integration.up_process import until
from worker.errors import WebhookRefused
from worker.intake import Upload
from worker.jobs import Jobs, Wishes
from worker.media_types import NDJSON
from worker.receivers import AllowedHosts
from worker.requests import Options
from worker.settings import WorkerSettings
from worker.signing import Secrets
from worker.webhooks import Webhooks
from worker.work import connect_ledger, ended

SECRET = f"whsec_{base64.b64encode(bytes(32)).decode()}"
ROW = b'{"id":"KO","closes":[1,2,3]}\n'


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving((500, {}), (204, {})) as opened:
        yield opened


@pytest.fixture
def settings(tmp_path: Path, valkey_url: str, receiver: Receiver) -> WorkerSettings:
    with redis.Redis.from_url(valkey_url) as connection:
        connection.flushdb()
    return WorkerSettings(
        redis_url=valkey_url,
        jobs_url=str(tmp_path / "jobs"),
        device="cpu",
        webhook_hosts=AllowedHosts(f"http://127.0.0.1:{receiver.port}"),
        webhook_secret=Secrets(SECRET),
    )


@pytest.fixture
def jobs(settings: WorkerSettings, models: Repository) -> Iterator[Jobs]:
    with closing(Jobs.connect(settings, models)) as opened:
        yield opened


def submit(jobs: Jobs, url: str) -> str:
    wishes = Wishes(options=Options(), webhook=url)
    return jobs.submit(Upload(io.BytesIO(ROW), NDJSON), wishes=wishes, idempotency_key=None).id


@pytest.mark.slow
def test_a_receiver_is_told_by_the_worker_and_told_again_where_it_could_not(
    jobs: Jobs, settings: WorkerSettings, receiver: Receiver, tmp_path: Path
) -> None:
    job_id = submit(jobs, f"http://127.0.0.1:{receiver.port}/in")

    env = {"NEXTDAY_REDIS_URL": settings.redis_url, "NEXTDAY_JOBS_URL": settings.jobs_url, "NEXTDAY_DEVICE": "cpu",
           "NEXTDAY_WEBHOOK_HOSTS": str(settings.webhook_hosts), "NEXTDAY_WEBHOOK_SECRET": SECRET}  # fmt: skip
    with working(tmp_path, **env):
        until(lambda: len(receiver.got) == 2, "it is told twice")
        until(lambda: jobs.get(job_id, owner=None).webhook.state == "delivered", "the ledger knows")

    job = jobs.get(job_id, owner=None)
    events = [Webhook(SECRET).verify(each.body, each.headers) for each in receiver.got]
    assert events[0] == events[1]
    assert (events[0]["type"], events[0]["data"]["id"]) == ("job.completed", job_id)
    assert job.webhook.attempts == 2
    assert receiver.got[0].headers["webhook-id"] == receiver.got[1].headers["webhook-id"]


def test_what_one_has_begun_and_not_ended_comes_again_and_what_is_delivered_does_not(
    jobs: Jobs, settings: WorkerSettings, receiver: Receiver
) -> None:
    receiver.replies[:] = [(204, {})]
    job_id = submit(jobs, f"http://127.0.0.1:{receiver.port}/in")
    jobs.cancel(job_id, owner=None)

    with closing(connect_ledger(settings)) as ledger, redis.Redis.from_url(settings.redis_url) as connection:
        assert ledger.hooks_due(1) == [(job_id, 0)]  # by one that dies now
        webhooks = Webhooks(settings, ledger, ended(ledger))
        assert webhooks.deliver_due() == 0
        connection.zadd("nextday:hooks", {job_id: 0})  # a minute goes by
        assert webhooks.deliver_due() == 1
        assert webhooks.deliver_due() == 0

    assert jobs.get(job_id, owner=None).webhook.state == "delivered"
    assert len(receiver.got) == 1


def test_a_webhook_that_would_not_be_sent_refuses_the_job(jobs: Jobs) -> None:
    with pytest.raises(WebhookRefused):
        submit(jobs, "https://elsewhere.example/")

    assert jobs.page(owner=None, limit=10, after=None).jobs == []
