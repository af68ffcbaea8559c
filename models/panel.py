"""
Daily closes of several series, read from a table of either layout. Knows pyarrow and numpy, no pandas.

    long    id (or ticker, or symbol), date, close      a row a series and day; other columns are not read
    wide    date, AAPL, MSFT, ...                       a row a day, a column a series

Column names are read whatever their case. The rules, none of them silent:

- Rows may come in any order; each series is sorted by date.
- A blank close is a day without trading: it is left out, and `Panel.blanks` counts it.
- The same date twice in a series, a close that is not a positive, finite number, a date that cannot be read and a
  series without a close are faults of that series: it is named in `Panel.faults`, and its closes are dropped.
- A date is ISO 8601, as in 2026-11-20; a time of day behind it is not read. A column without one date is refused.
- Ids are text and stay as written: 007 is not 7.
"""

import csv
import gzip
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from models.cells import LONGEST_QUOTE, Days, coded, days_of, doubles_of, quoted
from models.errors import DataError
from models.ragged import Doubles, Flags, Ints, Ragged

ID_COLUMNS = ("id", "ticker", "symbol")
LAYOUTS = "long (id or ticker or symbol, date, close) or wide (date and a column for each ticker)"
_LONGEST_HEADER = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Panel:
    """
    Daily closes of several series.

    Attributes:
        ids: Names of the series, in order of first appearance (long) or of columns (wide). Length ``B``.
        closes: In quote currency, each series oldest first; empty where the series is faulty.
        dates: Days of the closes, datetime64[D], aligned with ``closes.values``.
        faults: The first fault of each faulty row: what is wrong, where, and what right looks like.
        blanks: Blank closes that were left out.
    """

    ids: list[str]
    closes: Ragged
    dates: Days
    faults: dict[int, str] = field(default_factory=dict)
    blanks: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    def dates_of(self, row: int) -> Days:
        """Days of one series, oldest first. Shape ``(T,)``."""
        return self.dates[self.closes.offsets[row] : self.closes.offsets[row + 1]]


@dataclass(frozen=True, slots=True)
class _Cells:
    """
    A table's closes, one a cell, whatever its layout. All arrays have shape ``(N,)``.

    Attributes:
        ids: Names of the series.
        rows: Which series each close belongs to.
        days: NaT where the date cannot be read.
        closes: NaN where it is blank or not a number.
        blank: Where there is no close.
        quote: The close and the date of a cell as they stand in the table.
    """

    ids: list[str]
    rows: Ints
    days: Days
    closes: Doubles
    blank: Flags
    quote: Callable[[int], tuple[str, str]]


def layout(columns: Sequence[str]) -> Literal["long", "wide"]:
    """
    How a table with those columns is laid out.

    >>> layout(["Date", "Ticker", "Close"]), layout(["Date", "AAPL", "MSFT"])
    ('long', 'wide')

    Raises:
        DataError: Neither layout fits, or two columns have the same name.
    """
    names = [column.strip().lower() for column in columns]
    first = ", ".join(repr(column[:LONGEST_QUOTE]) for column in columns[:10])
    found = f"found the columns {first}{', ...' if len(columns) > 10 else ''}"
    if "date" not in names:
        raise DataError(f"there is no column `date`: {found}; a table of closes is {LAYOUTS}")
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(f"column {min(twice)[:LONGEST_QUOTE]!r} is there twice: {found}; each name stands once")
    if "close" in names and any(name in names for name in ID_COLUMNS):
        return "long"
    if {"open", "high", "low", "close"} <= set(names):
        raise DataError(f"open, high and low are no tickers: {found}; add a column `id`, or keep date and close alone")
    if len(names) < 2 or "" in names:
        raise DataError(f"{found}; a table of closes is {LAYOUTS}, each column with a name")
    return "wide"


