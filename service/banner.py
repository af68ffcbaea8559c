"""What `nextday up` says once it is ready: where it is, and a request that works when pasted."""

import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import orjson

from models.data import last_days, load
from models.errors import DataError
from service.settings import ServiceSettings

DAYS = 60
STOCK = "AAPL"
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - an address that is read, not listened on

BANNER = """
Nextday is ready: {url}

  Ask it for {what}:

{curl}

  API       {url}/docs
  In bulk   {nextday} prices sp500 -o prices.csv
            {nextday} score prices.csv -o forecasts.csv --url {url}
  Logs      {logs}

Ctrl-C stops it.
"""


def banner(settings: ServiceSettings, var: Path) -> str:
    """The whole of it; `var` is the folder of `nextday up`."""
    url = base_url(settings)
    what, series = _sample()
    return BANNER.format(
        url=url,
        what=what,
        curl=_curl(url, series, needs_key=settings.api_keys_file is not None),
        logs=var / "log",
        nextday=_command(),
    )


def _command() -> str:
    """What to type for this command line, in a terminal that has not activated its environment."""
    beside = Path(sys.executable).with_name("nextday")
    if shutil.which("nextday") == str(beside) or not beside.exists():
        return "nextday"
    here = Path.cwd()
    return str(beside.relative_to(here) if beside.is_relative_to(here) else beside)


def base_url(settings: ServiceSettings) -> str:
    """Where this machine reaches a service with these settings."""
    host = EVERYWHERE.get(settings.host, settings.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def _sample() -> tuple[str, dict[str, object]]:
    """A series to forecast, and what it is."""
    try:
        stocks = load("sp500").panel
    except DataError:
        what = "the day after yesterday and today (real prices come with `pip install -e '.[data]'`)"
        return what, {"id": "example", "closes": [100.0, 101.5]}
    row = stocks.ids.index(STOCK)
    recent = last_days(stocks, DAYS)
    as_of = str(np.datetime_as_string(recent.dates_of(row)[-1]))
    closes = [round(close, 4) for close in recent.closes[row].tolist()]
    return f"the day after {DAYS} real closes of {STOCK}", {"id": STOCK, "as_of": as_of, "closes": closes}


def _curl(url: str, series: dict[str, object], *, needs_key: bool) -> str:
    body = orjson.dumps({"series": [series]}).decode()
    key = '-H "Authorization: Bearer $NEXTDAY_API_KEY" ' if needs_key else ""
    return f"curl -s {url}/v1/forecasts {key}-H 'Content-Type: application/json' -d {shlex.quote(body)}"
