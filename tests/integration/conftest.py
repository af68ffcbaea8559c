"""The service as its users meet it: a real server process on a port of its own."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from models.repository import Repository
from tests.integration.server_process import Server, serving, stop
from worker.blobs import Blobs
from worker.chunks import Chunks
from worker.jobs import Jobs
from worker.ledger import Ledger
from worker.settings import WorkerSettings
from worker.sweeper import Sweeper
from worker.work import connect_ledger


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, valkey_url: str) -> Iterator[Server]:
    """A server that is ready; it has two processes, a queue, and no worker."""
    folder = tmp_path_factory.mktemp("service")
    with serving(folder, NEXTDAY_REDIS_URL=valkey_url, NEXTDAY_MAX_JOB_BYTES="1000000") as running:
        yield running
        assert stop(running) == 0


@pytest.fixture(scope="module")
def service_url(server: Server) -> str:
    """The address of a server that is ready."""
    return server.url


@pytest.fixture
def own_server(tmp_path: Path, valkey_url: str) -> Iterator[Server]:
    """A server that a test may end as it likes."""
    with serving(tmp_path, NEXTDAY_REDIS_URL=valkey_url) as running:
        yield running


@pytest.fixture
def valkey(valkey_url: str) -> Iterator[redis.Redis]:
    """A connection to a real Valkey with nothing in it."""
    with redis.Redis.from_url(valkey_url, decode_responses=True) as connection:
        connection.flushdb()
        yield connection


@pytest.fixture
def settings(tmp_path: Path, valkey_url: str) -> WorkerSettings:
    """Of workers whose leases are short, over a Valkey with nothing in it."""
    with redis.Redis.from_url(valkey_url) as connection:
        connection.flushdb()
    return WorkerSettings(
        redis_url=valkey_url,
        jobs_url=str(tmp_path / "jobs"),
        device="cpu",
        chunk_rows=50,
        lease_s=1.0,
        sweep_s=0.1,
        worker_threads=2,
    )


@pytest.fixture
def connect(settings: WorkerSettings, models: Repository) -> Iterator[Callable[..., Jobs]]:
    """Jobs under other settings than the usual."""
    with ExitStack() as opened:
        yield lambda **changes: opened.enter_context(closing(Jobs.connect(replace(settings, **changes), models)))


@pytest.fixture
def jobs(connect: Callable[..., Jobs]) -> Jobs:
    """What the service has of jobs."""
    return connect()


@pytest.fixture
def ledger(settings: WorkerSettings) -> Iterator[Ledger]:
    """The ledger of the jobs."""
    with closing(connect_ledger(settings)) as opened:
        yield opened


@pytest.fixture
def blobs(settings: WorkerSettings) -> Blobs:
    """The files of the jobs."""
    return Blobs(Path(settings.jobs_url))


@pytest.fixture
def chunks(settings: WorkerSettings, ledger: Ledger, blobs: Blobs, models: Repository) -> Chunks:
    """A worker's inside, for tests that say themselves what is worked on."""
    return Chunks(settings, ledger, blobs, models)


@pytest.fixture
def sweeper(settings: WorkerSettings, ledger: Ledger, blobs: Blobs, chunks: Chunks) -> Sweeper:
    """A sweeper that works itself rather than send messages."""

    def work(messages: int) -> None:
        for _ in range(messages):
            chunks.work_once()

    return Sweeper(settings, ledger, blobs, work, "test", pins=chunks.pins)
