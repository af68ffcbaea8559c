"""Callers of the jobs API, and what must hold of every job whatever has died."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import httpx
import numpy as np
import orjson

from models.forecaster import Forecaster
from models.ragged import Ragged
from models.repository import Repository
from models.settings import ModelSettings
from tests.faults.processes import eventually

NDJSON = "application/x-ndjson"
CALL_S = 120.0
"""Seconds that a call may take before it counts as never answered."""
UNAVAILABLE = (503, 507)
RANKS = {"queued": 0, "in_progress": 1, "finalizing": 2, "cancelling": 3}
ENDED = ("completed", "failed", "cancelled", "expired")
Rows = Sequence[Sequence[float]]


@dataclass(frozen=True)
class Caller:
    """Who asks, with a key or without."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, content: bytes | None = None, **headers: str) -> httpx.Response:
        """An answer, whatever it is; an underscore in a header's name stands for a hyphen."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return _client().request(method, self.url + path, content=content, headers={**self.headers, **named})

    def post(self, content: bytes, media_type: str = NDJSON, **headers: str) -> httpx.Response:
        return self.ask("POST", "/v1/jobs", content, Content_Type=media_type, **headers)

    def submit(self, rows: Rows, **headers: str) -> str:
        """The id of a job that was accepted."""
        answer = self.post(ndjson(rows), **headers)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def get(self, job_id: str) -> dict[str, Any]:
        answer = self.ask("GET", f"/v1/jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def cancel(self, job_id: str) -> dict[str, Any]:
        answer = self.ask("POST", f"/v1/jobs/{job_id}/cancel")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def done_rows(self, job_id: str) -> int:
        counts = self.get(job_id)["counts"]
        return int(counts["completed"] + counts["failed"])

    def wait(self, job_id: str, *, deadline_s: float = 120.0) -> dict[str, Any]:
        """A job that has ended. On its way it never went back; a queue that is away for a while is waited for."""
        seen: list[dict[str, Any]] = []

        def has_ended() -> bool:
            try:
                answer = self.ask("GET", f"/v1/jobs/{job_id}")
            except httpx.TransportError:
                return False
            if answer.status_code == 503:
                return False
            assert answer.status_code == 200, answer.text
            seen.append(answer.json())
            if len(seen) > 1:
                assert_went_on(*seen[-2:])
            return seen[-1]["status"] in ENDED

        try:
            eventually(has_ended, deadline_s)
        except AssertionError as error:
            raise AssertionError(f"{error}: {seen[-1:]}") from error
        return seen[-1]

    def lines(self, job_id: str, kind: str = "results") -> list[dict[str, Any]]:
        """Results or errors."""
        answer = self.ask("GET", f"/v1/jobs/{job_id}/{kind}", Accept=NDJSON)
        assert answer.status_code == 200, answer.text
        return [orjson.loads(line) for line in answer.content.splitlines()]


@cache
def _client() -> httpx.Client:
    """For all callers: a connection for each call, since servers come and go."""
    return httpx.Client(timeout=CALL_S, limits=httpx.Limits(max_keepalive_connections=0))


def walks(rows: int, *, days: int = 20, seed: int = 0) -> list[list[float]]:
    steps = np.random.default_rng(seed).standard_t(4, (rows, days)) * 0.01
    found: list[list[float]] = np.round(50 * np.exp(np.cumsum(steps, axis=1)), 2).tolist()
    return found


def ndjson(rows: Rows) -> bytes:
    return b"\n".join(orjson.dumps({"id": f"series-{row}", "closes": closes}) for row, closes in enumerate(rows))


@cache
def forecaster() -> Forecaster:
    """The model that jobs get who name none, asked here without any service."""
    return Repository(ModelSettings().store, device="cpu").get("lstm")


def assert_whole(caller: Caller, job_id: str, rows: Rows, *, deadline_s: float = 120.0) -> dict[str, Any]:
    """The job ends, each row is there once and in its place, and is what the model says of it."""
    job = caller.wait(job_id, deadline_s=deadline_s)
    counts = {"total": len(rows), "completed": len(rows), "failed": 0}
    assert (job["status"], job["counts"]) == ("completed", counts), job
    assert_right(caller.lines(job_id), dict(enumerate(rows)))
    assert caller.lines(job_id, "errors") == []
    return job


def assert_right(lines: Sequence[Mapping[str, Any]], rows: Mapping[int, Sequence[float]]) -> None:
    """The lines are those of some rows, in their order, to the last bit."""
    assert [line["id"] for line in lines] == [f"series-{row}" for row in sorted(rows)]
    if lines:
        answered = np.array([list(line["quantiles"].values()) for line in lines], np.float32)
        assert np.array_equal(answered, forecaster().predict(Ragged.of([rows[row] for row in sorted(rows)])))


def assert_went_on(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """A job's state never goes back, but for results that are found missing at the end and made again."""
    was, now = before["status"], after["status"]
    assert now in ENDED or was not in ENDED, (before, after)
    if (was, now) == ("finalizing", "in_progress"):
        return
    assert RANKS.get(now, 9) >= RANKS.get(was, 9), (before, after)
    assert after["counts"]["completed"] >= before["counts"]["completed"], (before, after)
    assert after["counts"]["failed"] >= before["counts"]["failed"], (before, after)
