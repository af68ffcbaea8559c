"""Tables of closes in either layout, by rules that are written down."""

import datetime
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.errors import DataError
from models.panel import Panel, layout, panel, read_csv, read_parquet


def from_csv(text: str) -> Panel:
    return panel(read_csv(io.BytesIO(text.encode())))


def closes(prices: Panel) -> dict[str, list[float]]:
    return dict(zip(prices.ids, (row.tolist() for row in prices.closes), strict=True))


def test_a_long_table_gives_each_series_in_order_of_first_appearance_and_of_date() -> None:
    prices = from_csv("date,id,close\n2026-01-03,B,2\n2026-01-02,A,5\n2026-01-02,B,1\n")

    assert prices.ids == ["B", "A"]
    assert closes(prices) == {"B": [1.0, 2.0], "A": [5.0]}
    assert prices.dates_of(0).astype(str).tolist() == ["2026-01-02", "2026-01-03"]


def test_a_wide_table_gives_the_same_series_as_a_long_one() -> None:
    wide = from_csv("Date,A,B\n2026-01-03,2,4\n2026-01-02,1,3\n")
    long = from_csv("id,date,close\nA,2026-01-03,2\nA,2026-01-02,1\nB,2026-01-03,4\nB,2026-01-02,3\n")

    assert closes(wide) == closes(long) == {"A": [1.0, 2.0], "B": [3.0, 4.0]}
    assert (wide.dates == long.dates).all()


def test_ids_stay_text() -> None:
    assert from_csv("id,date,close\n007,2026-01-02,1\n7,2026-01-02,1\n").ids == ["007", "7"]


def test_blank_closes_are_left_out_and_counted() -> None:
    prices = from_csv("date,A,B\n2026-01-02,1,\n2026-01-03,2,4\n2026-01-04,,5\n")

    assert closes(prices) == {"A": [1.0, 2.0], "B": [4.0, 5.0]}
    assert prices.blanks == 2
    assert not prices.faults


def test_column_names_are_read_whatever_their_case_and_others_are_not_read() -> None:
    assert closes(from_csv("Ticker,Volume,DATE,Close\nA,x,2026-01-02,1\n")) == {"A": [1.0]}


def test_a_byte_order_mark_windows_line_ends_and_times_of_day_are_read() -> None:
    assert closes(from_csv("\ufeffdate,A\r\n2026-01-02 00:00:00,1\r\n2026-01-03T21:00:00Z, 2\r\n")) == {"A": [1.0, 2.0]}


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ("X,2026-01-02,abc", "has the close 'abc' on 2026-01-02; a close is a positive, finite number"),
        ("X,2026-01-02,0", "has the close '0' on 2026-01-02"),
        ("X,2026-01-02,-1.5", "has the close '-1.5' on 2026-01-02"),
        ("X,2026-01-02,nan", "has the close 'nan' on 2026-01-02"),
        ("X,2026-01-02,Infinity", "has the close 'Infinity' on 2026-01-02"),
        ("X,2026-01-02,1e999", "has the close '1e999' on 2026-01-02"),
        ('X,2026-01-02,"1,5"', "has the close '1,5' on 2026-01-02"),
        ("X,2026-02-30,1", "has the date '2026-02-30'; a date looks like 2026-11-20"),
        ("X,,1", "has the date (blank); a date looks like"),
        ("X,2026-01-02,1\nX,2026-01-02,1", "has 2026-01-02 twice; a day has one close"),
        ("X,2026-01-02,", "has no close; a series has at least one"),
        (",2026-01-02,1", "has a row without an id"),
    ],
)
def test_a_faulty_series_is_named_and_touches_no_other(rows: str, fault: str) -> None:
    prices = from_csv(f"id,date,close\nGOOD,2026-01-02,1\n{rows}\nGOOD,2026-01-03,2\n")

    assert prices.faults[1].startswith(fault)
    assert list(prices.faults) == [1]
    assert prices.closes[0].tolist() == [1.0, 2.0]
    assert prices.closes[1].size == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "first line is empty"),
        ("a,b\n1,2\n", "no column `date`: found the columns 'a', 'b'; a table of closes is long"),
        ("date\n2026-01-02\n", "found the columns 'date'; a table of closes is long"),
        ("date,A,a\n", "column 'a' is there twice"),
        ("date,Open,High,Low,Close\n", "open, high and low are no tickers"),
        ("date,A,\n", "each column with a name"),
        ("id,date,close\nA,soon,1\n", "column `date` holds no date, but 'soon'"),
        ("id,date,close\n", "Empty CSV file"),
        ("id,date,close\nA,2026-01-02,1\nA,2026-01-03\n", "line 3: Expected 3 columns, got 2"),
    ],
)
def test_what_is_no_table_of_closes_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        from_csv(text)


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(DataError, match="the body is not a CSV table"):
        read_csv(io.BytesIO(b"id,date,close\n\xff\xfe,2026-01-02,1\n"))


