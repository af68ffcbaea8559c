"""Schemathesis reads the document of a real server, and tries what it says and what it forbids."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from models.bundle import Bundle, read_bundle
from service.openapi import OPERATIONS, SERIES
from tests.integration.schemathesis_names import CANCELLED, SPARE
from tests.integration.server_process import DEADLINE_S, serving, working
from tests.operator_key import AUTHORIZED, key_file
from tests.versions import put, store_of

NOT_TRIED = {"GET /openapi.json"}
"""It reads the document there, and takes it for no operation."""
HERE = Path(__file__).parent


@pytest.mark.slow
def test_the_service_is_what_its_document_says(valkey_url: str, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    examples: int = pytestconfig.getoption("--api-examples")
    store = store_of(tmp_path / "store", "lstm", "rnn", "mlp")
    spare = read_bundle(store / "mlp" / "1")
    put(store, Bundle(Path(SPARE) / "1", msgspec.structs.replace(spare.card, name=SPARE), spare.model, spare.walk))
    where = {"NEXTDAY_REDIS_URL": valkey_url, "NEXTDAY_JOBS_URL": str(tmp_path / "jobs")}
    where |= {"NEXTDAY_STORE": str(store), **key_file(tmp_path)}
    with serving(tmp_path, **where) as server:
        cancelled = cancelled_job(server.url)
        with working(tmp_path, **where):
            report, said = schemathesis(server.url, tmp_path, examples, **{CANCELLED: cancelled})

    assert (report["failures"], report["errors"]) == ([], []), said
    assert {phase["status"] for phase in report["phases"].values()} == {"success"}, said
    assert report["operations"]["tested"] == report["operations"]["total"] == len(OPERATIONS) - len(NOT_TRIED)
    assert answered_well(report) == {f"{each.method.upper()} {each.path}" for each in OPERATIONS} - NOT_TRIED


def cancelled_job(url: str) -> str:
    """The id of a job that was cancelled before anybody worked on it."""
    with httpx.Client(base_url=url, headers=AUTHORIZED, timeout=DEADLINE_S) as caller:
        job_id: str = caller.post("/v1/jobs", json={"series": [SERIES]}).raise_for_status().json()["id"]
        caller.post(f"/v1/jobs/{job_id}/cancel").raise_for_status()
    return job_id


def schemathesis(url: str, folder: Path, examples: int, **env: str) -> tuple[dict[str, Any], str]:
    """Its report, and what it said."""
    command = [Path(sys.executable).with_name("schemathesis"), "--config-file", HERE / "schemathesis.toml"]
    report = folder / "report.json"
    options = [
        "--header",
        f"Authorization: {AUTHORIZED['Authorization']}",
        "--no-color",
        "--max-examples",
        str(examples),
        "--report",
        "json",
        "--report-json-path",
        report,
    ]
    done = subprocess.run(  # noqa: PLW1510 - its report tells
        [*command, "run", f"{url}/openapi.json", *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(HERE.parent.parent), **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return json.loads(report.read_bytes()), done.stdout


def answered_well(report: dict[str, Any]) -> set[str]:
    """Operations that have answered something right as they should."""
    rates = report["valid_rates"]
    return {name for name, phases in rates.items() if any(phase["accepted"] for phase in phases.values())}
