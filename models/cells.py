"""
Columns of a table of closes as arrays: names, days, numbers. Knows pyarrow and numpy.

A date is ISO 8601, as in 2026-11-20; a time of day behind it is not read. Blank closes are told apart from wrong ones.
"""

import datetime
import typing

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from models.errors import DataError
from models.ragged import Doubles, Flags, Ints

Days = npt.NDArray[np.datetime64]

NUMBER = r"^[-]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$"
LONGEST_QUOTE = 40


def coded(column: pa.ChunkedArray) -> tuple[Ints, list[str]]:
    """A column of text as codes and what they stand for, in order of first appearance; a null is the empty text."""
    if not pa.types.is_dictionary(column.type):
        column = column.cast(pa.string()).dictionary_encode()
    whole = column.unify_dictionaries().combine_chunks()
    known = whole.dictionary.cast(pa.string()).to_pylist()
    codes = pc.fill_null(whole.indices.cast(pa.int64()), len(known)).to_numpy(zero_copy_only=False)
    return codes, [*known, ""]


def days_of(column: pa.ChunkedArray) -> Days:
    """A column of dates as datetime64[D], NaT where one cannot be read. Shape ``(N,)``."""
    if pa.types.is_timestamp(column.type) and column.type.tz:
        column = pc.local_timestamp(column)
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        return typing.cast(Days, column.cast(pa.date32()).to_numpy().astype("datetime64[D]"))
    codes, texts = coded(column)
    return np.array([day(text or "") for text in texts], "datetime64[D]")[codes]


def day(text: str) -> datetime.date | None:
    """The day of a date in ISO 8601, None where it is none."""
    try:
        return datetime.datetime.fromisoformat(text.strip()).date()
    except ValueError:
        return None


def doubles_of(name: str, column: pa.ChunkedArray) -> tuple[Doubles, Flags]:
    """
    A column of closes as numbers, NaN where one is none, and where it is blank. Shapes ``(N,)``.

    Raises:
        DataError: Its type cannot hold closes.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    blank = column.is_null().to_numpy()
    try:
        numbers = column.cast(pa.float64(), safe=False)
    except pa.ArrowInvalid:
        column = pc.utf8_trim_whitespace(column)
        blank = blank | pc.fill_null(pc.equal(column, ""), True).to_numpy()
        readable = pc.match_substring_regex(column, NUMBER)
        numbers = pc.if_else(readable, column, pa.scalar(None, column.type)).cast(pa.float64())
    except pa.ArrowNotImplementedError as error:
        raise DataError(f"column {name!r} holds {column.type}; closes are numbers") from error
    return numbers.to_numpy().astype(np.float64, copy=False), blank


def quoted(column: pa.ChunkedArray, at: int) -> str:
    """A cell as it stands in the table, cut to what a message can bear."""
    value = column[at].as_py()
    if not isinstance(value, str):
        return "(blank)" if value is None else str(value)
    return repr(value if len(value) <= LONGEST_QUOTE else value[:LONGEST_QUOTE] + "...")