@pytest.mark.parametrize(
    "dates",
    [
        pa.array([datetime.date(2026, 1, 3), datetime.date(2026, 1, 2)]),
        pa.array([datetime.datetime(2026, 1, 3), datetime.datetime(2026, 1, 2)]),
        pa.array(["2026-01-03", "2026-01-02"]).dictionary_encode(),
    ],
)
@pytest.mark.parametrize("kind", [pa.float32(), pa.int64(), pa.decimal128(22, 2)])
def test_parquet_of_any_type_that_can_hold_dates_and_closes_is_read(dates: pa.Array, kind: pa.DataType) -> None:
    file = io.BytesIO()
    pq.write_table(pa.table({"id": [7, 7], "date": dates, "close": pa.array([2, 1]).cast(kind), "x": [0, 0]}), file)

    table = read_parquet(file)

    assert table.column_names == ["id", "date", "close"]
    assert closes(panel(table)) == {"7": [1.0, 2.0]}


def test_a_day_is_the_day_in_its_own_time_zone() -> None:
    midnight = pa.array([datetime.datetime(2026, 1, 2, 5, tzinfo=datetime.UTC)]).cast(
        pa.timestamp("us", "America/New_York")
    )

    assert panel(pa.table({"date": midnight, "A": [1.0]})).dates.astype(str).tolist() == ["2026-01-02"]


def test_closes_of_a_type_that_holds_no_numbers_are_refused() -> None:
    with pytest.raises(DataError, match="column 'close' holds list<item: double>; closes are numbers"):
        panel(pa.table({"id": ["A"], "date": ["2026-01-02"], "close": [[1.0]]}))


def test_what_is_no_parquet_is_refused() -> None:
    with pytest.raises(DataError, match="not a Parquet table"):
        read_parquet(io.BytesIO(b"PAR1nonsense"))


@pytest.mark.parametrize("order", ["by id", "by date", "shuffled"])
def test_rows_in_any_order_give_the_same_panel(order: str) -> None:
    ids, days = [array.ravel() for array in np.meshgrid(np.arange(50), np.arange(40), indexing="ij")]
    place = {"by id": np.lexsort((days, ids)), "by date": np.lexsort((ids, days))}
    rows = place.get(order, np.r_[0, np.random.default_rng(0).permutation(np.arange(1, 2000))])
    table = pa.table({"id": ids, "date": days.astype("datetime64[D]"), "close": ids + days / 100 + 1}).take(rows)

    prices = panel(table)

    assert all(
        np.allclose(row, int(name) + np.arange(40) / 100 + 1)
        for name, row in zip(prices.ids, prices.closes, strict=True)
    )


def test_layouts_are_told_apart_by_their_columns() -> None:
    assert layout(["Symbol", "Date", "Close", "Volume"]) == "long"
    assert layout(["Date", "AAPL", "CLOSE"]) == "wide"
