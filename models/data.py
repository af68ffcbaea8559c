"""
Prices to train on: packaged stocks, CSV and Parquet files of either layout, tickers from Yahoo. Checked, split by date.

Beside the rules of `models.panel`, whose faults are errors here: a gap of more than two weeks is an error unless it is
allowed, so is a history too short to train on, and a move that looks like an unadjusted split is warned of.
"""

import csv
import datetime
import hashlib
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pyarrow as pa

from models.errors import DataError
from models.packaged import MARKETS, PACKAGED
from models.panel import Panel, panel, read_csv, read_parquet
from models.ragged import Ragged

TRAIN_END, VALIDATION_END = datetime.date(2013, 1, 1), datetime.date(2016, 1, 1)
MAX_GAP_DAYS = 14
SHORTEST_HISTORY_DAYS = 252
SPLIT_LOG_RETURN = 0.4
_FAULTS_NAMED = 10

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prices:
    """
    Faultless series, and where they come from.

    Attributes:
        panel: The series.
        source: For people: what it is.
        licence: What its provider says of its use.
    """

    panel: Panel
    source: str
    licence: str


@dataclass(frozen=True, slots=True)
class Split:
    """
    Days by date alone: train < train_end <= validation < validation_end <= test.

    Attributes:
        train_end: The first day that is not trained on.
        validation_end: The first day that training never looks at.
    """

    train_end: datetime.date = TRAIN_END
    validation_end: datetime.date = VALIDATION_END

    def __post_init__(self) -> None:
        if not self.train_end < self.validation_end:
            raise DataError(f"training ends on {self.train_end}, validation on {self.validation_end}; it ends later")


def load(source: str, *, max_gap_days: int | None = MAX_GAP_DAYS, min_days: int = SHORTEST_HISTORY_DAYS) -> Prices:
    """
    Prices by name, of `models.packaged.PACKAGED`, else the path of a CSV (also .csv.gz) or Parquet file.

    Args:
        source: Name or path.
        max_gap_days: Longest gap between two closes, in calendar days; None allows any.
        min_days: Fewest closes of a series.

    Raises:
        DataError: It cannot be read, or a series is faulty; the message names each, ten at most.
    """
    if source in PACKAGED:
        packaged = PACKAGED[source]
        return checked(Prices(packaged.panel(), packaged.source, packaged.licence), max_gap_days, min_days)
    path = Path(source)
    if not path.is_file():
        raise DataError(f"there is no file {source!r}; give a CSV or Parquet file, or one of {', '.join(PACKAGED)}")
    table = read_parquet(path) if path.suffix in (".parquet", ".pq") else read_csv(path)
    return checked(Prices(panel(table), path.name, "the file's own"), max_gap_days, min_days)


def download(ticker: str, *, max_gap_days: int | None = MAX_GAP_DAYS) -> Prices:
    """
    The whole history of a ticker, adjusted for splits and dividends, from Yahoo through yfinance.

    Raises:
        DataError: yfinance is not installed, or Yahoo knows no closes of it.
    """
    try:
        import yfinance  # noqa: PLC0415 - an extra that only this function needs
    except ModuleNotFoundError as error:
        raise DataError("tickers need yfinance; install it with `pip install -e '.[live]'` in the clone") from error
    history = yfinance.Ticker(ticker).history(period="max", interval="1d", auto_adjust=True)
    closes = from_history(ticker, history, now=datetime.datetime.now(datetime.UTC))
    return checked(Prices(closes, f"Yahoo, {ticker}", "Yahoo's terms: personal use only"), max_gap_days)


def from_history(ticker: str, history: Any, *, now: datetime.datetime) -> Panel:
    """
    The closes in what yfinance answers, without a day that is not over: its close is not final.

    Args:
        ticker: Becomes the id.
        history: A pandas frame with a column `Close`, its index the days in the exchange's time zone.
        now: With a time zone.

    Raises:
        DataError: There is no close in it, as where Yahoo does not know the ticker.
    """
    if len(history) == 0:
        raise DataError(f"Yahoo has no closes of {ticker!r}; check the ticker, as in AAPL or BMW.DE")
    today = now.astimezone(history.index.tz).date()
    past = history[history.index.date < today]
    return panel(pa.table({"date": pa.array(past.index), ticker: pa.array(past["Close"], from_pandas=True)}))


