"""Settings of a process that works with jobs."""

import os
from dataclasses import dataclass
from pathlib import Path

from models.settings import ModelSettings, setting
from worker.receivers import AllowedHosts
from worker.signing import Secrets

MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class WorkerSettings(ModelSettings):
    """Where jobs are queued and kept, and how they are worked off."""

    redis_url: str = setting("redis://127.0.0.1:6379/0", "Redis or Valkey: queue and ledger of jobs", secret=True)
    redis_password_file: Path | None = setting(
        None,
        "file with the password for `NEXTDAY_REDIS_URL`, which then has a user at most, as `redis://nextday@redis`",
    )
    jobs_url: str = setting(
        "var/jobs", "folder or `s3://bucket/prefix` of the jobs' inputs and results, shared by service and workers"
    )
    worker_threads: int = setting(os.cpu_count() or 1, "chunks that one worker scores at a time", least=1)
    chunk_rows: int = setting(100_000, "most series in a chunk; the first ones of a job have 4,000 at most", least=1)
    chunk_closes: int = setting(6_000_000, "most closes in a chunk, so that it stays seconds of work", least=1)
    lease_s: float = setting(20.0, "seconds that a worker may hold a chunk without a sign of life", least=0.1)
    sweep_s: float = setting(2.0, "seconds between two looks for chunks that nobody works on", least=0.05)
    turn_s: float = setting(2.0, "seconds that a worker's thread works on chunks for one message", least=0)
    window: int = setting(64, "most messages that wait in the queue; at least all threads of all workers", least=1)
    wedged_s: float = setting(30.0, "seconds without progress, though work waits, after which a worker ends", least=1)
    worker_name: str = setting("", "name of a worker among all; its host and process number where it is empty")
    max_attempts: int = setting(5, "times a chunk is tried before its rows become errors", least=1)
    max_job_bytes: int = setting(256 * MIB, "largest body of `POST /v1/jobs`, or file that it names", least=1)
    max_job_decoded_bytes: int = setting(2048 * MIB, "most bytes that a packed body of a job unpacks to", least=1)
    max_job_rows: int = setting(5_000_000, "most series of a job", least=1)
    max_job_closes: int = setting(500_000_000, "most closes of a job, over all series", least=1)
    input_prefixes: str = setting(
        "", "where files may be that jobs name, as `file:///data/in/,s3://bucket/prices/`; nowhere if empty"
    )
    intakes: int = setting(2, "uploads that one process of the service reads at a time", least=1)
    intake_wait_s: float = setting(30.0, "seconds that an upload waits for others that are read before a 503", least=0)
    intake_s: float = setting(600.0, "seconds that reading one upload may take", least=0.1)
    intake_mib: int = setting(512, "MiB of memory that reading one upload may take", least=64)
    max_jobs: int = setting(1000, "unfinished jobs that are let in", least=1)
    owner_jobs: int = setting(1000, "unfinished jobs that are let in of one API key", least=1)
    owner_bytes: int = setting(100_000_000_000, "bytes of input that one API key may have stored", least=1)
    retention_h: float = setting(168.0, "hours after which a job and its files are deleted", least=0)
    webhook_hosts: AllowedHosts = setting(
        AllowedHosts(""),
        "hosts that webhooks may be sent to, with commas between: [docs/webhooks.md](docs/webhooks.md)",
    )
    webhook_secret: Secrets = setting(
        Secrets(""), "`whsec_...`, which webhooks are signed with; two with a blank between to change it", secret=True
    )
