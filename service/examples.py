"""Real prices that the pages offer: those that ship with them, and a package's stocks where it is installed."""

import gzip
import importlib.util
import io
from functools import cache
from pathlib import Path
from typing import NamedTuple

from models.data import last_days, write_csv
from models.packaged import PACKAGED
from models.panel import Panel
from models.ragged import Ragged
from service.assets import static_files

STOCKS = "sp500"
STOCKS_DAYS = 500


class Example(NamedTuple):
    """
    Prices that somebody may pick.

    Attributes:
        name: In the address of its CSV file.
        title: For people.
        source: Where it is from.
    """

    name: str
    title: str
    source: str


_QUANDL = (
    "Quandl WIKI Prices, public domain, as packaged with bokeh-sampledata; not adjusted for dividends; "
    "the models that ship learned from the days before 2013"
)
_EIA = (
    "U.S. Energy Information Administration through FRED (DCOILWTICO), as packaged with arch; "
    "no model learned from these days"
)
SHIPPED = (
    Example("aapl", "AAPL: Apple, 500 days to March 2013, with open, high and low", _QUANDL),
    Example("goog", "GOOG: Google, 500 days to March 2013, with open, high and low", _QUANDL),
    Example("ibm", "IBM: 500 days to March 2013, with open, high and low", _QUANDL),
    Example("msft", "MSFT: Microsoft, 500 days to March 2013, with open, high and low", _QUANDL),
    Example("four", "AAPL, GOOG, IBM and MSFT side by side, 250 days to March 2013", _QUANDL),
    Example("wti", "WTI: crude oil, dollars a barrel, 500 days to January 2019", _EIA),
)
"""In `static/examples/`; `make figures` makes them."""


def examples() -> list[Example]:
    """What there is on this machine."""
    packaged = PACKAGED[STOCKS]
    titled = [
        Example(f"{STOCKS}-{stock}", f"{stock}: {STOCKS_DAYS} adjusted closes to December 2022", packaged.source)
        for stock in _stocks()
    ]
    return [*SHIPPED, *titled]


def example_csv(name: str) -> bytes | None:
    """The prices of an example as CSV; None where there is none of that name."""
    if any(name == each.name for each in SHIPPED):
        return static_files()[1][f"examples/{name}.csv"].plain
    stock = name.removeprefix(f"{STOCKS}-")
    return _stock_csv(stock) if stock != name and stock in _stocks() else None


@cache
def _stocks() -> tuple[str, ...]:
    """Ids of the packaged stocks, from the head of their file; none where their package is not installed."""
    packaged = PACKAGED[STOCKS]
    found = importlib.util.find_spec(packaged.package)
    if found is None or found.origin is None:
        return ()
    with gzip.open(Path(found.origin).parent / packaged.path, "rt", encoding="utf-8") as file:
        return tuple(file.readline().strip().split(",")[1:])


@cache
def _panel() -> Panel:
    return last_days(PACKAGED[STOCKS].panel(), STOCKS_DAYS)


def _stock_csv(stock: str) -> bytes:
    panel = _panel()
    row = panel.ids.index(stock)
    only = Panel([stock], Ragged.of([panel.closes[row]]), panel.dates_of(row))
    text = io.StringIO()
    write_csv(only, text)
    return text.getvalue().encode()
