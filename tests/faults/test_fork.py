"""A session that crosses a fork hangs or crashes; so a forecaster says so first, and nothing of ours forks with one."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from models.settings import ModelSettings
from tests.integration.server_process import DEADLINE_S, serving
from tests.integration.up_process import until

STORE = ModelSettings().store

CARRIED = f"""
import os, sys
from models.forecaster import Forecaster
from models.ragged import Ragged
from pathlib import Path

forecaster, rows = Forecaster.load(Path({str(STORE)!r}) / "lstm" / "1"), Ragged.of([[100.0, 101.0]])
if (child := os.fork()) == 0:
    try:
        forecaster.run(rows)
        os._exit(0)
    except RuntimeError as error:
        print(error, flush=True)
        os._exit(3)
print("child", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), "parent", len(forecaster.run(rows)))
"""

WATCHED = """
import gc, os, sys

def look():
    sessions = getattr(sys.modules.get("onnxruntime"), "InferenceSession", None)
    made = sessions is not None and any(isinstance(each, sessions) for each in gc.get_objects())
    with open(os.environ["FORKS"], "a") as record:
        record.write(f"{os.getpid()} {'with' if made else 'without'}\\n")

os.register_at_fork(before=look)
with open(os.environ["FORKS"], "a") as record:
    record.write(f"{os.getpid()} watched\\n")
"""
"""Goes into every Python process that is started, and notes each fork and whether there was a session to cross it."""


@pytest.fixture
def forks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the processes that a test starts note of their forks."""
    (tmp_path / "watch").mkdir()
    (tmp_path / "watch" / "sitecustomize.py").write_text(WATCHED)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "watch"), str(Path(__file__).parents[2])]))
    monkeypatch.setenv("FORKS", str(tmp_path / "forks"))
    return tmp_path / "forks"


def noted(forks: Path, word: str) -> list[str]:
    return [line for line in forks.read_text().splitlines() if line.endswith(f" {word}")]


def test_a_forecaster_that_was_carried_across_a_fork_refuses_loudly_and_its_owner_goes_on() -> None:
    command = [sys.executable, "-c", CARRIED]

    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=True)

    assert done.stdout == "a forecaster was carried across a fork; make one in each process\nchild 3 parent 1\n"


def test_a_fork_with_a_session_is_noted(forks: Path) -> None:
    subprocess.run([sys.executable, "-c", CARRIED], capture_output=True, timeout=DEADLINE_S, check=True)

    assert len(noted(forks, "with")) == 1


def test_no_process_of_the_service_forks_with_a_session(forks: Path, tmp_path: Path) -> None:
    with serving(tmp_path, FORKS=str(forks)) as server:
        body = {"series": [{"id": "a", "closes": [1.0, 2.0]}]}
        assert httpx.post(f"{server.url}/v1/forecasts", json=body).status_code == 200
        until(lambda: len(noted(forks, "watched")) >= 3, "the parent and its two processes")

    assert noted(forks, "with") == []


def test_no_process_of_a_worker_forks_with_a_session(forks: Path, tmp_path: Path, valkey_url: str) -> None:
    env = {**os.environ, "NEXTDAY_REDIS_URL": valkey_url, "NEXTDAY_JOBS_URL": str(tmp_path / "jobs")}
    command = [sys.executable, "-m", "nextday", "work"]
    with (tmp_path / "log").open("wb") as log:
        worker = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    try:
        until(lambda: "model lstm: version " in (tmp_path / "log").read_text(), "a worker with its models")
        check = [*command, "--check"]
        until(
            lambda: subprocess.run(check, env=env, capture_output=True, check=False).returncode == 0, "its sign of life"
        )
    finally:
        worker.terminate()
        worker.wait(DEADLINE_S)

    assert noted(forks, "watched")
    assert noted(forks, "with") == []
