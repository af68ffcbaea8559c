"""What one key's owner can learn of another's jobs: nothing. D26."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from service.key_file import add
from service.keys import make
from tests.faults.jobs_calls import Caller, ndjson, walks
from tests.faults.jobs_installation import installation

ROWS = walks(20)
NOBODY_S = "0123456789abcdef0123456789abcdef"
REQUESTS = [
    ("GET", ""),
    ("DELETE", ""),
    ("POST", "/cancel"),
    ("POST", "/resume"),
    ("GET", "/results"),
    ("GET", "/results?format=csv"),
    ("GET", "/errors"),
]


@dataclass(frozen=True)
class Two:
    """Two owners, and jobs of the first: one that has ended, one that waits."""

    a: Caller
    b: Caller
    ended: str
    waiting: str


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    folder = tmp_path_factory.mktemp("owners")
    (a, key_a), (b, key_b) = (make(name, ["jobs"]) for name in "ab")
    for key in (key_a, key_b):
        add(folder / "keys", key)
    with installation(folder, api_keys_file=folder / "keys", access_log="on") as running:
        callers = [Caller(running.services[0].url, {"Authorization": f"Bearer {secret}"}) for secret in (a, b)]
        worker = running.work()
        ended = callers[0].submit(ROWS, Idempotency_Key="the same")
        callers[0].wait(ended)
        assert worker.stop() == 0
        yield Two(callers[0], callers[1], ended, callers[0].submit(ROWS))


@pytest.mark.slow
@pytest.mark.parametrize(("method", "path"), REQUESTS, ids=[f"{method} {path}" for method, path in REQUESTS])
@pytest.mark.parametrize("which", ["ended", "waiting"])
def test_another_s_job_is_answered_as_one_that_there_never_was(two: Two, method: str, path: str, which: str) -> None:
    job_id = getattr(two, which)

    foreign = two.b.ask(method, f"/v1/jobs/{job_id}{path}")
    nobody_s = two.b.ask(method, f"/v1/jobs/{NOBODY_S}{path}")

    assert foreign.status_code == nobody_s.status_code == 404
    assert foreign.json()["type"] == nobody_s.json()["type"] == "/problems/job-not-found"
    assert foreign.text.replace(job_id, "") == nobody_s.text.replace(NOBODY_S, "")
    assert two.a.get(job_id)["status"] == {"ended": "completed", "waiting": "queued"}[which]


@pytest.mark.slow
def test_no_list_has_another_s_jobs(two: Two) -> None:
    for path in ("", "?limit=1000", "?status=completed", "?status=queued"):
        assert two.b.ask("GET", f"/v1/jobs{path}").json()["jobs"] == []
    assert {job["id"] for job in two.a.ask("GET", "/v1/jobs").json()["jobs"]} == {two.ended, two.waiting}


@pytest.mark.slow
def test_another_s_idempotency_key_is_not_known(two: Two) -> None:
    same = two.b.post(ndjson(ROWS), Idempotency_Key="the same")
    other = two.b.post(ndjson(ROWS[1:]), Idempotency_Key="the same, of b")

    assert (same.status_code, other.status_code) == (202, 202)
    assert same.json()["id"] != two.ended
    assert two.a.post(ndjson(ROWS), Idempotency_Key="the same").json()["id"] == two.ended
    for answer in (same, other):
        two.b.cancel(answer.json()["id"])
        assert two.b.ask("DELETE", f"/v1/jobs/{answer.json()['id']}").status_code in (200, 204)
