"""Settings of the process that answers HTTP."""

from dataclasses import dataclass
from typing import Literal

from models.settings import setting
from worker.settings import WorkerSettings

MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class ServiceSettings(WorkerSettings):
    """Where the service listens, and how much it takes."""

    host: str = setting("127.0.0.1", "address to listen on; there are no API keys yet, so keep others out of it")
    port: int = setting(8000, "port to listen on", least=1)
    processes: int = setting(2, "processes that answer requests", least=1)
    threads: int = setting(64, "requests that one process answers at a time", least=1)
    drain_s: int = setting(30, "seconds that running requests have to end once the service is told to stop", least=1)
    max_body_bytes: int = setting(16 * MIB, "largest body of `POST /v1/forecasts`", least=1)
    max_series: int = setting(10_000, "most series in one `POST /v1/forecasts`", least=1)
    max_closes: int = setting(2_000_000, "most closes in one `POST /v1/forecasts`", least=1)
    max_job_bytes: int = setting(256 * MIB, "largest body of `POST /v1/jobs`", least=1)
    access_log: Literal["on", "off"] = setting("on", "`on` or `off`: a line of JSON for each request, on stderr")
    traces: str = setting("", "where traces go by OTLP over HTTP, as `http://127.0.0.1:4318`; nowhere if empty")
