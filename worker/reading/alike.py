"""
NDJSON whose lines are all written alike, as a program writes them: cut at its quotes by the CSV parser.

That takes half of what a parser of JSON does. Where a line might be anything else, nothing is said, and such a parser
looks at it.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from models.ragged import Doubles
from worker.reading.grouping import Cells, coded_ids

_QUOTES = 10
"""Of ``{"id":"A","date":"2026-11-20","close":101.5}``."""
_ID, _DATE, _CLOSE = "3", "7", "10"
"""What is between the quotes, by its place."""
_AT_DATE, _AT_CLOSE = b'", "date": "', b'", "close": '
_LONGEST = 1000
"""Bytes of a line that is looked at for how lines end."""
_NINE, _ZERO, _POINT = (ord(mark) for mark in "90.")


def days_by_quotes(named: str, text: bytes) -> Cells | None:
    """
    Objects a day in which nothing is wrong; None where something may be.

    A line that has ten quotes, begins as it should, and has the other two names with their quotes, has nothing else:
    three quotes, four, and three. Where they stand in another order, there is no date, or no number.

    Args:
        named: The field that names the series.
        text: Whole lines.
    """
    gap = b" " if text[len(named) + 4 : len(named) + 5] == b" " else b""
    begin, date, close = (mark.replace(b" ", gap) for mark in (f'{{"{named}": "'.encode(), _AT_DATE, _AT_CLOSE))
    end = b"}\r\n" if b"}\r\n" in text[:_LONGEST] else b"}\n"
    if b"\\" in text or not text.startswith(begin) or not text.endswith((b"}", end)):
        return None
    try:
        ids, dates, closes = _cut(text).columns
        values = _numbers(closes, begins=1 + len(gap))
    except (pa.ArrowException, UnicodeDecodeError):
        return None
    if values is None or dates.null_count or ids.null_count or text.count(end + begin) != len(values) - 1:
        return None
    if text.count(date) != len(values) or text.count(close) != len(values):
        return None
    days = dates.cast(pa.int32()).to_numpy()
    return Cells(coded_ids(ids), days, values, None, lambda at: (str(values[at]), repr(str(dates[at]))))


def _cut(text: bytes) -> pa.RecordBatch:
    table = pacsv.read_csv(
        pa.BufferReader(text),
        pacsv.ReadOptions(
            use_threads=False, column_names=[str(at) for at in range(_QUOTES + 1)], block_size=len(text) + 1
        ),
        pacsv.ParseOptions(delimiter='"', quote_char=False),
        pacsv.ConvertOptions(
            include_columns=[_ID, _DATE, _CLOSE],
            column_types={_ID: pa.dictionary(pa.int32(), pa.string()), _DATE: pa.date32(), _CLOSE: pa.binary()},
            strings_can_be_null=False,
        ),
    )
    (batch,) = table.combine_chunks().to_batches()
    return batch


def _numbers(closes: pa.BinaryArray, *, begins: int) -> Doubles | None:
    """Numbers between a colon and a brace; None where one is none in JSON, or is not positive."""
    texts = pc.binary_slice(closes, begins, -1)
    offsets = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset : texts.offset + len(texts) + 1]
    marks = np.frombuffer(texts.buffers()[2] or b"", np.uint8)
    if not len(texts) or (np.diff(offsets) == 0).any() or marks.max() > _NINE:  # an exponent, or no number
        return None
    first, last = marks[offsets[:-1]], marks[offsets[1:] - 1]
    lone = np.flatnonzero(first == _ZERO)
    if (
        (first < _ZERO).any()
        or (last < _ZERO).any()
        or (marks[np.minimum(offsets[lone] + 1, len(marks) - 1)] != _POINT).any()
    ):
        return None
    values = texts.cast(pa.string()).cast(pa.float64()).to_numpy()
    return values if values.min() > 0 and np.isfinite(values.max()) else None
