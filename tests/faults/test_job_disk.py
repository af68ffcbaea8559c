"""A disk of the jobs that is full: D7."""

import hashlib
from pathlib import Path

import pytest

from tests.faults.jobs_calls import UNAVAILABLE, assert_whole, ndjson, walks
from tests.faults.jobs_disks import Disk, needs_mounts, small_disk
from tests.faults.jobs_installation import Installation, installation, tended
from tests.faults.processes import eventually


@needs_mounts
@pytest.mark.slow
def test_a_full_disk_refuses_uploads_holds_up_results_and_shows_nothing_half(tmp_path: Path) -> None:
    with (
        small_disk(tmp_path, size_mib=16) as disk,
        installation(tmp_path, inside=disk.inside, jobs_url=disk.at / "jobs", chunk_rows=4) as running,
    ):
        hold_up(running, disk)


def hold_up(running: Installation, disk: Disk) -> None:
    caller, rows = running.caller, walks(400)
    workers = [running.work({"run_s": 0.05, "runs": running.runs_file})]
    with tended(workers) as restarts:
        job_id = caller.submit(rows)
        eventually(lambda: caller.done_rows(job_id) > 0)
        disk.fill()
        refused = [caller.post(ndjson(walks(size))) for size in (1, 1000)]
        tried = len(running.runs())
        eventually(lambda: len(running.runs()) > tried + 2)
        listed = caller.ask("GET", "/v1/jobs").json()["jobs"]
        seen = files(disk.seen / "jobs")
        half = [path.name for path in seen if not is_whole(path)]
        disk.free()

        assert_whole(caller, job_id, rows)
        assert {answer.status_code for answer in refused} <= set(UNAVAILABLE)
        assert [job["id"] for job in listed] == [job_id]
        assert {path.parent.name for path in seen} == {job_id}
        assert half == []
        assert restarts() == 0
        assert_whole(caller, caller.submit(rows), rows)


@needs_mounts
@pytest.mark.drill
def test_a_disk_too_full_for_a_download_says_so(tmp_path: Path) -> None:
    rows = walks(400)
    with (
        small_disk(tmp_path, size_mib=16) as disk,
        installation(tmp_path, inside=disk.inside, jobs_url=disk.at / "jobs") as running,
    ):
        caller = running.caller
        running.work()
        job_id = caller.submit(rows)
        caller.wait(job_id)

        disk.fill()
        answer = caller.ask("GET", f"/v1/jobs/{job_id}/results")
        disk.free()

        assert answer.status_code in UNAVAILABLE
        assert_whole(caller, job_id, rows)


def files(folder: Path) -> list[Path]:
    """Files that anybody may take for whole."""
    return [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".part-")]


def is_whole(path: Path) -> bool:
    """Whether a result has the digest of its name, and an input the ending of an Arrow file."""
    content = path.read_bytes()
    if path.name.startswith("result-"):
        return hashlib.sha256(content).hexdigest()[:16] in path.name
    return content.endswith(b"ARROW1")
