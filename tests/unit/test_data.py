"""Prices to train on: where they come from, and what is refused."""

import datetime
import io
import logging
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models import data
from models.errors import DataError
from models.panel import Panel, panel, read_csv
from models.ragged import Ragged


def series(closes: np.ndarray, name: str = "A", start: str = "2020-01-01") -> Panel:
    return Panel([name], Ragged.of([closes]), np.datetime64(start) + np.arange(len(closes)))


def prices(given: Panel) -> data.Prices:
    return data.Prices(given, "a test", "none")


def history(days: list[str], closes: list[float], zone: str = "America/New_York") -> pd.DataFrame:
    """What `yfinance.Ticker(...).history()` of yfinance 1.7 answers."""
    index = pd.DatetimeIndex(pd.to_datetime(days)).tz_localize(zone).rename("Date")
    columns = {"Open": closes, "High": closes, "Low": closes, "Close": closes}
    return pd.DataFrame({**columns, "Volume": 100, "Dividends": 0.0, "Stock Splits": 0.0}, index=index)


def test_the_packaged_stocks_are_twenty_series_of_thirty_three_years() -> None:
    packaged = data.load("sp500").panel

    assert len(packaged) == 20
    assert set(packaged.closes.lengths.tolist()) == {8313}
    assert packaged.dates.min() == np.datetime64("1990-01-02")
    assert packaged.dates.max() == np.datetime64("2022-12-28")


def test_the_packaged_stocks_load_without_the_package_that_holds_them() -> None:
    data.load("sp500")

    assert "skfolio" not in sys.modules


def test_what_is_written_as_csv_is_read_back_to_the_bit(tmp_path: Path) -> None:
    sample = data.last_days(data.load("sp500").panel, 300)
    file = tmp_path / "closes.csv"

    with file.open("w") as opened:
        data.write_csv(sample, opened)

    assert data.content_hash(data.load(str(file)).panel) == data.content_hash(sample)


def test_the_last_days_end_at_a_day() -> None:
    given = panel(read_csv(io.BytesIO(b"date,A,B\n2026-01-02,1,2\n2026-01-05,3,\n2026-01-06,5,6\n")))

    sample = data.last_days(given, 2, until=datetime.date(2026, 1, 5))

    assert [row.tolist() for row in sample.closes] == [[1.0, 3.0], [2.0]]
    assert sample.dates.astype(str).tolist() == ["2026-01-02", "2026-01-05", "2026-01-02"]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (series(np.ones(251)), "A has 251 closes; at least 252"),
        (
            Panel(
                ["A"],
                Ragged.of([np.ones(300)]),
                np.datetime64("2020-01-01") + np.arange(300) + 15 * (np.arange(300) > 9),
            ),
            "A has no close between 2020-01-10 and 2020-01-26; a gap has at most 14 days",
        ),
        (Panel(["A"], Ragged.of([[]]), np.empty(0, "datetime64[D]"), {0: "has no close"}), "A has no close"),
    ],
)
def test_prices_that_cannot_be_trained_on_are_refused(given: Panel, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        data.checked(prices(given))


def test_every_faulty_series_is_named_ten_at_most() -> None:
    short = data.joined([series(np.ones(9), f"S{number}") for number in range(12)])

    with pytest.raises(DataError, match=r"S0 has 9 closes.*S9 has 9 closes.*; and 2 more"):
        data.checked(prices(short))


def test_gaps_can_be_allowed() -> None:
    gapped = Panel(["A"], Ragged.of([np.ones(300)]), np.datetime64("2020-01-01") + 20 * np.arange(300))

    assert data.checked(prices(gapped), max_gap_days=None).panel is gapped


def test_a_move_like_a_split_is_warned_of_with_its_day(caplog: pytest.LogCaptureFixture) -> None:
    closes = np.ones(300)
    closes[100:] = 0.5

    with caplog.at_level(logging.WARNING):
        data.warn_of_splits(series(closes))

    assert caplog.messages == ["A moved -50 % on 2020-04-10: a split that was not adjusted for?"]


def test_a_source_that_is_not_there_is_named() -> None:
    with pytest.raises(DataError, match=r"there is no file 'nowhere.csv'"):
        data.load("nowhere.csv")


def test_a_series_in_two_sources_is_refused() -> None:
    with pytest.raises(DataError, match="'A' is in two sources"):
        data.joined([series(np.ones(9)), series(np.ones(9))])


def test_validation_ends_after_training() -> None:
    with pytest.raises(DataError, match="training ends on 2016-01-01"):
        data.Split(datetime.date(2016, 1, 1), datetime.date(2016, 1, 1))


@pytest.mark.parametrize("change", ["close", "day", "id"])
def test_the_content_hash_changes_with_every_part(change: str) -> None:
    changed = series(
        np.array([1.0, 2.0 + 1e-12 * (change == "close")]),
        "B" if change == "id" else "A",
        "2020-01-02" if change == "day" else "2020-01-01",
    )

    assert data.content_hash(changed) != data.content_hash(series(np.array([1.0, 2.0])))


def test_a_day_that_is_not_over_is_left_out_of_a_tickers_history() -> None:
    answer = history(["2026-11-18", "2026-11-19", "2026-11-20"], [1.0, float("nan"), 3.0])
    before_the_close = datetime.datetime(2026, 11, 20, 20, 59, tzinfo=datetime.UTC)
    after_midnight = datetime.datetime(2026, 11, 21, 6, tzinfo=datetime.UTC)

    during = data.from_history("AAPL", answer, now=before_the_close)
    later = data.from_history("AAPL", answer, now=after_midnight)

    assert (during.ids, during.closes[0].tolist(), during.blanks) == (["AAPL"], [1.0], 1)
    assert later.closes[0].tolist() == [1.0, 3.0]
    assert later.dates.astype(str).tolist() == ["2026-11-18", "2026-11-20"]


def test_a_ticker_that_yahoo_does_not_know_is_named() -> None:
    with pytest.raises(DataError, match="Yahoo has no closes of 'NOPE'"):
        data.from_history("NOPE", history([], []), now=datetime.datetime.now(datetime.UTC))


def test_tickers_without_their_extra_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yfinance", None)

    with pytest.raises(DataError, match=r"pip install -e '\.\[live\]'"):
        data.download("AAPL")
