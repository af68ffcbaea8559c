"""Workers on machines that share no folder, over a bucket."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.faults.jobs_calls import assert_whole, walks
from tests.faults.jobs_installation import installation, tended
from tests.faults.jobs_machines import needs_machines, network
from tests.faults.jobs_programs import Program
from tests.faults.processes import eventually
from tests.integration.server_process import free_port


@contextmanager
def bucket(folder: Path, address: str) -> Iterator[str]:
    """A bucket of an S3 server that the machines reach, as the setting of jobs has it."""
    pytest.importorskip("moto.server")
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", address, "-p", str(port)]
    server = Program(command, folder / "moto.log", os.environ)

    def is_made() -> bool:
        try:
            return httpx.put(f"http://{address}:{port}/nextday").status_code == 200
        except httpx.TransportError:
            return False

    server.start()
    try:
        eventually(is_made)
        yield f"s3://nextday/jobs?endpoint_override={address}:{port}&scheme=http&region=us-east-1"
    finally:
        server.kill()


@needs_machines
@pytest.mark.drill
def test_machines_that_share_no_folder_work_off_a_job_and_one_of_them_may_die(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "drill")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "drill")
    rows = walks(2000)
    with network(2) as net, bucket(tmp_path, net.address) as url:
        addresses = ("127.0.0.1", net.address)
        with installation(tmp_path, jobs_url=url, chunk_rows=20, addresses=addresses) as running:
            plants = {"runs": running.runs_file, "run_s": 0.1}
            workers = [running.work(plants, inside=machine.inside) for machine in net.machines]
            with tended(workers) as restarts:
                job_id = running.caller.submit(rows)
                eventually(lambda: {run[0] for run in running.runs()} >= {str(worker.pid) for worker in workers})
                workers[0].kill()
                assert_whole(running.caller, job_id, rows, deadline_s=300)

            assert restarts() == 1
            assert not list(Path.cwd().glob("s3:*"))
