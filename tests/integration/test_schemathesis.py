"""Schemathesis reads the document of a real server, and tries what it says and what it forbids."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service.openapi import OPERATIONS
from tests.integration.server_process import serving, working

NOT_TRIED = {"GET /openapi.json"}
"""It reads the document there, and takes it for no operation."""
NEVER = {"POST /v2/repository/models/{name}/unload"}
"""Not offered."""
HERE = Path(__file__).parent


@pytest.mark.slow
def test_the_service_is_what_its_document_says(valkey_url: str, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    examples: int = pytestconfig.getoption("--api-examples")
    where = {"NEXTDAY_REDIS_URL": valkey_url, "NEXTDAY_JOBS_URL": str(tmp_path / "jobs")}
    with serving(tmp_path, **where) as server, working(tmp_path, **where):
        report, said = schemathesis(server.url, tmp_path, examples)

    assert (report["failures"], report["errors"]) == ([], []), said
    assert {phase["status"] for phase in report["phases"].values()} == {"success"}, said
    assert report["operations"]["tested"] == report["operations"]["total"] == len(OPERATIONS) - len(NOT_TRIED)
    assert answered_well(report) == {f"{each.method.upper()} {each.path}" for each in OPERATIONS} - NEVER - NOT_TRIED


def schemathesis(url: str, folder: Path, examples: int) -> tuple[dict[str, Any], str]:
    """Its report, and what it said."""
    command = [Path(sys.executable).with_name("schemathesis"), "--config-file", HERE / "schemathesis.toml"]
    report = folder / "report.json"
    options = ["--no-color", "--max-examples", str(examples), "--report", "json", "--report-json-path", report]
    done = subprocess.run(  # noqa: PLW1510 - its report tells
        [*command, "run", f"{url}/openapi.json", *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(HERE.parent.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return json.loads(report.read_bytes()), done.stdout


def answered_well(report: dict[str, Any]) -> set[str]:
    """Operations that have answered something right as they should."""
    rates = report["valid_rates"]
    return {name for name, phases in rates.items() if any(phase["accepted"] for phase in phases.values())}
