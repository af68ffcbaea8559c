"""The same submission many times at once: D25."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults.jobs_calls import assert_whole, ndjson, walks
from tests.faults.jobs_installation import installation

CALLERS = 50


@pytest.mark.slow
def test_fifty_callers_with_one_idempotency_key_get_one_job(tmp_path: Path) -> None:
    rows = walks(100)
    with installation(tmp_path) as running, ThreadPoolExecutor(CALLERS) as callers:
        caller = running.caller
        asked = [callers.submit(caller.post, ndjson(rows), Idempotency_Key="the same") for _ in range(CALLERS)]
        answers = [each.result() for each in asked]
        other = caller.post(ndjson(rows[1:]), Idempotency_Key="the same")
        otherwise = caller.ask("POST", "/v1/jobs?levels=0.5", ndjson(rows), Idempotency_Key="the same",
                               Content_Type="application/x-ndjson")  # fmt: skip

        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.json()["id"] for answer in answers}) == 1
        assert (other.status_code, otherwise.status_code) == (422, 422)
        job_id = answers[0].json()["id"]
        assert [job["id"] for job in caller.ask("GET", "/v1/jobs").json()["jobs"]] == [job_id]
        assert [path.name for path in running.jobs_folder.iterdir()] == [job_id]
        running.work()
        assert_whole(caller, job_id, rows)