def checked(prices: Prices, max_gap_days: int | None = MAX_GAP_DAYS, min_days: int = SHORTEST_HISTORY_DAYS) -> Prices:
    """
    The same prices, once no series of them is faulty, too short or has a gap.

    Raises:
        DataError: One is; the message names each, ten at most.
    """
    found = [f"{prices.panel.ids[row]} {fault}" for row, fault in sorted(prices.panel.faults.items())]
    for row, name in enumerate(prices.panel.ids):
        if row not in prices.panel.faults:
            found += [f"{name} {fault}" for fault in _faults(prices.panel, row, max_gap_days, min_days)]
    if found:
        more = f"; and {len(found) - _FAULTS_NAMED} more" if len(found) > _FAULTS_NAMED else ""
        raise DataError(f"{prices.source}: {'; '.join(found[:_FAULTS_NAMED])}{more}")
    if prices.panel.blanks:
        log.info("%s: left out %d blank closes, as days without trading", prices.source, prices.panel.blanks)
    return prices


def market(name: str) -> Panel:
    """
    The series of one of `models.packaged.MARKETS`.

    Raises:
        DataError: There is no such market, or a package of it is not installed.
    """
    if name not in MARKETS:
        raise DataError(f"there is no market {name!r}; there are: {', '.join(MARKETS)}")
    return joined([load(source).panel for source in MARKETS[name]])


def cache_folder(env: Mapping[str, str] = os.environ) -> Path:
    """Where forecasts of baselines are kept between runs: NEXTDAY_CACHE, or the user's cache folder."""
    home = Path(env.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(env.get("NEXTDAY_CACHE") or home / "nextday")


def warn_of_splits(prices: Panel) -> None:
    """Log each move so large that it may be a split that was not adjusted for."""
    for row, name in enumerate(prices.ids):
        returns = np.diff(np.log(prices.closes[row]))
        for at in np.flatnonzero(np.abs(returns) > SPLIT_LOG_RETURN).tolist():
            day, move = prices.dates_of(row)[at + 1], 100 * np.expm1(returns[at])
            log.warning("%s moved %+.0f %% on %s: a split that was not adjusted for?", name, move, day)


def joined(panels: Sequence[Panel]) -> Panel:
    """
    The series of several panels in one.

    Raises:
        DataError: An id is in two of them.
    """
    ids = [name for each in panels for name in each.ids]
    if len(set(ids)) < len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        raise DataError(f"{twice!r} is in two sources; name each series once")
    closes = Ragged.of([row for each in panels for row in each.closes])
    return Panel(ids, closes, np.concatenate([each.dates for each in panels]))


def last_days(prices: Panel, days: int, until: datetime.date | None = None) -> Panel:
    """
    The last days of each series.

    Args:
        prices: Without faults.
        days: How many, of each series that has as many.
        until: The last day that may be among them; None for each series' own last.
    """
    places = []
    for row in range(len(prices)):
        dates = prices.dates_of(row)
        stop = len(dates) if until is None else int(np.searchsorted(dates, np.datetime64(until), side="right"))
        places.append(np.arange(max(0, stop - days), stop) + prices.closes.offsets[row])
    kept = np.concatenate(places)
    closes = Ragged.of([prices.closes.values[place] for place in places])
    return Panel(prices.ids, closes, prices.dates[kept])


def write_csv(prices: Panel, file: TextIO) -> None:
    """Write a panel as long CSV: id, date, close, in digits that read back to the same numbers."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["id", "date", "close"])
    for row, name in enumerate(prices.ids):
        dates = np.datetime_as_string(prices.dates_of(row)).tolist()
        writer.writerows((name, date, close) for date, close in zip(dates, prices.closes[row].tolist(), strict=True))


def content_hash(prices: Panel) -> str:
    """The sha256 of ids, days and closes, in order; the same for the same prices in any file."""
    digest = hashlib.sha256("\n".join(prices.ids).encode())
    for array in (prices.closes.offsets, prices.dates.astype(np.int64), prices.closes.values):
        digest.update(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def summary(prices: Iterable[Prices], split: Split) -> dict[str, Any]:
    """What a card says of the data: sources with their licences, spans, series, content hash."""
    sources = list(prices)
    whole = joined([each.panel for each in sources])
    first, last = whole.dates.min(), whole.dates.max()
    return {
        "sources": [{"source": each.source, "licence": each.licence} for each in sources],
        "series": whole.ids,
        "closes": len(whole.dates),
        "train": [str(first), str(split.train_end - datetime.timedelta(1))],
        "validation": [str(split.train_end), str(split.validation_end - datetime.timedelta(1))],
        "test": [str(split.validation_end), str(last)],
        "sha256": content_hash(whole),
    }


def _faults(prices: Panel, row: int, max_gap_days: int | None, min_days: int) -> list[str]:
    dates = prices.dates_of(row)
    if len(dates) < min_days:
        return [f"has {len(dates)} closes; at least {min_days} are needed"]
    gaps = np.diff(dates).astype(int)
    if max_gap_days is None or gaps.max() <= max_gap_days:
        return []
    at = int(gaps.argmax())
    return [f"has no close between {dates[at]} and {dates[at + 1]}; a gap has at most {max_gap_days} days"]