def read_csv(source: Path | BinaryIO) -> pa.Table:
    """
    The columns of a CSV file that `panel` needs, as text; a blank cell is null. A path ending in .gz is unpacked.

    Raises:
        DataError: It is no CSV table of either layout; the message names the line where one is malformed.
    """
    try:
        with _opened(source) as file:
            columns = _header(file.readline(_LONGEST_HEADER))
            # In a long table ids and dates come again and again.
            kind = pa.string() if layout(columns) == "wide" else pa.dictionary(pa.int32(), pa.string())
            wanted = _wanted(columns)
            return pacsv.read_csv(
                file,
                # One thread: with more, a malformed row's error does not say which row it was.
                pacsv.ReadOptions(use_threads=False, column_names=columns),
                pacsv.ParseOptions(newlines_in_values=False),
                pacsv.ConvertOptions(
                    include_columns=wanted,
                    column_types=dict.fromkeys(wanted, kind)
                    | {name: pa.string() for name in wanted if name.strip().lower() == "close"},
                    null_values=[""],
                    strings_can_be_null=True,
                ),
            )
    except (pa.ArrowException, OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{_named(source)} is not a CSV table: {_with_line(str(error))}") from error


def read_parquet(source: Path | BinaryIO) -> pa.Table:
    """
    The columns of a Parquet file that `panel` needs.

    Raises:
        DataError: It is no Parquet file, or no table of either layout.
    """
    try:
        file = pq.ParquetFile(source)
        return file.read(columns=_wanted(file.schema_arrow.names))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{_named(source)} is not a Parquet table: {error}") from error


def panel(table: pa.Table) -> Panel:
    """
    The series of a table of either layout, by the rules at the top of this file.

    Raises:
        DataError: The table has neither layout, no rows, or a column that cannot be what its name says.
    """
    kind = layout(table.column_names)
    if table.num_rows == 0:
        raise DataError("the table has no rows; send at least one close")
    by_name = {name.strip().lower(): table[name] for name in table.column_names}
    if kind == "long":
        return _sorted(_long_cells(by_name))
    dates = by_name.pop("date")
    return _sorted(_wide_cells(dates, [name for name in table.column_names if name.strip().lower() != "date"], table))


def _long_cells(columns: dict[str, pa.ChunkedArray]) -> _Cells:
    name = next(name for name in ID_COLUMNS if name in columns)
    codes, ids = coded(columns[name])
    dates, closes = columns["date"], columns["close"]
    rows, ids = _by_first_appearance(codes, ids)
    values, blank = doubles_of("close", closes)
    return _Cells(ids, rows, _days(dates), values, blank, lambda at: (quoted(closes, at), quoted(dates, at)))


def _wide_cells(dates: pa.ChunkedArray, ids: list[str], table: pa.Table) -> _Cells:
    days, count = _days(dates), table.num_rows
    columns = [doubles_of(name, table[name]) for name in ids]
    return _Cells(
        ids=ids,
        rows=np.repeat(np.arange(len(ids)), count),
        days=np.tile(days, len(ids)),
        closes=np.concatenate([values for values, _ in columns]),
        blank=np.concatenate([blank for _, blank in columns]),
        quote=lambda at: (quoted(table[ids[at // count]], at % count), quoted(dates, at % count)),
    )


def _sorted(cells: _Cells) -> Panel:
    """Cells in order of series and day, without blanks and without faulty series."""
    kept = np.flatnonzero(~cells.blank)
    order = kept[_order(cells.rows[kept], cells.days[kept])]
    rows, days, closes = cells.rows[order], cells.days[order], cells.closes[order]
    faults = _faults(cells, order)
    good = np.ones(len(cells.ids), bool)
    good[list(faults)] = False
    inside = good[rows]
    offsets = np.zeros(len(cells.ids) + 1, np.int64)
    np.cumsum(np.bincount(rows[inside], minlength=len(cells.ids)), out=offsets[1:])
    blanks = int(np.count_nonzero(cells.blank))
    return Panel(cells.ids, Ragged(closes[inside], offsets), days[inside], faults, blanks)


def _order(rows: Ints, days: Days) -> Ints:
    """Positions in order of series, then day; a day that cannot be read sorts first."""
    key = (rows << 32) + np.where(np.isnat(days), -(1 << 30), days.astype(np.int64))
    if np.all(key[1:] >= key[:-1]):
        return np.arange(len(key))
    return np.argsort(key, kind="stable")


def _faults(cells: _Cells, order: Ints) -> dict[int, str]:
    """The first fault of each faulty series; `order` holds the cells that count, by series and day."""
    rows, days, closes = cells.rows[order], cells.days[order], cells.closes[order]
    wrong = ~(np.isfinite(closes) & (closes > 0))
    again = np.zeros(len(order), bool)
    again[1:] = (rows[1:] == rows[:-1]) & (days[1:] == days[:-1])
    bad = np.flatnonzero(wrong | again | np.isnat(days))
    owners, first = np.unique(rows[bad], return_index=True)
    found = {
        row: _why(cells, int(order[at]), bool(again[at]))
        for row, at in zip(owners.tolist(), bad[first].tolist(), strict=True)
    }
    for row in np.flatnonzero(np.bincount(rows, minlength=len(cells.ids)) == 0).tolist():
        found[row] = "has no close; a series has at least one"
    for row, name in enumerate(cells.ids):
        if not name:
            found[row] = "has a row without an id; each row names its series"
    return found


def _why(cells: _Cells, at: int, again: bool) -> str:
    close, date = cells.quote(at)
    if np.isnat(cells.days[at]):
        return f"has the date {date}; a date looks like 2026-11-20"
    day = np.datetime_as_string(cells.days[at])
    if again:
        return f"has {day} twice; a day has one close"
    return f"has the close {close} on {day}; a close is a positive, finite number"


def _by_first_appearance(codes: Ints, names: list[str]) -> tuple[Ints, list[str]]:
    """The same codes, counted up as they first appear, and the names that do appear."""
    first = np.full(len(names), len(codes), np.int64)
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)  # of several writes the last, the smallest, stays
    order = np.argsort(first, kind="stable")
    seen = order[first[order] < len(codes)]
    rank = np.zeros(len(names), np.int64)
    rank[seen] = np.arange(len(seen))
    return rank[codes], [names[code] for code in seen.tolist()]


def _days(column: pa.ChunkedArray) -> Days:
    """
    A column of dates as datetime64[D], NaT where one cannot be read.

    Raises:
        DataError: Not one can be read.
    """
    days = days_of(column)
    if np.all(np.isnat(days)):
        raise DataError(f"column `date` holds no date, but {quoted(column, 0)}; a date looks like 2026-11-20")
    return days


def _wanted(columns: Sequence[str]) -> list[str]:
    if layout(columns) == "wide":
        return list(columns)
    names = {column.strip().lower(): column for column in columns}
    return [names[next(name for name in ID_COLUMNS if name in names)], names["date"], names["close"]]


def _header(line: bytes) -> list[str]:
    if len(line) == _LONGEST_HEADER:
        raise DataError(f"its first line is longer than {_LONGEST_HEADER} bytes; a table of closes is {LAYOUTS}")
    text = line.decode("utf-8-sig").strip()
    if not text:
        raise DataError(f"its first line is empty, where column names belong; a table of closes is {LAYOUTS}")
    return next(csv.reader([text]))


def _opened(source: Path | BinaryIO) -> AbstractContextManager[BinaryIO]:
    if not isinstance(source, Path):
        return nullcontext(source)
    return gzip.open(source) if source.suffix == ".gz" else source.open("rb")  # type: ignore[return-value]


def _named(source: Path | BinaryIO) -> str:
    return str(source) if isinstance(source, Path) else "the body"


def _with_line(message: str) -> str:
    """Arrow's message with the line of the file where it has the row behind the header."""
    head, mark, tail = message.partition("Row #")
    number = tail.partition(":")[0]
    return f"{head}line {int(number) + 1}{tail[len(number) :]}" if mark and number.isdecimal() else message
