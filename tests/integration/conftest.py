"""The service as its users meet it: a real server process on a port of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.integration.server_process import Server, serving, stop
from worker.ledger import Ledger


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
def ledger(valkey: redis.Redis) -> Ledger:
    """A ledger with nothing in it, and a queue that is a list in Valkey."""
    return Ledger(valkey, prefix="test:", queue="chunks")
