"""Settings of the process that answers HTTP, and of those who ask it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from models.settings import setting
from worker.settings import MIB, WorkerSettings


@dataclass(frozen=True, kw_only=True)
class ServiceSettings(WorkerSettings):
    """Where the service listens, and how much it takes."""

    host: str = setting("127.0.0.1", "address to listen on; any that others can reach needs API keys")
    port: int = setting(8000, "port to listen on", least=1)
    processes: int = setting(2, "processes that answer requests", least=1)
    threads: int = setting(16, "requests other than forecasts that one process answers at a time", least=1)
    max_in_flight: int = setting(64, "forecast requests that one process lets in at a time; more get a 503", least=1)
    body_s: float = setting(30.0, "seconds that a body may fall behind 16 KiB a second before it gets a 408", least=0.1)
    drain_notice_s: float = setting(
        1.0, "seconds that the port stays open once the service is told to stop and says that it is not ready", least=0
    )
    drain_s: int = setting(30, "seconds that running requests have to end once the service is told to stop", least=1)
    max_body_bytes: int = setting(16 * MIB, "largest body of `POST /v1/forecasts`", least=1)
    max_series: int = setting(10_000, "most series in one `POST /v1/forecasts`", least=1)
    max_closes: int = setting(2_000_000, "most closes in one `POST /v1/forecasts`", least=1)
    max_explained_closes: int = setting(
        2_500, "most closes in one `POST /v1/forecasts` with `explain`, whose answer has some 3.3 KB for each", least=1
    )
    api_keys_file: Path | None = setting(None, "file of the API keys that are let in, as `nextday keys` writes it")
    rate_per_s: float = setting(
        0.0, "requests a second for a key without a limit of its own; 0 for any number", least=0
    )
    cors_origins: str = setting("", "origins whose pages may use the API in a browser, with commas between")
    state: Path = setting(
        Path("var/state"), "folder for what the processes of a service share: rate limits, which versions serve"
    )
    access_log: Literal["on", "off"] = setting("on", "`on` or `off`: a line of JSON for each request, on stderr")
    pages: Literal["1", "0"] = setting(
        "1", "`1` or `0`: pages with charts for people; without them `/` leads to `/docs`"
    )
    traces: str = setting("", "where traces go by OTLP over HTTP, as `http://127.0.0.1:4318`; nowhere if empty")
    watch_s: float = setting(1.0, "seconds between two looks for new versions of models; 0 looks never", least=0)


@dataclass(frozen=True, kw_only=True)
class CallerSettings:
    """What a caller of the service has, as `nextday score` is one."""

    api_key: str | None = setting(None, "API key that `nextday score` and `nextday activate` send", secret=True)
