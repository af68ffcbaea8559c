"""A server that is hurt, and an nginx in front of it."""

from collections.abc import Iterator

import pytest

from tests.faults.nginx_process import proxying
from tests.faults.processes import answering
from tests.faults.wire import probe_s
from tests.integration.server_process import Server, serving, stop

BODY_S = 2.0
JOB_BYTES = 4 * 1024 * 1024


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, valkey_url: str) -> Iterator[Server]:
    """A server of two processes that drills share: none of them may end it."""
    folder = tmp_path_factory.mktemp("drills")
    settings = {"NEXTDAY_BODY_S": str(BODY_S), "NEXTDAY_MAX_JOB_BYTES": str(JOB_BYTES)}
    with serving(folder, NEXTDAY_REDIS_URL=valkey_url, **settings) as running:
        yield running
        assert stop(running) == 0


@pytest.fixture
def url(server: Server) -> Iterator[str]:
    """The address of the server; after a drill the same processes answer as before, and none has logged an error."""
    seen, processes = len(server.log.read_bytes()), answering(server)
    yield server.url
    assert probe_s(server.url) < 5
    assert answering(server) == processes
    lines = server.log.read_bytes()[seen:].splitlines()
    assert not [line for line in lines if b'"level":"error"' in line]


@pytest.fixture(scope="session")
def nginx_url(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Iterator[str]:
    """The address of an nginx in front of the server."""
    with proxying(tmp_path_factory.mktemp("nginx"), [server.url]) as address:
        yield address
