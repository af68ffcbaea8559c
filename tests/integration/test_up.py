import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.up_process import DEADLINE_S, Family, members, press_ctrl_c, running, start, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc"),
]
SERIES = {"id": "KO", "closes": [100.0, 101.5, 100.5]}


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Family]:
    with running(tmp_path_factory.mktemp("up")) as family:
        yield family


def test_the_printed_curl_works_when_pasted(family: Family) -> None:
    if not shutil.which("curl"):
        pytest.skip("there is no curl here")
    command = re.search(r"^curl .*$", family.said, re.MULTILINE)
    assert command

    answer = subprocess.run(["bash", "-c", command[0]], capture_output=True, check=True, timeout=DEADLINE_S)

    (forecast,) = json.loads(answer.stdout)["forecasts"]
    quantiles = list(forecast["quantiles"].values())
    assert len(quantiles) == 9
    assert quantiles == sorted(quantiles)
    assert quantiles[0] < forecast["last_close"] < quantiles[-1]


def test_the_worker_is_recognisable_as_celery(family: Family) -> None:
    assert len(family.members("celery")) == 1
    assert len(family.members("valkey-server")) == 1


def test_only_its_owner_can_read_the_queues_password(family: Family) -> None:
    folder = family.folder / "var" / "redis"

    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "valkey.conf").stat().st_mode & 0o777 == 0o600
    password = re.search(r"requirepass (\w+)", (folder / "valkey.conf").read_text())
    assert password
    assert not [log for log in (family.folder / "var" / "log").iterdir() if password[1] in log.read_text()]


@pytest.mark.parametrize("settings", [{}, {"NEXTDAY_PORT": "1"}], ids=["same port", "another port"])
def test_a_second_start_in_the_same_folder_is_refused_and_the_first_goes_on(
    family: Family, settings: dict[str, str]
) -> None:
    before = family.members()

    second = Family(family.url, family.process, family.folder, {**family.env, **settings}).nextday("up")

    assert second.returncode == 2
    assert f"already running in {family.folder}/var: pid {family.process.pid}, {family.url}" in second.stderr
    assert family.members() == before
    assert family.get("/readyz")["queue"]["workers"] == 1


def test_a_port_that_is_taken_is_named_and_nothing_is_left(family: Family, tmp_path: Path) -> None:
    second = Family(family.url, family.process, tmp_path, family.env).nextday("up")

    assert second.returncode == 2
    assert f"port {httpx.URL(family.url).port} of 127.0.0.1 is taken" in second.stderr
    assert family.get("/readyz")["ready"]


def test_a_killed_worker_is_started_again_and_jobs_complete(family: Family) -> None:
    (killed,) = family.members("celery")
    os.kill(killed, signal.SIGKILL)

    job = httpx.post(f"{family.url}/v1/jobs", json={"series": [SERIES]}, timeout=10).json()

    done = until(lambda: (look := family.get(f"/v1/jobs/{job['id']}"))["status"] == "completed" and look, "the job")
    assert done["counts"] == {"total": 1, "completed": 1, "failed": 0}
    assert family.members("celery") != [killed]
    assert "the worker was ended by SIGKILL; it starts again in 0.5 s" in family.said


def test_a_killed_queue_is_started_again_and_has_lost_no_job(family: Family) -> None:
    job = httpx.post(f"{family.url}/v1/jobs", json={"series": [SERIES] * 2}, timeout=10).json()
    until(lambda: family.get(f"/v1/jobs/{job['id']}")["status"] == "completed", "the job")

    (killed,) = family.members("valkey-server")
    until(lambda: b"completed" in b"".join(path.read_bytes() for path in aof(family)), "the job on disk")
    os.kill(killed, signal.SIGKILL)

    assert until(lambda: family.get(f"/v1/jobs/{job['id']}"), "the job again")["counts"]["completed"] == 2
    until(lambda: family.get("/readyz")["queue"].get("workers") == 1, "the worker again")


def aof(family: Family) -> list[Path]:
    return list((family.folder / "var" / "redis" / "appendonlydir").glob("*.aof"))


def test_a_killed_service_is_started_again_and_leaves_no_process_on_its_port(family: Family) -> None:
    old = family.members("spawn_main")
    (main,) = family.members("nextday serve")

    os.kill(main, signal.SIGKILL)

    until(lambda: "the service was ended by SIGKILL" in family.said, "it is noticed")
    assert until(lambda: httpx.post(f"{family.url}/v1/forecasts", json={"series": [SERIES]}).is_success, "forecasts")
    assert not set(old) & set(family.members())


def test_ctrl_c_drains_and_leaves_no_process(tmp_path: Path) -> None:
    family = start(tmp_path)

    assert press_ctrl_c(family) == 0
    assert members(family.process.pid) == []
    assert "killed" not in family.said.partition("stopping")[2].partition("\n")[2]
    assert "refused to gracefully stop" not in (tmp_path / "var" / "log" / "service.log").read_text()


def test_a_background_job_of_a_script_can_be_stopped_too(tmp_path: Path) -> None:
    family = start(tmp_path, in_background=True)

    assert press_ctrl_c(family) == 0
    assert members(family.process.pid) == []


def test_a_killed_up_leaves_no_process_and_the_next_one_has_its_jobs(tmp_path: Path) -> None:
    first = start(tmp_path)
    job = httpx.post(f"{first.url}/v1/jobs", json={"series": [SERIES]}, timeout=10).json()
    until(lambda: first.get(f"/v1/jobs/{job['id']}")["status"] == "completed", "the job")

    first.process.kill()
    first.process.wait()

    until(lambda: not first.members(), "all of them have ended")
    second = start(tmp_path, port=httpx.URL(first.url).port)
    assert second.get(f"/v1/jobs/{job['id']}")["status"] == "completed"
    assert press_ctrl_c(second) == 0


def test_a_model_that_is_refused_stops_the_start_and_is_named(tmp_path: Path) -> None:
    store = tmp_path / "store" / "lstm" / "1"
    store.mkdir(parents=True)
    (store / "card.json").write_text("{}")

    with pytest.raises(AssertionError, match=r"model lstm: refused: card.json"):
        start(tmp_path, NEXTDAY_STORE=str(tmp_path / "store"))


def test_a_redis_of_ones_own_is_used_and_left_alone(tmp_path: Path, valkey_url: str) -> None:
    family = start(tmp_path, NEXTDAY_REDIS_URL=valkey_url)

    queue = family.get("/readyz")["queue"]

    assert queue["ok"]
    assert family.members("valkey-server") == []
    assert press_ctrl_c(family) == 0


def test_a_schedule_runs_beside_the_others_and_ends_with_them(tmp_path: Path) -> None:
    (tmp_path / "prices.ndjson").write_text(json.dumps(SERIES) + "\n")
    (tmp_path / "plan.toml").write_text(
        f'[[schedule]]\nname = "all"\ninput = "{tmp_path.as_uri()}/prices.ndjson"\ncalendar = "24/7"\n'
    )
    allowed = f"{tmp_path.as_uri()}/"
    family = start(tmp_path, None, "--schedule", "plan.toml", NEXTDAY_INPUT_PREFIXES=allowed)
    try:
        jobs = until(lambda: family.get("/v1/jobs")["jobs"], "a job is submitted")
        until(lambda: family.get(f"/v1/jobs/{jobs[0]['id']}")["status"] == "completed", "it is worked off")
    finally:
        code = press_ctrl_c(family)

    assert code == 0
    assert members(family.process.pid) == []
